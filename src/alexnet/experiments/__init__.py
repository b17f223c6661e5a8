"""Experiments: a description, runs as recipes, their raw figures, a picture; ``runner`` runs and lists them."""
