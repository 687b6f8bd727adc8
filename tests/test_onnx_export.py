"""A model written as ONNX is whole by the checker's rules, stores each weight once, and computes what the model computes."""

import sys
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.refusals import refusal

import albert_np
from albert_np.activations import ACTIVATIONS
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.conversion import onnx_model as exporter
from albert_np.conversion.onnx_model import INPUTS, onnx_model, write, write_tensors
from albert_np.encoder import applications
from albert_np.golden.capturing.onnx_modules import tensor_names
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like

BASE = {  # ALBERT-base's shape
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
B, T, C = "batch_size", "sequence_length", "num_choices"
# what optimum-onnx 0.1.0 writes, and what it leaves out: pooler_output, AlbertForPreTraining
OUTPUTS = {
    "AlbertModel": {"last_hidden_state": [B, T, 24], "pooler_output": [B, 24]},
    "AlbertForPreTraining": {"prediction_logits": [B, T, 60], "sop_logits": [B, 2]},
    "AlbertForMaskedLM": {"logits": [B, T, 60]},
    "AlbertForSequenceClassification": {"logits": [B, 5]},
    "AlbertForTokenClassification": {"logits": [B, T, 5]},
    "AlbertForQuestionAnswering": {"start_logits": [B, T], "end_logits": [B, T]},
    "AlbertForMultipleChoice": {"logits": [B, C]},
}


def made(kind, seed=3, **changes):
    config = albert_np.AlbertConfig(**TINY | changes)
    return getattr(albert_np, kind)(config, backend="numpy", tensors=trained_like(config, PARTS[kind], seed))


def checked(proto):
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    return proto


def called(rng, config, shape, mask="all"):
    """A call of the model whose padding is on the right, or whose first sequence is nothing but padding."""
    lengths = rng.integers(1, shape[-1] + 1, shape[:-1])
    real = np.arange(shape[-1]) < (lengths[..., None] if mask == "padded" else shape[-1])
    if mask == "nothing":
        real = np.broadcast_to(real, shape).copy()
        real[0] = False
    return {
        "input_ids": rng.integers(1, config.vocab_size, shape),
        "attention_mask": np.broadcast_to(real, shape).astype(np.int64),
        "token_type_ids": rng.integers(0, config.type_vocab_size, shape),
    }


def assert_same_answers(proto, model, *calls):
    evaluator = ReferenceEvaluator(proto)
    for call in calls:
        outputs, expected = evaluator.run(None, call), model(**call)
        assert [one.name for one in proto.graph.output] == list(expected)
        for one, output in zip(proto.graph.output, outputs, strict=True):
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, expected[one.name], rtol=0, atol=1e-5, err_msg=one.name)


def described(values):
    return {x.name: [axis.dim_param or axis.dim_value for axis in x.type.tensor_type.shape.dim] for x in values}


def weights(proto):
    return {x.name: x for x in proto.graph.initializer if not x.name.startswith("constant_")}


# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_every_case_gives_the_answers_of_the_model(name):
    kind, changes, features = CASES[name]
    model = made(kind, **changes)
    call = {key: x for key, x in batch(model.config, kind, 5, **features).items() if key in INPUTS}
    call.setdefault("input_ids", np.ones_like(call["attention_mask"]))
    assert_same_answers(checked(onnx_model(model)), model, call)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_activation(act):
    model = made("AlbertForMaskedLM", hidden_act=act, num_hidden_layers=2)
    call = called(np.random.default_rng(1), model.config, (2, 7))
    assert_same_answers(checked(onnx_model(model)), model, call)


@pytest.mark.parametrize("position_type", ["absolute", "relative_key", "relative_key_query"])
@pytest.mark.parametrize("kind", ["AlbertModel", "AlbertForMultipleChoice"])
def test_one_file_takes_any_batch_and_any_length(kind, position_type):
    model = made(kind, position_embedding_type=position_type, num_hidden_layers=2)
    rng, longest = np.random.default_rng(2), model.config.max_position_embeddings
    lead = (2,) if kind == "AlbertForMultipleChoice" else ()
    calls = [
        called(rng, model.config, (1, *lead, 1)),
        called(rng, model.config, (3, *lead, 5), "padded"),
        called(rng, model.config, (2, *lead, longest), "padded"),
        called(rng, model.config, (2, *lead, 4), "nothing"),
    ]
    assert_same_answers(checked(onnx_model(model)), model, *calls)


def test_a_text_that_is_too_long_is_refused_by_the_runtime_and_not_answered():
    model = made("AlbertModel", num_hidden_layers=1)
    call = called(np.random.default_rng(0), model.config, (1, model.config.max_position_embeddings + 1))
    with pytest.raises(IndexError):
        ReferenceEvaluator(onnx_model(model)).run(None, call)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 6, "num_hidden_groups": 3},
        {"num_hidden_layers": 2, "num_hidden_groups": 2, "inner_group_num": 3},
        {"num_hidden_layers": 18, "num_hidden_groups": 14, "hidden_size": 12},  # where int(i / L · G) is another group
        {"num_hidden_groups": 3},  # which 4 layers do not divide into
    ],
    ids=str,
)
def test_groups_are_applied_in_the_order_of_the_model(changes):
    model = made("AlbertModel", **changes)
    assert_same_answers(checked(onnx_model(model)), model, called(np.random.default_rng(3), model.config, (2, 4)))


def test_embeddings_as_wide_as_the_hidden_states():
    model = made("AlbertForMaskedLM", embedding_size=24)
    assert_same_answers(checked(onnx_model(model)), model, called(np.random.default_rng(3), model.config, (2, 4)))


def test_a_model_without_a_pooler():
    config = albert_np.AlbertConfig(**TINY)
    model = albert_np.AlbertModel(config, add_pooling_layer=False, backend="numpy", tensors=trained_like(config, (), 1))
    proto = checked(onnx_model(model))
    assert [x.name for x in proto.graph.output] == ["last_hidden_state"]
    assert_same_answers(proto, model, called(np.random.default_rng(3), config, (2, 4)))


def test_each_step_of_the_trace_is_a_tensor_of_the_graph():
    """The nodes say whose they are, as torch's do: their tensors are found by these names, and are those of the trace."""
    model = made("AlbertForPreTraining", num_hidden_groups=2)
    proto = onnx_model(model)
    call = called(np.random.default_rng(4), model.config, (2, 6), "padded")
    trace = model(**call, trace="unfused").trace
    names = tensor_names(proto)
    assert set(trace) <= set(names)
    for name, x in zip(trace, ReferenceEvaluator(proto).run([names[name] for name in trace], call), strict=True):
        np.testing.assert_allclose(x, trace[name], rtol=0, atol=2e-5, err_msg=name)
    modules = {node.doc_string for node in proto.graph.node}
    assert "albert.encoder.albert_layer_groups.1.albert_layers.0.full_layer_layer_norm" in modules
    nodes = {node.name for node in proto.graph.node}
    assert len(nodes) == len(proto.graph.node)
    # by the application, 0 to 3, and not by how often this layer was applied
    assert "/albert/encoder/albert_layer_groups/1/albert_layers/0/attention/query_3/MatMul" in nodes


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
def test_inputs_outputs_and_opset_are_those_of_optimum(kind):
    proto = onnx_model(made(kind, num_labels=5))
    assert described(proto.graph.input) == dict.fromkeys(
        ["input_ids", "attention_mask", "token_type_ids"], [B, C, T] if "Choice" in kind else [B, T]
    )
    assert described(proto.graph.output) == OUTPUTS[kind]
    assert {x.type.tensor_type.elem_type for x in proto.graph.input} == {TensorProto.INT64}
    assert [(x.domain, x.version) for x in proto.opset_import] == [("", 18)]
    assert proto.ir_version == 8
    said = {x.key: x.value for x in proto.metadata_props}
    assert (proto.producer_name, said["architecture"]) == ("albert_np", kind)
    assert (
        albert_np.AlbertConfig.from_dict(albert_np.files.parse_json(said["config.json"].encode(), "")).num_labels == 5
    )


@pytest.mark.parametrize("tied", [True, False])
def test_each_weight_is_stored_once_with_its_bits(tied):
    model = made("AlbertForPreTraining", num_hidden_groups=2, num_hidden_layers=6, tie_word_embeddings=tied)
    proto = onnx_model(model)
    stored, expected = weights(proto), dict(model.named_parameters())
    assert set(stored) == set(expected)
    read_by_products = {node.input[1] for node in proto.graph.node if node.op_type == "MatMul"}
    for name, x in expected.items():
        array = numpy_helper.to_array(stored[name])
        assert (array.T if name in read_by_products else array).tobytes() == x.tobytes(), name
    others = [x for x in proto.graph.initializer if x.name not in stored]
    assert sum(len(x.raw_data) for x in others) < 300
    uses = [
        node.name for node in proto.graph.node for name in node.input if name.endswith("albert_layers.0.ffn.weight")
    ]
    assert len(uses) == len(list(applications(model.config)))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
def test_other_dtypes_are_stored_as_they_are_and_computed_in_float32(dtype, tmp_path):
    model = made("AlbertForMaskedLM")
    given = dict(model.named_parameters())
    if dtype == "BF16":
        tensors = as_tensors({name: (x.view(np.uint32) >> 16).astype(np.uint16) for name, x in given.items()}, dtype)
        values = {name: (x.view(np.uint32) >> 16 << 16).view(np.float32) for name, x in given.items()}
    else:
        tensors = as_tensors({name: x.astype({"F16": "f2", "F64": "f8"}[dtype]) for name, x in given.items()})
        values = {name: x.load().astype(np.float32) for name, x in tensors.items()}
    write_tensors(tmp_path / "model.onnx", tensors, model.config, "AlbertForMaskedLM")
    proto = checked(onnx.load(tmp_path / "model.onnx"))
    casts = {node.input[0]: node.output[0] for node in proto.graph.node if node.op_type == "Cast"}
    read_by_products = {node.input[1] for node in proto.graph.node if node.op_type == "MatMul"}
    for name, x in weights(proto).items():
        stored = np.frombuffer(x.raw_data, {2: "u2", 8: "u8"}[tensors[name].load().itemsize]).reshape(x.dims)
        bits = tensors[name].load().view(stored.dtype)
        assert np.array_equal(stored.T if casts[name] in read_by_products else stored, bits), name
    model.load_state_dict(values)
    assert_same_answers(proto, model, called(np.random.default_rng(3), model.config, (2, 5), "padded"))


def test_base_is_two_percent_larger_than_safetensors_at_most_and_one_tensor_is_copied_at_a_time(tmp_path):
    config = albert_np.AlbertConfig(**BASE)
    model = albert_np.AlbertForMaskedLM(config, backend="numpy")
    model.save_pretrained(tmp_path)
    tracemalloc.start()
    try:
        write(tmp_path / "model.onnx", model)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size, baseline = ((tmp_path / name).stat().st_size for name in ("model.onnx", "model.safetensors"))
    assert baseline < size < 1.02 * baseline
    assert most < 768 * 3072 * 4 + 8e6  # the largest matrix, and the nodes
    stored = weights(onnx.load(tmp_path / "model.onnx"))
    ffn = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    assert np.array_equal(numpy_helper.to_array(stored[ffn]).T, model.state_dict()[ffn])


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
def test_the_file_is_the_model_in_memory(kind, tmp_path):
    model = made(kind, embedding_size=32)  # 128 bytes, the first length that protobuf writes in two
    write(tmp_path / "model.onnx", model)
    assert onnx.load(tmp_path / "model.onnx") == onnx_model(model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_class_of_somebody_elses_is_what_it_is_made_from(tmp_path):
    class Mine(albert_np.AlbertForMaskedLM):
        pass

    config = albert_np.AlbertConfig(**TINY)
    proto = onnx_model(Mine(config, backend="numpy"))
    assert [x.value for x in proto.metadata_props if x.key == "architecture"] == ["AlbertForMaskedLM"]


def test_no_half_file_is_left(tmp_path, monkeypatch):
    def fails(weight):
        raise OSError("the disk is full")

    monkeypatch.setattr(exporter.Weight, "values", fails)
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(OSError, match="the disk is full"):
        write(tmp_path / "model.onnx", made("AlbertModel"))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.onnx", b"older")]


def test_refusals(tmp_path, monkeypatch):
    model = made("AlbertForMaskedLM")
    tensors = as_tensors(dict(model.named_parameters()))
    path = tmp_path / "model.onnx"
    bias = tensors["predictions.bias"]

    def said(tensors, architecture="AlbertForMaskedLM"):
        text = refusal(lambda: write_tensors(path, tensors, model.config, architecture))
        assert not path.exists()
        return text

    without = {name: x for name, x in tensors.items() if name != "predictions.bias"}
    assert "needs predictions.bias" in said(without)
    assert "no place for extra" in said(tensors | {"extra": bias})
    assert "shape for predictions.bias" in said(tensors | {"predictions.bias": bias._replace(shape=(59,))})
    assert "predictions.bias, or it is none of F32" in said(tensors | {"predictions.bias": bias._replace(dtype="I64")})
    assert "BertModel" in said(tensors, "BertModel")
    monkeypatch.setattr(exporter, "MAX_BYTES", 40_000)
    assert "one file holds 40,000" in said(tensors)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "albert-np[formats]"' in said(tensors)
