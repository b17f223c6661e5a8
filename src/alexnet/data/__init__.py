"""Everything before the network: sources, the dataset, batches, augmentation."""
