"""`albert-np warmup`: the kernels of the numba backend, compiled ahead of the first call."""

from __future__ import annotations

import argparse
import time
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json
from albert_np.files import listed

EXAMPLES = """examples:
  albert-np warmup
  albert-np warmup --training
  albert-np warmup --dtype int8
"""

KINDS = {  # of kernels that a dtype needs: heads and embeddings are float32 in all of them
    "float32": ("inference",),
    "bfloat16": ("inference", "bfloat16"),
    "int8": ("inference", "int8"),
}
TRAINING_KINDS = {"float32": ("training",), "bfloat16": ("training", "bfloat16_training")}


def add(commands: Any) -> None:
    warm = commands.add_parser(
        "warmup",
        help="compile the numba backend's kernels now, instead of at the first call",
        description="Compiles the numba backend's kernels into the cache, where every process of this user finds them "
        "(ALBERT_NP_CACHE_DIR says where). Does nothing if they are already there.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    warm.add_argument(
        "--training", action="store_true", help="compile the kernels that training needs, instead of those of a call"
    )
    warm.add_argument(
        "--dtype",
        choices=KINDS,
        default="float32",
        help="of the model that is to be called or trained (default: %(default)s)",
    )
    warm.add_argument("--force", action="store_true", help="compile them even if they are already there")
    warm.add_argument("--json", action="store_true", help="print JSON instead of text")
    warm.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.backends.choose import resolve_backend

    kinds = TRAINING_KINDS if args.training else KINDS
    if args.dtype not in kinds:
        raise ValueError(f"training computes in {listed(list(kinds))}: leave out --training, or --dtype {args.dtype}")
    resolve_backend("numba", args.dtype)  # if the backend cannot run, this says why
    for kind in kinds[args.dtype]:
        _warm_up(kind, args)


def _warm_up(kind: str, args: argparse.Namespace) -> None:
    """Compiles the kernels of one kind, and prints a line."""
    from tqdm import tqdm

    from albert_np.kernels.cpu import cache, native, simd

    start = time.perf_counter()
    with tqdm(total=len(native.names(kind)), unit=" kernels", disable=None) as bar:

        def show(name: str) -> None:
            bar.set_description(name)
            bar.update()

        compiled = native.warm_up(show, args.force, kind)
    seconds = time.perf_counter() - start
    file = cache.path(kind)
    size, path = file.stat().st_size, str(file)
    registers = simd.chosen_level().name
    if args.json:
        answer = {"compiled": compiled, "registers": registers, "path": path, "bytes": size, "seconds": seconds}
        print(as_json(answer))
    elif compiled:
        count = len(native.KERNELS[kind])
        print(f"compiled {count} kernels for {registers} in {seconds:.1f} s: {path} ({size:,} bytes)")
    else:
        print(f"nothing to do: already compiled for {registers}: {path} ({size:,} bytes)")
