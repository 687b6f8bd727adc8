"""Everything that a call is given is checked here, before any arithmetic: later code assumes shapes, ranges and dtypes.

Each refusal is a ValueError that says what must hold, what arrived and what to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import group_of_layer
from albert_np.files import shown
from albert_np.ops import Array


@dataclass(frozen=True)
class Inputs:
    """One batch, ready to run: ids or embeds, never both."""

    input_ids: Array | None  # (B,T) int64
    inputs_embeds: Array | None  # (B,T,E), the model's dtype
    token_type_ids: Array  # (B,T) int64
    position_ids: Array  # (B|1,T) int64
    mask: Array  # (B,T) bool, or (B,T,T) bool: [query, key]
    head_mask: Array | None  # (applications, N), the model's dtype

    @property
    def shape(self) -> tuple[int, int]:  # (B, T)
        B, T = self.token_type_ids.shape
        return B, T

    @property
    def allowed(self) -> Array:  # (B,1,1|T,T) bool
        return self.mask[:, None, None, :] if self.mask.ndim == 2 else self.mask[:, None]

    def tokens(self, b: int, columns: Array) -> Inputs:  # (t,) int
        """Sequence b alone, with these columns only, none of which is masked. The positions do not change."""
        return Inputs(
            None if self.input_ids is None else self.input_ids[b : b + 1, columns],
            None if self.inputs_embeds is None else self.inputs_embeds[b : b + 1, columns],
            self.token_type_ids[b : b + 1, columns],
            self.position_ids[None, b if len(self.position_ids) > 1 else 0, columns],
            np.ones((1, len(columns)), bool),
            self.head_mask,
        )

    def sequences(self, some: slice) -> Inputs:
        """The batch of some of the sequences, with all their columns."""
        return replace(
            self,
            input_ids=None if self.input_ids is None else self.input_ids[some],
            inputs_embeds=None if self.inputs_embeds is None else self.inputs_embeds[some],
            token_type_ids=self.token_type_ids[some],
            position_ids=self.position_ids if len(self.position_ids) == 1 else self.position_ids[some],
            mask=self.mask[some],
        )


def prepare(
    config: AlbertConfig,
    dtype: np.dtype,
    *,
    input_ids: Any,
    attention_mask: Any,
    token_type_ids: Any,
    position_ids: Any,
    head_mask: Any,
    head_mask_mode: str,
    inputs_embeds: Any,
) -> Inputs:
    """The checked batch. Lists and arrays both work; 1-D ids, types and masks are a batch of one sequence."""
    if isinstance(input_ids, Mapping):
        raise ValueError("input_ids is a mapping: hand a tokenizer's result on by name, model(**encoding)")
    if (input_ids is None) == (inputs_embeds is None):
        given = "neither" if input_ids is None else "both"
        raise ValueError(f"a call takes input_ids or inputs_embeds; got {given}")
    ids = embeds = None
    if input_ids is not None:
        ids = integers("input_ids", input_ids, batch_of_one=True)
        if ids.ndim != 2:
            raise ValueError(f"input_ids must have the shape (B, T), or (T,) for a batch of one; got {ids.shape}")
        in_range("input_ids", ids, config.vocab_size, "was this text encoded with another tokenizer?", "token id")
        B, T = ids.shape
    else:
        embeds = _embeds(inputs_embeds, config.embedding_size, dtype)
        B, T, _ = embeds.shape
    if T > config.max_position_embeddings:
        raise ValueError(
            f"this model takes at most {config.max_position_embeddings} tokens (max_position_embeddings); got {T}: "
            "truncate, or split into windows (truncation=True, or return_overflowing_tokens=True, in the tokenizer)"
        )
    types = np.zeros((B, T), np.int64)
    if token_type_ids is not None:
        types = integers("token_type_ids", token_type_ids, batch_of_one=True)
        same_shape("token_type_ids", types, (B, T), (1, T))
        types = np.broadcast_to(types, (B, T))
        in_range("token_type_ids", types, config.type_vocab_size, "segments are counted from 0", "token type")
    mask = np.ones((B, T), bool) if attention_mask is None else _mask(attention_mask, B, T)
    absolute = config.position_embedding_type == "absolute"
    if position_ids is not None:
        positions = integers("position_ids", position_ids, batch_of_one=True)
        same_shape("position_ids", positions, (B, T), (1, T))
        in_range("position_ids", positions, config.max_position_embeddings, "positions are counted from 0", "position")
    else:
        positions = np.arange(T)[None]
        if absolute and mask.ndim == 2 and np.any(~mask[:, 0] & mask.any(axis=1)):
            warnings.warn(
                "positions are counted from the first column, even if that is padding on the left, so this result "
                "differs from that of the same text padded on the right: use padding_side='right' or give position_ids",
                stacklevel=4,
            )
    if not isinstance(head_mask_mode, str) or head_mask_mode not in ("shared", "per_application"):
        raise ValueError(f"head_mask_mode must be 'shared' or 'per_application'; got {shown(repr(head_mask_mode), 80)}")
    factors = None if head_mask is None else _head_mask(config, head_mask, head_mask_mode, dtype)
    return Inputs(ids, embeds, types, positions, mask, factors)


def array(name: str, value: Any) -> Array:
    """np.asarray, with a clear ValueError for ragged lists and for values that are no arrays."""
    try:
        x = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError(f"{name} has rows of different lengths: use padding=True in the tokenizer") from error
        reason = shown(" ".join(str(error).split()), 200)
        raise ValueError(f"{name} must be an array or a list; NumPy cannot read it: {reason}") from error
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers; got {type(value).__name__} that NumPy reads as {x.dtype}")
    return x


def integers(name: str, value: Any, *, batch_of_one: bool = False) -> Array:
    """An int64 array of at least one element. With batch_of_one, a 1-D array gets a batch axis in front."""
    x = array(name, value)
    if x.size == 0:
        raise ValueError(f"{name} is empty, of shape {x.shape}: a batch holds at least one sequence of one token")
    if x.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers; got {x.dtype}")
    if x.dtype == np.uint64 and np.any(x > np.iinfo(np.int64).max):
        raise ValueError(f"{name} holds {int(x.max())}, which no signed 64-bit integer can")
    x = x.astype(np.int64)
    return x[None] if batch_of_one and x.ndim == 1 else x


def same_shape(name: str, x: Array, *shapes: tuple[int, ...]) -> None:
    if x.shape not in shapes:
        allowed = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"{name} must have the shape {allowed} of the batch; got {x.shape}")


def in_range(name: str, x: Array, size: int, hint: str, what: str) -> None:
    bad = (x < 0) | (x >= size)
    if np.any(bad):
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{what} {int(x[where])} at {list(where)} of {name} is outside 0 … {size - 1}; {hint}")


def labels(  # -> int64 of that shape
    name: str, value: Any, shape: tuple[int, ...], num_classes: int, *, may_ignore: bool = True
) -> Array:
    """Class numbers 0 … num_classes − 1, or −100 for a label that takes no part in the loss."""
    x = integers(name, value)
    if x.size == np.prod(shape) and x.ndim != len(shape):
        x = x.reshape(shape)  # (B,1) for (B,), and (T,) for a batch of one
    same_shape(name, x, shape)
    bad = (x < 0) | (x >= num_classes)
    if may_ignore:
        bad &= x != -100
    if np.any(bad):
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        ignored = " and not −100 (ignored)" if may_ignore else ""
        raise ValueError(f"label {int(x[where])} at {list(where)} of {name} is outside 0 … {num_classes - 1}{ignored}")
    return x


def class_weights(value: Any, num_classes: int, dtype: np.dtype) -> Array | None:  # -> (K,)
    """A weight for each class in the model's dtype, 0 or more; None stays None."""
    if value is None:
        return None
    x = floats("class_weights", value, (num_classes,), dtype)
    if np.any(x < 0) or not np.any(x > 0):
        raise ValueError(f"class_weights must be 0 or more, and one of them above 0; got {shown(x.tolist(), 80)}")
    return x


def floats(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Real numbers of one shape, in the model's dtype: regression targets and multi-label classes."""
    x = array(name, value)
    if x.size == np.prod(shape) and x.ndim != len(shape):
        x = x.reshape(shape)
    same_shape(name, x, shape)
    return _finite(name, x, dtype)


def _finite(name: str, x: Array, dtype: np.dtype) -> Array:
    """The same numbers in the model's dtype. Raises ValueError if one of them is NaN or infinite there."""
    with np.errstate(over="ignore"):  # beyond float32: refused below, with its place
        x = x.astype(dtype)
    if not np.all(np.isfinite(x)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{name} must hold finite {dtype.name} numbers; got {x[where]} at {list(where)}")
    return x


def _embeds(value: Any, E: int, dtype: np.dtype) -> Array:  # -> (B,T,E)
    x = array("inputs_embeds", value)
    if x.ndim != 3 or x.shape[2] != E or x.dtype.kind != "f":
        raise ValueError(
            f"inputs_embeds must be floats of shape (B, T, {E}), the embedding_size; got {x.dtype} {x.shape}"
        )
    if x.size == 0:
        raise ValueError(
            f"inputs_embeds is empty, of shape {x.shape}: a batch holds at least one sequence of one token"
        )
    return _finite("inputs_embeds", x, dtype)


def _mask(value: Any, B: int, T: int) -> Array:  # -> (B,T) or (B,T,T) bool
    x = array("attention_mask", value)
    if x.shape in ((T,), (1, T)):
        x = np.broadcast_to(x, (B, T)) if x.ndim == 2 or B == 1 else x
    if x.ndim == 4 and x.shape[1] == 1:
        x = x[:, 0]
    if x.shape not in ((B, T), (B, T, T)):
        raise ValueError(
            f"attention_mask must have the shape {(B, T)}, {(B, T, T)} or {(B, 1, T, T)} [query, key]; got "
            f"{np.shape(value)}"
        )
    wrong = ~((x == 0) | (x == 1))  # also true for NaN
    if np.any(wrong):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"attention_mask holds 1 (attend) and 0 (do not); got {x[where]} at {list(where)}")
    return x.astype(bool)


def _head_mask(config: AlbertConfig, value: Any, mode: str, dtype: np.dtype) -> Array:  # -> (applications, N)
    """One row of factors for each application of a stored layer.

    Mode "shared" does what transformers 4.57.6 does in eager mode: inner layer j of group g takes row g·int(L/G) + j in
    *every* application, so with one group only row 0 counts. "per_application" gives each application its own row.
    """
    L, G = config.num_hidden_layers, config.num_hidden_groups
    J, N = config.inner_group_num, config.num_attention_heads
    x = array("head_mask", value)
    rows = L * J if mode == "per_application" else L
    if x.shape not in ((N,), (rows, N)):
        raise ValueError(f"head_mask must have the shape {(N,)} or {(rows, N)}; got {x.shape}")
    x = np.broadcast_to(_finite("head_mask", x, dtype), (rows, N))
    if mode == "per_application":
        return x
    if int(L / G) < J:
        raise ValueError(
            f"a head_mask has int(L/G) = {int(L / G)} rows a group and inner_group_num is {J}, where transformers fails "
            "with an IndexError: use head_mask_mode='per_application'"
        )
    return np.stack([x[group_of_layer(i, L, G) * int(L / G) + j] for i in range(L) for j in range(J)])
