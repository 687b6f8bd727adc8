"""Folders with an export of ALBERT as ONNX, for tests of its reader."""

import json

import numpy as np
from onnx import TensorProto, helper

import albert_np
from albert_np import AlbertConfig
from albert_np.checkpoints.formats.onnx import read
from albert_np.checkpoints.names import expected_shapes
from support import ROOT
from support.onnx_graphs import Graph, Style
from support.refusals import refusal

GOLDENS = ROOT / "tests" / "goldens" / "formats_onnx"
MANIFEST = json.loads((GOLDENS / "manifest.json").read_text())
TINY = AlbertConfig(
    vocab_size=19,
    embedding_size=6,
    hidden_size=8,
    intermediate_size=12,
    num_attention_heads=2,
    num_hidden_layers=2,
    max_position_embeddings=10,
    hidden_act="relu",
)
GROUPS = TINY.replace(num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)
HEADS = {  # class -> its parts, the graph's method, its outputs
    "AlbertForMaskedLM": (("predictions",), "masked_lm", ["logits"]),
    "AlbertForSequenceClassification": (("pooler", "classifier"), "sequence", ["logits"]),
    "AlbertForQuestionAnswering": (("qa_outputs",), "question", ["start_logits", "end_logits"]),
}
LAYER = "encoder.albert_layer_groups.0.albert_layers.0."
WORDS = "embeddings.word_embeddings.weight"


def drawn(config, kind, seed=0):
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config, HEADS[kind][0])
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def written(
    folder, config=TINY, kind="AlbertForMaskedLM", weights=None, style=None, change=None, saved=None, graph=Graph
):
    """A folder with an export. change: what is done to the onnx.ModelProto. saved: the config that is written."""
    weights = drawn(config, kind) if weights is None else weights
    graph = graph(weights, config, style or Style())
    _, head, outputs = HEADS[kind]
    results = getattr(graph, head)()
    for name, result in zip(outputs, results, strict=True):
        graph.nodes.append(helper.make_node("Identity", [result], [name]))
    proto = graph.model(outputs)
    if change is not None:
        change(proto)
    (saved or config).replace(architectures=[kind]).save_pretrained(folder)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return weights


def loaded(folder, kind="AlbertForMaskedLM", **options):
    return getattr(albert_np, kind).from_pretrained(folder, backend="numpy", **options)


def values(folder):
    return {tensor.known_as: tensor.load() for tensor in read(folder / "model.onnx")}


def refused(folder, kind="AlbertForMaskedLM"):
    return refusal(loaded, folder, kind)


def same(found, weights):
    assert set(found) == set(weights)
    for name, x in weights.items():
        np.testing.assert_array_equal(found[name], x, strict=True, err_msg=name)


def external(proto, name="model.onnx_data", **entries):
    """Moves all values into one file, as onnx's entries say: location, offset, length."""
    data = b""
    for tensor in proto.graph.initializer:
        about = {"location": name, "offset": len(data), "length": len(tensor.raw_data)} | entries
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in about.items():
            tensor.external_data.add(key=key, value=str(value))
    return data
