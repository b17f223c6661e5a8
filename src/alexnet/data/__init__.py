"""Everything before the network: sources, the dataset, batches, augmentation."""

SPLITS = ("train", "val", "test")  # in the order in which a dataset has them
