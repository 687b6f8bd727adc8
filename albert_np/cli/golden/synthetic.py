"""`albert-np golden synthetic`: a complete checkpoint from a seed, or one whose arithmetic is exact."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from albert_np.cli.shared import HelpFormatter

EXAMPLES = """examples:
  albert-np golden synthetic albert-base-v2 -o base
  albert-np golden synthetic ./my-albert/config.json -o mine --seed 3 --architecture AlbertForQuestionAnswering
  albert-np golden synthetic exact -o exact
  albert-np golden record ./exact --inputs exact/inputs.npz -o goldens
"""
EXACT = "exact:"  # before a config whose sizes an exact model shall have


def add(commands: Any) -> None:
    synthetic = commands.add_parser(
        "synthetic",
        help="a model without a download: trained-like weights from a seed",
        description="Writes a complete checkpoint whose weights follow from a seed: the same bits on every machine, with "
        "scales and outliers for which activations look like a trained model's. generator.json has what another language "
        "needs to make them, and the SHA-256 of each tensor. exact is another kind of model: with the inputs beside it, in "
        "inputs.npz, every number of its trace is exact in float16, bfloat16 and float32, so that a comparison is bitwise.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    synthetic.add_argument(
        "config",
        metavar="CONFIG",
        help="a config.json, a folder that has one, demo, or a size: tiny, albert-base-v2, large, xlarge, xxlarge; "
        "or exact, exact-base, exact:CONFIG",
    )
    synthetic.add_argument(
        "--length", type=int, default=16, metavar="T", help="tokens of the inputs of exact (default: 16)"
    )
    synthetic.add_argument("-o", "--out", required=True, metavar="DIR", help="the folder to write")
    synthetic.add_argument("--seed", type=int, default=0, metavar="N", help="0 to 2⁶⁴ − 1 (default: %(default)s)")
    synthetic.add_argument(
        "--architecture", metavar="CLASS", help="such as AlbertForMaskedLM (default: config's, or AlbertForPreTraining)"
    )
    synthetic.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from albert_np.golden.models import exact_model, generator

    if args.config in exact_model.EXACT_SIZES or args.config.startswith(EXACT):
        _exact(args)
        return
    config = _config(args.config)
    architecture = args.architecture or (config.architectures or ["AlbertForPreTraining"])[0]
    made = generator.recipes(config, args.seed, architecture)
    size = sum(4 * recipe.size for recipe in made.values())
    with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:
        generator.save_synthetic(args.out, config, args.seed, architecture, progress=bar.update)
    print(f"{args.out}: {architecture} of seed {args.seed}, {len(made)} tensors, {size / 1e6:.1f} MB")


def _exact(args: argparse.Namespace) -> None:
    from albert_np import AlbertConfig
    from albert_np.golden.models.exact_model import EXACT_SIZES, save_exact

    sizes = EXACT_SIZES.get(args.config)
    config = AlbertConfig(**sizes) if sizes else _config(args.config.removeprefix(EXACT))
    architecture = args.architecture or (config.architectures or ["AlbertForPreTraining"])[0]
    save_exact(args.out, config, args.seed, architecture, length=args.length)
    print(f"{args.out}: {architecture} of exact numbers, seed {args.seed}, with inputs.npz of {args.length} tokens")


def _config(named: str) -> Any:
    """The config of a size, a file or a folder. Nothing is downloaded."""
    from albert_np import AlbertConfig
    from albert_np.golden.models.generator import SIZES, sized

    if named == "demo" or Path(named).is_dir():
        return AlbertConfig.from_pretrained(named)
    if Path(named).is_file():
        return AlbertConfig.from_json_file(named)
    try:
        return sized(named)
    except ValueError:
        raise ValueError(
            f"CONFIG is a config.json, a folder that has one, or one of the sizes {', '.join(SIZES)}; got {named!r:.120}"
        ) from None
