"""What int8 changes in a model's answers, measured against its float32 on a stated text: the certificate of a file in int8.

It is a table of plain values. It counts where both models give the same answer, and says how far apart their numbers are, and
with which text; so somebody else can measure the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.inputs import integers
from albert_np.ops import Array
from albert_np.quantization.moments import MASKED
from albert_np.version import __version__

OWN_TEXT = Path(__file__).parent / "text.txt"
OWN_NAME = "80 paragraphs of the books that the embedded model has not read"
# of answers: below it a certificate fails. ALBERT in int8 has 0.985 and more, and a broken one under 0.9
AGREEMENT = 0.97
FARTHEST = 0.2  # relative RMS of hidden states at most: ALBERT in int8 has 0.01 to 0.02
BATCH = 8  # texts that are computed together: their vocabulary logits fit into 50 MB

Progress = Callable[[int, int], object]


@dataclass
class _Counts:
    """Of one kind of answer: how many there are, and how many are the same."""

    n: int = 0
    same: int = 0

    def add(self, exact: Array, rounded: Array) -> None:  # two (…) of class numbers
        self.n += exact.size
        self.same += int((exact == rounded).sum())


@dataclass
class _Distance:
    """Of two arrays of numbers."""

    squares: float = 0.0
    size: float = 0.0  # Σ exact²
    n: int = 0
    worst: float = 0.0

    def add(self, exact: Array, rounded: Array) -> None:
        off = rounded.astype(np.float64) - exact
        self.squares += float(np.square(off).sum())
        self.size += float(np.square(exact, dtype=np.float64).sum())
        self.n += off.size
        self.worst = max(self.worst, float(np.abs(off).max(initial=0)))

    @property
    def rms(self) -> float:
        return float(np.sqrt(self.squares / max(self.n, 1)))

    @property
    def relative(self) -> float:
        return float(np.sqrt(self.squares / self.size)) if self.size else 0.0


@dataclass
class _Measured:
    hidden: _Distance = field(default_factory=_Distance)
    logits: _Distance = field(default_factory=_Distance)
    answers: dict[str, _Counts] = field(default_factory=dict)
    divergences: list[Array] = field(default_factory=list)

    def count(self, name: str, exact: Array, rounded: Array) -> None:
        self.answers.setdefault(name, _Counts()).add(exact, rounded)


def own_text() -> list[str]:
    """The package's own paragraphs, one a text."""
    return OWN_TEXT.read_text(encoding="utf-8").splitlines()


def measure(
    exact: Any,
    rounded: Any,
    tokenizer: Any,
    texts: Sequence[str] | None = None,
    *,
    name: str = "",
    at_least: float = AGREEMENT,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The certificate of `rounded`, a model in int8, against `exact`, the same model in float32.

    texts: each is read alone; without them, the package's own, in English. name: what the certificate calls them. A model with
    the masked-language-model head reads them with 15 % of their tokens masked, drawn from `seed`, and answers for these.
    at_least: the share of answers of each kind that must be the same for the certificate to pass; hidden states must be no
    farther apart than FARTHEST, too. progress: called as progress(more, all)
    when more of all texts are done. Raises ValueError if there is no text.
    """
    texts, name = (own_text(), OWN_NAME) if texts is None else ([x for x in texts if x.strip()], name)
    if not texts:
        raise ValueError("there is no text to measure with: give at least one that is not empty")
    found, tokens = _Measured(), 0
    draw = np.random.default_rng([seed, 22])
    several = 2 if "choice" in exact.parts else 1  # texts of one example
    for some in _parts(texts, BATCH):
        if len(some) % several:
            some = [*some, some[-1]]
        given = tokenizer(some, truncation=True, max_length=exact.config.max_position_embeddings, padding=True)
        batch = {key: integers(key, given[key]) for key in ("input_ids", "attention_mask", "token_type_ids")}
        tokens += int(batch["attention_mask"].sum())
        _compare(exact, rounded, tokenizer, batch, several, draw, found)
        if progress is not None:
            progress(len(some), len(texts))
    return _as_table(found, rounded, at_least) | {
        "text": {
            "name": name,
            "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
            "texts": len(texts),
            "tokens": tokens,
            "seed": seed,
        },
        "made_by": f"albert_np {__version__}",
    }


def _parts(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    for first in range(0, len(texts), size):
        yield list(texts[first : first + size])


def _compare(
    exact: Any,
    rounded: Any,
    tokenizer: Any,
    batch: dict[str, Array],  # (B,T) each
    several: int,
    draw: np.random.Generator,
    found: _Measured,
) -> None:
    real = batch["attention_mask"] == 1
    options: dict[str, Any] = {"output_hidden_states": True}
    asked = np.zeros(real.shape, bool)
    if "predictions" in exact.parts:
        special = np.isin(batch["input_ids"], tokenizer.all_special_ids)
        asked = (draw.random(real.shape) < MASKED) & real & ~special
        batch = batch | {"input_ids": np.where(asked, tokenizer.mask_token_id, batch["input_ids"])}
        most = max(1, int(asked.sum(axis=1).max()))
        # the masked columns of each row first, and as many others as make the rows equally long
        options["logits_positions"] = np.argsort(~asked, axis=1, kind="stable")[:, :most]
        asked = np.take_along_axis(asked, options["logits_positions"], axis=1)
    if several > 1:
        batch = {key: x.reshape(-1, several, x.shape[1]) for key, x in batch.items()}
    one, other = (model(**batch, **options, return_dict=True) for model in (exact, rounded))
    found.hidden.add(one.hidden_states[-1][real], other.hidden_states[-1][real])
    for key in one:
        if key.endswith("logits"):
            x, y = one[key], other[key]
            if "predictions" in exact.parts and key != "sop_logits":
                x, y = x[asked], y[asked]
                found.divergences.append(_divergence(x, y))
                found.count("best tokens of masked ones", x.argmax(axis=-1), y.argmax(axis=-1))
            elif "qa_outputs" in exact.parts:  # (B,T): padding gives no answer
                x, y = (np.where(real, z, -np.inf) for z in (x, y))
                found.count(f"best {key.removesuffix('_logits')}s", x.argmax(axis=-1), y.argmax(axis=-1))
                x, y = x[real], y[real]
            else:
                if x.ndim == 3:  # (B,T,K)
                    x, y = x[real], y[real]
                problem = exact.config.problem_type
                if problem == "multi_label_classification":
                    found.count("labels", x > 0, y > 0)
                elif x.shape[-1] > 1:
                    name = "orders of sentences" if key == "sop_logits" else "labels"
                    found.count(name, x.argmax(axis=-1), y.argmax(axis=-1))
            found.logits.add(x, y)


def _divergence(one: Array, other: Array) -> Array:  # 2 × (M,V) -> (M,)
    """Σ p·log(p/q), how far the distributions of `other` are from those of `one`."""
    p, q = (_log_softmax(x.astype(np.float64)) for x in (one, other))
    return (np.exp(p) * (p - q)).sum(axis=-1)


def _log_softmax(x: Array) -> Array:  # (M,V) -> (M,V)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _as_table(found: _Measured, rounded: Any, at_least: float) -> dict[str, Any]:
    answers = {
        name: {"n": counts.n, "same": counts.same, "share": counts.same / counts.n}
        for name, counts in found.answers.items()
        if counts.n
    }
    hidden = found.hidden.relative
    table: dict[str, Any] = {
        "precision": rounded.precision,
        "answers": answers,
        "hidden_states_relative_rms": hidden,
        "passes": all(row["share"] >= at_least for row in answers.values()) and hidden <= FARTHEST,  # NaN is not
        "at_least": at_least,
    }
    if found.logits.n:
        table["logits"] = {"worst": found.logits.worst, "rms": found.logits.rms, "relative_rms": found.logits.relative}
    if found.divergences and sum(map(len, found.divergences)):
        divergences = np.concatenate(found.divergences)
        table["kl_divergence"] = {"mean": float(divergences.mean()), "largest": float(divergences.max())}
    return table


def as_text(certificate: dict[str, Any]) -> str:
    """The certificate for people. One that is from a file may have anything in it, and is shown as far as it is known."""
    rows = []
    for name, row in sorted(_table(certificate.get("answers")).items(), key=_name):
        row = _table(row)
        rows.append((f"same {name}", _number(row.get("share"), ".2%"), f"  of {_number(row.get('n'), ',')}"))
    rows.append(("hidden states, relative RMS", _number(certificate.get("hidden_states_relative_rms"), ".4f"), ""))
    for key, title in (("logits", "logits"), ("kl_divergence", "KL divergence of masked tokens")):
        # a file has its keys sorted: so what was measured now and what is read again are shown in one order
        for name, value in sorted(_table(certificate.get(key)).items(), key=_name):
            rows.append((f"{title}, {str(name).replace('_', ' ')}", _number(value, ".3g"), ""))
    width = max(len(what) for what, _, _ in rows)
    lines = [f"  {certificate.get('precision')} against float32"]
    lines += [f"  {what:{width}} {value:>10}{more}" for what, value, more in rows]
    text = _table(certificate.get("text"))
    lines.append(
        f"  on {text.get('name')}: {_number(text.get('texts'), ',')} texts, {_number(text.get('tokens'), ',')} tokens, sha256 "
        f"{str(text.get('sha256'))[:16]}"
    )
    return "\n".join(lines)


def _name(item: tuple[Any, Any]) -> str:
    return str(item[0])


def _table(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
