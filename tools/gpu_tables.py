"""Tables and a picture of docs/gpu.md and docs/benchmarks.md, from the measurements on a GPU and nothing else."""

from __future__ import annotations

from bars import Bars, svg
from benchmark_tables import number, result, table


def forwards() -> dict[str, dict[str, dict[str, float]]]:
    """By dtype and batch, milliseconds of everybody."""
    return result("cuda")["forward"]


def forward_table() -> str:
    head, rows = ["batch × tokens"], []
    for dtype in forwards():
        head += [f"{dtype}: albert_np", "÷ compiled", "÷ SDPA"]
    for batch in forwards()["float32"]:
        cells = [batch.replace("×", " × ")]
        for forward in forwards().values():
            times = forward[batch]
            ratios = [times["albert_np"] / times[peer] for peer in ("compiled", "sdpa")]
            cells += [number(x, 2) for x in (times["albert_np"], *ratios)]
        rows.append(cells)
    return table(head, rows) + "\n" + measured_on() + "\n"


def measured_on() -> str:
    found = result("cuda")
    versions = [f"{name} {found['versions'][name]}" for name in ("numba-cuda", "torch", "transformers")]
    where = "[`cuda.json`](../benchmarks/results/cuda.json)"
    return (
        f"Measured on an {found['gpu'].partition(',')[0]}, driver {found['versions']['driver']}, with "
        f"{', '.join(versions)}, at commit {found['machine']['commit']}: {where}."
    )


def forward_picture() -> str:
    groups: dict[str, list[float | None]] = {
        f"{dtype}, {batch.replace('×', ' × ')}": [
            times[peer] / times["albert_np"] for peer in ("albert_np", "compiled", "sdpa")
        ]
        for dtype, forward in forwards().items()
        for batch, times in forward.items()
    }
    return svg(
        Bars(
            f"One forward of ALBERT-base on an {result('cuda')['gpu'].partition(',')[0]}",
            "time divided by albert_np's: shorter is faster",
            ["albert_np", "torch.compile, CUDA graphs", "transformers, SDPA"],
            groups,
        )
    )


def error_table() -> str:
    products = {
        "float32": "float32",
        "tf32": "tf32, 11 bits; attention in float32",
        "bfloat16": "bfloat16, 8 bits; attention too",
    }
    needs = {"float32": "7.5"}
    rows = [
        [f'`"{dtype}"`', products[dtype], needs.get(dtype, "8.0"), f"{row['albert_np']:.1e}", f"{row['torch']:.1e}"]
        for dtype, row in result("cuda")["errors"].items()
    ]
    head = ["`dtype`", "products are computed in", "compute capability, at least", "error of albert_np", "of PyTorch"]
    return table(head, rows, numbers_from=3)


def prediction_table() -> str:
    rows = []
    for dtype, forward in forwards().items():
        for batch, times in forward.items():
            predicted = result("cuda_predicted")["predicted"][f"forward, {dtype}"][batch]["predicted ms"]
            first = result("cuda_first_run")["forward"][dtype][batch]["albert_np"]
            name = f"{dtype}, {batch.replace('×', ' × ')}"
            rows.append([name, *(number(x, 2) for x in (predicted, first, times["albert_np"]))])
    return table(["forward, ms", "predicted", "first run", "now"], rows)


TABLES = {
    "gpu forward": forward_table,
    "gpu errors": error_table,
    "gpu predictions": prediction_table,
}
PICTURES = {"benchmark_gpu.svg": forward_picture}
