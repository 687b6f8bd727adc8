"""The ONNX graphs of an ALBERT-base encoder that other engines run, exported from transformers and kept beside it.

plain.onnx is what torch.onnx.export gives today. legacy.onnx comes from the older exporter, whose graphs are the ones that
ONNX Runtime's optimizer finds attention in; fused.onnx is what that optimizer makes of it.
Run by the engines themselves, in a process of its own:  python benchmarks/onnx_graphs.py CHECKPOINT
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

from albert_np.machine import installed

NEEDED = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def graph(checkpoint: Path, name: str) -> Path:
    """The path of a graph, exported first where it is not there. Raises ImportError or RuntimeError with the reason."""
    path = folder_of(checkpoint) / name
    if not path.exists():
        missing = [package for package in NEEDED if installed(package) is None]
        if missing:
            raise ImportError(f"exporting the graph needs {', '.join(missing)}")
        done = subprocess.run([sys.executable, __file__, str(checkpoint)], capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise RuntimeError(f"exporting {name} failed: {last}")
    return path


def folder_of(checkpoint: Path) -> Path:
    versions = "-".join(f"{package}{installed(package)}" for package in ("torch", "transformers", "onnxruntime"))
    return checkpoint.parent / f"{checkpoint.name}-onnx-{versions}"


def fused_operators(checkpoint: Path) -> dict[str, int]:
    """How many of each fused operator the optimizer put in, which says how far its fusion goes for ALBERT."""
    return json.loads((folder_of(checkpoint) / "fused.json").read_text())


def export(checkpoint: Path) -> None:
    import torch
    from transformers import AlbertModel

    class LastHiddenState(torch.nn.Module):
        def __init__(self, attention: str) -> None:
            super().__init__()
            self.model = AlbertModel.from_pretrained(
                checkpoint, add_pooling_layer=False, attn_implementation=attention
            ).eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    folder = folder_of(checkpoint)
    folder.mkdir(exist_ok=True)
    ids, mask = torch.randint(5, 30000, (2, 16)), torch.ones(2, 16, dtype=torch.int64)
    mask[1, 10:] = 0  # a mask of ones alone could be left out of the graph
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["last_hidden_state"]}
    free = {0: "batch", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            LastHiddenState("sdpa").eval(),
            (ids, mask),
            folder / "plain.onnx",
            dynamo=True,
            dynamic_shapes={"input_ids": free, "attention_mask": free},
            **names,
        )
        torch.onnx.export(
            LastHiddenState("eager").eval(),
            (ids, mask),
            folder / "legacy.onnx",
            dynamo=False,
            dynamic_axes={"input_ids": free, "attention_mask": free, "last_hidden_state": free},
            **names,
        )


def fuse(checkpoint: Path) -> None:
    from onnxruntime.transformers import optimizer

    folder = folder_of(checkpoint)
    model = optimizer.optimize_model(
        str(folder / "legacy.onnx"), model_type="bert", num_heads=12, hidden_size=768, opt_level=0, use_gpu=False
    )
    counts = collections.Counter(node.op_type for node in model.model.graph.node if node.domain == "com.microsoft")
    (folder / "fused.json").write_text(json.dumps(counts))
    model.save_model_to_file(str(folder / "fused.onnx"))


if __name__ == "__main__":
    export(Path(sys.argv[1]))
    fuse(Path(sys.argv[1]))
