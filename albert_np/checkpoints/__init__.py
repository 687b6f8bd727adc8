"""Checkpoints: names to files, files to tensors, tensors to files.

names        every tensor under Hugging Face's name, and its shape
stored       the files that hold a checkpoint's weights, and what their headers say
load, save   a checkpoint to the arrays of a model, and back
hub          a folder, "demo" or a hub id to the path of a file
initialise   fresh weights from a seed
formats      the readers of weight files, one module a format; a new one is added there
"""
