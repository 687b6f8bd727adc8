"""Long work on many inputs: in order, at a memory that does not grow, into a file that a kill does not harm.

An input is (place, item). The place goes into messages. The item is what a pipeline takes; or, for a row that cannot be read, a
ValueError that says its place itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from albert_np.pipelines.job_files import GrowingFile

# Inputs that are read ahead, so that rows of like length are computed together. With ALBERT-base on two threads and lines of
# log-normal lengths, windows of 64, 256 and 1,024 lines, and 512 to 8,192 tokens at once (pipelines.base.TOKENS_AT_ONCE), took
# 9.3 to 9.7 s of CPU time for 300 lines: padding is not computed, so little depends on them. 256 and 2,048 took the least.
WINDOW = 256
FIRST_WINDOW = 32
SECONDS = 5.0  # of work in a window, about: whatever stops a job, it loses no more

Input = tuple[str, Any]
Ask = Callable[[list[Any]], Iterable[Any]]  # items -> for each an answer, or a ValueError where it has none


class Answered(NamedTuple):
    """Inputs and their answers, in order."""

    items: list[Any]
    answers: list[Any]


def of_pipeline(pipe: Callable[..., Any], **options: Any) -> Ask:
    """What asks a pipeline. options: those of its calls."""

    def ask(items: list[Any]) -> Iterator[Any]:
        answers = pipe(iter(items), batch_size=max(1, len(items)), on_error="skip", **options)
        for number, answer in enumerate(answers):
            if isinstance(answer, dict) and set(answer) == {"error"}:
                yield ValueError(answer["error"].removeprefix(f"input {number}: "))
            else:
                yield answer

    return ask


def answered(inputs: Iterator[Input], ask: Ask, *, window: int = WINDOW, skip: bool = False) -> Iterator[Answered]:
    """The answers to inputs, a window at a time. skip: whether an input without an answer has a ValueError in its place.

    Without it the answers before it come first, then the error is raised. A window is smaller where it would take long.
    """
    size = min(window, FIRST_WINDOW)
    while block := list(islice(inputs, size)):
        start = time.monotonic()
        answers = iter(ask([item for _, item in block if not isinstance(item, ValueError)]))
        found: list[Any] = []
        for place, item in block:
            answer = item if isinstance(item, ValueError) else next(answers)
            if isinstance(answer, ValueError) and answer is not item and place:
                answer = ValueError(f"{place}: {answer}")
            if isinstance(answer, ValueError) and not skip:
                yield Answered([item for _, item in block[: len(found)]], found)
                raise answer
            found.append(answer)
        yield Answered([item for _, item in block], found)
        size = max(1, min(window, int(size * SECONDS / max(time.monotonic() - start, 1e-3))))


def run(
    inputs: Iterator[Input],
    ask: Ask,
    file: GrowingFile,
    *,
    window: int = WINDOW,
    skip: bool = False,
    progress: Callable[[int], Any] = lambda rows: None,
) -> None:
    """Writes the answers to all inputs into a file. progress is told how many rows there are more, each time."""
    if file.complete:
        return
    with file:
        left = file.behind(inputs)
        for items, answers in answered(left, ask, window=window, skip=skip):
            file.add(items, answers)
            progress(len(answers))
