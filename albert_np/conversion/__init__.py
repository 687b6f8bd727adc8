"""Checkpoints as files: from one format to another with the same bits, and what is odd about one.

convert.py and verify.py are the two public functions; the other modules each have one part of their work.
"""
