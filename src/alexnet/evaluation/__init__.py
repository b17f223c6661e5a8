"""Measuring and using a trained network."""
