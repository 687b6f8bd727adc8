"""Products of bfloat16 numbers with float32 sums: operand.py says what is rounded where."""
