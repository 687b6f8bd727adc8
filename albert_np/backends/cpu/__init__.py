"""The engine of backend "numba": kernels/cpu, driven from here."""
