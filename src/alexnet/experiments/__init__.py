"""Experiments: a description, runs as recipes, raw figures, a picture; ``known`` lists them, ``runner`` runs them."""
