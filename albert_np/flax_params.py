"""Flax's params: nested dicts of arrays under Flax's names, in which every matrix is the transpose of Hugging Face's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import is_
from typing import Any

import numpy as np

from albert_np.checkpoints.formats.flax_names import hub_name, is_kernel, stored_name
from albert_np.checkpoints.formats.values import FLOATS, transposed
from albert_np.checkpoints.initialise import check_seed
from albert_np.checkpoints.memory import array_of, tensor_of
from albert_np.config import AlbertConfig
from albert_np.files import class_of, listed, shown
from albert_np.ops import Array

SOURCE = "params"  # what messages name
MAX_DEPTH = 32
ROWS = 128  # of a kernel, which are transposed and compared at a time


def to_flax_params(model: Any) -> dict[str, Any]:
    """The arrays of a model, of any of our classes, as Flax's params: copies, which may be changed in place.

    Raises ValueError for a tensor that Flax has no name for.
    """
    leaves = {stored_name(name): x for name, x in model.named_parameters()}
    return nested({name: transposed(x) if is_kernel(name) else x.copy() for name, x in leaves.items()})


def from_flax_params(params: Mapping[str, Any], config: AlbertConfig, model_class: Any, **options: Any) -> Any:
    """A model of that class with these params, which are copied.

    params: nested dicts of arrays, of that class, of the base model, or of a class with other heads besides; float16,
    bfloat16, float32 or float64. config, options: as in from_pretrained. Raises ValueError as that.
    """
    arrays = {name: array_of(name, x, SOURCE) for name, x in flattened(params).items()}
    state_dict = {hub_name(name): transposed(x) if is_kernel(name) else x for name, x in arrays.items()}
    return model_class.from_pretrained(None, config=config, state_dict=state_dict, **options)


def flattened(params: Any) -> dict[str, Any]:
    """Flax's names, with "/", and the leaves. Raises ValueError for what is no tree of dicts with names."""
    return dict(_leaves(params, "", 0))


def _leaves(tree: Any, at: str, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        raise ValueError(f"{SOURCE} must be a dict of dicts of arrays; got {type(tree).__name__}")
    if depth > MAX_DEPTH:
        raise ValueError(f"{SOURCE} are nested more than {MAX_DEPTH} deep, deeper than in any model")
    for name, value in tree.items():
        if not isinstance(name, str):
            raise ValueError(f"the names in {SOURCE} are str; got {shown(repr(name), 60)}")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{at}{name}/", depth + 1)
        else:
            yield at + name, value


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `flattened`."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        put(tree, name, leaf)
    return tree


def put(tree: dict[str, Any], name: str, leaf: Any) -> None:
    """Makes the leaf of that name this one, and the dicts above it where there are none."""
    *at, last = name.split("/")
    for word in at:
        if not isinstance(tree.get(word), dict):
            tree[word] = {}
        tree = tree[word]
    tree[last] = leaf


def _dicts(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tree, and all dicts in it."""
    yield tree
    for below in tree.values():
        if isinstance(below, dict):
            yield from _dicts(below)


def checked(params: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """The leaves by Flax's names, which must be these, with these shapes of Hugging Face's. No value is copied or looked at."""
    given = flattened(params)
    absent = [name for name in shapes if name not in given]
    unknown = [name for name in given if name not in shapes]
    if absent or unknown:
        lacks = f"lack {listed(absent)}" if absent else ""
        beside = f"hold {listed(unknown)}, which this class does not have" if unknown else ""
        raise ValueError(f"{SOURCE} {' and '.join(filter(None, (lacks, beside)))}")
    leaves = {name: array_of(name, given[name], SOURCE) for name in shapes}
    for name, shape in shapes.items():
        expected = shape[::-1] if is_kernel(name) else shape
        if leaves[name].shape != expected:
            raise ValueError(
                f"{SOURCE}: {name} has the shape {leaves[name].shape}, but this model's has the shape {expected}"
            )
        dtype = tensor_of(name, leaves[name], SOURCE).dtype
        if dtype not in FLOATS:
            raise ValueError(f"{SOURCE}: {name} is {dtype}; weights are {', '.join(FLOATS)}")
    return leaves


def is_same(name: str, leaf: Array, x: Array) -> bool:
    """Whether a leaf has the values of one of Hugging Face's arrays."""
    with np.errstate(over="ignore"):  # such a leaf is refused by name before it is taken on
        leaf = leaf.astype(x.dtype, copy=False)
    if not is_kernel(name):
        return np.array_equal(leaf, x)
    return all(np.array_equal(transposed(leaf[i : i + ROWS]), x[:, i : i + ROWS]) for i in range(0, len(leaf), ROWS))


def seed_of(rng: Any) -> int:
    """The seed that a key means: the number that jax.random.PRNGKey made it of, if it had one, or an int as it is."""
    if isinstance(rng, (int, np.integer)):
        check_seed(rng)
        return int(rng)
    if not hasattr(rng, "__array__"):
        raise ValueError(
            "a random key is an int or an array of two uint32, as jax.random.PRNGKey makes; of a key of jax.random.key, "
            f"jax.random.key_data(key) gives them; got {class_of(rng)}"
        )
    key = array_of("rng", rng, "a key")
    if key.shape != (2,) or key.dtype.kind not in "iu" or not all(0 <= int(word) < 2**32 for word in key):
        raise ValueError(
            f"a random key is an int or two uint32, as jax.random.PRNGKey makes; got {key.dtype} of shape {key.shape}"
        )
    return int(key[0]) << 32 | int(key[1])


class LiveParams:
    """The params that a model hands out: a dict that may be changed, and what was in it before.

    The leaves are read-only views of the model's arrays: nothing is copied, and one that is still there is not looked at.
    """

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self.tree: dict[str, Any] = {}
        self.fill(tensors)

    def fill(self, tensors: Mapping[str, Array]) -> None:
        """These arrays, Hugging Face's under Flax's names, are the model's from now on."""
        self.leaves: dict[str, Array] = {}
        for name, x in tensors.items():
            self.leaves[name] = x.T if is_kernel(name) else x.view()
            self.leaves[name].flags.writeable = False
            put(self.tree, name, self.leaves[name])
        self._filled = [(tree, dict(tree)) for tree in _dicts(self.tree)]

    def is_as_filled(self) -> bool:
        """Whether nothing was put in the tree since. It takes some microseconds, because each call of a model asks."""
        return all(now.keys() == was.keys() and all(map(is_, now.values(), was.values())) for now, was in self._filled)

    def owns(self, given: Mapping[str, Any]) -> bool:
        """Whether these leaves are the ones handed out, and no others."""
        return given.keys() == self.leaves.keys() and all(given[name] is x for name, x in self.leaves.items())
