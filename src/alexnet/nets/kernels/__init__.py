"""Fast implementations of layers, one file a back end, chosen at run time."""
