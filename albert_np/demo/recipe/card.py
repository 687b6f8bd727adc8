"""The model card of albert_np/demo and its picture, from what training and evaluation left: no figure is typed by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from albert_np import AlbertConfig
from albert_np.files import atomic_path
from albert_np.training import log

# what was measured on the masked tokens, and what it is called
MEASURED = {
    "model": "model",
    "neighbours": "counts, both neighbours",
    "seen": "counts, neighbours the model sees",
    "unigram": "counts alone",
}


def model_card(
    config: AlbertConfig, parameters: int, progress: dict[str, Any], run: dict[str, Any], figures: dict[str, Any]
) -> str:
    """Markdown. progress: tokens and seconds of all stages; run: recipe.json.

    figures: what evaluate.judge gave, and the weights'.
    """
    recipe, corpus, machine = run["recipe"], run["corpus"], run["machine"]
    training, held_out = corpus["training"], corpus["held_out"]
    masked, weights = figures["masked"], figures["weights"]
    pairs = recipe["batch_size"] * recipe["accumulate"]
    titles = ", ".join(f"*{book['title']}* ({book['author']})" for book in held_out["titles"])
    known = " ".join(
        f"The training text has {book['others_by_the_author']} other books by {book['author']}."
        for book in held_out["titles"]
        if book["others_by_the_author"]
    )
    n = recipe["max_ngram"]
    chosen = "each piece by itself" if n == 1 else f"up to {n} pieces in a row"
    rows = "\n".join(
        f"| {title} | {_percent(masked[name], 'top1')} | {_percent(masked[name], 'top5')} |"
        for name, title in MEASURED.items()
    )
    books = "\n".join(
        f"| {title} | {x['tokens']:,} | {_percent(x['model'], 'top1')} | {_percent(x['neighbours'], 'top1')} |"
        for title, x in figures["books"].items()
    )
    began = "from the weights of an earlier training"
    if recipe["start"] is None:
        began = (
            f"first {recipe['first_steps']:,} steps with the layer applied {recipe['first_layers']} times, from word vectors "
            "that are counted on\n  the training text (recipe/words.py) and heads that look at their neighbours "
            f"(recipe/start.py); then\n  {recipe['second_steps']:,} steps with all applications"
        )
    data = wrapped(
        f"""{training["books"]} books of [Standard Ebooks](https://standardebooks.org), {training["words"]:,} words: novels,
        tales, essays and science, 1839 to 1930. The texts are believed to be in the public domain in the United States, and the
        edition work is CC0 1.0; elsewhere, copyright may still hold. {held_out["books"]} whole books,
        {held_out["words"]:,} words, were held out, from the vocabulary too: {titles}. {known} sha256 of the corpus:
        `{corpus["sha256"]}`."""
    )
    reached = wrapped(
        f"""This is the checkpoint of step {figures["step"]:,} after that: {progress["tokens"]:,} tokens in
        {progress["seconds"] / 3600:.1f} hours in all, on {machine["cpu"]} (NumPy {machine["numpy"]}, Numba
        {machine.get("numba", "absent")})."""
    )
    verdict = _verdict(masked["top1_over_neighbours"], figures["order"])
    return f"""---
language: en
license: apache-2.0
library_name: albert_np
pipeline_tag: fill-mask
tags: [albert, numpy]
---

# The embedded model of albert_np

A small ALBERT ([Lan et al. 2019](https://arxiv.org/abs/1909.11942)) that albert_np trained with its own kernels, so that
everything works out of the box: `from_pretrained("demo")`, `pipeline("fill-mask")`, `albert-np fill-mask "..."`. It is for
trying things out and for teaching; it knows the prose of some sixty books and nothing else.

| | |
|---|---|
| vocabulary V, embedding E | {config.vocab_size:,}, {config.embedding_size} |
| hidden H, intermediate I, heads N | {config.hidden_size}, {config.intermediate_size}, {config.num_attention_heads} |
| layers L, all with the same weights | {config.num_hidden_layers} |
| positions | {config.max_position_embeddings} |
| parameters | {parameters:,} |
| weights | {weights["dtype"]}, with the heads for masked words and for sentence order |

## Data

{data}

## Training

`python -m albert_np.demo.recipe.train`, on paragraphs, cut into pairs of up to {recipe["max_length"]} tokens, {pairs} a step:

- masked words, {100 * recipe["mask_probability"]:g} % of the tokens, {chosen}, and the order of the two segments;
- one paragraph in twenty has spaces before its marks, as a text has behind [MASK];
- {began}; in the last stage {100 * recipe["single_probability"]:g} % of the
  examples are a single segment, without an order;
- Muon for the encoder's matrices, momentum {recipe["momentum"]:g}, AdamW for everything else, betas 0.9 and
  {recipe["beta2"]:g}; weight decay {recipe["weight_decay"]:g}, no dropout;
- learning rate {recipe["first_learning_rate"]:g} and then {recipe["learning_rate"]:g}, each reached after
  {recipe["warmup_steps"]:,} steps, and falling to 0 in the last {recipe["cooldown_steps"]:,} of {recipe["steps"]:,};
- seed {recipe["seed"]}, float32.

{reached}

![loss](loss.png)

## Held-out figures

Of each paragraph of the held-out books, cut to {figures["max_length"]} tokens, 15 % of the tokens, single ones drawn at
random (seed {figures["seed"]}), were replaced by [MASK]: {masked["tokens"]:,} tokens. Counts of the training text answer with
p(w|left) · p(w|right) / p(w); they see both neighbours, also where the model does not. ± is one standard deviation.

| | first answer right | among the first five |
|---|---:|---:|
{rows}

{verdict}

| held-out book | masked tokens | this model | counts, both neighbours |
|---|---:|---:|---:|
{books}

Mean loss of a masked token: {masked["loss"]:.4f} with these weights, {weights["loss_float32"]:.4f} in float32.
`python -m albert_np.demo.recipe.evaluate` gives the figures again; they are in evaluation.json.

## Limits and bias

- It reads and writes nineteenth- and early twentieth-century British and American prose, in small letters. Of later words,
  facts and spellings it knows nothing, and of facts altogether little: an answer is what such a book might say.
- The books hold the prejudices of their time, about women, peoples, races, religions and classes, and so does the model. Its
  scores are no judgement of people, and must not be used for one.
- It is small, and read {training["bytes"] / 1e6:.0f} MB of text, where the published models read 16 GB. For work, take one of
  those.
"""


def _verdict(ratio: float | None, order: dict[str, Any] | None) -> str:
    sentences = []
    if ratio is not None:
        sentences.append(
            f"The model's first answer is right {ratio:.2f} times as often as that of both neighbours' counts."
        )
    if order is not None:
        sentences.append(
            f"Sentence order, the halves of a paragraph in order or swapped: {_percent(order, 'accuracy', 'error')} right, of "
            f"{order['paragraphs']:,} paragraphs, both ways (chance is 50 %)."
        )
    return wrapped(" ".join(sentences))


def wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _percent(x: dict[str, float], name: str, error: str | None = None) -> str:
    return f"{100 * x[name]:.1f} % ± {100 * x[error or f'{name}_error']:.1f}"


def loss_curve(log_paths: list[Path], picture_path: Path) -> None:
    """A PNG of the logs of a training's stages: losses above, what was right on the held-out books below.

    Raises OSError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OSError("the loss curve is drawn by matplotlib: pip install matplotlib") from error
    lines: list[dict[str, Any]] = []
    ends = [0]  # of the stages
    for path in log_paths:
        lines += [line | {"step": line["step"] + ends[-1]} for line in log.read(path)]
        ends.append(max((line["step"] for line in lines), default=0))
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    trained = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    evaluated = [(line["step"], line["evaluation"]) for line in lines if "evaluation" in line]
    above.plot(*zip(*trained, strict=True), color="C0", linewidth=0.7, alpha=0.6, label="training text")
    for axes, name, colour, label in (
        (above, "loss", "C1", "held-out books"),
        (below, "masked_word_accuracy", "C2", "hidden words"),
        (below, "sentence_order_accuracy", "C3", "sentence order"),
    ):
        points = [(step, metrics[name]) for step, metrics in evaluated if metrics.get(name) is not None]
        axes.plot([step for step, _ in points], [value for _, value in points], color=colour, label=label)
    above.set_ylabel("loss: masked words + sentence order")
    below.set_ylabel("right, held-out books")
    below.set_xlabel("step")
    for axes in (above, below):
        for end in ends[1:-1]:
            said = "the next stage" if end == ends[1] else None
            axes.axvline(end, color="grey", linewidth=0.8, linestyle=":", label=said)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(picture_path) as temporary:
        figure.savefig(temporary, format="png")
