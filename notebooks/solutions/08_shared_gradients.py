# Exercise 8.1
def gets(terms):  # (L,n) -> (L,)
    whole = terms.sum(axis=0)
    return terms @ whole / (np.linalg.norm(terms, axis=1) * np.linalg.norm(whole))


assert np.shape(gets(together)) == (6,), "gets returns no array (L,) yet: replace the dots"
assert np.allclose(gets(np.array([[1.0, 0.0], [0.0, 1.0]])), np.sqrt(0.5))
assert np.allclose(gets(np.array([[2.0, 0.0], [-1.0, 0.0]])), [1, -1])
assert gets(together).min() > 0.4, "every application gets a part of what it asks for"
assert gets(together).max() < 0.8, "and none gets all of it"


# Exercise 8.2
def agreement(given):  # a model -> float
    _, found = given.value_and_grad(**batch, per_application=True)
    same_way, _, length = sharing.lengths_of_sum(sharing.terms_of(found, layer))
    return length / same_way


trained, fresh = agreement(model), agreement(AlbertForMaskedLM(model.config, seed=0, dtype="float64"))
assert isinstance(trained, float), "agreement returns no number yet: replace the dots"
assert np.isclose(trained, np.linalg.norm(together.sum(axis=0)) / np.linalg.norm(together, axis=1).sum())
print(f"trained {trained:.2f}, fresh {fresh:.2f}")
assert fresh > trained + 0.05, "at the beginning, the applications ask for more of the same"


# Exercise 8.3
# softmax does not change if the same number is added to all scores of a row, and a bias of the keys adds q·b to all of them
lazy = min(layer, key=lambda name: np.abs(terms[name]).max())

assert isinstance(lazy, str), "lazy is no name yet: replace the dots"
assert np.abs(terms[lazy]).max() < 1e-12
model.parameters_to_change()[lazy][:] += 5
assert np.isclose(model(**batch).loss, loss), "even a large change does not change the loss"
