"""Checkpoints: from names to files, from files to tensors, and back to files.

names        every tensor under Hugging Face's name, and its shape; it says where the tables of other names are
spellings    prefixes of wrappers, and the older words gamma and beta
stored       the files that hold the weights of a checkpoint, and what their headers say
memory       the same for state dicts, whose tensors lie in memory
load, save   from a checkpoint to the arrays of a model, and back
options      transformers' keywords for it: honoured, ignored or refused
hub          from a folder, "demo" or a hub id to the path of a file
initialise   fresh weights from a seed
formats      readers and writers of weight files, with the names of each framework; a new format is added there
"""
