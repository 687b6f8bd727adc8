"""Sorts out what people may give to a tokenizer: one text or a batch, each alone or with a second text."""

from __future__ import annotations

from typing import Any


def text_pairs(text: Any, text_pair: Any, words: bool) -> tuple[list[tuple[Any, Any]], bool]:
    """The arguments of a call as pairs (first, second or None), and whether they were a batch.

    Source: PreTrainedTokenizerBase._call_one and PreTrainedTokenizer._batch_encode_plus of transformers 4.57.6.
    """
    for name, value in (("text", text), ("text_pair", text_pair)):
        if value is None and name == "text_pair":
            continue
        if not _is_text_input(value):
            raise ValueError(
                f"{name} must be a str, a list of str, or a list of lists of str; got {_describe(value)}"
                + ("; ids go to encode()" if isinstance(value, (list, tuple)) else "")
            )
    nested = isinstance(text, (list, tuple)) and bool(text) and isinstance(text[0], (list, tuple))
    if not (nested if words else isinstance(text, (list, tuple))):
        return [(text, text_pair)], False
    if len(text) == 0:
        raise ValueError("the batch is empty; give at least one text")
    if text_pair is not None:
        if isinstance(text_pair, str) or len(text_pair) != len(text):
            got = "a single str" if isinstance(text_pair, str) else f"{len(text_pair)} of them"
            raise ValueError(f"a batch of {len(text)} texts needs as many second texts in text_pair; got {got}")
        return list(zip(text, text_pair, strict=True)), True
    pairs = []
    for item in text:
        is_pair = isinstance(item, (list, tuple)) and not (words and not (item and isinstance(item[0], (list, tuple))))
        if is_pair and len(item) != 2:
            raise ValueError(
                f"an item of a batch is a text or a pair of them; got a list of {len(item)} "
                "(words of one text need is_split_into_words=True)"
            )
        pairs.append((item[0], item[1]) if is_pair else (item, None))
    return pairs, True


def _is_text_input(value: Any) -> bool:
    if isinstance(value, str):
        return True
    if not isinstance(value, (list, tuple)):
        return False
    if not value or isinstance(value[0], str):
        return True
    return isinstance(value[0], (list, tuple)) and (not value[0] or isinstance(value[0][0], str))


def _describe(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of {type(value[0]).__name__}" if isinstance(value, (list, tuple)) and value else kind
