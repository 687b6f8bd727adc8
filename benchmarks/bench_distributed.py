"""What Ray Data and Dask cost on one machine: starting, and a batch that does nothing, beside the same batches in a loop.

    python benchmarks/bench_distributed.py              two workers, some two minutes; needs the extra `distributed`
    python benchmarks/bench_distributed.py --quick      few batches, nothing written

A batch is 64 lines of text. The batches of "nothing" come back as they are, so what is left is the engine's own work; those
of "embed" go through BatchPredictor with the embedded model, one thread a worker. Writes
benchmarks/results/distributed.json and .md.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from machine import RESULTS, machine, write

from albert_np.distributed import BatchPredictor

LINES = 64  # of a batch
WORKERS = 2
TEXT = "The old house stood at the end of the street, and nobody had lived in it for twenty years. "


class Nothing:
    """A batch as it came."""

    def __call__(self, batch: Any) -> Any:
        return batch


class Embed(BatchPredictor):
    """Embeddings with the embedded model."""

    def __init__(self) -> None:
        super().__init__("sentence-embeddings")


WORK: dict[str, Any] = {"nothing": Nothing, "embed": Embed}


def table(batches: int) -> Any:
    import pandas

    rng = np.random.default_rng(0)
    return pandas.DataFrame({"text": [TEXT[:n] for n in rng.integers(10, len(TEXT), batches * LINES)]})


def in_a_loop(kind: Any, batches: int) -> float:
    """Seconds without an engine, one thread."""
    frame, work = table(batches), kind()
    work(frame[:2])  # the model is loaded
    start = time.perf_counter()
    for first in range(0, len(frame), LINES):
        work(frame[first : first + LINES])
    return time.perf_counter() - start


def on_ray(kinds: dict[str, Any], batches: int) -> tuple[float, dict[str, float]]:
    """(seconds to start, seconds of each job, workers and models included)"""
    import ray
    from ray.data import ActorPoolStrategy

    start = time.perf_counter()
    ray.init(num_cpus=2 * WORKERS, include_dashboard=False, log_to_driver=False)
    began = time.perf_counter() - start
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        seconds = {}
        for name, kind in kinds.items():
            start = time.perf_counter()
            data = ray.data.from_pandas(table(batches)).repartition(batches)
            data.map_batches(kind, batch_size=LINES, compute=ActorPoolStrategy(size=WORKERS)).materialize()
            seconds[name] = time.perf_counter() - start
    finally:
        ray.shutdown()
    return began, seconds


def on_dask(kinds: dict[str, Any], batches: int) -> tuple[float, dict[str, float]]:
    """As on_ray."""
    import dask.dataframe as dd
    from dask.distributed import Client, LocalCluster

    start = time.perf_counter()
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        began = time.perf_counter() - start
        seconds = {}
        for name, kind in kinds.items():
            start = time.perf_counter()
            frame, work = dd.from_pandas(table(batches), npartitions=batches), kind()
            meta = frame._meta if name == "nothing" else work.meta(frame)
            frame.map_partitions(work, meta=meta).compute()
            seconds[name] = time.perf_counter() - start
    return began, seconds


def measured(batches: int) -> dict[str, Any]:
    """Seconds, for a few batches and for many: the difference is what more batches cost."""
    few = max(2, batches // 10)
    result: dict[str, Any] = {"batches": [few, batches], "lines_of_a_batch": LINES, "workers": WORKERS}
    result["loop_ms_a_batch"] = {
        name: round(1000 * in_a_loop(kind, batches) / batches, 2) for name, kind in WORK.items()
    }
    for engine, run in (("ray", on_ray), ("dask", on_dask)):
        began, many = run(WORK, batches)
        _, some = run(WORK, few)
        result[engine] = {
            "start_s": round(began, 1),
            "seconds": {name: round(x, 2) for name, x in many.items()},
            "ms_a_batch": {name: round(1000 * (many[name] - some[name]) / (batches - few), 2) for name in WORK},
        }
    return result


def as_markdown(result: dict[str, Any]) -> str:
    rows = [
        f"| {engine} | {result[engine]['start_s']} | {result[engine]['ms_a_batch']['nothing']} "
        f"| {result[engine]['ms_a_batch']['embed']} | {result[engine]['seconds']['embed']} |"
        for engine in ("ray", "dask")
    ]
    loop = result["loop_ms_a_batch"]
    return "\n".join(
        [
            f"{result['workers']} workers, batches of {LINES} lines. In a loop, one thread, a batch takes {loop['nothing']} ms "
            f"(nothing) and {loop['embed']} ms (embed).",
            "",
            f"| | start, s | nothing, ms a batch | embed, ms a batch | {result['batches'][1]} batches of embed in all, s |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
            ", ".join(f"{name}: {value}" for name, value in machine().items()),
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few batches, nothing written")
    args = parser.parse_args()
    found = measured(20 if args.quick else 200)
    print(as_markdown(found))
    if not args.quick:
        write("distributed", found)
        (RESULTS / "distributed.md").write_text(as_markdown(found))
