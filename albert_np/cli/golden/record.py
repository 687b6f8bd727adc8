"""`albert-np golden record`: every op's inputs and outputs of one call, in float64, on disk."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, model_options, where

EXAMPLES = """examples:
  albert-np golden record demo --inputs text -o goldens
  albert-np golden record ./my-albert --inputs inputs.npz -o goldens
  albert-np golden record ./my-albert --inputs text masked holes -o goldens
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
    inputs_option(record, required=True, several=True)
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


def inputs_option(parser: Any, *, required: bool = False, several: bool = False) -> None:
    """--inputs, which several subcommands have."""
    more = "; several are recorded each in a folder of its own name in DIR" if several else ""
    parser.add_argument(
        "--inputs",
        required=required,
        metavar="INPUTS",
        nargs="+" if several else None,
        help="a preset (text, masked, one-token, padding, left-padding, holes, constant, repeated, special, longest, "
        "large-channels, denormals, zeros); a .npz or .json with input_ids and perhaps attention_mask, token_type_ids, "
        "position_ids, head_mask, labels; a .txt, a text a line; or text:…, a text" + more,
    )


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.recorder import record

    model = load(args, backend=args.backend or "numpy", dtype="float32" if args.backend else "float64")
    specs = args.inputs
    names = _names(specs)
    # all are checked before anything is written
    calls = [read_inputs(spec, model.config, args.model, **where(args)) for spec in specs]
    for spec, name, call in zip(specs, names, calls, strict=True):
        folder = Path(args.out) / name if len(specs) > 1 else Path(args.out)
        recording = record(
            model,
            call,
            folder,
            mask_mode=args.mask_mode,
            truth=not args.backend,
            backward=args.backward,
            file_format=args.format,
            about={"model": args.model, "inputs_from": spec},
        )
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        said = {
            "folder": str(folder),
            "architecture": recording.architecture,
            "backend": recording.backend,
            "dtype": recording.dtype,
            "tensors": len(recording),
            "bytes": size,
        }
        text = f"{folder}: {len(recording)} tensors of {recording.architecture}, {size / 1e6:.1f} MB"
        print(as_json(said) if args.json else text)


def _names(specs: list[str]) -> list[str]:
    """A folder for each: the name of the preset or file, and a number behind it if there is one of that name."""
    names: list[str] = []
    for spec in specs:
        name = Path(spec).stem if spec.endswith((".npz", ".json", ".txt")) else spec.partition(":")[0]
        same = sum(other.rpartition("-")[0] == name or other == name for other in names)
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def read_inputs(spec: str, config: Any = None, model: str = "", **source: Any) -> dict[str, Any]:
    """What --inputs names, checked for a model of that config; without one, the arrays of an .npz as they are.

    model, source: where the tokenizer is looked for, if there is a text to encode.
    """
    from albert_np.golden.candidates.files import find
    from albert_np.golden.models.input_sets import load_inputs

    if config is None:
        return {tensor.name: tensor.load() for tensor in find(Path(spec))[1]}
    tokenizer = None
    if model and not spec.endswith((".npz", ".json")):
        from albert_np import AlbertTokenizer

        with contextlib.suppress(OSError):  # a model without one: load_inputs says what it needs
            tokenizer = AlbertTokenizer.from_pretrained(model, **source)
    return load_inputs(spec, config, tokenizer)


def load(args: argparse.Namespace, *, backend: str = "numpy", dtype: str = "float64") -> Any:
    """The model that a command names, as the class that its config (or --architecture) says."""
    import albert_np
    from albert_np.golden.graph import ARCHITECTURES

    config = albert_np.AlbertConfig.from_pretrained(args.model, **where(args))
    named = [args.architecture] if getattr(args, "architecture", None) else config.architectures or ["AlbertModel"]
    if named[0] not in ARCHITECTURES:
        raise ValueError(f"--architecture must be one of {', '.join(ARCHITECTURES)}; got {named[0]!r:.80}")
    return getattr(albert_np, named[0]).from_pretrained(args.model, backend=backend, dtype=dtype, **where(args))
