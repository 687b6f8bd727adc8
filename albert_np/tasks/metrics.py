"""The usual metrics of ALBERT's tasks, from plain lists and arrays. They go from 0 to 1, but SQuAD's are in per cent.

Each docstring says whose definition it is, and what the function returns if a metric is undefined (no positive example, no
variance).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from albert_np.files import listed, shown
from albert_np.ops import Array

# --- one label an example ------------------------------------------------------------------------------------------------


def accuracy(predictions: Any, labels: Any) -> float:  # (n,), (n,) -> share of equal ones
    predictions, labels = _pair(predictions, labels)
    return float(np.mean(predictions == labels))


def f1(predictions: Any, labels: Any, *, positive: Any = 1) -> float:  # (n,), (n,)
    """2·TP/(2·TP + FP + FN) of one class (GLUE's MRPC and QQP). 0 if neither side has one, as in scikit-learn's f1_score."""
    predictions, labels = _pair(predictions, labels)
    return _f1(predictions == positive, labels == positive)


def macro_f1(predictions: Any, labels: Any) -> float:  # (n,), (n,)
    """The plain mean of the F1 of each class that occurs on either side (scikit-learn, average="macro")."""
    predictions, labels = _pair(predictions, labels)
    classes = np.unique(np.concatenate([predictions, labels]))
    return float(np.mean([_f1(predictions == one, labels == one) for one in classes]))


def matthews(predictions: Any, labels: Any) -> float:  # (n,), (n,) -> -1 to 1
    """Matthews' correlation for any number of classes (Gorodkin 2004, eq. 8; GLUE's CoLA). 0 if one side is constant."""
    predictions, labels = _pair(predictions, labels)
    classes, codes = np.unique(np.concatenate([predictions, labels]), return_inverse=True)
    n, K = len(labels), len(classes)
    predicted, true = np.bincount(codes[:n], minlength=K), np.bincount(codes[n:], minlength=K)
    # Python's integers: with some ten thousand examples or more, a product of four counts may exceed 2⁶³
    right, total = int(np.sum(predictions == labels)), n * n
    both, ours, theirs = (sum(map(int, a * b)) for a, b in ((predicted, true), (predicted, predicted), (true, true)))
    spread = (total - ours) * (total - theirs)
    return (right * n - both) / spread**0.5 if spread else 0.0


def _f1(predicted: Array, true: Array) -> float:  # (n,), (n,) bool
    hits, total = int(np.sum(predicted & true)), int(np.sum(predicted)) + int(np.sum(true))
    return 2 * hits / total if total else 0.0


# --- numbers -------------------------------------------------------------------------------------------------------------


def pearson(predictions: Any, values: Any) -> float:  # (n,), (n,) -> -1 to 1
    """The linear correlation (GLUE's STS-B). NaN if one side is constant, as in scipy.stats.pearsonr."""
    x, y = (side.astype(np.float64) for side in _pair(predictions, values))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - np.mean(x), y - np.mean(y)
    x, y = x / np.max(np.abs(x)), y / np.max(np.abs(y))  # or a square may overflow, or vanish
    r = float(np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return max(-1.0, min(1.0, r))


def spearman(predictions: Any, values: Any) -> float:  # (n,), (n,) -> -1 to 1
    """The correlation of ranks; equal values share their mean rank. NaN if one side is constant."""
    x, y = _pair(predictions, values)
    return pearson(_ranks(x), _ranks(y))


def _ranks(x: Array) -> Array:  # (n,) -> (n,)
    """Ranks from 1 for the smallest value. Equal values get the mean of their ranks."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


# --- entities ------------------------------------------------------------------------------------------------------------


# the prefixes of the tags of each scheme; "conll" reads those of all
SCHEMES = {"conll": "BIESLUO", "IOB1": "BIO", "IOB2": "BIO", "IOBES": "BIESO", "BILOU": "BILUO"}
OTHER_NAMES = {"BIO": "IOB2", "BIOES": "IOBES"}
AS_IN_IOBES = {"L": "E", "U": "S"}  # the last word of an entity, and a single one


def entity_f1(
    predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]], *, scheme: str | None = None
) -> dict[str, float]:
    """Precision, recall and F1 of whole entities, of all types together, from tags such as B-PER, I-PER and O.

    An entity is right if its type, its first word and its last word agree. scheme: which tags make an entity, one of SCHEMES
    (see entities); without it, that of tag_scheme, for the tags of both sides.
    The figures are 0 if there is nothing to count. Raises ValueError for other tags, and for rows of different lengths.
    """
    if len(predictions) != len(labels):
        raise ValueError(
            f"{len(predictions)} rows of predicted tags cannot be compared with {len(labels)} rows of labels"
        )
    if scheme is None:
        scheme = tag_scheme(tag for rows in (predictions, labels) for row in rows for tag in row)
    found: set[tuple[int, str, int, int]] = set()
    true: set[tuple[int, str, int, int]] = set()
    for row, (ours, theirs) in enumerate(zip(predictions, labels, strict=True)):
        if len(ours) != len(theirs):
            raise ValueError(f"row {row} has {len(ours)} predicted tags and {len(theirs)} labels")
        found |= {(row, *entity) for entity in entities(ours, scheme)}
        true |= {(row, *entity) for entity in entities(theirs, scheme)}
    hits = len(found & true)
    return {
        "precision": hits / len(found) if found else 0.0,
        "recall": hits / len(true) if true else 0.0,
        "f1": 2 * hits / (len(found) + len(true)) if found or true else 0.0,
    }


def tag_scheme(tags: Iterable[str]) -> str:
    """The scheme by which entities are counted if none is named, from all tags of a data set.

    "IOBES" (also called BIOES) if there is an S, or both B and E; "BILOU" if there is a U, or both B and L: these two mark the
    last word, so an entity without its end is none. All others are "conll": tags of B and I alone do not tell IOB1 from IOB2,
    and its rule reads both; so does it those of E (or L) and I without B. Raises ValueError if E or S stand beside L or U.
    """
    prefixes = {_parted(tag, "conll")[0] for tag in set(tags)}
    marks = {"IOBES": {"E", "S"} & prefixes, "BILOU": {"L", "U"} & prefixes}
    if all(marks.values()):
        raise ValueError("tags with E or S (IOBES) and tags with L or U (BILOU) do not belong to one scheme")
    for scheme, found in marks.items():
        if found & {"S", "U"} or (found and "B" in prefixes):
            return scheme
    return "conll"


def entities(tags: Sequence[str], scheme: str = "conll") -> Iterator[tuple[str, int, int]]:
    """(type, first word, last word) of each entity in one row. Tags without a type have one type without a name.

    IOBES, BILOU   B, any number of I, then E (L); or a single S (U), all of one type. Anything else is no entity.
    IOB2           B, then any number of I of its type.
    IOB1           I's of one type. B is there only between two entities of one type that touch, and begins the second.
    conll          the rule of CoNLL's conlleval, and of seqeval by default, which finds entities in damaged rows too: a word
                   goes on with the entity before it only if that can go on (B, I), this can follow (I, E), and the types
                   are the same. Every other word but O begins an entity.
    The first four are seqeval's strict mode. Raises ValueError for other tags, and for another scheme.
    """
    scheme = OTHER_NAMES.get(scheme, scheme)
    if scheme not in SCHEMES:
        known = ", ".join([*SCHEMES, *OTHER_NAMES])
        raise ValueError(f"scheme must be one of {known}; got {shown(repr(scheme), 60)}")
    begun, last, kind = None, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, name = _parted(tag, scheme)
        prefix, same = AS_IN_IOBES.get(prefix, prefix), name == kind
        if begun is None or not (same and last in "BI" and prefix in "IE"):
            if begun is not None and _is_whole(scheme, last, prefix, same):
                yield kind, begun, place - 1
            begun = place if _begins(scheme, last, prefix, same) else None
        last, kind = prefix, name


def _parted(tag: str, scheme: str) -> tuple[str, str]:
    """Prefix and type."""
    prefix, _, name = tag.partition("-")
    if len(prefix) != 1 or prefix not in SCHEMES[scheme] or (prefix == "O") != (tag == "O"):
        *others, last = (letter for letter in SCHEMES[scheme] if letter != "O")
        raise ValueError(f"a tag is O, or {', '.join(others)} or {last}, a hyphen and a type; got {shown(tag)!r}")
    return prefix, name


def _begins(scheme: str, last: str, prefix: str, same: bool) -> bool:
    """Does a word begin an entity, if it does not go on with the one before it? last, same: the tag before it."""
    if scheme == "conll":
        return prefix != "O"
    if scheme == "IOB1":
        return prefix == "I" or (prefix == "B" and last in "BI" and same)
    return prefix in "BS"


def _is_whole(scheme: str, last: str, prefix: str, same: bool) -> bool:
    """Is an entity one, if it ends with the prefix `last` and another follows?"""
    if scheme in ("IOBES", "BILOU"):
        return last in "ES"
    return not (scheme == "IOB1" and last == prefix == "B" and not same)


# --- SQuAD ---------------------------------------------------------------------------------------------------------------

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """In SQuAD's order: lower case, then without ASCII punctuation, then without articles, then with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    return float(normalize_answer(prediction) == normalize_answer(answer))


def answer_f1(prediction: str, answer: str) -> float:
    """F1 of the two bags of words. If one is empty: 1 if both are, else 0 (SQuAD 2.0's rule for no answer)."""
    ours, theirs = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * sum((Counter(ours) & Counter(theirs)).values()) / (len(ours) + len(theirs))


def squad(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    no_answer_scores: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Exact match and F1, in per cent, as the evaluation scripts of SQuAD 1.1 and 2.0 count them.

    predictions: question id -> text, "" for no answer. answers: question id -> the texts that are right; [] if the
    question has no answer. A prediction gets the score of the answer that fits it best.
    If some questions have no answer, the two kinds are also scored separately (HasAns_…, NoAns_…).
    no_answer_scores: question id -> how sure the model is that there is no answer. If given, the result also has the best
    scores that a threshold could give, where a prediction above it counts as "", and these thresholds (best_exact,
    best_exact_thresh …).
    Raises ValueError if a question has no prediction, or if there are no questions.
    """
    missing = [name for name in answers if name not in predictions]
    if missing or not answers:
        raise ValueError(
            f"there is no prediction for {listed(missing)}" if missing else "there are no questions to score"
        )
    right = {name: [text for text in texts if normalize_answer(text)] or [""] for name, texts in answers.items()}
    exact = {name: max(exact_match(predictions[name], text) for text in texts) for name, texts in right.items()}
    words = {name: max(answer_f1(predictions[name], text) for text in texts) for name, texts in right.items()}
    scores = {"exact_match": _per_cent(exact), "f1": _per_cent(words)}
    unanswerable = {name for name, texts in answers.items() if not any(texts)}
    if unanswerable:
        for prefix, chosen in (("HasAns", set(answers) - unanswerable), ("NoAns", unanswerable)):
            if chosen:
                scores[f"{prefix}_exact"] = _per_cent({name: exact[name] for name in chosen})
                scores[f"{prefix}_f1"] = _per_cent({name: words[name] for name in chosen})
    if no_answer_scores is not None:
        absent = [name for name in answers if name not in no_answer_scores]
        if absent:
            raise ValueError(f"there is no score for {listed(absent)}")
        empty = {name for name in answers if not predictions[name]}
        for metric, values in (("exact", exact), ("f1", words)):
            best, threshold = _best_threshold(values, unanswerable, empty, no_answer_scores)
            scores |= {f"best_{metric}": best, f"best_{metric}_thresh": threshold}
    return scores


def _best_threshold(
    values: Mapping[str, float], unanswerable: set[str], empty: set[str], no_answer_scores: Mapping[str, float]
) -> tuple[float, float]:
    """Starts with "" for every question, then accepts predictions, the surest first (SQuAD 2.0's find_best_thresh)."""
    score = best = float(len(unanswerable))
    threshold = 0.0
    for name in sorted(values, key=lambda name: no_answer_scores[name]):
        if name not in unanswerable:
            score += values[name]
        elif name not in empty:
            score -= 1
        if score > best:
            best, threshold = score, float(no_answer_scores[name])
    return 100 * best / len(values), threshold


def _per_cent(values: Mapping[str, float]) -> float:
    return 100 * sum(values.values()) / len(values)


def _pair(predictions: Any, labels: Any) -> tuple[Array, Array]:
    """Both as one-dimensional arrays of the same length, not empty. Raises ValueError if they cannot be that."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(
            f"predictions and labels must be two lists of one length, not empty; got {predictions.shape} and {labels.shape}"
        )
    return predictions, labels
