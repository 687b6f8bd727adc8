"""Solutions of the exercises in 02_embeddings.ipynb: each is its whole cell, filled in."""


# Exercise 2.1
def sum_of_tables(input_ids, token_type_ids):
    return piece_table[input_ids] + segment_table[token_type_ids] + position_table[: input_ids.shape[1]]


pair = tokenizer("Who is at the door?", "It is my sister.", return_tensors="np")
answer = np.asarray(sum_of_tables(pair["input_ids"], pair["token_type_ids"]))
assert answer.ndim == 3, "sum_of_tables returns no array (B, T, E) yet: replace the dots"
assert np.allclose(answer, model(**pair, trace=True).trace["embeddings.sum"]), "not the sum of the model"


# Exercise 2.2
def largest_E(V, H):
    return V * H // (V + H)


assert isinstance(largest_E(30000, 768), int), "largest_E returns no int yet: replace the dots"
for c in sizes.values():
    V, H = c.vocab_size, c.hidden_size
    E = largest_E(V, H)
    assert V * E + E * H <= V * H, f"E = {E} costs more than the wide table"
    assert V * (E + 1) + (E + 1) * H > V * H, f"E = {E} is not the largest one"
