"""Products of 8-bit integers with exact sums: rows.py says how activations are rounded, product.py what follows the sums."""
