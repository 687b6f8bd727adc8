#!/usr/bin/env python3
"""Ten sentences and the embedded model's answers: the table of docs/fill-mask.md.

    python tools/show_demo.py            # prints it
    python tools/show_demo.py --write    # puts it into the page too, between its two marks

The answers are those of the weights in albert_np/demo: where these change, the table is made again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from albert_np import pipeline
from albert_np.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "fill-mask.md"
MARKS = "<!-- tools/show_demo.py -->\n", "<!-- end of the table -->\n"
# of the kind that its books hold. A mark right behind [MASK] would come as a piece of its own after a space, "▁" and ".",
# as it never does in a text that was not masked by hand
SENTENCES = (
    "There was a knock at the [MASK] and a boy came in.",
    "I do not [MASK] what you mean.",
    "He was very [MASK] to hear of her illness.",
    "He took off his [MASK] and sat down by the fire.",
    "She opened the [MASK] and looked out into the garden.",
    "It was a cold [MASK] in the middle of winter.",
    "They sailed down the [MASK] towards the sea.",
    "The captain ordered his men to lower the [MASK] at once.",
    "His mother had died when he was a [MASK] of six.",
    "She had not slept, and her [MASK] were red with weeping.",
)


def table() -> str:
    """Markdown, a row a sentence, the three likeliest answers first to last."""
    lines = ["| sentence | answers |", "|---|---|"]
    for text, answers in zip(SENTENCES, pipeline("fill-mask", "demo")(list(SENTENCES), top_k=3), strict=True):
        words = ", ".join(f"`{answer['token_str']}` {_percent(answer['score'])}" for answer in answers)
        lines.append(f"| {text} | {words} |")
    return "\n".join(lines) + "\n"


def _percent(score: float) -> str:
    return f"{100 * score:.0f} %" if score >= 0.01 else "< 1 %"


def put_into(text: str, rows: str) -> str:
    """The text with these rows between the marks, in place of what is there. ValueError where it has no marks."""
    begin, end = MARKS
    before, _, rest = text.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"the marks are missing: {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{rows}\n{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show what the embedded model answers to ten sentences.")
    parser.add_argument(
        "--write",
        nargs="?",
        const=PAGE,
        type=Path,
        metavar="FILE",
        help="put the table into docs/fill-mask.md too, or a FILE",
    )
    args = parser.parse_args(arguments)
    try:
        rows = table()
        if args.write is not None:
            write_atomically(args.write, put_into(args.write.read_text("utf-8"), rows).encode())
    except (ValueError, OSError) as error:
        print(f"show_demo: {error}", file=sys.stderr)
        return 1
    print(rows, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
