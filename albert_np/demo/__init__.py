"""The embedded model: what `from_pretrained("demo")` loads, with no network."""
