"""The command `albert-np`, with a module for each subcommand. It prints plain text for people, or JSON with --json.

Exit codes: 0 done, 1 refused (one line on stderr says why), 2 wrong usage, 130 interrupted; `golden` and `verify` have a
meaning of their own for 0, 1 and 2 (see there). A module has `add`, which adds its parser, and `run`; or a COMMAND that asks
a model about texts (jobs.py). What is heavy is imported when a command runs, so that --help stays fast.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import warnings
from typing import Any

from albert_np.cli import (
    choose,
    classify,
    convert,
    embed,
    explore,
    fill_mask,
    finetune,
    golden,
    info,
    ner,
    order,
    predict,
    pretrain,
    qa,
    quantize,
    similar,
    tokenize,
    verify,
    warmup,
    zero_shot,
)
from albert_np.cli.shared import EXAMPLES, HelpFormatter
from albert_np.version import __version__

INTERRUPTED = 130  # as shells count: 128, and the number of Ctrl-C's signal


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt as error:  # training and jobs say how to go on
        print(f"albert-np: {str(error) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED


def _run(argv: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ▁ or → still shows the rest
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")
    args = _parser().parse_args(argv)
    # the client tells of each retry; the error that follows says why. Its import sets the level of its own root again
    for name in ("huggingface_hub", "huggingface_hub.utils._http"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _print_warning
        try:
            if sys.stdout is None:
                raise OSError("there is no standard output to print to")
            args = args.meant(args) if "meant" in args else args  # predict: what the model is for
            with _threads(args):
                code = args.run(args)
            sys.stdout.flush()
        except (ValueError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in `… | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            print(f"albert-np: {' '.join(str(error).split())}", file=sys.stderr)
            return getattr(args, "refused", 1)
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="albert-np",
        description="ALBERT in NumPy: language-model answers on a CPU, with no deep-learning framework.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"albert-np {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = (classify, ner, qa, zero_shot, choose, order, embed, similar, fill_mask, tokenize)
    for command in (
        predict,
        *(module.COMMAND for module in asked),
        explore,
        info,
        convert,
        quantize,
        verify,
        finetune,
        pretrain,
        golden,
        warmup,
    ):
        command.add(commands)
    return parser


def _threads(args: argparse.Namespace) -> contextlib.AbstractContextManager:
    if getattr(args, "threads", None) is None:
        return contextlib.nullcontext()
    from albert_np.kernels.cpu.threads import checked, num_threads

    return num_threads(checked(args.threads, "--threads"))


def _print_warning(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
    print(f"albert-np: warning: {' '.join(str(message).split())}", file=sys.stderr)
