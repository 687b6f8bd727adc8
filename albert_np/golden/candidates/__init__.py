"""What somebody else's program computed, from any kind of file, under our names; and in which precision."""
