"""`albert-np golden record`: every op's inputs and outputs of one call, in float64, on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, model_options

EXAMPLES = """examples:
  albert-np golden record ./my-albert --inputs inputs.npz -o goldens
  albert-np golden record ./my-albert --inputs inputs.npz -o candidate --backend numba
"""


def add(commands: Any) -> None:
    record = commands.add_parser(
        "record",
        parents=[model_options()],
        help="every op's inputs and outputs of one call, in order, on disk",
        description="Runs a model once in float64 and writes every step of it: its op, inputs, weights, attributes, values "
        "and SHA-256, with the inputs, the weights and a manifest. Memory holds the weights and never the whole trace.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    record.add_argument("model", help="folder, demo, or hub id; its config.json says which class it is")
    inputs_option(record, required=True)
    record.add_argument("-o", "--out", required=True, metavar="DIR", help="a new folder, or that of an older recording")
    record.add_argument("--architecture", metavar="CLASS", help="a class such as AlbertForMaskedLM (default: config's)")
    record.add_argument(
        "--mask-mode",
        choices=("uniform", "zeros", "nan"),
        default="uniform",
        help="what a query with no key to attend to gets (default: %(default)s, as transformers)",
    )
    record.add_argument(
        "--backward", action="store_true", help="also every gradient of the loss; inputs hold the labels"
    )
    record.add_argument("--format", choices=("safetensors", "npz"), default="safetensors", help="of the tensors' file")
    record.add_argument(
        "--backend",
        metavar="NAME",
        help="record what this backend computes in float32, as a candidate (default: the reference in float64)",
    )
    record.set_defaults(run=run)


def inputs_option(parser: Any, *, required: bool = False) -> None:
    """--inputs, which several subcommands have."""
    parser.add_argument(
        "--inputs",
        required=required,
        metavar="FILE",
        help="an .npz or .json with input_ids and perhaps attention_mask, token_type_ids, position_ids, inputs_embeds, "
        "head_mask, labels; a .txt or text:…, for a model with a tokenizer; or a preset: text, masked, holes, longest …",
    )


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.recorder import record

    model = load(args, backend=args.backend or "numpy", dtype="float32" if args.backend else "float64")
    recording = record(
        model,
        read_inputs(args.inputs, model.config, args.model),
        args.out,
        mask_mode=args.mask_mode,
        truth=not args.backend,
        backward=args.backward,
        file_format=args.format,
        about={"model": args.model},
    )
    size = sum(path.stat().st_size for path in Path(args.out).rglob("*") if path.is_file())
    said = {
        "folder": str(args.out),
        "architecture": recording.architecture,
        "backend": recording.backend,
        "dtype": recording.dtype,
        "tensors": len(recording),
        "bytes": size,
    }
    text = f"{args.out}: {len(recording)} tensors of {recording.architecture}, {size / 1e6:.1f} MB"
    print(as_json(said) if args.json else text)


def read_inputs(spec: str, config: Any = None, model: str = "") -> dict[str, Any]:
    """The arrays of an .npz, as they are; or, for the config of a model, whatever golden/input_sets.py reads, checked."""
    import numpy as np

    from albert_np import AlbertTokenizer
    from albert_np.golden.input_sets import TEXT, load_inputs

    if config is not None:
        texts = spec.startswith(TEXT) or spec.endswith(".txt")
        return load_inputs(spec, config, AlbertTokenizer.from_pretrained(model) if texts and model else None)
    with np.load(spec, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def load(args: argparse.Namespace, *, backend: str = "numpy", dtype: str = "float64") -> Any:
    """The model that a command names, as the class that its config (or --architecture) says."""
    import albert_np
    from albert_np.cli.shared import where
    from albert_np.golden.graph import ARCHITECTURES

    config = albert_np.AlbertConfig.from_pretrained(args.model, **where(args))
    named = [args.architecture] if getattr(args, "architecture", None) else config.architectures or ["AlbertModel"]
    if named[0] not in ARCHITECTURES:
        raise ValueError(f"--architecture must be one of {', '.join(ARCHITECTURES)}; got {named[0]!r:.80}")
    return getattr(albert_np, named[0]).from_pretrained(args.model, backend=backend, dtype=dtype, **where(args))
