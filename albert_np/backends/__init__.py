"""Engines, which run a model. protocol.py says what each of them offers; choose.py turns a name into an engine."""
