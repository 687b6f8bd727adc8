"""The engine of backend "cuda": kernels/cuda, driven from here."""
