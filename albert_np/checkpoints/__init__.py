"""Checkpoints: from names to files, from files to tensors, and back to files.

names        every tensor under Hugging Face's name, and its shape
spellings    the other names that files have for them: prefixes of wrappers, gamma and beta
stored       the files that hold the weights of a checkpoint, and what their headers say
memory       the same for state dicts, whose tensors lie in memory
load, save   from a checkpoint to the arrays of a model, and back
options      transformers' keywords for it: honoured, ignored or refused
hub          from a folder, "demo" or a hub id to the path of a file
initialise   fresh weights from a seed
formats      the readers of weight files, one module for each format; add a new one there
"""
