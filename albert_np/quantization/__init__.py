"""From float32 weights to int8 or bfloat16: moments.py looks at what products read, rounding.py rounds, and weights.py does a
whole model.

certificate.py measures what this changes in a model's answers.
"""
