"""Solutions of the exercises in 14_numerics.ipynb: each is its whole cell, filled in."""


# Exercise 14.1
def local_error(application):
    at = f"encoder.layer.{application}.attention"
    return wrong[f"{at}.probs"] - ops.softmax(wrong[f"{at}.scores"].astype(np.float64))


errors = local_error(2)
assert isinstance(errors, np.ndarray), "local_error returns no array yet: replace the dots"
assert np.isclose(np.abs(errors).max(), found["encoder.layer.2.attention.probs"].local, rtol=1e-6)
assert np.isclose(np.abs(local_error(5)).max(), found["encoder.layer.5.attention.probs"].local, rtol=1e-6)


# Exercise 14.2
unknown = numerics.mystery(recording)
answer = golden.compare(recording, unknown).first_bad_op  # a softmax over the wrong axis: columns add up to 1, not rows
check_mystery(recording, answer)
print(unknown[answer].sum(axis=-1)[0, 0].round(2), unknown[answer].sum(axis=-2)[0, 0].round(2))
