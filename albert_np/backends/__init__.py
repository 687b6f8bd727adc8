"""Engines: what runs a model. protocol.py is what each offers, choose.py turns a name into one."""
