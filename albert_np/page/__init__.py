"""Pages that are one file: what the golden kit's report and the explorer share."""
