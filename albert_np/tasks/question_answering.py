"""Question answering: from SQuAD 1.1 and 2.0 files to examples, from examples to windows, from windows to batches.

A window is `[CLS] question [SEP] part of the context [SEP]`. A window that holds the whole answer has its place as labels. In
the other windows, and for questions without an answer, both labels are 0, the place of [CLS]. Source: google-research/albert
squad_utils.py, convert_examples_to_features; the windows are those of transformers' run_qa.py.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import shown
from albert_np.ops import Array
from albert_np.tasks import metrics, squad
from albert_np.tasks.data import TaskData, check_any
from albert_np.tasks.rows import BadRows, as_text
from albert_np.text_files import text_paths
from albert_np.tokenization.tokenizer import AlbertTokenizer

NO_ANSWER = 0  # the place of [CLS]
SPECIAL = 3  # tokens of a window beside question and context: [CLS], [SEP], [SEP]
NEAR = 5  # characters by which an answer_start may be off


class SquadExample(NamedTuple):
    """A question about a context. answers: (text, its first character in the context); empty if there is no answer."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Context:
    """A context as n tokens, shared by all its questions and windows."""

    text: str
    ids: Array  # (n,) int64
    spans: Array  # (n,2) int64: the characters of text that a token covers


class Window(NamedTuple):
    """One row for the model: a question and tokens first … last − 1 of its context."""

    example: int  # which of the examples it belongs to
    question: Array  # (q,) int64
    context: Context
    first: int
    last: int
    start: int  # labels: places in the row, NO_ANSWER where the window holds no answer
    end: int

    @property
    def offset(self) -> int:
        """Where the context begins in the row: after [CLS] question [SEP]."""
        return len(self.question) + 2

    def __repr__(self) -> str:  # not the arrays
        return (
            f"Window(example={self.example}, first={self.first}, last={self.last}, start={self.start}, end={self.end})"
        )

    def answer(self, start: int, end: int) -> str | None:
        """The text of the context between two places of the row, or None if they do not mark a text."""
        a, b = start - self.offset + self.first, end - self.offset + self.first
        if not self.first <= a <= b < self.last:
            return None
        return self.context.text[self.context.spans[a, 0] : self.context.spans[b, 1]]


def read_squad(path: str | os.PathLike, *, labels: bool = True, on_bad_row: str = "error") -> TaskData:
    """Reads the questions of a SQuAD 1.1 or 2.0 file, in order; squad.py says in which forms they may be.

    labels=False accepts questions without "answers" too. counts: examples, impossible (questions without an answer), and, if
    there are any, unused_answers (of questions that are said to have none) and bad_rows (questions that cannot be read, left
    out with on_bad_row "skip"). Raises OSError; or ValueError with the line of broken JSON, or with the place of what is
    missing or wrong (data[3].paragraphs[0].qas[2]), such as an id that comes twice, or if no question is left.
    """
    (checked,) = text_paths(path)
    bad = BadRows(on_bad_row)
    counts = Counter(examples=0, impossible=0)
    examples: list[SquadExample] = []
    ids: set[str] = set()
    for where, context, question in squad.questions(checked, bad):
        try:
            name = squad.question_id(question, where)
            if name in ids:
                raise ValueError(f"{where} has the id {shown(repr(name), 60)}, which is another question's")
            asked = as_text(squad.value_at(question, "question", where), where, "question")
            impossible = squad.is_impossible(question, where)
            given = question.get("answers")
            if given is None:
                given = squad.value_at(question, "answers", where) if labels and not impossible else []
            answers = squad.answers_of(given or [] if impossible else given, where)
        except ValueError as error:
            bad.meet(error)
            continue
        ids.add(name)
        if impossible and answers:
            counts["unused_answers"] += len(answers)
        examples.append(SquadExample(name, asked, context, () if impossible else tuple(answers)))
    if not examples and not bad.count:
        raise ValueError(f"{path} has no questions")
    check_any(examples, path, counts, bad)
    counts["examples"] = len(examples)
    counts["impossible"] = sum(not example.answers for example in examples)
    return TaskData(examples, counts=bad.counted(counts))


def squad_lengths(
    max_length: int, doc_stride: int | None = None, max_query_length: int | None = None
) -> dict[str, int]:
    """max_length, doc_stride and max_query_length of squad_windows. Those without a number are chosen so that they fit.

    max_query_length is 64, or half of the room beside the special tokens if that is less. doc_stride is 128, or half of what
    the longest question leaves for the context if that is less. These are the usual numbers if max_length is 384.
    Raises ValueError if the numbers leave no way to go on: neighbouring windows must share less than their whole context.
    """
    given = {"max_length": (max_length, 5), "doc_stride": (doc_stride, 0), "max_query_length": (max_query_length, 1)}
    for name, (value, least) in given.items():
        if (type(value) is not int or value < least) and not (value is None and name != "max_length"):
            raise ValueError(f"{name} must be a whole number of at least {least}; got {shown(repr(value), 60)}")
    query = min(64, (max_length - SPECIAL) // 2) if max_query_length is None else max_query_length
    room = max_length - SPECIAL - query
    stride = min(128, max(room, 0) // 2) if doc_stride is None else doc_stride
    if room <= stride:
        raise ValueError(
            f"max_length {max_length} leaves {max(room, 0)} tokens for the context beside a question of {query}, the "
            f"max_query_length: that must be more than doc_stride ({stride}); choose a smaller doc_stride or max_query_length"
        )
    return {"max_length": max_length, "doc_stride": stride, "max_query_length": query}


def squad_windows(
    examples: Sequence[SquadExample],
    tokenizer: AlbertTokenizer,
    *,
    max_length: int = 384,
    doc_stride: int | None = None,
    max_query_length: int | None = None,
    training: bool = True,
) -> tuple[list[Window], dict[str, int]]:
    """The windows of some questions, and counts: windows, unanswered_windows, unlocated_answers, cut_questions.

    doc_stride: how many tokens neighbouring windows share, as in transformers; in google-research/albert it is how far apart
    they begin. Without a number, it and max_query_length are those of squad_lengths. A question's first answer is its label.
    Where the context does not hold it at answer_start, or no token covers it, the other answers are tried; then all of them up
    to NEAR characters from their answer_start; then so with other spaces and capitals. counts says how often, if ever:
    other_answers, relocated. With training, questions none of whose answers is found (unlocated_answers) are left out; without
    it they are kept, but have no label. Raises ValueError if max_length leaves no room.
    """
    lengths = squad_lengths(max_length, doc_stride, max_query_length)
    stride, longest = lengths["doc_stride"], lengths["max_query_length"]
    counts = {"windows": 0, "unanswered_windows": 0, "unlocated_answers": 0, "cut_questions": 0}
    windows: list[Window] = []
    context = Context("", np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    for number, example in enumerate(examples):
        question = np.array(tokenizer.encode(example.question, add_special_tokens=False, verbose=False), np.int64)
        if len(question) > longest:
            counts["cut_questions"] += 1
            question = question[:longest]
        room = max_length - len(question) - SPECIAL
        if context.text != example.context:  # questions about one context stand together
            context = _context(example.context, tokenizer)
        span, how = _locate(example, context)
        if how:
            counts[how] = counts.get(how, 0) + 1
        if example.answers and span is None:
            counts["unlocated_answers"] += 1
            if training:
                continue
        for first, last in _parts(len(context.ids), room, room - stride):
            start = end = NO_ANSWER
            if span is not None and first <= span[0] and span[1] < last:
                start, end = (place - first + len(question) + 2 for place in span)
            counts["unanswered_windows"] += start == NO_ANSWER
            windows.append(Window(number, question, context, first, last, start, end))
    counts["windows"] = len(windows)
    return windows, counts


def squad_batch(
    windows: Sequence[Window], tokenizer: AlbertTokenizer, *, max_length: int | None = None, labels: bool = True
) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask (B,T); start_positions, end_positions (B,), all int64.

    T is the length of the longest window, or max_length if that is given.
    """
    lengths = [window.offset + window.last - window.first + 1 for window in windows]
    if tokenizer.pad_token_id is None:
        raise ValueError("this tokenizer has no pad_token, so it cannot pad; load it with pad_token='<pad>'")
    T = max(lengths) if max_length is None else max_length
    if max(lengths) > T:
        raise ValueError(f"a window of {max(lengths)} tokens is longer than max_length {T}")
    batch = {
        "input_ids": np.full((len(windows), T), tokenizer.pad_token_id, np.int64),
        "token_type_ids": np.zeros((len(windows), T), np.int64),
        "attention_mask": np.zeros((len(windows), T), np.int64),
    }
    for row, n, window in zip(batch["input_ids"], lengths, windows, strict=True):
        at = window.offset
        row[0], row[at - 1], row[n - 1] = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.sep_token_id
        row[1 : at - 1] = window.question
        row[at : n - 1] = window.context.ids[window.first : window.last]
    for i, n in enumerate(lengths):
        batch["token_type_ids"][i, windows[i].offset : n] = 1
        batch["attention_mask"][i, :n] = 1
    if labels:
        batch["start_positions"] = np.array([window.start for window in windows], np.int64)
        batch["end_positions"] = np.array([window.end for window in windows], np.int64)
    return batch


class Answer(NamedTuple):
    """A model's answer to one question. no_answer: how much surer it is that there is none; 0 if both are equally likely."""

    text: str
    no_answer: float


def squad_answers(  # (T,), (T,) of every window -> by Window.example
    windows: Sequence[Window], logits: Iterable[tuple[Array, Array]], max_answer_length: int = 30
) -> dict[int, Answer]:
    """The likeliest part of each question's context, over all its windows, by the sum of its start and end logits.

    This is what transformers' run_qa.py does (utils_qa.py, postprocess_qa_predictions), but over all pairs of places instead
    of the twenty best of each. A part has max_answer_length tokens at most. no_answer is the least sum at [CLS] minus the sum
    of the best part.
    """
    check_answer_length(max_answer_length)
    best: dict[int, tuple[float, str]] = {}
    none: dict[int, float] = {}
    for window, (start, end) in zip(windows, logits, strict=True):
        first, n = window.offset, window.last - window.first
        nothing = float(start[NO_ANSWER]) + float(end[NO_ANSWER])
        none[window.example] = min(nothing, none.get(window.example, math.inf))
        sums = start[first : first + n, None].astype(np.float64) + end[None, first : first + n]
        places = np.arange(n)
        length = places[None, :] - places[:, None] + 1
        sums[(length < 1) | (length > max_answer_length)] = -np.inf
        score = float(np.max(sums, initial=-np.inf))
        if score > best.get(window.example, (-math.inf, ""))[0]:
            a, b = divmod(int(np.argmax(sums)), n)
            best[window.example] = score, window.answer(first + a, first + b) or ""
    # a context without a token has no part at all
    return {i: Answer(text, none[i] - score) for i, (score, text) in best.items()} | {
        i: Answer("", math.inf) for i in none.keys() - best.keys()
    }


def check_answer_length(value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"max_answer_length must be a whole number of at least 1; got {shown(repr(value), 60)}")


def answer_figures(examples: Sequence[SquadExample], answers: Mapping[int, Answer]) -> dict[str, float]:
    """Exact match and F1 (metrics.squad) of the answers, which are numbered like the examples.

    If some questions have no answer, the model may also say that there is none: it does if no_answer is above 0.
    """
    impossible = any(not x.answers for x in examples)
    said = {x.id: "" if impossible and answers[i].no_answer > 0 else answers[i].text for i, x in enumerate(examples)}
    right = {x.id: [text for text, _ in x.answers] for x in examples}
    sure = {x.id: answers[i].no_answer for i, x in enumerate(examples)} if impossible else None
    return metrics.squad(said, right, sure)


# ------------------------------------------------------------------------------------------------------------- parts


def _context(text: str, tokenizer: AlbertTokenizer) -> Context:
    if not text:
        return Context(text, np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
    return Context(text, np.array(encoded["input_ids"], np.int64), spans)


def _locate(example: SquadExample, context: Context) -> tuple[tuple[int, int] | None, str]:
    """First and last token of the answer that is the label, or None if there is none; and how it was found.

    It is the first of these: an answer that stands where answer_start says ("" for the first answer, else "other_answers"); an
    answer whose text stands at most NEAR characters off; one that stands so near with other spaces or capitals ("relocated").
    The nearest place wins, and of two such places the first.
    """
    for far, form in ((0, re.escape), (NEAR, _whole_words), (NEAR, _loosely)):
        for number, (text, start) in enumerate(example.answers):
            if not text.strip() or not -far <= start <= len(context.text):
                continue
            pattern = re.compile(form(text))
            for off in sorted(range(-far, far + 1), key=abs):
                found = pattern.match(context.text, start + off) if start + off >= 0 else None
                tokens = None if found is None else _tokens(found.span(), context)
                if tokens is not None:
                    return tokens, "relocated" if far else "other_answers" if number else ""
    return None, ""


def _whole_words(text: str) -> str:
    """A pattern for a text that does not begin or end inside a word."""
    return rf"(?:(?<!\w)|(?!\w)){re.escape(text)}(?:(?!\w)|(?<!\w))"


def _loosely(text: str) -> str:
    """The same, with any spaces between the words of the text, and any capitals."""
    words = r"\s+".join(map(re.escape, text.split()))
    return rf"(?i:(?:(?<!\w)|(?!\w)){words}(?:(?!\w)|(?<!\w)))"


def _tokens(span: tuple[int, int], context: Context) -> tuple[int, int] | None:
    # characters that an answer begins or ends with, and that no token shows, are spaces mostly
    touching = np.flatnonzero((context.spans[:, 1] > span[0]) & (context.spans[:, 0] < span[1]))
    return (int(touching[0]), int(touching[-1])) if touching.size else None


def _parts(n: int, room: int, step: int) -> Iterator[tuple[int, int]]:
    """Windows over n tokens that start `step` apart. The last one reaches the end. There is only one if all tokens fit."""
    first = 0
    while True:
        yield first, min(first + room, n)
        if first + room >= n:
            return
        first += step
