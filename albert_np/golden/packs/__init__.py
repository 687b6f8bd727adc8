"""Repro packs: one op of a recording with its inputs, weights, expected output and error budget, in the form that people send.

boundaries.py finds the op that a name means, pack.py makes its arrays, allowed.py its budget; arrays.py, onnx_model.py (with
onnx_nodes.py), c_header.py (with c_ops.py) and pytest_file.py are the formats, readme.py explains them, and extraction.py
writes a pack.
"""
