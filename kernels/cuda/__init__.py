"""Kernels for NVIDIA GPUs, written in numba.cuda. Importing this imports nothing."""
