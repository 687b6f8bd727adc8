"""The embedded models: what `from_pretrained("demo")` loads, with no network, and those for tasks.

names/ and speech/ are "demo-names" and "demo-speech". They have the vocabulary of "demo".
"""
