"""Text in, answers out, in plain Python values of transformers' shapes.

make        pipeline(): names to objects
base        what all of them share
fill_mask   a class for each task
"""
