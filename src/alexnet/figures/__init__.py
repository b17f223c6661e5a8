"""The pictures people look at, one module each; ``show`` draws those of a run, ``style`` is how all of them look."""
