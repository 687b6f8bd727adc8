"""What bench_cpu.py measured, as a table and as a plot:  python benchmarks/cpu_report.py   makes both again from the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import RESULTS

COLORS = {  # Okabe and Ito's, told apart by everybody; ours alone is strong
    "albert_np": "#D55E00",
    "albert_np_padded": "#F2B58A",
    "pytorch": "#0072B2",
    "torch_compile": "#56B4E9",
    "onnxruntime": "#009E73",
    "onnxruntime_fused": "#8FD3BC",
    "openvino": "#7F6BB0",
    "albert_np_bfloat16": "#D55E00",
    "albert_np_bfloat16_padded": "#F2B58A",
    "albert_np_int8": "#A6266E",
    "albert_np_int8_padded": "#DDA0C4",
    "albert_np_float32": "#E6C229",
    "openvino_bfloat16": "#7F6BB0",
    "openvino_int8": "#4B3B7A",
    "pytorch_bfloat16": "#0072B2",
    "pytorch_autocast": "#56B4E9",
    "torch_int8": "#1B3A57",
    "onnxruntime_int8": "#009E73",
}
OTHER = "#999999"
DISTURBED = 0.8  # of the peak: half of a row's rounds below it met something else that was running
HIGHEST = 3.0  # times the fastest peer; longer bars are cut


def ours(result: dict[str, Any], row: dict[str, Any]) -> str | None:
    """Our engine in this row, as users run it; the line with padding stands beside it for comparison only."""
    mine = [name for name in row["engines"] if result["engines"][name]["ours"] and name != "albert_np_padded"]
    return next(iter(mine), None)


def fastest_peer(result: dict[str, Any], row: dict[str, Any]) -> str | None:
    peers = [name for name in row["engines"] if not result["engines"][name]["ours"]]
    return min(peers, key=lambda name: row["engines"][name]["best_ms"], default=None)


def peak(result: dict[str, Any], row: dict[str, Any]) -> float:
    return result["threads"][str(row["threads"])]["fma_gflops"]


def is_disturbed(result: dict[str, Any], row: dict[str, Any]) -> bool:
    """Against the best core of the whole run: where two threads never had two cores, their own peak is too low."""
    best_core = max(facts["fma_gflops"] / int(threads) for threads, facts in result["threads"].items())
    return row["fma_gflops_median"] < DISTURBED * best_core * row["threads"]


def shown_shape(row: dict[str, Any]) -> str:
    return "ragged" if row["shape"] == "ragged" else row["shape"].replace("x", "×")


def markdown(result: dict[str, Any]) -> str:
    machine: dict[str, str] = result["machine"]
    names = list(result["engines"])
    versions = ", ".join(
        f"{key} {machine[key]}"
        for key in ("python", "numpy", "numba", "torch", "transformers", "onnxruntime", "openvino")
        if key in machine
    )
    lines = [
        "# ALBERT-base forward on the CPU, float32",
        "",
        "Milliseconds a call, best of all rounds; made by `python benchmarks/bench_cpu.py`. "
        "*ours ÷ x* is a ratio of times: below 1, albert_np is faster. The share of the peak counts the multiplications "
        "and additions of the matrix products that real tokens need, against fused multiply-adds in registers in the same run.",
        "",
        f"{machine['cpu']} ({machine['cpu_flags']}); {versions}; commit {machine['commit']}; {result['rounds']} rounds.",
        "",
    ]
    for threads, facts in result["threads"].items():
        rows = [row for row in result["rows"] if str(row["threads"]) == threads]
        lines += [
            f"## {threads} thread{'s' if threads != '1' else ''}: peak {facts['fma_gflops']:.0f} Gflop/s "
            f"(median {facts['fma_gflops_median']:.0f}), copy {facts['copy_gb_per_s']:.0f} GB/s",
            "",
            "| batch | "
            + " | ".join(result["engines"][name]["label"] for name in names)
            + " | ours ÷ fastest peer | ours ÷ PyTorch | peak, ours | peak, best peer |",
            "|---|" + "---:|" * (len(names) + 4),
        ]
        lines += [table_row(result, row, names) for row in rows]
        lines.append("")
    lines += remarks(result)
    return "\n".join(lines) + "\n"


def table_row(result: dict[str, Any], row: dict[str, Any], names: list[str]) -> str:
    engines, best, mine = row["engines"], fastest_peer(result, row), ours(result, row)

    def ratio(other: str | None) -> str:
        if mine is None or other not in engines:
            return "–"
        return f"{engines[mine]['best_ms'] / engines[other]['best_ms']:.2f}"

    def share(name: str | None) -> str:
        return "–" if name is None else f"{share_of_fma(result, row, name):.0f} %"

    def milliseconds(name: str) -> str:
        if name not in engines:
            return "–"
        text = f"{engines[name]['best_ms']:.1f}"
        return f"**{text}**" if name in (best, mine) else text

    cells = [
        shown_shape(row) + " †" * is_disturbed(result, row),
        *map(milliseconds, names),
        ratio(best),
        ratio("pytorch"),
        share(mine),
        share(best),
    ]
    return "| " + " | ".join(cells) + " |"


def remarks(result: dict[str, Any]) -> list[str]:
    lines = []
    ragged = next((row for row in result["rows"] if row["shape"] == "ragged"), None)
    if ragged:
        B, T, real = ragged["sequences"], ragged["width"], ragged["real_tokens"]
        lines += [
            f"- ragged: {B} sequences padded to {B}×{T}, of which {real} tokens are real ({100 * real / (B * T):.0f} %). "
            "albert_np runs it with `skip_padding=True`; the others get the padded batch and its mask, as does "
            "*albert_np, padded*. The share of the peak counts real tokens for everybody."
        ]
    first = next(iter(result["threads"].values()))
    lines += [f"- {result['engines'][name]['label']}: {note}." for name, note in first["settings"].items()]
    for name, reason in result.get("not_installed", {}).items():
        lines.append(f"- {name} left out: {reason}.")
    for threads, facts in result["threads"].items():
        lines += [f"- {name}, {threads} threads, left out: {why}." for name, why in facts["left_out"].items()]
    if any(is_disturbed(result, row) for row in result["rows"]):
        lines.append(
            "- †: something else was running: the median of the peak loop in these rounds is far below the peak."
        )
    errors = [engine["error"] for row in result["rows"] for engine in row["engines"].values()]
    idle = [share for facts in result["threads"].values() for share in facts["idle_cpu_percent"].values()]
    if errors and idle:
        lines += [
            f"- Every result is within a relative RMS error of {max(errors):.1g} of the float64 reference. "
            f"Between its turns no engine took more than {max(idle):.1f} % of a core."
        ]
    return lines


def share_of_fma(result: dict[str, Any], row: dict[str, Any], name: str) -> float:
    """Per cent."""
    return 100 * row["engines"][name]["gflops"] / peak(result, row)


def plot(
    result: dict[str, Any],
    path: Path,
    precision: str = "float32",
    share: Callable[[dict[str, Any], dict[str, Any], str], float] = share_of_fma,
    of_what: Callable[[dict[str, Any]], str] = lambda facts: f"the {facts['fma_gflops']:.0f} Gflop/s that are possible",
) -> None:
    """A row of panels for each number of threads: time relative to the fastest peer, and share of the peak."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    names = [name for name in result["engines"] if any(name in row["engines"] for row in result["rows"])]
    counts = list(result["threads"])
    figure, panels = plt.subplots(
        len(counts), 2, figsize=(16, 4.6 * len(counts) + 1), squeeze=False, layout="constrained"
    )
    for threads, (left, right) in zip(counts, panels, strict=True):
        rows = [row for row in result["rows"] if str(row["threads"]) == threads]
        ticks = [f"{shown_shape(row)}\n{row['real_tokens']} tokens" for row in rows]
        relative, shares = [], []
        for row in rows:
            best = fastest_peer(result, row)
            base = row["engines"][best]["best_ms"] if best else None
            relative.append({n: e["best_ms"] / base if base else None for n, e in row["engines"].items()})
            shares.append({n: share(result, row, n) for n in row["engines"]})
        word = "thread" if threads == "1" else "threads"
        bars(left, result, names, relative, ticks, "{:.2f}")
        left.axhline(1, color="black", linewidth=1)
        left.set_ylabel("time ÷ fastest peer")
        longest = max((value for group in relative for value in group.values() if value), default=1)
        left.set_ylim(0, min(1.12 * longest, HIGHEST))
        left.set_title(f"{threads} {word}: time relative to the fastest peer (lower is faster)")
        bars(right, result, names, shares, ticks, "{:.0f}")
        right.set_ylabel("% of FMA peak" if precision == "float32" else "% of peak")
        right.set_ylim(0, 105)
        right.set_title(f"{threads} {word}: share of {of_what(result['threads'][threads])}")
    key = [Patch(color=COLORS.get(name, OTHER), label=result["engines"][name]["label"]) for name in names]
    figure.legend(
        handles=key,
        loc="outside lower center",
        ncols=min(len(names), 7 if len(names) <= 7 else 5),
        frameon=False,
        fontsize=12,
    )
    figure.suptitle(f"ALBERT-base forward, {precision}, best call of all rounds", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(axes: Any, result: dict[str, Any], names: list[str], values: list[dict], ticks: list[str], form: str) -> None:
    """Groups of bars, one group a shape; a bar that leaves the panel is cut, and its number stands inside."""
    width = 0.9 / len(names)
    present = [[name for name in names if value.get(name) is not None] for value in values]
    for name in names:
        drawn = [
            (group + (here.index(name) - (len(here) - 1) / 2) * width, values[group][name])
            for group, here in enumerate(present)
            if name in here
        ]
        axes.bar([x for x, _ in drawn], [y for _, y in drawn], width, color=COLORS.get(name, OTHER))
        for x, y in drawn:
            cut = form == "{:.2f}" and y > 0.94 * HIGHEST
            axes.annotate(
                form.format(y),
                (x, HIGHEST if cut else y),
                xytext=(0, -3 if cut else 2),
                textcoords="offset points",
                ha="center",
                va="top" if cut else "bottom",
                rotation=90,
                fontsize=9,
                color="white" if cut else "black",
            )
    axes.set_xticks(range(len(ticks)), ticks)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    result = json.loads((RESULTS / "cpu_forward.json").read_text())
    (RESULTS / "cpu_forward.md").write_text(markdown(result))
    plot(result, RESULTS / "cpu_forward.png")


if __name__ == "__main__":
    main()
