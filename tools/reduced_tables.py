"""Tables of docs/precision.md and docs/benchmarks.md about bfloat16 and int8 on the CPU, from the results and nothing else."""

from __future__ import annotations

from typing import Any

from benchmark_tables import measured_on, number, result, shape, table

OURS = {
    "bfloat16": "albert_np_bfloat16",
    "int8": "albert_np_int8",
    "int8, one pass": "albert_np_int8_fast",
    "float32": "albert_np_float32",
}


def quality_table() -> str:
    """How often an answer in reduced precision is that of float32, and how far its numbers are."""
    tasks = result("reduced_quality")["tasks"]
    names = list(tasks["masked tokens"])
    rows = [
        [
            f"same {task}",
            f"{found[names[0]]['n']:,}",
            *(f"{100 * found[name]['share']:.2f} ± {100 * found[name]['error']:.2f} %" for name in names),
        ]
        for task, found in tasks.items()
    ]
    for what, key in (
        ("KL divergence of masked tokens", "kl_mean"),
        ("states of masked tokens, RMS", "hidden_states_relative_rms"),
    ):
        rows.append([what, "", *(f"{tasks['masked tokens'][name][key]:.1e}" for name in names)])
    return table(["answers", "n", *names], rows) + "\n" + measured_on("reduced_quality") + "\n"


def fastest_peer(row: dict[str, Any], precision: str) -> tuple[str, float] | None:
    """Its label and its milliseconds."""
    engines = result("cpu_reduced")["engines"]
    times = {
        engines[name]["label"]: found["best_ms"]
        for name, found in row["engines"].items()
        if not engines[name]["ours"] and engines[name]["precision"] == precision
    }
    return min(times.items(), key=lambda item: item[1], default=None)


def forward_table() -> str:
    """Milliseconds of a forward in each precision, and of the fastest peer of that precision."""
    rows = []
    for row in result("cpu_reduced")["rows"]:
        cells = [str(row["threads"]), shape(row["shape"])]
        for name in OURS.values():
            found = row["engines"].get(name)
            cells.append(number(found and found["best_ms"], 1))
        for precision in ("bfloat16", "int8"):
            peer = fastest_peer(row, precision)
            cells.append("–" if peer is None else f"{peer[1]:.1f}, {peer[0].partition(',')[0]}")
        rows.append(cells)
    head = ["threads", "batch × tokens", *OURS, "fastest bfloat16 peer", "fastest int8 peer"]
    return table(head, rows, numbers_from=2) + "\n" + measured_on("cpu_reduced") + "\n"


TABLES = {"reduced quality": quality_table, "reduced forward": forward_table}
