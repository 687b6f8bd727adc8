"""What bench_cpu.py --dtype bfloat16 int8 measured, as tables and as a plot; made again from the JSON by

python benchmarks/reduced_report.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpu_report import is_disturbed, shown_shape
from cpu_report import plot as plot_panels
from machine import RESULTS

BF16, INT8, FLOAT32, PYTORCH = "albert_np_bfloat16", "albert_np_int8", "albert_np_float32", "pytorch_bfloat16"
STEM = "cpu_reduced"
QUIET = 1.6  # times the cheapest tile load of the run: a busy sibling makes it three times as dear
VERSIONS = ("python", "numpy", "numba", "torch", "transformers", "onnxruntime", "openvino")


def best_instruction(facts: dict[str, Any], precision: str) -> tuple[str, float]:
    """The fastest for products of this precision, and its Gop/s: fused multiply-adds where the CPU has nothing better."""
    own = {name: found["gops"] for name, found in facts["peaks"].items() if found["precision"] == precision}
    return max((own | {"FMA": facts["fma_gflops"]}).items(), key=lambda item: item[1])


def share(result: dict[str, Any], row: dict[str, Any], name: str) -> float:
    """Per cent of the peak of the engine's own precision."""
    facts, precision = result["threads"][str(row["threads"])], result["engines"][name]["precision"]
    return 100 * row["engines"][name]["gflops"] / best_instruction(facts, precision)[1]


def fastest_peer(result: dict[str, Any], row: dict[str, Any], precisions: Sequence[str]) -> str | None:
    engines = result["engines"]
    peers = [n for n in row["engines"] if not engines[n]["ours"] and engines[n]["precision"] in precisions]
    return min(peers, key=lambda name: row["engines"][name]["best_ms"], default=None)


def ratio(row: dict[str, Any], mine: str, other: str | None) -> str:
    engines = row["engines"]
    if mine not in engines or other not in engines:
        return "–"
    return f"{engines[mine]['best_ms'] / engines[other]['best_ms']:.2f}"


RATIOS = {  # of times: below 1, the first is faster
    "our bf16 ÷ fastest bf16 peer": lambda result, row: ratio(row, BF16, fastest_peer(result, row, ["bfloat16"])),
    "our bf16 ÷ OpenVINO bf16": lambda result, row: ratio(row, BF16, "openvino_bfloat16"),
    "our int8 ÷ fastest peer": lambda result, row: ratio(row, INT8, fastest_peer(result, row, ["bfloat16", "int8"])),
    "our int8 ÷ our bf16": lambda result, row: ratio(row, INT8, BF16),
    "our bf16 ÷ our float32": lambda result, row: ratio(row, BF16, FLOAT32),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return [lines[0], "|---|" + "---:|" * (len(head) - 1), *lines[1:], ""]


def markdown(result: dict[str, Any]) -> str:
    machine: dict[str, str] = result["machine"]
    versions = ", ".join(f"{key} {machine[key]}" for key in VERSIONS if key in machine)
    lines = [
        "# ALBERT-base forward on the CPU, bfloat16 and int8",
        "",
        "Milliseconds a call, best of all rounds; made by `python benchmarks/bench_cpu.py --dtype bfloat16 int8`. Below 1 in a "
        "column of ratios, the first is faster. Weights are converted before the clock runs. A peer that answers in bfloat16 "
        "may: who goes on in PyTorch need not convert that.",
        "",
        f"{machine['cpu']} ({machine['cpu_flags']}); {versions}; commit {machine['commit']}; {result['rounds']} rounds.",
        "",
    ]
    names = [name for name in result["engines"] if any(name in row["engines"] for row in result["rows"])]
    labels = [result["engines"][name]["label"] for name in names]
    for threads, facts in result["threads"].items():
        rows = [row for row in result["rows"] if str(row["threads"]) == threads]
        lines += [f"## {threads} thread{'s' if threads != '1' else ''}", ""]
        lines += [f"Peaks: {peaks_in_words(facts)}; copy {facts['copy_gb_per_s']:.0f} GB/s.", ""]
        lines += table(
            ["batch", *labels, *RATIOS],
            [[name_of(result, row), *times(row, names), *(f(result, row) for f in RATIOS.values())] for row in rows],
        )
        lines += [
            "Share of the peak of each engine's own precision: the multiplications and additions of the products that "
            "real tokens need, against the fastest instruction for them that the CPU has, in registers, in the same run.",
            "",
        ]
        lines += table(["batch", *labels], [[name_of(result, row), *shares(result, row, names)] for row in rows])
    lines += answers(result)
    lines += remarks(result)
    return "\n".join(lines) + "\n"


def name_of(result: dict[str, Any], row: dict[str, Any]) -> str:
    return shown_shape(row) + " †" * is_disturbed(result, row)


def peaks_in_words(facts: dict[str, Any]) -> str:
    found = {"FMA": (facts["fma_gflops"], facts["fma_gflops_median"])}
    found |= {name: (x["gops"], x["gops_median"]) for name, x in facts["peaks"].items()}
    return ", ".join(f"{name} {best:,.0f} Gop/s (median {median:,.0f})" for name, (best, median) in found.items())


def times(row: dict[str, Any], names: list[str]) -> list[str]:
    found = [row["engines"].get(name) for name in names]
    return ["–" if engine is None else f"{engine['best_ms']:.1f}" for engine in found]


def shares(result: dict[str, Any], row: dict[str, Any], names: list[str]) -> list[str]:
    return [f"{share(result, row, name):.0f} %" if name in row["engines"] else "–" for name in names]


# --- answers --------------------------------------------------------------------------------------------------------------


def base_error(result: dict[str, Any], name: str) -> float | None:
    """The median over shapes of the error of ALBERT-base's hidden states, which its first run of each shape gave."""
    first = next(iter(result["threads"]))
    rows = [row for row in result["rows"] if str(row["threads"]) == first]
    errors = [row["engines"][name]["error"] for row in rows if name in row["engines"]]
    return statistics.median(errors) if errors else None


def answers(result: dict[str, Any]) -> list[str]:
    found = result["answers"]
    if not found:
        return []

    def over_pytorch(name: str) -> str:
        mine, theirs = base_error(result, name), base_error(result, PYTORCH)
        return "–" if mine is None or not theirs else f"{mine / theirs:.2f}"

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    rows = []
    for name, engine in result["engines"].items():
        if base_error(result, name) is not None or name in found["engines"]:
            own = found["engines"].get(name, {})
            rows.append(
                [
                    engine["label"],
                    number(base_error(result, name), ".1e"),
                    over_pytorch(name),
                    number(own.get("states_error"), ".1e"),
                    number(own.get("same_word"), ".2%"),
                    number(own.get("same_label"), ".2%"),
                ]
            )
    text = (
        "## Answers\n\nRelative RMS errors of the last hidden states against the float64 reference, at real tokens: of "
        f"ALBERT-base with random weights, the median over the batches above, and of the embedded model, at "
        f"{found['state_tokens']:,} tokens. Then how often an engine has the same best word as albert_np in float32, at "
        f"{found['masked_tokens']:,} masked tokens of the embedded model, and the same label, for {found['sentences']:,} "
        f"sentences that the embedded model demo-speech labels. Put on {found['text']}. What the peers' tools do by "
        "default includes the heads; ours are float32."
    )
    head = ["engine", "error, ALBERT-base", "÷ PyTorch bf16's", "error, demo", "same word", "same label"]
    return [*text.split("\n"), "", *table(head, rows)]


def remarks(result: dict[str, Any]) -> list[str]:
    lines = []
    ragged = next((row for row in result["rows"] if row["shape"] == "ragged"), None)
    if ragged:
        B, T, real = ragged["sequences"], ragged["width"], ragged["real_tokens"]
        lines.append(
            f"- ragged: {B} sequences padded to {B}×{T}, of which {real} tokens are real ({100 * real / (B * T):.0f} %). "
            "albert_np runs it with `skip_padding=True`; the others get the padded batch and its mask."
        )
    first = next(iter(result["threads"].values()))
    lines += [f"- {result['engines'][name]['label']}: {note}." for name, note in first["settings"].items()]
    lines += [f"- {name} left out: {reason}." for name, reason in result["not_installed"].items()]
    for threads, facts in result["threads"].items():
        lines += [f"- {name}, {threads} threads, left out: {why}." for name, why in facts["left_out"].items()]
    if result["answers"]:
        lines += [f"- {name}, answers, left out: {why}." for name, why in result["answers"]["left_out"].items()]
    lines += [states_of_cores(result)]
    if any(is_disturbed(result, row) for row in result["rows"]):
        lines.append(
            "- †: something else was running: the median of the FMA loop in these rounds is far below the peak."
        )
    return lines


def states_of_cores(result: dict[str, Any]) -> str:
    """Whether something worked on the other hyperthreads, by what tile loads cost; only CPUs with tiles tell."""
    turns = [
        turn for row in result["rows"] for engine in row["engines"].values() for turn in engine["tile_load_ns"] or ()
    ]
    if not turns:
        return "- No tiles here, so the state of the cores is not known, and no figure of this page is of AMX."
    cheapest = min(min(before, after) for before, after, _ in turns)
    quiet = sum(max(before, after) < QUIET * cheapest for before, after, _ in turns)
    unsure = [
        f"{shown_shape(row)} {result['engines'][name]['label']}"
        for row in result["rows"]
        for name, engine in row["engines"].items()
        if engine["tile_load_ns"]
        and not any(max(before, after) < QUIET * cheapest for before, after, _ in engine["tile_load_ns"])
    ]
    never = f" Never quiet: {', '.join(unsure)}." if unsure else ""
    return (
        f"- {quiet} of {len(turns)} turns were quiet: a tile load took less than {QUIET * cheapest:.1f} ns before and after "
        f"(the cheapest {cheapest:.1f}); in the others something worked on a core's second hyperthread.{never}"
    )


def plot(result: dict[str, Any], path: Path) -> None:
    def of_what(facts: dict[str, Any]) -> str:
        peaks = {precision: best_instruction(facts, precision) for precision in ("bfloat16", "int8")}
        return "the peak: " + ", ".join(f"{name} {rate:,.0f} Gop/s" for name, rate in peaks.values())

    plot_panels(result, path, "bfloat16 and int8", share, of_what)


def main() -> None:
    result = json.loads((RESULTS / f"{STEM}.json").read_text())
    (RESULTS / f"{STEM}.md").write_text(markdown(result))
    plot(result, RESULTS / f"{STEM}.png")


if __name__ == "__main__":
    main()
