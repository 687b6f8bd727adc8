"""Sorts out what people may give to a tokenizer: one text or a batch, each alone or with a second text."""

from __future__ import annotations

from typing import Any

import numpy as np


def text_pairs(text: Any, text_pair: Any, words: bool) -> tuple[list[tuple[Any, Any]], bool]:
    """The arguments of a call as pairs (first, second or None), and whether they were a batch.

    words: a text is a list of its words. Raises ValueError for what is no text; in a batch, it says which of them.
    Source: PreTrainedTokenizerBase._call_one and PreTrainedTokenizer._batch_encode_plus of transformers 4.57.6.
    """
    check_texts(text, "text")
    if text_pair is not None:
        check_texts(text_pair, "text_pair")
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
    for i, item in enumerate(text):
        is_pair = isinstance(item, (list, tuple)) and not (words and not (item and isinstance(item[0], (list, tuple))))
        if is_pair and len(item) != 2:
            raise ValueError(
                f"text[{i}]: an item of a batch is a text or a pair of them; got a list of {len(item)} "
                "(words of one text need is_split_into_words=True)"
            )
        if is_pair and item[1] is None:
            raise ValueError(f"text[{i}]: the second text of the pair is None; leave it out, or give a str")
        pairs.append((item[0], item[1]) if is_pair else (item, None))
    return pairs, True


def check_texts(value: Any, name: str) -> None:
    """Raises ValueError unless value is a str, or a list of str and of lists."""
    if isinstance(value, str):
        return
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a str, a list of str, or a list of lists of str; got {type(value).__name__}")
    for i, item in enumerate(value):
        if not isinstance(item, (str, list, tuple)):
            hint = "; ids go to encode()" if isinstance(item, (int, np.integer)) else ""
            raise ValueError(
                f"{name}[{i}] must be a str or a list of str; got {type(item).__name__}, {item!r:.60}{hint}"
            )
