"""The ONNX graphs of ALBERT models that other engines run, exported from transformers and kept beside the checkpoint.

plain.onnx is what torch.onnx.export gives today. legacy.onnx comes from the older exporter, whose graphs are the ones that
ONNX Runtime's optimizer finds attention in; fused.onnx is what that optimizer makes of it. folded.onnx is plain.onnx with
the weights transposed once, and int8.onnx its dynamic quantization by ONNX Runtime.
Run by the engines themselves, in a process of its own:  python benchmarks/onnx_graphs.py CHECKPOINT CLASS NAME
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

from albert_np.machine import installed

NEEDED = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
ENCODER = "AlbertModel"


def graph(checkpoint: Path, name: str, kind: str = ENCODER) -> Path:
    """The path of a graph, made first where it is not there. Raises ImportError or RuntimeError with the reason.

    kind: a class of transformers; the graph's only output is the first of its forward.
    """
    path = folder_of(checkpoint, kind) / name
    if not path.exists():
        missing = [package for package in NEEDED if installed(package) is None]
        if missing:
            raise ImportError(f"exporting the graph needs {', '.join(missing)}")
        command = [sys.executable, __file__, str(checkpoint), kind, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise RuntimeError(f"exporting {name} failed: {last}")
    return path


def folder_of(checkpoint: Path, kind: str) -> Path:
    versions = "-".join(f"{package}{installed(package)}" for package in ("torch", "transformers", "onnxruntime"))
    return checkpoint.parent / f"{checkpoint.name}{'' if kind == ENCODER else f'-{kind}'}-onnx-{versions}"


def told(path: Path) -> str:
    """What was found out when a graph was made, to go behind the other settings; "" where that is nothing."""
    note = path.with_suffix(".json")
    if not note.exists():
        return ""
    found = json.loads(note.read_text())
    if path.name == "int8.onnx":
        return f", weights of {found['int8']} of {found['products']} products in int8, a scale for each column"
    return f", onnxruntime.transformers put in {', '.join(f'{n} {op}' for op, n in sorted(found.items()))}"


def export(checkpoint: Path, kind: str, path: Path, attention: str, newer: bool) -> None:
    import torch
    import transformers

    class FirstOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options = {"add_pooling_layer": False} if kind == ENCODER else {}
            self.model = getattr(transformers, kind).from_pretrained(
                checkpoint, attn_implementation=attention, **options
            )

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    model = FirstOutput().eval()
    ids = torch.randint(5, model.model.config.vocab_size, (2, 16))
    mask = torch.ones(2, 16, dtype=torch.int64)
    mask[1, 10:] = 0  # a mask of ones alone could be left out of the graph
    output = "last_hidden_state" if kind == ENCODER else "logits"
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": [output]}
    free = {0: "batch", 1: "tokens"}
    axes = {"input_ids": free, "attention_mask": free}
    with torch.no_grad():
        if newer:
            torch.onnx.export(model, (ids, mask), path, dynamo=True, dynamic_shapes=axes, **names)
        else:
            torch.onnx.export(model, (ids, mask), path, dynamo=False, dynamic_axes=axes | {output: free}, **names)


def fuse(legacy: Path, path: Path) -> None:
    from onnxruntime.transformers import optimizer

    model = optimizer.optimize_model(
        str(legacy), model_type="bert", num_heads=12, hidden_size=768, opt_level=0, use_gpu=False
    )
    counts = collections.Counter(node.op_type for node in model.model.graph.node if node.domain == "com.microsoft")
    path.with_suffix(".json").write_text(json.dumps(counts))
    model.save_model_to_file(str(path))


def fold(plain: Path, path: Path) -> None:
    """A weight behind a Transpose is no weight to those who quantize: they would leave its products in float32."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(plain)
    nodes, weights = model.graph.node, {weight.name: weight for weight in model.graph.initializer}
    for node in [node for node in nodes if node.op_type == "Transpose" and node.input[0] in weights]:
        axes = next(attribute.ints for attribute in node.attribute if attribute.name == "perm")
        turned = numpy_helper.to_array(weights[node.input[0]]).transpose(tuple(axes))
        model.graph.initializer.append(numpy_helper.from_array(turned.copy(order="C"), node.output[0]))
        nodes.remove(node)
    used = {name for node in nodes for name in node.input}
    for weight in weights.values():
        if weight.name not in used:
            model.graph.initializer.remove(weight)
    onnx.save(model, path)


def quantize(folded: Path, path: Path) -> None:
    """Products with a constant alone: the embeddings stay float32, for nobody multiplies by them."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # a scale for each column halves the error of one for each matrix, and takes the same time
    quantize_dynamic(
        folded, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
    )
    before, after = onnx.load(folded).graph, onnx.load(path).graph
    constants = {weight.name for weight in before.initializer}
    products = sum(node.op_type in ("MatMul", "Gemm") and node.input[1] in constants for node in before.node)
    counts = {"products": products, "int8": sum(node.op_type == "MatMulInteger" for node in after.node)}
    path.with_suffix(".json").write_text(json.dumps(counts))


def main() -> None:
    checkpoint, kind, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    path = folder_of(checkpoint, kind) / name
    path.parent.mkdir(exist_ok=True)
    if name in ("plain.onnx", "legacy.onnx"):
        newer = name == "plain.onnx"
        export(checkpoint, kind, path, "sdpa" if newer else "eager", newer)
    else:
        make, source = {
            "fused.onnx": (fuse, "legacy.onnx"),
            "folded.onnx": (fold, "plain.onnx"),
            "int8.onnx": (quantize, "folded.onnx"),
        }[name]
        make(graph(checkpoint, source, kind), path)


if __name__ == "__main__":
    main()
