"""The version, as metadata and `albert-np --version` give it."""

__version__ = "0.2.0.dev0"
