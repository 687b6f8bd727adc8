"""How long rows become: strategies, truncation, windows. Pure functions over lengths and lists.

They follow transformers 4.57.6 tokenization_utils_base.py. Overlapping windows follow the `tokenizers` library instead, because
transformers' SentencePiece tokenizer has none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.tokenization.row import Encoded, Span

logger = logging.getLogger("albert_np")

NO_LIMIT = int(1e30)  # model_max_length of a tokenizer that states none
_LARGE = int(1e20)  # above it, a model_max_length means "no limit"
PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
SIDES = ("right", "left")


@dataclass(frozen=True)
class Strategies:
    """How to cut and pad rows, resolved from the arguments of a call."""

    padding: str
    truncation: str
    max_length: int | None


MAX_PADDED = 1 << 24  # tokens a row is filled up to; a row this long is a gigabyte of Python ints


def resolve_strategies(
    padding: Any, truncation: Any, max_length: Any, pad_to_multiple_of: Any, model_max_length: int
) -> Strategies:
    """From arguments to one clear meaning. Source: PreTrainedTokenizerBase._get_padding_truncation_strategies.

    Raises a ValueError that names the argument.
    """
    for name, value in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
        if value is not None and (not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0):
            raise ValueError(f"{name} must be a whole number, 0 or more; got {value!r:.80}")
    if pad_to_multiple_of == 0:
        raise ValueError("pad_to_multiple_of must be at least 1; got 0")
    if max_length is not None and padding is False and truncation is None:
        logger.warning("max_length without truncation: truncating with 'longest_first'; say truncation=True to mean it")
        truncation = "longest_first"
    padding = _choice(padding, "padding", PADDINGS, true="longest", false="do_not_pad")
    truncation = _choice(truncation, "truncation", TRUNCATIONS, true="longest_first", false="do_not_truncate")

    if max_length is None:
        limit = None if model_max_length > _LARGE else model_max_length
        if padding == "max_length":
            max_length = limit
            if limit is None:
                logger.warning("padding='max_length' without a max_length, and the model states none: not padding")
                padding = "do_not_pad"
        if truncation != "do_not_truncate":
            max_length = limit
            if limit is None:
                logger.warning("truncation without a max_length, and the model states none: not truncating")
                truncation = "do_not_truncate"
    if padding != "do_not_pad":
        for name, value in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
            if value is not None and value > MAX_PADDED:
                raise ValueError(
                    f"padding to {name} = {value} would fill memory; at most {MAX_PADDED:,} tokens are padded to"
                )
    both = truncation != "do_not_truncate" and padding != "do_not_pad"
    if both and pad_to_multiple_of and max_length is not None and max_length % pad_to_multiple_of:
        raise ValueError(
            f"truncation and padding are both on, but max_length {max_length} is not a multiple of "
            f"pad_to_multiple_of {pad_to_multiple_of}"
        )
    return Strategies(padding, truncation, None if max_length is None else int(max_length))


def _choice(value: Any, name: str, choices: tuple[str, ...], *, true: str, false: str) -> str:
    if value is None or value is False:
        return false
    if value is True:
        return true
    value = getattr(value, "value", value)  # transformers' enums
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be True, False or one of {', '.join(choices)}; got {value!r:.80}")
    return value


def check_side(side: Any, name: str) -> str:
    if side not in SIDES:
        raise ValueError(f"{name} must be 'right' or 'left'; got {side!r:.80}")
    return side


# --------------------------------------------------------------------------------------------- truncation and windows


def kept_lengths(n0: int, n1: int | None, remove: int, strategy: str) -> tuple[int, int | None]:
    """How many tokens of each text stay if `remove` must go. Source: PreTrainedTokenizerBase.truncate_sequences.

    If the text that the strategy names is too short, nothing is removed and a message is logged, as in transformers.
    """
    if strategy == "only_first" or (strategy == "longest_first" and n1 is None):
        if n0 > remove:
            return n0 - remove, n1
    elif strategy == "only_second":
        if n1 is None:
            return n0, n1
        if n1 > remove:
            return n0, n1 - remove
    elif strategy == "longest_first" and n1 is not None:
        # first the difference off the longer text, then half of the rest off each; the second half is the larger
        level = min(abs(n0 - n1), remove)
        rest = remove - level
        off0, off1 = (level + rest // 2, rest - rest // 2) if n0 > n1 else (rest // 2, level + rest - rest // 2)
        return max(0, n0 - off0), max(0, n1 - off1)
    logger.error(
        "cannot remove %d tokens with truncation=%r from texts of %d and %s tokens: left as they are",
        remove,
        strategy,
        n0,
        n1,
    )
    return n0, n1


def truncated_ids(
    ids: list[int], pair: list[int] | None, remove: int, strategy: str, stride: int, side: str
) -> tuple[list[int], list[int] | None, list[int]]:
    """What is left of two sequences without `remove` tokens, and what was cut off with `stride` tokens beside it."""
    for name, value in (("num_tokens_to_remove", remove), ("stride", stride)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number; got {value!r:.80}")
    if stride < 0:
        raise ValueError(f"stride must be 0 or more; got {stride}")
    if remove <= 0 or strategy == "do_not_truncate":
        return ids, pair, []
    n0, n1 = kept_lengths(len(ids), None if pair is None else len(pair), remove, strategy)
    cut_off: list[int] = []
    if strategy != "longest_first" or pair is None:
        whole, kept = (pair or [], n1 or 0) if strategy == "only_second" else (ids, n0)
        if kept < len(whole):
            n = min(len(whole), stride + remove)
            cut_off = whole[len(whole) - n :] if side == "right" else whole[:n]
    if side == "right":
        return ids[:n0], None if pair is None else pair[:n1], cut_off
    return ids[len(ids) - n0 :], None if pair is None or n1 is None else pair[len(pair) - n1 :], cut_off


def window_lengths(n0: int, n1: int | None, room: int, strategy: str) -> tuple[int, int | None]:
    """How many tokens of each text a window may hold, of `room` in all. Source: tokenizers 0.22 utils/truncation.rs.

    It differs from kept_lengths in two ways: the odd token of two long texts goes to the other one, and it raises ValueError
    if there is no room.
    """
    if strategy == "do_not_truncate" or n0 + (n1 or 0) <= room:
        return n0, n1
    if room == 0:
        return 0, None if n1 is None else 0  # whatever the strategy
    remove = n0 + (n1 or 0) - room
    if strategy == "longest_first":
        if n1 is None:
            return room, None
        short, long = sorted((n0, n1))
        long = max(short, room - short) if short <= room else short
        if short + long > room:
            short, long = room // 2, room // 2 + room % 2
        return (short, long) if n0 <= n1 else (long, short)
    target = n0 if strategy == "only_first" else n1
    if target is None:
        raise ValueError("truncation='only_second' needs a second text; give text_pair or another strategy")
    if target <= remove:
        raise ValueError(
            f"cannot make room with truncation={strategy!r}: {remove} tokens must go and that text has {target}; "
            "raise max_length or truncate the other text"
        )
    return (n0 - remove, n1) if strategy == "only_first" else (n0, target - remove)


def windows(n: int, size: int, stride: int, side: str) -> list[Span]:
    """The spans of windows of `size` tokens over a text of n tokens. Neighbours share `stride` tokens.

    Source: tokenizers 0.22, Encoding::truncate. With side "left" they start from the end of the text.
    """
    if n <= size:
        return [(0, n)]
    if size == 0:
        # tokenizers answers with an empty window and one that holds the whole text, longer than max_length
        raise ValueError(
            "max_length leaves no room for one of the two texts; raise it, or truncate only the other text"
        )
    if not isinstance(stride, int) or not 0 <= stride < size:
        raise ValueError(
            f"stride must be at least 0 and smaller than the {size} tokens of text in a window; got {stride}"
        )
    spans = []
    if side == "right":
        for start in range(0, n, size - stride):
            spans.append((start, min(start + size, n)))
            if spans[-1][1] == n:
                break
    else:
        for stop in range(n, 0, stride - size):
            spans.append((max(0, stop - size), stop))
            if spans[-1][0] == 0:
                break
    return spans


def keep_side(text: Encoded, n: int, side: str) -> Encoded:
    """The first n tokens; or the last n with truncation_side "left"."""
    if n >= len(text):
        return text
    return text[:n] if side == "right" else text[len(text) - n :]


def cut(
    a: Encoded,
    b: Encoded | None,
    strategies: Strategies,
    *,
    special: int,
    stride: int,
    side: str,
    overflow: bool,
    fast: bool,
) -> list[tuple[Encoded, Encoded | None]]:
    """The texts of each row that a text or a pair becomes: whole, truncated, or (overflow) one row for each window.

    special: how many special tokens a row will have. fast: follow the rules of the `tokenizers` library; windows always do.
    Raises ValueError if those rules leave no room.
    """
    n0, n1 = len(a), None if b is None else len(b)
    limit = strategies.max_length
    if strategies.truncation == "do_not_truncate" or limit is None:
        return [(a, b)]
    if overflow or fast:
        if limit < special or (overflow and limit == special):
            raise ValueError(f"max_length {limit} leaves no room for text beside {special} special tokens")
        n0, n1 = window_lengths(n0, n1, limit - special, strategies.truncation)
    else:
        remove = n0 + (n1 or 0) + special - limit
        if limit and remove > 0:  # a max_length of 0 means none here
            n0, n1 = kept_lengths(n0, n1, remove, strategies.truncation)
    if not overflow:
        return [(keep_side(a, n0, side), None if b is None or n1 is None else keep_side(b, n1, side))]
    firsts = [a[slice(*span)] for span in windows(len(a), n0, stride, side)]
    if b is None or n1 is None:
        return [(x, None) for x in firsts]
    seconds = [b[slice(*span)] for span in windows(len(b), n1, stride, side)]
    # in the order of tokenizers' Encoding::merge_with
    later = [(x, y) for x in firsts[1:] for y in seconds]
    return [(firsts[0], seconds[0]), *later, *((firsts[0], y) for y in seconds[1:])]
