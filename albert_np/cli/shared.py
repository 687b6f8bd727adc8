"""What several commands take and do: where a model comes from, --columns, JSON on stdout, a progress bar."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

EXAMPLES = """examples:
  albert-np fill-mask "The capital of [MASK] is Paris."
  albert-np classify reviews.csv --columns text=review --model ./my-reviews --out classes.csv
  albert-np predict ./my-names "Emily wrote to Charlotte."
  albert-np embed corpus.txt --out corpus.npy
  albert-np info ./my-albert
  albert-np warmup

Each COMMAND has its own --help, with examples.
"""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Breaks a description of one line where the terminal ends. Examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


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


def parse_columns(given: list[str]) -> dict[str, Any]:
    """Parses NAME=COLUMN, or NAME=COLUMN,COLUMN,…"""
    columns: dict[str, Any] = {}
    for text in given:
        name, _, column = text.partition("=")
        if not name.isidentifier() or not column:
            raise ValueError(f"--columns takes NAME=COLUMN, such as text=sentence; got {text!r:.80}")
        columns[name] = column.split(",") if "," in column[1:] else column
    return columns


def as_json(value: Any, indent: int | None = None) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    text = json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")
    if text.replace("\n", "").isprintable():
        return text
    # what a terminal might obey, such as U+009B, is escaped too: JSON itself escapes only what is below a space
    return "".join(c if c.isprintable() or c.isspace() else json.dumps(c)[1:-1] for c in text)


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, for work of more than a second. A call with (how many more are done, how many in all) moves it."""
    from tqdm import tqdm

    with tqdm(desc=what, unit_scale=True, disable=None, leave=False, delay=1) as bar:

        def advance(more: int, total: int) -> None:
            bar.total = total
            bar.update(more)

        yield advance
