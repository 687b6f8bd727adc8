"""Solutions of the exercises in 03_attention.ipynb: each is its whole cell, filled in."""


# Exercise 3.1
def one_head(query, key, value):  # 3 × (T, D) -> (T, D)
    scores = query @ key.T / np.sqrt(query.shape[-1])
    return ops.softmax(scores) @ value


answer = np.asarray(one_head(q[0, 5], k[0, 5], v[0, 5]))
assert answer.shape == (T, D), "one_head returns no array (T, D) yet: replace the dots"
context = trace["encoder.layer.0.attention.context"]  # the heads of all pieces, side by side
assert np.allclose(answer, context[0, :, 5 * D : 6 * D]), "not the mixture of the model"


# Exercise 3.2
mask = np.tril(np.ones((T, T), int))[None]

assert np.shape(mask) == (1, T, T), "mask is no array (1, T, T) yet: replace the dots"
back = model(**{**encoding, "attention_mask": mask}, trace=True).trace["encoder.layer.0.attention.probs"][0]
assert np.all(back[:, np.triu_indices(T, 1)[0], np.triu_indices(T, 1)[1]] == 0), "a query sees what comes later"
assert np.all(back[:, 0, 0] == 1)  # the first piece sees itself alone
assert np.all(back[:, np.tril_indices(T)[0], np.tril_indices(T)[1]] > 0), "a query does not see all before it"
