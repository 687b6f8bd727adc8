"""Extractive question answering, with the results in transformers' form (4.57.6, pipelines/question_answering.py).

transformers 5 has no such pipeline any more. Its older one has two ways, for its two kinds of tokenizers; this is the way of
the fast ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import listed, shown
from albert_np.model import AlbertForQuestionAnswering
from albert_np.ops import Array
from albert_np.pipelines.base import MODEL_INPUTS, Options, Pipeline, Prepared, Row, checked_count, real_tokens
from albert_np.tasks.answers import likely_spans, ranked_answers
from albert_np.tasks.entities import begins_word
from albert_np.tasks.question_answering import SquadExample, Window, squad_batch, squad_windows

Places = list[tuple[int, int]]  # characters of each token of a context


@dataclass(frozen=True)
class QuestionAnsweringOptions(Options):
    """top_k: how many answers a question has. max_answer_len: tokens of an answer. max_question_len: tokens of a question; a
    longer one is cut. max_seq_len: tokens of a window, question included (384, or the model's positions if these are fewer).
    doc_stride: tokens that neighbouring windows of a long context share (128, or half a window).
    handle_impossible_answer: whether there may be no answer, which is then an empty text. align_to_words: whether answers are
    whole words of the context."""

    top_k: int = 1
    max_answer_len: int = 15
    max_question_len: int = 64
    max_seq_len: int | None = None
    doc_stride: int | None = None
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    padding: Any = None  # accepted, and without effect: padding is not computed
    topk: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("top_k", "max_answer_len", "max_question_len", "max_seq_len"):
            if getattr(self, name) is not None:
                checked_count(getattr(self, name), name)
        if self.doc_stride is not None and (type(self.doc_stride) is not int or self.doc_stride < 0):
            raise ValueError(f"doc_stride must be a whole number, 0 or more; got {shown(repr(self.doc_stride), 80)}")


class Asked(NamedTuple):
    """A question's windows, and the characters of the context that an answer may have."""

    context: str
    windows: list[Window]
    tokens: Places  # of each token of the context
    words: Places  # of the word that each token is part of


class QuestionAnsweringPipeline(Pipeline[QuestionAnsweringOptions]):
    """The part of a text that answers a question."""

    task = "question-answering"
    models = (AlbertForQuestionAnswering,)
    needs = "a model for question answering"
    options_class = QuestionAnsweringOptions

    def __call__(self, *args: Any, question: Any = None, context: Any = None, **options: Any) -> Any:
        """For each question {"score", "start", "end", "answer"}, or a list of these if there are several, best first.

        A question is given as question=…, context=…; as {"question", "context"}; or as two texts. There may be several: two
        lists, a list of questions about one context, a list or another iterable of dicts. A list of one question gives its
        answer itself, as in transformers. start and end count characters of the context. The score is the probability of the
        answer inside its window.
        options: those of QuestionAnsweringOptions. Raises ValueError for an empty question or context.
        """
        if options.get("topk") is not None:
            warnings.warn("topk is deprecated: use top_k", FutureWarning, stacklevel=2)
            options.setdefault("top_k", options["topk"])
        for older in ("X", "data"):
            if options.get(older) is not None:
                warnings.warn(f"{older} is deprecated: use question and context", FutureWarning, stacklevel=2)
                args = (*args, options.pop(older))
        inputs = _questions(args, question, context)
        asked = self._asked(self.options, options)
        if isinstance(inputs, list) and len(inputs) == 1:
            inputs = inputs[0]
        return self._answers(inputs, asked)

    def _prepare(self, item: Any, options: QuestionAnsweringOptions) -> Prepared:
        question, context = _pair(item)
        windows = self._windows(question, context, options)
        batch = squad_batch(windows, self.tokenizer, labels=False)
        sizes = batch["attention_mask"].sum(axis=1)
        rows = [{name: batch[name][i, :n].tolist() for name in MODEL_INPUTS} for i, n in enumerate(sizes)]
        spans = [(int(a), int(b)) for a, b in windows[0].context.spans]
        ids = windows[0].context.ids.tolist()
        pieces = self.tokenizer.convert_ids_to_tokens(ids)
        for at, (start, end) in enumerate(spans):
            if ids[at] == self.tokenizer.unk_token_id:  # text that the vocabulary has no piece for, and no added token
                pieces[at] = context[start:end]
        added, starts = self.tokenizer.added_tokens_encoder, self.tokenizer.starts_word
        begins = [begins_word(piece, before, added, starts(piece)) for before, piece in pairwise([None, *pieces])]
        words = _words(begins, spans)
        return Prepared(rows, Asked(context, windows, spans, words))

    def _windows(self, question: str, context: str, options: QuestionAnsweringOptions) -> list[Window]:
        positions = self.model.config.max_position_embeddings
        size = options.max_seq_len or min(self.tokenizer.model_max_length, positions, 384)
        if size > positions:
            raise ValueError(f"max_seq_len {size} is more than the model's {positions} positions")
        asked = len(self.tokenizer.encode(question, add_special_tokens=False, verbose=False))
        kept = max(1, min(asked, options.max_question_len))
        room = size - kept - 3
        if room < 1:
            raise ValueError(
                f"a question of {asked} tokens leaves no room for the context in {size}: set max_question_len below {size - 4}"
            )
        stride = options.doc_stride
        if stride is None:
            stride = min(size // 2, 128)
            stride = stride if stride < room else room // 2
        windows, _ = squad_windows(
            [SquadExample("", question, context, ())],
            self.tokenizer,
            max_length=size,
            doc_stride=stride,
            max_query_length=kept,
            training=False,
        )
        return windows

    def _forward(self, rows: list[Row]) -> list[Array]:  # -> B × (2,T)
        out = self._called(rows)
        starts, ends = (real_tokens(logits, rows) for logits in (out.start_logits, out.end_logits))
        return [np.stack(both) for both in zip(starts, ends, strict=True)]

    def _answer(self, outputs: list[Array], note: Asked, options: QuestionAnsweringOptions) -> Any:
        most = (
            2 * options.top_k + 10 if options.align_to_words else options.top_k
        )  # as transformers: some may read alike
        spans = []
        for (start, end), window in zip(outputs, note.windows, strict=True):
            part = slice(window.offset, window.offset + window.last - window.first)
            nothing = np.array([start[0], end[0]])
            spans.append(likely_spans(start[part], end[part], nothing, most=most, max_length=options.max_answer_len))

        def place(number: int, first: int, last: int) -> tuple[int, int]:
            at, characters = note.windows[number].first, note.words if options.align_to_words else note.tokens
            return characters[at + first][0], characters[at + last][1]

        found = ranked_answers(
            spans, place, note.context, top_k=options.top_k, impossible=options.handle_impossible_answer
        )
        if not found:
            raise ValueError(f"the context {shown(repr(note.context), 60)} holds nothing that could be an answer")
        return found[0] if len(found) == 1 else found


def _words(begins: list[bool], spans: Places) -> Places:
    """For each token the characters of its whole word. begins: where a word begins."""
    found: Places = []
    first = 0
    for i in range(1, len(begins) + 1):
        if i == len(begins) or begins[i]:
            found += [(spans[first][0], spans[i - 1][1])] * (i - first)
            first = i
    return found


def _questions(args: tuple[Any, ...], question: Any, context: Any) -> Any:
    """One question, a list of questions, or an iterable, from the ways in which a call may give them."""
    if args:
        if question is not None or context is not None:
            raise ValueError("questions are given by position or as question= and context=, not in both ways")
        if len(args) == 2 and all(isinstance(arg, str) for arg in args):
            return {"question": args[0], "context": args[1]}
        given = args[0] if len(args) == 1 else list(args)
        if isinstance(given, Mapping) and isinstance(given.get("question"), (list, tuple)):
            return _questions((), given["question"], given.get("context"))
        return list(given) if isinstance(given, tuple) else given
    if question is None or context is None:
        raise ValueError("question-answering needs a question and its context")
    if isinstance(question, str):
        return {"question": question, "context": context}
    if not isinstance(question, (list, tuple)):
        raise ValueError(f"question must be a text or a list of texts; got {type(question).__name__}")
    contexts = [context] * len(question) if isinstance(context, str) else context
    if not isinstance(contexts, (list, tuple)) or len(contexts) != len(question):
        count = len(contexts) if isinstance(contexts, (list, tuple)) else type(contexts).__name__
        raise ValueError(
            f"there must be a context for each of the {len(question)} questions, or one for all; got {count}"
        )
    return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]


def _pair(item: Any) -> tuple[str, str]:
    """Question and context of an input, neither of them empty."""
    names = (
        ("question", "context") if isinstance(item, Mapping) else ("question_text", "context_text")
    )  # SquadExample's
    question, context = (item.get(x) if isinstance(item, Mapping) else getattr(item, x, None) for x in names)
    for name, value in (("question", question), ("context", context)):
        if not isinstance(value, str):
            got = (
                listed(sorted(map(str, item))) if isinstance(item, Mapping) and value is None else type(value).__name__
            )
            raise ValueError(
                f'an input of question-answering is {{"question": text, "context": text}}; {name}: got {got}'
            )
        if not value.strip():
            raise ValueError(f"the {name} is empty")
    return str(question), str(context)
