"""model.onnx: what is refused, each in one line, and damaged files."""

import random
import shutil
import time
import tracemalloc

import numpy as np
import pytest
from onnx import helper, numpy_helper
from support.onnx_exports import GOLDENS, MANIFEST, TINY, external, loaded, refused, values, written
from support.onnx_graphs import FusedGraph, Style

from albert_np.checkpoints.formats import onnx_file
from albert_np.protobuf import write_field


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "../model.onnx_data"}, "same folder"),
        ({"location": "/etc/passwd"}, "same folder"),
        ({"location": "sub/model.onnx_data"}, "same folder"),
        ({"location": "sub\\model.onnx_data"}, "same folder"),
        ({"location": ".."}, "same folder"),
        ({"location": ""}, "same folder"),
        ({"location": "x\n"}, "same folder"),
        ({"location": "absent"}, "not in the same folder"),
        ({"offset": 2**40}, "which has"),
        ({"offset": "-4"}, "no whole number"),
        ({"offset": "٣"}, "no whole number"),
        ({"offset": "9" * 5000}, "no whole number"),
        ({"length": 4}, "its entry says 4"),
    ],
)
def test_values_elsewhere_or_out_of_bounds_are_refused(entries, said, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "model.onnx_data").write_bytes(bytes(100_000))
    written(folder, change=lambda proto: external(proto, **entries))
    with pytest.raises((ValueError, OSError), match=said) as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "op", ["MatMulInteger", "DynamicQuantizeLinear", "QLinearMatMul", "DequantizeLinear", "MatMulNBits", "QAttention"]
)
def test_quantized_models_are_refused_in_words(op, tmp_path):
    def change(proto):
        proto.graph.node.insert(0, helper.make_node(op, ["input_ids"], ["quantized"]))

    written(tmp_path, change=change)
    assert f"is quantized ({op}): its weights are gone" in refused(tmp_path)


def test_another_number_of_layers_than_the_config_says_is_refused(tmp_path):
    written(tmp_path, style=Style(layers=3))
    assert "more often than the 2 times of config.json" in refused(tmp_path)
    written(tmp_path, style=Style(layers=1))
    assert "no attention where application 2 of 2 is due" in refused(tmp_path)


def test_layers_of_their_own_are_not_one_shared_layer(tmp_path):
    """As in BERT or ELECTRA."""
    several = TINY.replace(num_hidden_groups=2)
    for anonymous in (False, True):
        written(tmp_path, several, style=Style(anonymous=anonymous), saved=TINY)
        assert "which this model has once, and differ: is it ALBERT" in refused(tmp_path)


def test_a_graph_without_the_embeddings_map_is_not_albert(tmp_path):
    """As BERT's."""

    def change(proto):
        nodes = list(proto.graph.node)
        start = next(i for i, node in enumerate(nodes) if "encoder.embedding_hidden_mapping_in.weight" in node.input)
        last = nodes[start + 1].output[0]
        for node in nodes[start + 2 :]:
            node.input[:] = [nodes[start].input[0] if name == last else name for name in node.input]
        del proto.graph.node[start : start + 2]

    written(tmp_path, TINY.replace(embedding_size=8), change=change)
    assert "no linear map of the embeddings" in refused(tmp_path)


def test_a_linear_map_with_a_factor_is_refused(tmp_path):
    def halve(proto):
        (node, *_) = [node for node in proto.graph.node if node.op_type == "Gemm"]
        node.attribute.append(helper.make_attribute("alpha", 0.5))

    kind = "AlbertForSequenceClassification"
    written(tmp_path, kind=kind, style=Style(gemm=True), change=halve)
    assert "a Gemm with alpha, beta or transA" in refused(tmp_path, kind)


def test_fused_embeddings_whose_weights_are_no_constants_are_refused(tmp_path):
    def compute(proto):
        (node,) = [node for node in proto.graph.node if node.op_type == "EmbedLayerNormalization"]
        node.input[5] = "attention_mask"

    written(tmp_path, change=compute, graph=FusedGraph)
    assert "EmbedLayerNormalization without constant weights" in refused(tmp_path)


def test_token_types_that_were_added_when_the_graph_was_made_are_refused(tmp_path):
    """An export for texts of one kind and length has the sum of two looked-up tables."""

    def fold(proto):
        rows = np.ones((1, 10, 6), np.float32)
        for at, name in ((1, "folded types"), (2, "folded positions")):
            proto.graph.initializer.append(numpy_helper.from_array(rows * at, name))
        tables = [f"embeddings.{name}_embeddings.weight" for name in ("token_type", "position")]
        gathers = [node for node in proto.graph.node if node.op_type == "Gather" and node.input[0] in tables]
        names = dict(zip((node.output[0] for node in gathers), ("folded types", "folded positions"), strict=True))
        for node in gathers:
            proto.graph.node.remove(node)
        for node in proto.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]

    written(tmp_path, change=fold)
    assert "has no token type embeddings" in refused(tmp_path)


def test_weights_that_are_inputs_or_in_functions_are_refused_in_words(tmp_path):
    def leave_out(proto):
        del proto.graph.initializer[:]

    written(tmp_path, change=leave_out)
    assert "export_params=False" in refused(tmp_path)

    def call(proto):
        proto.functions.append(helper.make_function("own", "Layer", ["x"], ["y"], [], []))
        proto.graph.node.insert(0, helper.make_node("Layer", ["input_ids"], ["y"], domain="own"))

    written(tmp_path, change=call)
    assert "own.Layer, a function of its own" in refused(tmp_path)


def test_rows_that_an_exporter_looked_up_for_one_length_are_not_a_table(tmp_path):
    def fix(proto):
        (node,) = (x for x in proto.graph.node if "embeddings.position_embeddings.weight" in x.input)
        (table,) = (x for x in proto.graph.initializer if x.name == "embeddings.position_embeddings.weight")
        rows = numpy_helper.to_array(table)[None, :5]
        proto.graph.initializer.remove(table)
        proto.graph.initializer.append(numpy_helper.from_array(rows.copy(), node.output[0]))
        proto.graph.node.remove(node)

    weights = written(tmp_path, change=fix)
    assert "exported for texts of 5 tokens, with 5 of 10 position embeddings" in refused(tmp_path)
    written(tmp_path, change=fix, saved=TINY.replace(max_position_embeddings=5))
    found = values(tmp_path)["embeddings.position_embeddings.weight"]
    np.testing.assert_array_equal(found, weights["embeddings.position_embeddings.weight"][:5])


def nested(depth):
    node = b""
    for _ in range(depth):
        node = write_field(5, write_field(6, write_field(1, write_field(4, b"If") + node)))
    return write_field(7, write_field(1, write_field(4, b"If") + node))


TENSOR = write_field(8, b"w") + write_field(2, 1)
HOSTILE = {
    "nothing": (b"", "no graph"),
    "text": (b"solver: SGD\n" * 9, "damaged or no ONNX file"),
    "a web page": (b"<!doctype html>", "web page"),
    "a Git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS"),
    "two graphs": (write_field(7, b"") * 2, "two graphs"),
    "a length beyond the end": (b"\x3a\xff\xff\xff\xff\x0f", "claims"),
    "a number of 11 bytes": (b"\x08" + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
    "a field with number 0": (b"\x00\x00", "impossible number"),
    "a group": (b"\x0b\x0c", "wire type 3"),
    "a million graphs inside each other": (nested(2_000), "nested"),
    "many nodes": (write_field(7, write_field(1, b"") * 60_000), "over 50,000 nodes"),
    "many fields": (b"\x08\x01" * 600_000, "fields"),
    "many sizes end to end": (write_field(7, write_field(5, write_field(1, bytes(600_000)))), "over 500,000 numbers"),
    "values in a field of another dtype": (
        write_field(7, write_field(5, TENSOR + write_field(1, 1) + write_field(7, b"\x01"))),
        "not due in field 7",
    ),
    "2⁶² floats": (write_field(7, write_field(5, TENSOR + write_field(1, 2**62))), "at most 8 sizes"),
    "a tebibyte of floats": (write_field(7, write_field(5, TENSOR + write_field(1, 2**38))), "in one field"),
    "a negative size": (write_field(7, write_field(5, TENSOR + write_field(1, 2**64 - 1))), "0 or more"),
    "many sizes": (write_field(7, write_field(5, TENSOR + write_field(1, 1) * 9)), "at most 8 sizes"),
    "too few values": (
        write_field(7, write_field(5, TENSOR + write_field(1, 9) + write_field(9, bytes(4)))),
        "does not fit",
    ),
    "values twice": (
        write_field(7, write_field(5, TENSOR + write_field(1, 1) + write_field(9, bytes(4)) * 2)),
        "in one field",
    ),
    "one name twice": (
        write_field(7, write_field(5, TENSOR + write_field(1, 1) + write_field(9, bytes(4))) * 2),
        "two initializers",
    ),
    "a segment": (write_field(7, write_field(5, TENSOR + write_field(3, b"\x08\x01"))), "segments"),
    "a number where text is due": (write_field(7, write_field(1, write_field(4, 7))), "text is due"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files_are_refused_in_one_line(name, tmp_path):
    data, said = HOSTILE[name]
    TINY.save_pretrained(tmp_path)
    (tmp_path / "model.onnx").write_bytes(data)
    start = time.monotonic()
    assert said in refused(tmp_path)
    assert time.monotonic() - start < 10
    if len(data) < 10_000:  # counting allocations makes long files ten times as slow
        tracemalloc.start()
        refused(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()


def test_base_128_numbers_that_do_not_fit_are_refused(tmp_path):
    for numbers in (b"\x01\x02", b"\x01\x02\x03\x04", b"\x01\x02\x80", b"\x80" * 12 + b"\x01\x01\x01"):
        data = write_field(8, b"w") + write_field(2, 10) + write_field(1, 3) + write_field(5, numbers)
        (tmp_path / "x").write_bytes(write_field(7, write_field(5, data)))
        with pytest.raises(ValueError, match=r"does not fit|numbers instead of 3"):
            onnx_file.read_graph(tmp_path / "x").constants["w"].load()


@pytest.mark.parametrize("name", ["dynamo_pretraining", "torchscript_model_optimized", "torchscript_question_unfolded"])
def test_mutated_files_are_refused_or_read(name, tmp_path):
    shutil.copytree(GOLDENS / name, tmp_path, dirs_exist_ok=True)
    sound = (GOLDENS / name / "model.onnx").read_bytes()
    rng = random.Random(name)
    outcomes = []
    for _ in range(100):
        data = bytearray(sound)
        for _ in range(rng.choice((1, 3, 20))):
            at = rng.randrange(len(data))
            way = rng.randrange(4)
            if way == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif way == 1:
                del data[at : at + rng.choice((1, 4))]
            elif way == 2:
                data[at:at] = rng.randbytes(rng.choice((1, 4)))
            else:
                data = data[: max(at, 30)]
        (tmp_path / "model.onnx").write_bytes(data)
        message = ""
        try:
            loaded(tmp_path, MANIFEST[name]["class"], check_finite="off")
        except (ValueError, OSError) as error:
            message = str(error) or "no message"
        assert "\n" not in message
        outcomes.append(not message)
    assert {True, False} == set(outcomes)
