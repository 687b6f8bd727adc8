# Exercise 5.1
def turns(states):  # (L+1,T,H) -> (L-1,)
    steps = states[1:] - states[:-1]
    lengths = np.linalg.norm(steps, axis=-1)
    return ((steps[1:] * steps[:-1]).sum(axis=-1) / (lengths[1:] * lengths[:-1])).mean(axis=-1)


straight, to_and_fro = np.arange(5.0)[:, None, None] * np.ones((2, 3)), np.tile([[[0.0]], [[1.0]]], (3, 2, 3))
assert np.shape(turns(straight)) == (3,), "turns returns no array (L-1,) yet: replace the dots"
assert np.allclose(turns(straight), 1)
assert np.allclose(turns(to_and_fro), -1)
assert np.abs(turns(states)).max() < 0.3, "in the six trained steps, each is nearly at right angles to the next"
assert turns(walks[0][:31])[-1] > 0.9, "after thirty steps, the path is nearly straight"


# Exercise 5.2
def places(ends):  # (texts,H) -> int
    found = []
    for end in ends:
        if all(np.linalg.norm(end - place) >= 1 for place in found):
            found.append(end)
    return len(found)


assert np.isscalar(places(np.zeros((2, 3)))), "places returns no number yet: replace the dots"
assert places(np.array([[0.0, 0.0], [0.5, 0.0], [3.0, 0.0]])) == 2
assert places(np.array([path[-1] for path in paths])) == 3
assert places(np.array([path[6] for path in paths])) == 4, "after six applications, each text is at a place of its own"
more = [endless.albert(**tokenizer(text, return_tensors="np")).last_hidden_state for text in held_out.SENTENCES[4:]]
ends = [path[-1] for path in paths] + [state[0].mean(axis=0) for state in more]
print("with two more texts:", places(np.array(ends)))
