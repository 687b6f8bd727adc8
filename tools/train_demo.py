#!/usr/bin/env python3
"""Trains the embedded model, albert_np/demo: the exact recipe, its seeds, and nothing left to chance.

    python tools/train_demo.py --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2
    python tools/train_demo.py --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2 --resume

The defaults are the recipe. What it makes in --output: training.txt and held_out.txt (demo_corpus.py), the vocabulary (from the
training text alone), recipe.json, and what albert_np.training.pretrain writes. A training that was stopped, at any moment,
goes on with --resume, and ends with the same bits as one that never stopped. The best checkpoint by held-out loss is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

import demo_corpus  # noqa: E402
import machine  # noqa: E402

from albert_np.files import write_atomically  # noqa: E402
from albert_np.training.documents import TextForm  # noqa: E402
from albert_np.training.loop import Plan, Trained  # noqa: E402
from albert_np.training.optimizers import AdamW  # noqa: E402
from albert_np.training.pretrain import pretrain  # noqa: E402
from albert_np.training.pretraining import PretrainingOptions  # noqa: E402

RECIPE_NAME = "recipe.json"


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
    parser.add_argument("--start", metavar="DIR", help="begin with the weights and the vocabulary of this folder")
    parser.add_argument("--hours", type=float, metavar="H", help="stop after so many, with a checkpoint")
    parser.add_argument("--stop-at", type=int, metavar="STEP", help="stop there, with a checkpoint, as after --hours")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend; they change no bit")
    parser.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto")
    recipe = parser.add_argument_group("the recipe")
    for option, default, meaning in (
        ("--vocab-size", 8000, "pieces of the vocabulary"),
        ("--embedding-size", 128, "E"),
        ("--hidden-size", 256, "H; the intermediate size is four times that"),
        ("--layers", 6, "L, applications of the one shared layer"),
        ("--heads", 4, "N"),
        ("--max-length", 128, "T, of an example and of the position table"),
        ("--batch-size", 32, "examples of a step"),
        ("--accumulate", 1, "batches of a step"),
        ("--steps", 40_000, "of the whole training, which the learning rate follows"),
        ("--warmup-steps", 1000, "steps in which the learning rate rises"),
        ("--cooldown-steps", 10_000, "last steps, in which it falls to 0"),
        ("--max-ngram", 1, "words that are hidden together, at most"),
        ("--evaluate-every", 250, "steps between evaluations on the held-out books"),
        ("--evaluation-batches", 20, "batches of an evaluation"),
        ("--save-every", 250, "steps between checkpoints"),
        ("--log-every", 25, "steps between lines of the log"),
        ("--seed", 0, "of the weights, of the order of the text, and of what is hidden in it"),
    ):
        recipe.add_argument(option, type=int, default=default, metavar="N", help=meaning)
    for option, default, meaning in (
        ("--learning-rate", 1e-3, "the highest"),
        ("--beta2", 0.98, "AdamW's second beta; the first is 0.9"),
        ("--weight-decay", 0.01, "AdamW's"),
        ("--mask-probability", 0.2, "the part of an example's tokens that is to be guessed"),
        ("--short-probability", 0.1, "the part of the examples that are shorter"),
    ):
        recipe.add_argument(option, type=float, default=default, metavar="X", help=meaning)
    return parser


def train(args: argparse.Namespace) -> Trained:
    """One training as the arguments say. Raises ValueError or OSError."""
    output = Path(args.output)
    # first: it says at once what does not fit
    schedule = Trapezoid(args.learning_rate, args.warmup_steps, args.cooldown_steps, args.steps)
    last = args.steps if args.stop_at is None else min(args.stop_at, args.steps)
    parts = demo_corpus.part(args.corpus, args.books, output)
    machine_only = ("corpus", "books", "output", "resume", "hours", "stop_at", "threads", "backend")
    recipe = {name: value for name, value in vars(args).items() if name not in machine_only}
    note = {"recipe": recipe, "corpus": parts.facts, "machine": machine.machine()}
    write_atomically(output / RECIPE_NAME, json.dumps(note, indent=1, ensure_ascii=False).encode() + b"\n")
    with threads(args.threads):
        return pretrain(
            demo_corpus.loosen(parts.training), output, held_out=parts.held_out, form=TextForm(lines="paragraphs"),
            vocab_size=args.vocab_size, start=args.start, seed=args.seed, backend=args.backend, resume=args.resume,
            config={
                "embedding_size": args.embedding_size, "hidden_size": args.hidden_size,
                "intermediate_size": 4 * args.hidden_size, "num_hidden_layers": args.layers,
                "num_attention_heads": args.heads,
            },
            # "google": marks are words, so that a full stop is not always hidden with the last word of its sentence
            options=PretrainingOptions(
                args.max_length, short_probability=args.short_probability, mask_probability=args.mask_probability,
                max_ngram=args.max_ngram, word_rule="google",
            ),
            batch_size=args.batch_size, optimizer=AdamW((0.9, args.beta2), weight_decay=args.weight_decay),
            schedule=schedule, evaluation_batches=args.evaluation_batches, progress=True,
            plan=Plan(
                last, hours=args.hours, accumulate=args.accumulate, dropout=False, seed=args.seed,
                log_every=args.log_every, evaluate_every=args.evaluate_every, save_every=args.save_every,
                best="loss", smallest_is_best=True,
            ),
        )  # fmt: skip


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
        print(f"train_demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:  # the loop says how to go on
        print(f"train_demo: {error or 'interrupted'}", file=sys.stderr)
        return 1
    print(f"step {trained.step} ({trained.stopped}): {trained.checkpoint}")
    for name, value in trained.metrics.items():
        print(f"  {name} {'not finite' if value is None else format(value, '.4f')}")
    if trained.best is not None:
        print(f"  best: {trained.best['metric']} {trained.best['value']:.4f} at step {trained.best['step']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
