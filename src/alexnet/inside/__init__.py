"""A look inside a trained net: what it attends to in an image, what its units respond to."""
