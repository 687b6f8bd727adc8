"""The model as a device would run it: emulated precisions, orders of sums, fusions and faults."""
