"""One training over several processes: layouts of the net and of its batches, as plans over the table."""
