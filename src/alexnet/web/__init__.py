"""A run in the browser: a page and its API, on the machine where the run is."""
