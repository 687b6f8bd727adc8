"""ONNX exports of ALBERT: the weights that a graph computes with, under Hugging Face's names.

Read without the `onnx` library and without ONNX Runtime: onnx_file.py finds the nodes and the places of constants,
onnx_steps.py the steps that have weights, onnx_roles.py which weight of ALBERT each is. What an export stores several times
(the decoder of a tied word table, a layer for each application) must be equal to the bit, and is given once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats.onnx_file import read_graph
from albert_np.checkpoints.formats.onnx_roles import Roles, Zeros, find_roles, plain_name
from albert_np.checkpoints.formats.onnx_steps import View, Walk
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.values import loaded_dtype
from albert_np.checkpoints.names import ALIASES, DECODER, WORDS
from albert_np.config import CONFIG_NAME, AlbertConfig
from albert_np.files import listed, shown
from albert_np.ops import Array

POSITIONS = "embeddings.position_embeddings.weight"
FILE = "model.onnx"
FOLDER = "onnx"  # where some repositories have it, one folder below config.json


def read(path: Path) -> Iterator[Tensor]:
    """The weights of one export. The config.json of the model, which says which layer is applied when, must be beside it.

    Raises ValueError (damaged, quantized, not ALBERT, or not of this config) or OSError.
    """
    config = _config(path)
    walk = Walk(read_graph(path), str(path))
    if not walk.steps:
        raise ValueError(f"{path} has no weights, or uses none of them: was it exported with export_params=False?")
    roles, zeros = find_roles(walk, config)
    _add_named(roles, zeros, walk)
    if config.tie_word_embeddings and DECODER in roles:
        roles[WORDS] = list(dict.fromkeys([*roles.get(WORDS, []), *roles.pop(DECODER)]))
    if config.position_embedding_type != "absolute" and POSITIONS not in roles:
        warnings.warn(f"{path} has no {POSITIONS}, as relative positions use none: it is zeros", stacklevel=2)
        zeros[POSITIONS] = ((config.max_position_embeddings, config.embedding_size), roles[WORDS][0].stored.dtype)
    names: set[str] = set()
    for role, views in roles.items():
        stored = views[0].stored
        # tensors that an exporter merged, as they were equal, have one name
        name = f"{stored.name} (as {role})" if stored.name in names else stored.name
        names.add(name)
        yield Tensor(name, views[0].shape, stored.dtype, partial(_load, path, role, views), role)
    for role, (shape, dtype) in zeros.items():
        yield Tensor(f"{role} (not in the graph)", shape, dtype, partial(_zeros, shape, dtype), role)
    yield from _others(roles, walk)


def _others(roles: Roles, walk: Walk) -> Iterator[Tensor]:
    """Weights that the graph computes with, and ALBERT does not have: they are reported as unexpected."""
    known = {view.stored.name for views in roles.values() for view in views}
    for view in walk.weights():
        if view.stored.name not in known:
            known.add(view.stored.name)
            yield Tensor(view.stored.name, view.shape, view.stored.dtype, view.load)


def find(folder: Path) -> Path | None:
    """The ONNX file of a folder without model.onnx: onnx/model.onnx, or the only one. ValueError if there are several.

    Those with control characters in their names, which would reach messages, do not count.
    """
    if (folder / FOLDER / FILE).is_file():
        return folder / FOLDER / FILE
    found = sorted(path for place in (folder, folder / FOLDER) if place.is_dir() for path in place.glob("*.onnx"))
    found = [path for path in found if path.is_file() and path.name.isprintable()]
    if len(found) > 1:
        names = listed([str(path.relative_to(folder)) for path in found])
        raise ValueError(f"{folder} holds {names}: name the one that counts {FILE}")
    return found[0] if found else None


def _config(path: Path) -> AlbertConfig:
    places = [path.parent] + [path.parent.parent] * (path.parent.name == FOLDER)
    for place in places:
        if (place / CONFIG_NAME).is_file():
            return AlbertConfig.from_pretrained(place)
    raise OSError(
        f"{path} can only be read with the model's {CONFIG_NAME} beside it, which says which layer is applied when"
    )


def _add_named(roles: Roles, zeros: Zeros, walk: Walk) -> None:
    """Adds initializers by their names: they must agree with the graph, and may hold what it does not use."""
    used = {view.stored.name: view for view in walk.weights()}
    held = {role: {view.stored.name for view in views} for role, views in roles.items()}
    for name, view in walk.views.items():
        role = plain_name(name)
        role = ALIASES[role] if role.endswith("decoder.bias") else role
        if not role or view.stored.name != name or not view.stored.is_float:
            continue
        if role not in roles and role not in zeros and name not in walk.read:
            roles[role], held[role] = [view], {name}
        elif role in roles and name not in held[role]:
            roles[role].append(used.get(name, view))
            held[role].add(name)


def _load(path: Path, role: str, views: list[View]) -> Array:
    """The values, after a look at every copy of them."""
    first = views[0]
    x = first.as_stored()
    seen = {_place(first)}
    for other in views[1:]:
        if _place(other) in seen:
            continue
        seen.add(_place(other))
        if first.shape == other.shape:
            alike = (other.transposed, other.part) == (first.transposed, first.part)
            same = _equal(x, other.as_stored()) if alike else _equal(first.oriented(x), other.load())
        if first.shape != other.shape or not same:
            way_out = "tie_word_embeddings=false in config.json" if role == WORDS else "ALBERT, with this config.json"
            raise ValueError(
                f"{path}: {shown(first.stored.name)} and {shown(other.stored.name)} are both used as {role}, which this model "
                f"has once, and differ: is it {way_out}?"
            )
    return first.oriented(x)


def _zeros(shape: tuple[int, ...], dtype: str) -> Array:
    return np.zeros(shape, loaded_dtype(dtype))


def _place(view: View) -> tuple[object, ...]:
    stored = view.stored
    return stored.path, stored.at, stored.length, stored.dtype, view.part, view.transposed


def _equal(x: Array, y: Array) -> bool:
    """Whether arrays of one shape agree to the bit, in the wider dtype of both: one may have been stored after a cast."""
    wide = np.result_type(x, y)
    bits = np.dtype(f"u{wide.itemsize}")
    return np.array_equal(x.astype(wide, copy=False).view(bits), y.astype(wide, copy=False).view(bits))


FORMAT = Format("onnx", FILE, "", read, find=find)
