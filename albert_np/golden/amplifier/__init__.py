"""How an error of one op in one application grows to the end."""
