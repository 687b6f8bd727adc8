"""From texts to answers, which are plain Python values in transformers' form.

make        pipeline(): from names to objects
base        what all pipelines share
fill_mask   the class of one task; each task has such a file
sentence_encoder   texts to vectors, from folders of sentence-transformers (sentence_folder)
"""
