"""Short passages of four books that the model `demo` never saw, with tokens hidden for it to find.

The passages are in held_out.txt, under the names of their books. Their texts are from Standard Ebooks: believed to be in the
public domain in the United States, with edition work under CC0 1.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = (
    "She opened the [MASK] and looked out into the garden.",
    "There was a knock at the [MASK] and a boy came in.",
    "They sailed down the [MASK] towards the sea.",
    "It was a cold [MASK] in the middle of winter.",
    "I do not [MASK] what you mean.",
    "She had not slept, and her [MASK] were red with weeping.",
)
NO_LABEL = -100  # of a token that nobody asks for; losses leave it out


def passages() -> list[str]:
    """The 48 passages, each of two or three sentences."""
    lines = Path(__file__).with_name("held_out.txt").read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def masked(tokenizer: Any, texts: list[str], *, rounds: int = 1, share: float = 0.15, seed: int = 0) -> dict[str, Any]:
    """A batch for a masked-language model: each text `rounds` times, each time with other tokens replaced by [MASK].

    Returns input_ids, attention_mask, token_type_ids and labels, all (rounds · texts, T). labels hold the hidden tokens, and
    −100 where nothing is hidden.
    """
    encoding = tokenizer(texts, padding=True, return_tensors="np")
    ids = encoding["input_ids"]
    # each token gets a number in [0, 1), and round r hides those from r · share on
    numbers = np.random.default_rng(seed).random(ids.shape)
    usable = ~np.isin(ids, tokenizer.all_special_ids)
    hidden = [usable & (numbers >= r * share) & (numbers < (r + 1) * share) for r in range(rounds)]
    batch = {name: np.concatenate([array] * rounds) for name, array in encoding.items()}
    hide = np.concatenate(hidden)
    labels = np.where(hide, batch["input_ids"], NO_LABEL)
    return batch | {"input_ids": np.where(hide, tokenizer.mask_token_id, batch["input_ids"]), "labels": labels}
