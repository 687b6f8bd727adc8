"""The embedded models: what `from_pretrained("demo")` loads, with no network, and those for tasks.

names/ is "demo-names". It has the vocabulary of "demo".
"""
