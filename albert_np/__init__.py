"""ALBERT (A Lite BERT) from scratch in NumPy and Numba, with no deep-learning framework."""

from albert_np.version import __version__

__all__ = ["__version__"]
