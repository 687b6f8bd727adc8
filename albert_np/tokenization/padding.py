"""Padding: brings rows to one length. Source: PreTrainedTokenizerBase.pad and _pad of transformers 4.57.6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from albert_np.tokenization.lengths import Strategies
from albert_np.tokenization.vocabulary import check_ids, is_array, plain


def padded_length(longest: int, strategies: Strategies, multiple: int | None) -> int:
    """The length to which every row is padded; 0 if nothing is padded."""
    if strategies.padding == "do_not_pad":
        return 0
    length = longest if strategies.padding == "longest" else strategies.max_length or 0
    return -(-length // multiple) * multiple if multiple else length


def pad_encoding(
    data: Mapping[str, Any],
    strategies: Strategies,
    *,
    multiple: int | None,
    side: str,
    fill: Mapping[str, int],
    mask: bool,
) -> dict[str, Any]:
    """An encoding (of one text or a batch) whose lists named in `fill` are brought to one length; others do not change.

    The first name of `fill` is that of the ids, to which the other lists are parallel.
    Raises ValueError if lists are not parallel.
    """
    main = next(iter(fill))
    ids = data[main]
    if not isinstance(ids, (list, tuple)):
        raise ValueError(f"{main} to pad must be a list of ids, or a list of such lists; got {type(ids).__name__}")
    batched = bool(len(ids)) and isinstance(ids[0], (list, tuple))
    rows = [check_ids(row) for row in ids] if batched else [check_ids(ids)]
    length = padded_length(max(map(len, rows)), strategies, multiple)
    out = dict(data)
    if mask and "attention_mask" not in out:
        out["attention_mask"] = [[1] * len(row) for row in rows] if batched else [1] * len(rows[0])
    for name, value in fill.items():
        if name not in out or (name == "attention_mask" and not mask):
            continue
        lists = out[name] if batched else [out[name]]
        if not isinstance(lists, (list, tuple)) or not all(isinstance(x, (list, tuple)) for x in lists):
            raise ValueError(f"{name} must be a list, like {main}")
        if len(lists) != len(rows) or any(len(x) != len(y) for x, y in zip(lists, rows, strict=True)):
            raise ValueError(f"{name} and {main} have different shapes; they must be parallel")
        padded = []
        for item in lists:
            extra = [value] * max(0, length - len(item))
            padded.append([*item, *extra] if side == "right" else [*extra, *item])
        out[name] = padded if batched else padded[0]
    return out


def one_encoding(given: Any, main: str) -> tuple[dict[str, Any], bool]:
    """Turns the argument of `pad` (an encoding, or a list of encodings of one text each) into one encoding of lists.

    main: the name of the ids. Also says whether these came as an array, or as a list of arrays.
    """
    if isinstance(given, (list, tuple)) and given:
        if not all(isinstance(item, Mapping) for item in given):
            raise ValueError(f"pad takes an encoding with {main}, or a list of them")
        names = given[0].keys()
        if any(item.keys() != names for item in given):
            raise ValueError("the encodings to pad have different keys; encode them with the same options")
        given = {name: [item[name] for item in given] for name in names}
    if not isinstance(given, Mapping) or main not in given:
        raise ValueError(f"pad takes an encoding with {main}, or a list of them")
    ids = given[main]
    arrays = is_array(ids) or (isinstance(ids, (list, tuple)) and bool(ids) and is_array(ids[0]))
    return {name: _plain(value) for name, value in given.items()}, arrays


def _plain(value: Any) -> Any:
    """Turns an array, or a list of arrays, into lists."""
    if is_array(value):
        return plain(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
