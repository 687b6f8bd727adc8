"""How large a page becomes, known before anything is computed: what does not fit is refused, with how many tokens would."""

from __future__ import annotations

from albert_np.config import AlbertConfig

MOST_BYTES = 2_000_000
FIXED = 130_000  # style, script, code and texts
ROW = 94  # the values of one step at one token
STEPS, OUTSIDE = 15, 14  # of an application; before and behind all of them
GUESS, LINE = 30, 7  # one guess of the lens with its name; a name and a chance of a line
STORED = 1_600  # the names of a stored layer's weights


def bytes_of(T: int, config: AlbertConfig) -> int:
    """What the page of T tokens has at most."""
    A, N = config.num_hidden_layers * config.inner_group_num, config.num_attention_heads
    attention = A * (N + 1) * T * (2 * T + 4) + A * (N + 1) * 90
    values = T * (STEPS * A + OUTSIDE) * ROW
    lens = (A + 1) * T * (5 * GUESS + 8 * LINE + 16)
    states = (A + 1) * T * 60
    stored = config.num_hidden_groups * config.inner_group_num * STORED
    return FIXED + attention + values + lens + states + stored


def most_tokens(config: AlbertConfig) -> int:
    """How many tokens fit: on the page, and into the model."""
    T = 0
    while T < config.max_position_embeddings and bytes_of(T + 1, config) <= MOST_BYTES:
        T += 1
    return T


def check(T: int, config: AlbertConfig) -> None:
    """Raises ValueError if T tokens are too many."""
    if T > config.max_position_embeddings:
        raise ValueError(refusal(T, config, f"the model has {config.max_position_embeddings} positions"))
    if T > most_tokens(config):
        raise ValueError(refusal(T, config, f"a page has at most {MOST_BYTES:,} bytes"))


def refusal(T: int, config: AlbertConfig, why: str) -> str:
    """One line that says how many tokens fit."""
    fit = most_tokens(config)
    return f"the text has {T} tokens, and {why}: {fit} tokens fit, [CLS] and [SEP] included; explore a shorter text"
