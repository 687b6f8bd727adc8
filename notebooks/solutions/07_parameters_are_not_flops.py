"""Solutions of the exercises in 07_parameters_are_not_flops.ipynb: each is its whole cell, filled in."""


# Exercise 7.1
def crossing(config):
    return config.intermediate_size + 1  # 2·T·T·H > 2·T·H·I means T > I


assert isinstance(crossing(sizes["base"]), int), "crossing returns no int yet: replace the dots"
for c in sizes.values():
    before, at = (multiply_adds(c, T) for T in (crossing(c) - 1, crossing(c)))
    assert before["attention: scores and context"] <= before["feed-forward"]
    assert at["attention: scores and context"] > at["feed-forward"]


# Exercise 7.2
most = 1
limit = sum(multiply_adds(sizes["large"], 128).values())
while sum(multiply_adds(sizes["xxlarge"].replace(num_hidden_layers=most + 1), 128).values()) <= limit:
    most += 1

assert isinstance(most, int), "most is no int yet: replace the dots"
limit = sum(multiply_adds(sizes["large"], 128).values())
for L, fits in ((most, True), (most + 1, False)):
    assert (sum(multiply_adds(sizes["xxlarge"].replace(num_hidden_layers=L), 128).values()) <= limit) == fits
