"""Training: recipes, the update rule, checkpoints, the journal and the loop."""
