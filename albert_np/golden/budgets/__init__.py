"""How far a correct program may be off: a budget for every op and element, and the judgement of an error."""
