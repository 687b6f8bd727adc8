"""Text in, answers out, in plain Python values of transformers' shapes."""
