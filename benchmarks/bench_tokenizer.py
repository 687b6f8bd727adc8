"""Texts of five million characters: seconds and memory of tokenizing, each in a process of its own.

Linear means that a tenth of the text takes a tenth of the time, which is measured beside it. Writes
benchmarks/results/tokenizer.json:  python benchmarks/bench_tokenizer.py [--model NAME]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from machine import write

TEXTS = {
    "words": "the capital of a country ",
    "no spaces": "antidisestablishmentarian",
    "spaces": " ",
    "newlines": "\n",
    "digits and commas": "9,",
    "masks": "[MASK] ",
    "a letter the vocabulary lacks": "한",
}
LENGTH = 5_000_000


def measure(model: str, name: str, length: int, offsets: bool) -> None:
    """The child process: prints seconds, tokens and the memory it took."""
    from albert_np import AlbertTokenizer

    tokenizer = AlbertTokenizer.from_pretrained(model)
    tokenizer("warm up", return_offsets_mapping=offsets)
    text = (TEXTS[name] * (length // len(TEXTS[name]) + 1))[:length]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    tokens = len(tokenizer(text, return_offsets_mapping=offsets, verbose=False)["input_ids"])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": round(seconds, 2), "tokens": tokens, "peak_MB": round(peak / 1024)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="whose vocabulary (default: %(default)s)")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "LENGTH", "OFFSETS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, length, offsets = args.child
        return measure(args.model, name, int(length), offsets == "True")
    rows = []
    for name in TEXTS:
        for offsets in (False, True):
            row = {"text": name, "offsets": offsets}
            for label, length in (("tenth", LENGTH // 10), ("whole", LENGTH)):
                child = [sys.executable, __file__, "--model", args.model, "--child", name, str(length), str(offsets)]
                row[label] = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
            rows.append(row)
            whole, tenth = row["whole"], row["tenth"]
            print(
                f"{name:30} {'with offsets' if offsets else '':12} {whole['seconds']:6.2f} s ({tenth['seconds']:.2f} s for a "
                f"tenth), {whole['peak_MB']:5} MB, {whole['tokens']:,} tokens"
            )
    from albert_np import AlbertTokenizer

    pieces = AlbertTokenizer.from_pretrained(args.model).vocab_size
    return write("tokenizer", {"characters": LENGTH, "pieces": pieces, "rows": rows})


if __name__ == "__main__":
    main()
