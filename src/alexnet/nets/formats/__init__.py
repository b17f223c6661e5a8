"""Other programs' files of weights, one module a format: each gives tensors under our names and what the file says."""
