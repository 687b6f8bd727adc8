#!/usr/bin/env python3
"""Ten sentences and the embedded model's answers: prints the table that tools/draw_docs.py puts into docs/fill-mask.md.

The answers are those of the weights in albert_np/demo: where these change, the page is drawn again.
"""

from __future__ import annotations

from albert_np import pipeline

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


if __name__ == "__main__":
    print(table(), end="")
