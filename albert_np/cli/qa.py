"""`albert-np qa`: the part of a text that answers a question."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, line_of, load, marked

AROUND = 60  # characters of the context that are shown on either side of an answer

EXAMPLES = """
  albert-np qa "Who wrote it?" "The book is by Emily, who wrote it in 1846." --model ./my-squad
  albert-np qa "Who wrote it?" "When?" --context-file book.txt --model ./my-squad --top-k 3
  albert-np qa questions.csv --columns context=passage --model ./my-squad --out answers.csv
  albert-np qa dev-v2.0.json --impossible --model ./my-squad --out answers.jsonl
"""


def _options(parser: argparse.ArgumentParser) -> None:
    context = parser.add_mutually_exclusive_group()
    context.add_argument(
        "--context", metavar="TEXT", help="what all questions are about; else each is followed by its own"
    )
    context.add_argument("--context-file", metavar="FILE", help="the same: a whole text file")
    parser.add_argument(
        "--top-k", type=int, default=1, metavar="K", help="answers to a question (default: %(default)s)"
    )
    parser.add_argument("--impossible", action="store_true", help="there may be no answer, which is then empty")
    parser.add_argument(
        "--max-answer-length", type=int, default=15, metavar="N", help="tokens of an answer (default: %(default)s)"
    )
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="tokens of a window (default: 384, or the model's positions)"
    )
    parser.add_argument("--doc-stride", type=int, metavar="N", help="tokens that windows of a long context share")


def _shape(args: argparse.Namespace) -> Shape:
    context = args.context
    if args.context_file is not None:
        from albert_np.text_files import read_lines

        lines = read_lines(Path(args.context_file), max_bytes=1 << 24, long_lines="error")
        context = "\n".join(line or "" for _, line in lines)
    needed = ("question", "context")
    if context is None:
        return Shape(texts=needed, needed=needed)
    return Shape(texts=("question",), needed=needed, given={"context": context})


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    pipe = load(
        args,
        "question-answering",
        top_k=args.top_k,
        handle_impossible_answer=args.impossible,
        max_answer_len=args.max_answer_length,
        max_seq_len=args.max_length,
        doc_stride=args.doc_stride,
    )

    def item(values: dict[str, Any]) -> Any:
        return {"question": values["question"], "context": values["context"]}

    columns = ("answer", "score", "start", "end") if args.top_k == 1 else ("answers",)
    return Work(of_pipeline(pipe), _text, columns, item)


def _text(values: dict[str, Any], answer: Any) -> str:
    lines = [line_of(values["question"])]
    for one in answer if isinstance(answer, list) else [answer]:
        start, end = one["start"], one["end"]
        first, last = max(0, start - AROUND), min(len(values["context"]), end + AROUND)
        part = marked(values["context"][first:last], [(start - first, end - first, "")])
        place = f"{'…' if first else ''}{part}{'…' if last < len(values['context']) else ''}"
        lines.append(f"  {one['score']:7.4f}  {line_of(place, 300) if one['answer'] else '(no answer)'}")
    return "\n".join(lines)


COMMAND = Command(
    name="qa",
    help="the part of a text that answers a question",
    description="Finds the answer to each question in its context, as a model for question answering sees it.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=_shape,
    options=_options,
    work=_work,
    task="question-answering",
)
