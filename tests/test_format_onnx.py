"""model.onnx: exports of torch and of ONNX Runtime, and graphs written node by node, are read to the bit.

The oracle for exports is what PyTorch computed, and the sha256 of its weights; for written graphs it is the weights that they
were made of, and onnx's own evaluator.
"""

import hashlib
import shutil
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.onnx_exports import (
    GOLDENS,
    GROUPS,
    HEADS,
    LAYER,
    MANIFEST,
    TINY,
    WORDS,
    drawn,
    external,
    loaded,
    refused,
    same,
    values,
    written,
)
from support.onnx_graphs import FusedGraph, Style
from support.refusals import refusal
from tolerances import OTHER_FRAMEWORK_FLOAT32

import albert_np
from albert_np.checkpoints.formats.onnx import find, read
from albert_np.conversion import onnx_model
from albert_np.protobuf import write_field, write_number

# --- exports --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFEST)
def test_exports_of_torch_compute_what_pytorch_computed_with_the_same_bits(name):
    folder = GOLDENS / name
    model = loaded(folder, MANIFEST[name]["class"])
    saved = np.load(folder / "expected.npz")
    out = model(**{key[3:]: saved[key] for key in saved if key.startswith("in_")})
    outputs = [key for key in saved if key.startswith("out_")]
    assert outputs
    for key in outputs:
        np.testing.assert_allclose(
            out[key[4:]], saved[key], rtol=0, atol=OTHER_FRAMEWORK_FLOAT32 * np.abs(saved[key]).max()
        )
    total = hashlib.sha256()
    for weight, x in sorted(model.named_parameters()):
        total.update(weight.encode() + b"\0" + np.ascontiguousarray(x, "<f4").tobytes())
    assert total.hexdigest() == MANIFEST[name]["sha256"]


def test_the_goldens_have_the_traps_that_they_are_there_for():
    """Every class, kernels without names, Identity for a layer's second application, merged tensors, absent biases, fusions."""
    assert len({entry["class"] for entry in MANIFEST.values()}) == 7
    graphs = {name: onnx.load(GOLDENS / name / "model.onnx").graph for name in MANIFEST}
    names = {name: {x.name for x in graph.initializer} for name, graph in graphs.items()}
    ops = {name: {node.op_type for node in graph.node} for name, graph in graphs.items()}
    assert any(name.startswith("onnx::MatMul_") for name in names["torchscript_masked_lm"])
    assert "Identity" in ops["torchscript_masked_lm"]
    assert any(name.startswith("val_") for name in names["dynamo_pretraining"])
    assert "predictions.decoder.weight" in names["dynamo_pretraining"]
    assert not any("word_embeddings" in name for name in names["dynamo_pretraining"])
    assert not any("key.bias" in name for name in names["dynamo_sequence_fresh"])
    assert "classifier.bias" not in names["dynamo_sequence_fresh"]
    assert "LayerNormalization" not in ops["torchscript_question_unfolded"]
    assert "Attention" in ops["dynamo_tokens"]
    assert {"Attention", "SkipLayerNormalization", "FastGelu"} <= ops["torchscript_model_optimized"]


def test_neither_onnx_nor_a_runtime_is_imported(monkeypatch):
    for name in ("onnx", "onnxruntime", "google.protobuf"):
        monkeypatch.setitem(sys.modules, name, None)
    loaded(GOLDENS / "dynamo_pretraining", "AlbertForPreTraining")


def test_the_dtype_of_each_tensor_is_the_stored_one():
    assert {tensor.dtype for tensor in read(GOLDENS / "torchscript_question_unfolded" / "model.onnx")} == {"F16"}
    assert {tensor.dtype for tensor in read(GOLDENS / "dynamo_tokens" / "model.onnx")} == {"BF16"}


# --- graphs -----------------------------------------------------------------------------------------------------------------

STYLES = {
    "as torch's newer exporter": Style(),
    "kernels as Hugging Face's, with Transpose": Style(folded=False),
    "no names": Style(anonymous=True),
    "no names, no folding, single operations": Style(anonymous=True, folded=False, plain_norm=True),
    "a copy for each use": Style(copies=True),
    "anonymous copies": Style(copies=True, anonymous=True, plain_norm=True),
    "Gemm": Style(gemm=True),
    "Constant nodes": Style(constants=True, copies=True),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("config", [TINY, GROUPS], ids=["one layer", "groups"])
def test_every_way_of_writing_a_graph_gives_its_weights(style, kind, config, tmp_path):
    weights = written(tmp_path, config, kind, style=STYLES[style])
    same(values(tmp_path), weights)
    loaded(tmp_path, kind)


@pytest.mark.parametrize("kind", HEADS)
def test_the_written_graphs_are_albert(kind, tmp_path):
    """Or the tests above would say nothing: onnx's evaluator computes what the model does."""
    written(tmp_path, GROUPS, kind, style=Style(plain_norm=True, gemm=True))
    rng = np.random.default_rng(1)
    batch = {"input_ids": rng.integers(1, 19, (2, 5)), "attention_mask": np.ones((2, 5), np.int64)}
    batch |= {"token_type_ids": rng.integers(0, 2, (2, 5))}
    batch["attention_mask"][0, 3:] = 0
    theirs = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, batch)
    out = loaded(tmp_path, kind)(**batch)
    for name, x in zip(HEADS[kind][2], theirs, strict=True):
        np.testing.assert_allclose(out[name], x, rtol=1e-4, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize("kind", HEADS)
def test_onnx_runtimes_own_operators_are_taken_apart(kind, tmp_path):
    weights = written(tmp_path, GROUPS, kind, graph=FusedGraph)
    same(values(tmp_path), weights)


def test_an_attention_of_unequal_parts_is_refused(tmp_path):
    def widen(proto):
        node = next(x for x in proto.graph.node if x.op_type == "Attention")
        node.attribute.append(helper.make_attribute("qkv_hidden_sizes", [8, 8, 16]))

    written(tmp_path, GROUPS, change=widen, graph=FusedGraph)
    assert "are not three equal parts of a constant" in refused(tmp_path)


def test_relative_positions_need_no_table_of_absolute_ones(tmp_path):
    """Exporters leave it out, as the graph does not read it. transformers has it in every model."""
    config = TINY.replace(position_embedding_type="relative_key_query", architectures=["AlbertForMaskedLM"])
    model = albert_np.AlbertForMaskedLM(config, backend="numpy", seed=3)
    proto = onnx_model.onnx_model(model)
    (table,) = (x for x in proto.graph.initializer if x.name == "albert.embeddings.position_embeddings.weight")
    proto.graph.initializer.remove(table)
    config.save_pretrained(tmp_path)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.warns(UserWarning, match="as relative positions use none: it is zeros"):
        found = loaded(tmp_path)
    for name, x in model.named_parameters():
        expected = np.zeros_like(x) if "position_embeddings" in name else x
        np.testing.assert_array_equal(dict(found.named_parameters())[name], expected, err_msg=name)
    batch = {"input_ids": np.arange(1, 8)[None]}
    np.testing.assert_array_equal(found(**batch).logits, model(**batch).logits)


def test_square_matrices_are_turned_by_what_reads_them(tmp_path):
    """Where every size is the same, no shape says what is transposed, or which table is which."""
    config = TINY.replace(
        vocab_size=8, embedding_size=8, hidden_size=8, intermediate_size=8, max_position_embeddings=8, type_vocab_size=8
    )
    for style in STYLES.values():
        weights = written(tmp_path, config, style=style)
        same(values(tmp_path), weights)


def test_equal_tensors_that_an_exporter_merged_are_given_to_each_role(tmp_path):
    weights = drawn(GROUPS, "AlbertForMaskedLM")
    for name, x in weights.items():
        if name.endswith("bias"):
            weights[name] = np.zeros_like(x)

    def merge(proto):
        first = {}
        renamed = {x.name: first.setdefault(x.raw_data + bytes(x.dims), x.name) for x in proto.graph.initializer}
        for node in proto.graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
        kept = [x for x in proto.graph.initializer if renamed[x.name] == x.name]
        assert len(kept) < len(renamed) - 30
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)

    written(tmp_path, GROUPS, weights=weights, change=merge)
    same(values(tmp_path), weights)
    loaded(tmp_path)


def test_a_bias_of_zeros_may_be_left_out(tmp_path):
    kind, weights = "AlbertForSequenceClassification", drawn(TINY, "AlbertForSequenceClassification")
    for module in ("pooler", "classifier", LAYER + "ffn"):
        weights[module + ".bias"] = np.zeros_like(weights[module + ".bias"])
    left_out = dict.fromkeys(("pooler", "classifier", LAYER + "ffn"))
    written(tmp_path, kind=kind, weights=weights, style=Style(bias=left_out))
    same(values(tmp_path), weights)


def test_a_bias_that_is_no_constant_vector_is_not_taken_for_zeros(tmp_path):
    def disguise(proto):
        add = next(node for node in proto.graph.node if LAYER + "ffn.bias" in node.input)
        negative = helper.make_node("Neg", [LAYER + "ffn.bias"], ["negative"])
        add.input[:] = ["negative" if name == LAYER + "ffn.bias" else name for name in add.input]
        proto.graph.node.insert(0, negative)

    written(tmp_path, change=disguise)
    assert f"adds what is no constant vector where {LAYER}ffn.bias is due" in refused(tmp_path)


def test_a_bias_that_only_one_application_adds_is_refused(tmp_path):
    def leave_out(proto):
        add = next(node for node in proto.graph.node if LAYER + "ffn.bias" in node.input)
        add.op_type = "Identity"
        add.input.remove(LAYER + "ffn.bias")

    written(tmp_path, change=leave_out)
    assert f"adds {LAYER}ffn.bias in some places, and not in others" in refused(tmp_path)


@pytest.mark.parametrize("anonymous", [False, True])
def test_copies_that_differ_by_a_bit_are_refused(anonymous, tmp_path):
    def flip(proto):
        biases = [x for x in proto.graph.initializer if list(x.dims) == [12]]
        assert len(biases) == 2
        x = numpy_helper.to_array(biases[1]).copy()
        x.view(np.uint32)[3] ^= 1
        biases[1].CopyFrom(numpy_helper.from_array(x, biases[1].name))

    written(tmp_path, style=Style(copies=True, anonymous=anonymous), change=flip)
    assert "both used as " + LAYER + "ffn.bias, which this model has once, and differ" in refused(tmp_path)


def test_a_decoder_of_its_own_needs_a_config_that_says_so(tmp_path):
    untied = TINY.replace(tie_word_embeddings=False)
    weights = written(tmp_path, untied)
    same(values(tmp_path), weights)
    TINY.save_pretrained(tmp_path)
    assert "tie_word_embeddings=false" in refused(tmp_path)


def test_names_that_contradict_the_graph_are_refused(tmp_path):
    query, key = LAYER + "attention.query.weight", LAYER + "attention.key.weight"

    def swap(proto):
        other = {query: key, key: query}
        for node in proto.graph.node:
            node.input[:] = [other.get(name, name) for name in node.input]

    written(tmp_path, change=swap)
    assert "differ" in refused(tmp_path)


def test_other_names_of_inputs_and_wrappers_do_not_matter(tmp_path):
    def rename(proto):
        inputs = {"input_ids": "x.1", "attention_mask": "x.2", "token_type_ids": "x.3"}
        for x in proto.graph.input:
            x.name = inputs[x.name]
        stored = {x.name: f"model.albert.{x.name}" for x in proto.graph.initializer}
        for x in proto.graph.initializer:
            x.name = stored[x.name]
        for node in proto.graph.node:
            node.input[:] = [(inputs | stored).get(name, name) for name in node.input]

    weights = written(tmp_path, change=rename)
    same(values(tmp_path), weights)


def test_weights_of_other_modules_are_reported(tmp_path):
    def extend(proto):
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((19, 4), np.float32), "probe"))
        proto.graph.node.append(helper.make_node("MatMul", ["logits", "probe"], ["probed"]))

    written(tmp_path, change=extend)
    with pytest.warns(UserWarning, match="also holds probe"):
        loaded(tmp_path)


def test_weights_that_the_graph_does_not_use_are_known_by_their_names(tmp_path):
    """As of a pooler that an exporter kept, though no output needs it."""
    pooler = {"pooler.weight": np.ones((8, 8), np.float32), "pooler.bias": np.full(8, 2, np.float32)}

    def keep(proto):
        proto.graph.initializer.extend(numpy_helper.from_array(x, f"albert.{name}") for name, x in pooler.items())

    weights = written(tmp_path, change=keep)
    same(values(tmp_path), weights | pooler)


# --- how values are stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "bfloat16"])
def test_values_in_typed_fields_are_those_of_raw_data(dtype, tmp_path):
    """onnx.proto: float_data, double_data, and int32_data with the bits of halves in base 128."""
    kinds = {np.float16: TensorProto.FLOAT16, np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE}
    kind = kinds.get(dtype, TensorProto.BFLOAT16)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**16, (19, 6)).astype(np.uint16)
    x = rng.normal(size=(19, 6))
    for raw in (False, True):

        def change(proto, raw=raw):
            (words,) = (tensor for tensor in proto.graph.initializer if tensor.name == WORDS)
            new = TensorProto(name=WORDS, data_type=kind, dims=[19, 6])
            half = dtype in (np.float16, "bfloat16")
            stored = bits if half else x.astype(dtype)
            if raw:
                new.raw_data = stored.tobytes()
            else:
                field = new.int32_data if half else new.float_data if dtype == np.float32 else new.double_data
                field.extend(stored.ravel().tolist())
            words.CopyFrom(new)

        written(tmp_path, TINY.replace(tie_word_embeddings=False), change=change)
        found = values(tmp_path)[WORDS]
        if dtype == "bfloat16":
            expected = (bits.astype(np.uint32) << 16).view(np.float32)
        else:
            expected = bits.view(np.float16) if dtype == np.float16 else x.astype(dtype)
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


def test_sizes_end_to_end_in_one_field_are_read(tmp_path):
    """As programs with the proto3 form of onnx.proto write them; the onnx library writes a field for each."""
    weights = written(tmp_path)
    proto = onnx.load(tmp_path / "model.onnx")
    tensors = []
    for tensor in proto.graph.initializer:
        sizes = b"".join(map(write_number, tensor.dims))
        tensor.ClearField("dims")
        tensors.append(write_field(5, write_field(1, sizes) + tensor.SerializeToString()))
    del proto.graph.initializer[:]
    graph = proto.graph.SerializeToString() + b"".join(tensors)
    proto.ClearField("graph")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString() + write_field(7, graph))
    assert all(x.dims for x in onnx.load(tmp_path / "model.onnx").graph.initializer if x.name in weights)
    same(values(tmp_path), weights)


def test_values_go_through_the_branches_of_an_if(tmp_path):
    def change(proto):
        nodes = list(proto.graph.node)
        at = next(i for i, node in enumerate(nodes) if node.op_type == "Relu")
        (inside,) = nodes[at].output
        for node in nodes[at + 1 :]:
            node.input[:] = ["chosen" if name == inside else name for name in node.input]
        result = [helper.make_tensor_value_info("kept", TensorProto.FLOAT, None)]
        branch = helper.make_graph([helper.make_node("Identity", [inside], ["kept"])], "branch", [], result)
        proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        proto.graph.node.insert(
            at + 1, helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
        )

    weights = written(tmp_path, change=change)
    same(values(tmp_path), weights)


def test_values_beside_the_file_are_read(tmp_path):
    def change(proto):
        (tmp_path / "model.onnx_data").write_bytes(external(proto))

    weights = written(tmp_path, style=Style(copies=True), change=change)
    same(values(tmp_path), weights)


# --- which file -------------------------------------------------------------------------------------------------------------


def test_the_only_file_is_found_and_several_are_not_chosen_from(tmp_path):
    assert find(tmp_path) is None
    weights = written(tmp_path)
    (tmp_path / "model.onnx").rename(tmp_path / "albert.onnx")
    loaded(tmp_path)
    shutil.copy(tmp_path / "albert.onnx", tmp_path / "albert_fp16.onnx")
    assert "albert.onnx, albert_fp16.onnx: name the one that counts model.onnx" in refused(tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "albert.onnx").rename(tmp_path / "onnx" / "model.onnx")
    model = loaded(tmp_path)  # config.json is one folder above
    np.testing.assert_array_equal(model.get_input_embeddings().weight, weights[WORDS])


def test_safetensors_come_first(tmp_path):
    written(tmp_path)
    loaded(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    loaded(tmp_path)
    assert "no ONNX file" in refusal(loaded, tmp_path, use_safetensors=False)


def test_a_file_without_its_config_says_what_it_is_for(tmp_path):
    written(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(OSError, match=r"config\.json beside it, which says which layer is applied when"):
        list(read(tmp_path / "model.onnx"))
