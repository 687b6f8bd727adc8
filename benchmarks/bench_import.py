"""What `import albert_np` costs beyond `import numpy`, and from a cold process to a first answer of the demo model.

Each figure is a whole process, interleaved with the others; best and median of the rounds. Writes
benchmarks/results/import.json:  python benchmarks/bench_import.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from machine import write

COMMANDS = {
    "python": "pass",
    "import numpy": "import numpy",
    "import albert_np": "import numpy, albert_np",
    "from albert_np import AlbertForMaskedLM": "from albert_np import AlbertForMaskedLM",
    "first fill-mask answer": "from albert_np import pipeline; pipeline('fill-mask')('The capital of [MASK] is Paris.')",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="processes a figure (default: %(default)s)")
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(args.rounds):
        for name, code in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
            seconds[name].append(time.perf_counter() - start)
    table = {
        name: {"best_s": round(min(times), 4), "median_s": round(statistics.median(times), 4)}
        for name, times in seconds.items()
    }
    extra = table["import albert_np"]["best_s"] - table["import numpy"]["best_s"]
    write("import", {"rounds": args.rounds, "seconds": table, "albert_np_over_numpy_s": round(extra, 4)})
    for name, row in table.items():
        print(f"{name:42} best {row['best_s']:.3f} s   median {row['median_s']:.3f} s")
    print(f"import albert_np costs {extra:.3f} s more than import numpy (best of {args.rounds})")


if __name__ == "__main__":
    main()
