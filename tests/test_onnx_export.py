"""A model written as ONNX is whole by the checker's rules, stores each weight once, and computes what the model computes."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import albert_np
from albert_np.conversion.onnx_model import INPUTS, onnx_model, write
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like


def made(kind, seed=3, **changes):
    config = albert_np.AlbertConfig(**TINY | changes)
    return getattr(albert_np, kind)(config, backend="numpy", tensors=trained_like(config, PARTS[kind], seed))


def checked(proto):
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    return proto


def assert_same_answers(proto, model, call):
    outputs = ReferenceEvaluator(proto).run(None, call)
    expected = model(**call)
    assert [one.name for one in proto.graph.output] == list(expected)
    for one, output in zip(proto.graph.output, outputs, strict=True):
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected[one.name], rtol=0, atol=1e-5, err_msg=one.name)


@pytest.mark.parametrize("name", CASES)
def test_every_case_gives_the_answers_of_the_model(name):
    kind, changes, features = CASES[name]
    model = made(kind, **changes)
    call = {key: x for key, x in batch(model.config, kind, 5, **features).items() if key in INPUTS}
    call.setdefault("input_ids", np.ones_like(call["attention_mask"]))
    assert_same_answers(checked(onnx_model(model)), model, call)


@pytest.mark.parametrize("kind", PARTS)
def test_the_file_is_the_model_in_memory(kind, tmp_path):
    model = made(kind)
    write(tmp_path / "model.onnx", model)
    assert onnx.load(tmp_path / "model.onnx") == onnx_model(model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
