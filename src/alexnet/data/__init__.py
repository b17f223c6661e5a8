"""Everything before the network: sources, the store, batches, augmentation."""
