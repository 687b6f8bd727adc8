"""Solutions of the exercises in 14_numerics.ipynb: each is its whole cell, filled in."""


# Exercise 14.1
def local_error(application):
    at = f"encoder.layer.{application}.attention"
    return wrong[f"{at}.probs"] - ops.softmax(wrong[f"{at}.scores"].astype(np.float64))


errors = local_error(2)
assert isinstance(errors, np.ndarray), "local_error returns no array yet: replace the dots"
for application in (2, 5):
    largest = np.abs(local_error(application)).max()
    expected = found[f"encoder.layer.{application}.attention.probs"].local
    assert np.isclose(largest, expected, rtol=1e-6), f"the largest is {largest:.3e}, and should be {expected:.3e}"


# Exercise 14.2
unknown = numerics.mystery(recording)
answer = golden.compare(recording, unknown).first_bad_op  # a softmax over the wrong axis: columns add up to 1, not rows
check_mystery(recording, answer)
print(unknown[answer].sum(axis=-1)[0, 0].round(2), unknown[answer].sum(axis=-2)[0, 0].round(2))
