"""The command `albert-np`: one subcommand a job, plain text for people, --json for programs.

Exit codes: 0 done, 1 refused (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from albert_np.cli import training
from albert_np.version import __version__

EXAMPLES = """examples:
  albert-np fill-mask "The capital of [MASK] is Paris."
  albert-np fill-mask "The capital of [MASK] is Paris." --model albert/albert-base-v2 --top-k 3 --json
  albert-np fill-mask "The capital of [MASK] is Paris." --targets france italy
  cat sentences.txt | albert-np fill-mask - --model ./my-albert --json
  albert-np info ./my-albert
  albert-np warmup
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ▁ or → still shows the rest
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")
    args = _parser().parse_args(argv)
    # the client tells of each retry; the error that follows says why
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _print_warning
        try:
            if sys.stdout is None:
                raise OSError("there is no standard output to print to")
            with _threads(args):
                args.run(args)
            sys.stdout.flush()
        except (ValueError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in `… | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            print(f"albert-np: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as error:  # training says how to go on
            print(f"albert-np: {str(error) or 'interrupted'}", file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="albert-np",
        description="ALBERT in NumPy: language-model answers on a CPU, with no deep-learning framework.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"albert-np {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    model = argparse.ArgumentParser(add_help=False)
    source = model.add_argument_group("where the model comes from")
    source.add_argument("--revision", metavar="REV", help="branch, tag or commit of a hub model")
    source.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default: Hugging Face's cache)")
    source.add_argument("--local-files-only", action="store_true", help="never touch the network")
    model.add_argument("--json", action="store_true", help="print JSON instead of text")

    fill = commands.add_parser(
        "fill-mask",
        parents=[model],
        help="the likeliest words for each [MASK] of a sentence",
        description="Prints the likeliest words for each [MASK] of a sentence, best first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fill.add_argument(
        "text",
        nargs="+",
        help="a sentence in quotes, with [MASK] in it; several are filled in turn; - reads one a line from stdin",
    )
    fill.add_argument("--model", default="demo", metavar="NAME", help="folder, hub id or demo (default: %(default)s)")
    fill.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="how many answers a mask (default: %(default)s)"
    )
    fill.add_argument("--targets", nargs="+", metavar="WORD", help="choose among these words only")
    fill.add_argument("--truncate", action="store_true", help="cut texts that are too long without a warning")
    fill.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="numba, the compiled engine; numpy, the reference; or auto: numba where it runs, with float32 "
        "(default: %(default)s)",
    )
    fill.add_argument("--dtype", default="float32", metavar="TYPE", help="float32 or float64 (default: %(default)s)")
    fill.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the numba backend; answers do not depend on it (default: NUMBA_NUM_THREADS, or every core)",
    )
    fill.set_defaults(run=_fill_mask)

    info = commands.add_parser(
        "info",
        parents=[model],
        help="config, parameters and files of a model, and what runs it here",
        description="Shows a model's config, its parameters (stored, and if nothing were shared) and files; which "
        "backends run here, with which registers and threads, and whether the kernels are compiled.",
    )
    info.add_argument(
        "model",
        nargs="?",
        default="demo",
        help="folder, demo, or hub id, whose files are downloaded (default: %(default)s)",
    )
    info.add_argument("--backends", action="store_true", help="only what each backend found here, without any model")
    info.set_defaults(run=_info)

    training.add_commands(commands)

    warm = commands.add_parser(
        "warmup",
        help="compile the numba backend's kernels now, instead of at the first call",
        description="Compiles the numba backend's kernels into the cache, where every process of this user finds them "
        "(ALBERT_NP_CACHE_DIR says where). Does nothing where they are there.",
    )
    warm.add_argument("--training", action="store_true", help="compile what training needs, instead")
    warm.add_argument("--force", action="store_true", help="compile, whether or not they are there")
    warm.add_argument("--json", action="store_true", help="print JSON instead of text")
    warm.set_defaults(run=_warm_up)
    return parser


def _threads(args: argparse.Namespace) -> contextlib.AbstractContextManager:
    if getattr(args, "threads", None) is None:
        return contextlib.nullcontext()
    from albert_np.kernels.cpu.threads import checked, num_threads

    return num_threads(checked(args.threads, "--threads"))


def _where(args: argparse.Namespace) -> dict[str, Any]:
    given = {"revision": args.revision, "cache_dir": args.cache_dir, "local_files_only": args.local_files_only}
    return {name: value for name, value in given.items() if value}


def _fill_mask(args: argparse.Namespace) -> None:
    from albert_np import pipeline

    fill = pipeline("fill-mask", args.model, backend=args.backend, dtype=args.dtype, **_where(args))
    options = {"truncation": True} if args.truncate else {}
    for number, text in enumerate(_texts(args.text), start=1):
        try:
            answers = fill(text, top_k=args.top_k, targets=args.targets, tokenizer_kwargs=options)
        except ValueError as error:
            raise ValueError(
                f"sentence {number}: {error}" if number > 1 or args.text == ["-"] else str(error)
            ) from error
        print(_json(answers) if args.json else _table(text, answers))


def _texts(given: list[str]) -> Iterator[str]:
    """The sentences of the command line, - standing for the lines of stdin; a progress bar where there is much to do."""
    from tqdm import tqdm

    if given == ["-"]:
        if sys.stdin is None:
            raise OSError("there is no standard input to read sentences from")
        # a bar shows on a terminal only, and not where the answers scroll by on the same one
        lines = (line.rstrip("\r\n") for line in _lines() if line.strip())
        yield from tqdm(lines, unit=" sentences", disable=True if sys.stdout.isatty() else None)
    else:
        yield from given


def _lines() -> Iterator[str]:
    number = 0
    try:
        for line in sys.stdin:
            number += 1
            yield line
    except UnicodeDecodeError as error:
        encoding = error.encoding.upper()
        raise ValueError(f"what comes on stdin after line {number} is not {encoding} text: {error.reason}") from error


def _table(text: str, answers: list) -> str:
    several = bool(answers) and isinstance(answers[0], list)
    lines = [text]
    for i, rows in enumerate(answers if several else [answers]):
        if several:
            lines.append(f"mask {i + 1} of {len(answers)}")
        width = max(5, *(len(row["token_str"]) for row in rows))
        lines.append(f"  {'score':>7}  {'token':{width}}  sentence")
        for row in rows:
            sentence = row["sequence"].removeprefix("[CLS] ").removesuffix("[SEP]")
            lines.append(f"  {row['score']:7.4f}  {row['token_str']:{width}}  {sentence}")
    return "\n".join(lines) + "\n"


def _info(args: argparse.Namespace) -> None:
    from albert_np.cli.describe import as_text, backends, backends_as_text, describe

    info = backends() if args.backends else describe(args.model, **_where(args))
    text = backends_as_text if args.backends else as_text
    print(_json(info, indent=2) if args.json else text(info))


def _warm_up(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from albert_np.backends.choose import resolve_backend
    from albert_np.kernels.cpu import cache, native, simd

    resolve_backend("numba", "float32")  # where it cannot run, this says why
    start = time.perf_counter()
    with tqdm(total=len(native.names(args.training)), unit=" kernels", disable=None) as bar:

        def show(name: str) -> None:
            bar.set_description(name)
            bar.update()

        compiled = native.warm_up(show, args.force, args.training)
    seconds = time.perf_counter() - start
    file = cache.path(args.training)
    size, path = file.stat().st_size, str(file)
    registers = simd.chosen_level().name
    if args.json:
        answer = {"compiled": compiled, "registers": registers, "path": path, "bytes": size, "seconds": seconds}
        print(_json(answer))
    elif compiled:
        count = len(native.kernel_names(args.training))
        print(f"compiled {count} kernels for {registers} in {seconds:.1f} s: {path} ({size:,} bytes)")
    else:
        print(f"nothing to do: compiled for {registers} already: {path} ({size:,} bytes)")


def _json(value: Any, indent: int | None = None) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")


def _print_warning(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
    print(f"albert-np: warning: {' '.join(str(message).split())}", file=sys.stderr)
