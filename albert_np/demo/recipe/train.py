"""Trains the embedded model, albert_np/demo: the exact recipe, its seeds, and nothing left to chance.

    python -m albert_np.demo.recipe.train --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2
    python -m albert_np.demo.recipe.train --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2 --resume

The defaults are the recipe, in three stages, each from the weights of the one before:

1. The layer is applied --first-layers times, from weights that look at the neighbours (start.py) and words whose vectors
   are counted (words.py): the fewer the applications, the sooner it finds out what context is good for.
2. The same weights, applied --layers times.
3. Some of the examples are a single segment, as a text is when a model is asked about it; the learning rate falls to 0.

What it makes in --output: training.txt and held_out.txt and both as documents (corpus.py), the vocabulary (from the
training text alone), recipe.json, the first two stages in first/ and second/, and what albert_np.training.pretrain writes.
A training that was stopped, at any moment, goes on with --resume, and ends with the same bits as one that never stopped. The
best checkpoint by held-out loss is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from albert_np import AlbertForPreTraining, AlbertTokenizer, machine
from albert_np.demo.recipe import corpus
from albert_np.demo.recipe.start import look_at_neighbours
from albert_np.demo.recipe.words import count_words
from albert_np.files import write_atomically
from albert_np.training.checkpoints import latest_checkpoint
from albert_np.training.documents import TextForm
from albert_np.training.loop import Plan, Trained
from albert_np.training.muon import Muon
from albert_np.training.optimizers import AdamW
from albert_np.training.pretrain import pretrain
from albert_np.training.pretraining import PretrainingOptions
from albert_np.training.token_corpus import tokenize_corpus

RECIPE_NAME = "recipe.json"
STAGES = "first", "second"  # folders; the last stage has the training's own
FORM = TextForm(lines="paragraphs")


@dataclass(frozen=True)
class Trapezoid:
    """Step -> learning rate: up to the peak in warmup steps, flat, down to 0 in the last `cooldown` steps.

    While it is flat, the length of the training is open: it may be resumed with more steps and nothing changes so far.
    """

    peak: float
    warmup: int
    cooldown: int
    total: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise ValueError(f"the learning rate must be a finite number above 0; got {self.peak}")
        if self.warmup < 0 or self.cooldown < 0 or self.warmup + self.cooldown > self.total:
            raise ValueError(
                f"a warm-up of {self.warmup} steps and a cool-down of {self.cooldown} do not fit into {self.total} steps"
            )

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        return self.peak * min(1.0, max(0, self.total - step) / max(1, self.cooldown))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train the embedded model. The defaults are its recipe.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--corpus", required=True, metavar="FILE", help="the text of all books")
    parser.add_argument("--books", required=True, metavar="FILE", help="the list of the books, BOOKS.md")
    parser.add_argument("--output", required=True, metavar="DIR", help="where everything goes")
    parser.add_argument("--resume", action="store_true", help="go on from the latest checkpoint in --output")
    parser.add_argument(
        "--start", metavar="DIR", help="the weights and the vocabulary of this folder, and the last stage alone"
    )
    parser.add_argument("--hours", type=float, metavar="H", help="stop after so many, with a checkpoint")
    parser.add_argument("--stop-at", type=int, metavar="STEP", help="as --hours, at a step of the last stage")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend; they change no bit")
    parser.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto")
    recipe = parser.add_argument_group("the recipe")
    for option, default, meaning in (
        ("--vocab-size", 8000, "pieces of the vocabulary"),
        ("--embedding-size", 128, "E"),
        ("--hidden-size", 256, "H; the intermediate size is four times that"),
        ("--layers", 6, "L, applications of the one shared layer"),
        ("--heads", 8, "N"),
        ("--max-length", 128, "T, of an example and of the position table"),
        ("--batch-size", 16, "examples of a batch"),
        ("--accumulate", 2, "batches of a step, side by side where there are cores for them"),
        ("--first-layers", 2, "applications in the first stage"),
        ("--first-steps", 4000, "of the first stage"),
        ("--second-steps", 2500, "of the second stage"),
        ("--steps", 6000, "of the last stage"),
        ("--warmup-steps", 100, "steps in which the learning rate rises, at the beginning of each stage"),
        ("--cooldown-steps", 5900, "last steps, in which it falls to 0"),
        ("--max-ngram", 1, "pieces that are hidden together, at most"),
        ("--evaluate-every", 250, "steps between evaluations on the held-out books"),
        ("--evaluation-batches", 40, "batches of an evaluation"),
        ("--save-every", 250, "steps between checkpoints"),
        ("--log-every", 25, "steps between lines of the log"),
        ("--seed", 0, "of the weights, of the order of the text, and of what is hidden in it"),
    ):
        recipe.add_argument(option, type=int, default=default, metavar="N", help=meaning)
    for option, value, meaning in (
        ("--first-learning-rate", 1e-3, "the highest of the first stage"),
        ("--learning-rate", 5e-4, "the highest of the others: what changes a layer changes every application of it"),
        ("--momentum", 0.95, "Muon's, of the encoder's matrices"),
        ("--beta2", 0.98, "AdamW's second beta, of everything else; the first is 0.9"),
        ("--weight-decay", 0.01, "of both"),
        ("--initializer-range", 0.05, "the deviation of random weights"),
        ("--mask-probability", 0.25, "the part of an example's tokens that is to be guessed"),
        ("--short-probability", 0.1, "the part of the examples that are shorter"),
        ("--single-probability", 0.5, "the part of the last stage's examples that is a single segment"),
    ):
        recipe.add_argument(option, type=float, default=value, metavar="X", help=meaning)
    return parser


@dataclass(frozen=True)
class Stage:
    """A part of the training: how deep the model is, and how fast it learns."""

    folder: Path
    layers: int
    schedule: Trapezoid
    single_probability: float = 0.0


def stages_of(args: argparse.Namespace) -> list[Stage]:
    output, warmup, rate = Path(args.output), args.warmup_steps, args.learning_rate
    first, second = (output / name for name in STAGES)
    return [
        Stage(first, args.first_layers, Trapezoid(args.first_learning_rate, warmup, 0, args.first_steps)),
        Stage(second, args.layers, Trapezoid(rate, warmup, 0, args.second_steps)),
        Stage(output, args.layers, Trapezoid(rate, warmup, args.cooldown_steps, args.steps), args.single_probability),
    ]


def train(args: argparse.Namespace) -> Trained:
    """One training as the arguments say. Raises ValueError or OSError."""
    output, start, began = Path(args.output), args.start, time.monotonic()
    stages = stages_of(args)  # before anything is read: they say at once what does not fit
    parts = corpus.part(args.corpus, args.books, output)
    training = corpus.documents(parts.training, corpus.LOOSE)
    held_out = corpus.documents(parts.held_out)
    machine_only = ("corpus", "books", "output", "resume", "hours", "stop_at", "threads", "backend")
    recipe = {name: value for name, value in vars(args).items() if name not in machine_only}
    note = {"recipe": recipe, "corpus": parts.facts, "machine": machine.facts()}
    write_atomically(output / RECIPE_NAME, json.dumps(note, indent=1, ensure_ascii=False).encode() + b"\n")
    with threads(args.threads):
        for number, stage in enumerate(stages):
            last = stage is stages[-1]
            if args.start is not None and not last:
                continue
            end = stage.folder / f"checkpoint-{stage.schedule.total}"
            if not (args.resume and not last and end.is_dir()):
                hours = None if args.hours is None else max(args.hours - (time.monotonic() - began) / 3600, 1e-6)
                # each has pairs and masks of its own
                trained = _train_stage(args, stage, training, held_out, args.seed + number, hours, start)
                if trained.stopped != "steps":
                    break
            start = end
    return trained


def _train_stage(
    args: argparse.Namespace,
    stage: Stage,
    training: Path,
    held_out: Path,
    seed: int,
    hours: float | None,
    start: str | Path | None,
) -> Trained:
    """Steps of one stage, from its beginning or from its latest checkpoint."""

    def begin(model: AlbertForPreTraining) -> None:
        """What the weights are before the first step, where there are none to start from."""
        tokenizer = AlbertTokenizer.from_pretrained(stage.folder / "tokenizer")
        tokens = tokenize_corpus([training], tokenizer, FORM, cache_dir=stage.folder / "tokens")  # there already
        count_words(model, np.asarray(tokens.ids))
        look_at_neighbours(model)

    steps = stage.schedule.total
    if args.stop_at is not None and stage.folder == Path(args.output):
        steps = min(args.stop_at, steps)
    return pretrain(
        training,
        stage.folder,
        held_out=held_out,
        form=FORM,
        group_by_length=True,
        vocab_size=args.vocab_size,
        seed=seed,
        backend=args.backend,
        start=start,
        initial=begin,
        # another stage may have been the one that stopped
        resume=args.resume and latest_checkpoint(stage.folder) is not None,
        config={
            "embedding_size": args.embedding_size,
            "hidden_size": args.hidden_size,
            "intermediate_size": 4 * args.hidden_size,
            "num_hidden_layers": stage.layers,
            "num_attention_heads": args.heads,
            "initializer_range": args.initializer_range,
        },
        # single pieces are hidden, as where the model is asked: the rest of a word says much about a piece of it
        options=PretrainingOptions(
            args.max_length,
            short_probability=args.short_probability,
            mask_probability=args.mask_probability,
            single_probability=stage.single_probability,
            max_ngram=args.max_ngram,
            word_rule="piece",
        ),
        batch_size=args.batch_size,
        optimizer=Muon(args.momentum, AdamW((0.9, args.beta2), weight_decay=args.weight_decay)),
        schedule=stage.schedule,
        evaluation_batches=args.evaluation_batches,
        progress=True,
        plan=Plan(
            steps,
            hours=hours,
            accumulate=args.accumulate,
            dropout=False,
            seed=seed,
            log_every=args.log_every,
            evaluate_every=args.evaluate_every,
            save_every=args.save_every,
            best="loss",
            smallest_is_best=True,
        ),
    )


def threads(number: int | None) -> contextlib.AbstractContextManager:
    if number is None:
        return contextlib.nullcontext()
    from albert_np.kernels.cpu.threads import checked, num_threads

    return num_threads(checked(number, "--threads"))


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        trained = train(args)
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:  # the loop says how to go on
        print(f"train: {error or 'interrupted'}", file=sys.stderr)
        return 1
    print(f"step {trained.step} ({trained.stopped}): {trained.checkpoint}")
    for name, value in trained.metrics.items():
        print(f"  {name} {'not finite' if value is None else format(value, '.4f')}")
    if trained.best is not None:
        print(f"  best: {trained.best['metric']} {trained.best['value']:.4f} at step {trained.best['step']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
