"""`albert-np convert`: a checkpoint of any format as one of another."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, model_options, progress_bar, where

EXAMPLES = """examples:
  albert-np convert ./old-albert ./my-albert
  albert-np convert ./albert_base_v2 ./my-albert --dtype float16
  albert-np convert ./my-albert ./for-keras --to h5
  albert-np convert ./my-albert ./for-onnxruntime --to onnx --json
  albert-np convert ./my-albert ./small --to onnx --class AlbertForMaskedLM --dtype float16

exit codes: 0 done, 1 refused, 2 wrong usage, 130 interrupted
"""


def add(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        parents=[model_options()],
        help="a checkpoint of any format as safetensors, pytorch_model.bin, tf_model.h5, flax_model.msgpack or ONNX",
        description="Reads a checkpoint of any format and writes it in another, with config.json and the tokenizer's files. "
        "Each number keeps its bits, unless --dtype rounds it. What was written is read again and compared: every "
        "tensor to the bit, and the outputs of a small batch. If anything fails, nothing is written.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    convert.add_argument("source", metavar="IN", help="folder, demo, or hub id, whose files are downloaded")
    convert.add_argument("target", metavar="OUT", help="the folder to write")
    convert.add_argument(
        "--to",
        default="safetensors",
        metavar="FORMAT",
        help="safetensors, bin (or pytorch), h5 (or tf), msgpack (or flax), or onnx (default: %(default)s)",
    )
    convert.add_argument(
        "--from",
        dest="from_format",
        metavar="FORMAT",
        help="which weights of IN to read, if it has several: one of these, or tf1 (or google)",
    )
    convert.add_argument(
        "--dtype",
        metavar="DTYPE",
        help="float32, float16, bfloat16 or float64: round to the nearest, ties to even (default: as each is stored)",
    )
    convert.add_argument(
        "--class",
        dest="architecture",
        metavar="CLASS",
        help="the class to write, without other heads, such as AlbertForMaskedLM (default: that of config.json or the heads)",
    )
    convert.add_argument(
        "--max-shard-size",
        default="5GB",
        metavar="SIZE",
        help="safetensors and bin: larger weights get several files (default: %(default)s)",
    )
    convert.add_argument("--force", action="store_true", help="replace the weights that OUT has")
    convert.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.conversion.convert import convert

    with ended_by_signal(), progress_bar("numbers") as advance:
        report = convert(
            args.source,
            args.target,
            args.to,
            dtype=args.dtype,
            architecture=args.architecture,
            from_format=args.from_format,
            max_shard_size=int(args.max_shard_size) if args.max_shard_size.isdigit() else args.max_shard_size,
            force=args.force,
            progress=advance,
            **where(args),
        )
    print(as_json(report.to_dict(), indent=2) if args.json else report)


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """Lets a SIGTERM end the process as an exception does, which removes what was begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
