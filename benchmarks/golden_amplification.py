"""How errors grow over the applications of a shared layer: docs/pictures/golden_amplification.svg, and its numbers, which go
to benchmarks/results/golden_amplification.json.

    python benchmarks/golden_amplification.py

Each model is run with an error of 1 ULP of bfloat16, at random, in every op: predicted from derivatives (lines) and measured
with noise (dots). The crosses are what users of an accelerator reported (tt-forge-onnx#2924).
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
from machine import write

import albert_np
from albert_np import golden
from albert_np.golden.amplifier.dynamics import along, growth
from albert_np.golden.models.generator import sized

matplotlib.use("Agg")
matplotlib.rcParams |= {"svg.fonttype": "path", "svg.hashsalt": "albert_np", "font.size": 9}
OUT = Path(__file__).parents[1] / "docs" / "pictures" / "golden_amplification.svg"
REPORTED = {1: 0.9995, 3: 0.9991, 6: 0.9970, 24: 0.348}  # number of AlbertLayers -> PCC


def models():
    """Name -> model."""
    yield "embedded model", albert_np.AlbertModel.from_pretrained("demo", backend="numpy", dtype="float64")
    for name in ("base", "large"):
        yield f"synthetic {name}", model_of(sized(name))
    config = sized("tiny").replace(num_hidden_layers=24)
    yield "24 × tiny, scores × 30", model_of(config, 30.0)


def model_of(config, scores=1.0):
    """A synthetic model. scores: how much larger its attention scores are than a trained model's."""
    made = golden.synthetic(config, 1, "AlbertModel")
    tensors = {name: x.astype(np.float64) for name, x in made.items()}
    for name, x in tensors.items():
        if ".query." in name or ".key." in name:
            tensors[name] = x * math.sqrt(scores)
    return albert_np.AlbertModel(config, backend="numpy", dtype="float64", tensors=tensors)


def relative(pcc):
    """The error, as a share of the standard deviation, that a PCC stands for."""
    return math.sqrt(1 / pcc**2 - 1)


def main():
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    found = {}
    for i, (name, model) in enumerate(models()):
        call = golden.inputs("text", model.config, batch=1, length=16)
        amp = golden.amplification(model, call, probes=2)
        states, exponent = along(amp, {"all": 1.0}), growth(amp)[-1].exponent
        n = [one.application + 1 for one in states]
        axes.plot(n, [one.predicted for one in states], f"C{i}-", label=f"{name}: × {math.exp(exponent):.2f} each")
        axes.plot(n, [one.measured for one in states], f"C{i}o", markersize=3)
        print(f"{name}: Lyapunov exponent {exponent:+.3f}")
        found[name] = {"exponent": exponent, "each application multiplies by": math.exp(exponent), "pcc": {}}
        for one in states:
            if one.application + 1 in (1, 3, 6, 12, 24):
                both = {"predicted": one.pcc, "measured": one.measured_pcc}
                found[name]["pcc"][one.application + 1] = both
                print(f"  {one.application + 1:2}: PCC {one.pcc:.5f} predicted, {one.measured_pcc:.5f} measured")
    n, reported = [*REPORTED], [relative(pcc) for pcc in REPORTED.values()]
    slope, start = np.polyfit(n, np.log(reported), 1)
    fitted = {k: 1 / math.hypot(1, math.exp(start + slope * k)) for k in n}
    line = {"each application multiplies by": math.exp(slope), "pcc": REPORTED, "pcc of a line through them": fitted}
    write("golden_amplification", {"models": found, "reported": line})
    print(f"reported: × {math.exp(slope):.3f} each; the PCC of that line: {fitted}")
    axes.plot(n, reported, "kx", label="reported for an accelerator")
    axes.plot([1, 24], np.exp(start + slope * np.array([1, 24])), "k:", label=f"× {math.exp(slope):.2f} each")
    axes.set(
        yscale="log",
        ylim=(0.015, 10),
        xlabel="applications of the shared layer",
        ylabel="error of the state / its standard deviation",
    )
    right = axes.secondary_yaxis("right")
    marks = (0.3, 0.9, 0.99, 0.999, 0.9999)
    right.set_yticks([relative(pcc) for pcc in marks], [f"{pcc:g}" for pcc in marks])
    right.minorticks_off()
    right.set_ylabel("PCC")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
