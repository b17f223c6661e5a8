"""Other programs' weights in and ours out; one module a format: its tensors under our names, and what it says."""
