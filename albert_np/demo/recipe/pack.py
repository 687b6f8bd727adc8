"""Makes albert_np/demo of a checkpoint of train.py: half-precision weights, vocabulary, model card, loss curve.

    python -m albert_np.demo.recipe.pack runs/demo/checkpoint-40000 --corpus standard_ebooks.txt --books BOOKS.md

Weights become float16 or bfloat16, whichever has the held-out loss nearer to the checkpoint's own. The model card's figures are
those of the weights as they are packed. Nothing is written unless all of it together stays below 6 MB. README.md's table of
answers (tools/draw_docs.py) and the outputs of the notebook are of these weights too, and made again after this.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import WEIGHTS_NAME
from albert_np.demo.recipe import evaluate
from albert_np.demo.recipe.card import loss_curve, model_card
from albert_np.demo.recipe.train import RECIPE_NAME, STAGES
from albert_np.files import read_json, write_atomically
from albert_np.ops import Array
from albert_np.tokenization.files import CONFIG, VOCAB
from albert_np.training import log
from albert_np.training.checkpoints import Checkpoint, latest_checkpoint, read_checkpoint
from albert_np.training.token_corpus import TokenCorpus

LIMIT = 6_000_000  # bytes of everything in the folder
FILES = (WEIGHTS_NAME, "config.json", VOCAB, CONFIG)
CARD_NAME, PICTURE_NAME, EVALUATION_NAME = "README.md", "loss.png", "evaluation.json"
HALVES = ("float16", "bfloat16")


def to_half(x: Array, dtype: str) -> Array | None:  # (…) float32 -> (…) float16, or uint16 that holds bfloat16
    """The nearest values, of two equally near ones the even; None where one is out of range."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            nearest = x.astype(np.float16)
        return nearest if np.isfinite(nearest).all() else None
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    half = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return half if (half & 0x7F80 != 0x7F80).all() else None  # an exponent of ones is infinity or NaN


def write_halved(model: AlbertForPreTraining, tokenizer: AlbertTokenizer, folder: Path, dtype: str) -> bool:
    """The four files that are loaded, and no other; False, and nothing, where a weight is out of the dtype's range."""
    if not write_weights(model, folder, dtype):
        return False
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in FILES:
            path.unlink()
    return True


def write_weights(model: AlbertPreTrainedModel, folder: Path, dtype: str) -> bool:
    """config.json and model.safetensors; False, and nothing, where a weight is out of the dtype's range."""
    halved = {name: to_half(x, dtype) for name, x in model.named_parameters()}
    if any(x is None for x in halved.values()):
        return False
    model.config.replace(architectures=[type(model).__name__], dtype=dtype).save_pretrained(folder)
    stored = {name: x for name, x in halved.items() if x is not None}
    safetensors.write(folder / WEIGHTS_NAME, as_tensors(stored, {"float16": "F16", "bfloat16": "BF16"}[dtype]))
    return True


def held_out_loss(folder: Path, books: Mapping[str, list[str]], seed: int, backend: str, progress: bool) -> float:
    model, tokenizer = evaluate.load(folder, backend), AlbertTokenizer.from_pretrained(folder)
    length = min(evaluate.LENGTH, model.config.max_position_embeddings)
    examples = evaluate.masked_paragraphs(tokenizer, list(books.values()), length, seed)
    return float(evaluate.model_ranks(model, tokenizer, examples, progress)[1].mean())


def pack(
    checkpoint: str | Path,
    training: TokenCorpus,
    books: dict[str, list[str]],
    output: str | Path,
    *,
    seed: int = 0,
    backend: str = "auto",
    limit: int = LIMIT,
    progress: bool = False,
) -> dict[str, Any]:
    """Writes the model's folder; what else lies there stays. Returns the figures on the model card.

    Raises ValueError (no checkpoint of the recipe, weights beyond both dtypes, more bytes than the limit) or OSError.
    """
    stages, recipe = _read_run(Path(checkpoint))
    found = stages[-1]
    model = AlbertForPreTraining.from_pretrained(found.path, backend=backend)
    positions = model.config.max_position_embeddings
    tokenizer = AlbertTokenizer.from_pretrained(found.path, model_max_length=positions)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {dtype: Path(temporary) / dtype for dtype in HALVES}
        whole = held_out_loss(found.path, books, seed, backend, progress)
        losses = {
            dtype: held_out_loss(folder, books, seed, backend, progress)
            for dtype, folder in folders.items()
            if write_halved(model, tokenizer, folder, dtype)
        }
        if not losses:
            raise ValueError(f"{found.path} holds weights beyond the range of float16 and of bfloat16")
        dtype = min(losses, key=lambda name: abs(losses[name] - whole))
        folder = folders[dtype]
        figures = evaluate.judge(folder, training, books, seed=seed, backend=backend, progress=progress)
        figures |= {"checkpoint": found.path.name, "step": found.step}
        figures["weights"] = {"dtype": dtype, "loss_float32": whole} | {f"loss_{x}": losses[x] for x in losses}
        (folder / EVALUATION_NAME).write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
        loss_curve([stage.path.parent / log.LOG_NAME for stage in stages], folder / PICTURE_NAME)
        spent = {name: sum(stage.state["progress"][name] for stage in stages) for name in ("tokens", "seconds")}
        card = model_card(model.config, model.num_parameters(), spent, recipe, figures)
        (folder / CARD_NAME).write_text(card, "utf-8")
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        if sum(sizes.values()) > limit:
            listed = ", ".join(f"{name} {size:,}" for name, size in sorted(sizes.items()))
            raise ValueError(
                f"the folder would be {sum(sizes.values()):,} bytes, and at most {limit:,} are packed: {listed}"
            )
        Path(output).mkdir(parents=True, exist_ok=True)
        # the weights last: with the config of a smaller model they would be refused, without them nothing is loaded
        for name in sorted(sizes, key=lambda name: name == WEIGHTS_NAME):
            write_atomically(Path(output) / name, (folder / name).read_bytes())
    return figures


def _read_run(checkpoint: Path) -> tuple[list[Checkpoint], dict[str, Any]]:
    """The ends of the stages before, where there were any, and a checkpoint of the last; the recipe beside it."""
    found = read_checkpoint(checkpoint)
    if found is None or not (checkpoint.parent / RECIPE_NAME).is_file():
        raise ValueError(f"{checkpoint} is no checkpoint of the demo's recipe: {RECIPE_NAME} lies beside those")
    before = [latest_checkpoint(checkpoint.parent / name) for name in STAGES]
    return [*(x for x in before if x is not None), found], read_json(checkpoint.parent / RECIPE_NAME, 1 << 20)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make albert_np/demo of a checkpoint: half precision, with a model card."
    )
    parser.add_argument("checkpoint", help="a checkpoint of albert_np.demo.recipe.train")
    evaluate.add_options(parser)
    default = Path(__file__).parents[1]
    parser.add_argument("--output", default=str(default), metavar="DIR", help="where to (default: albert_np/demo)")
    args = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = AlbertTokenizer.from_pretrained(args.checkpoint)
            training, books, _ = evaluate.read_corpus(args, folder, tokenizer, True)
            figures = pack(
                args.checkpoint, training, books, args.output, seed=args.seed, backend=args.backend, progress=True
            )
    except (ValueError, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(evaluate.table(figures))
    packed = (*FILES, CARD_NAME, PICTURE_NAME, EVALUATION_NAME)
    total = sum((Path(args.output) / name).stat().st_size for name in packed)
    print(f"{args.output}: step {figures['step']}, {figures['weights']['dtype']}, {total:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
