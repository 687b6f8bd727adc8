"""What several commands take and do: where a model comes from, sentences from stdin, JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

EXAMPLES = """examples:
  albert-np fill-mask "The capital of [MASK] is Paris."
  albert-np fill-mask "The capital of [MASK] is Paris." --model albert/albert-base-v2 --top-k 3 --json
  albert-np fill-mask "The capital of [MASK] is Paris." --targets france italy
  cat sentences.txt | albert-np fill-mask - --model ./my-albert --json
  albert-np info ./my-albert
  albert-np warmup
"""


def model_options() -> argparse.ArgumentParser:
    """The options of every command that reads a model."""
    model = argparse.ArgumentParser(add_help=False)
    source = model.add_argument_group("where the model comes from")
    source.add_argument("--revision", metavar="REV", help="branch, tag or commit of a hub model")
    source.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default: Hugging Face's cache)")
    source.add_argument("--local-files-only", action="store_true", help="never touch the network")
    model.add_argument("--json", action="store_true", help="print JSON instead of text")
    return model


def where(args: argparse.Namespace) -> dict[str, Any]:
    given = {"revision": args.revision, "cache_dir": args.cache_dir, "local_files_only": args.local_files_only}
    return {name: value for name, value in given.items() if value}


def texts(given: list[str]) -> Iterator[str]:
    """The sentences of the command line; - means the lines of stdin. Shows a progress bar if there is much to do."""
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
        raise ValueError(f"stdin after line {number} is not {encoding} text: {error.reason}") from error


def as_json(value: Any, indent: int | None = None) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")
