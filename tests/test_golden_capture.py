"""Other people's programs under our names: what the names of modules become, graphs of exporters, and real runtimes.

With onnx alone, small graphs are built here and read; where ONNX Runtime, OpenVINO or torch are, they are run.
"""

import json
import warnings

import numpy as np
import pytest
from support import needs

import albert_np
from albert_np import AlbertConfig, cli, golden
from albert_np.golden.capturing import capture as capturing
from albert_np.golden.capturing import module_names, onnx_modules
from albert_np.golden.cases import PARTS, TINY, trained_like
from albert_np.golden.graph import graph

LAYER = "encoder.albert_layer_groups.0.albert_layers.0"


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", list(PARTS))
@pytest.mark.parametrize("groups", [{}, {"num_hidden_groups": 2, "inner_group_num": 2}])
def test_modules_called_in_order_give_the_steps_of_the_graph_that_are_modules(architecture, groups):
    steps = graph(AlbertConfig(**TINY | groups), architecture)
    applications = module_names.Applications()
    ends = ("attention.scores", "attention.probs", "attention.context", ".sum", "masked_scores", "heads")
    for one in steps:
        if not one.module or one.beside or one.name.endswith(ends):
            continue
        place, in_layer = module_names.known(one.module)
        application = applications.enter(place) if in_layer else None
        assert (module_names.output(place, application), application) == (one.name, one.application)


def test_what_goes_into_a_module_is_what_the_graph_says():
    steps = {one.name: one for one in graph(AlbertConfig(**TINY), "AlbertForPreTraining")}
    places = set(module_names.OUTPUTS) | set(module_names.LAYER_OUTPUTS) - {"activation"}
    found = {}
    for one in steps.values():
        known = module_names.known(one.module)
        if known and not one.beside and one.name == module_names.output(known[0], one.application):
            found[one.name] = module_names.entering(known[0], one.application, places)
    given = {name: source for name, source in found.items() if source}
    assert all(source in steps[name].inputs for name, source in given.items())
    assert len(given) == 1 + 4 * TINY["num_hidden_layers"]  # embeddings.sum; context, both sums and activation


@pytest.mark.parametrize("path", ["albert.", "module.model.albert.", ""])
def test_what_is_before_a_modules_name_does_not_matter(path):
    assert module_names.known(f"{path}{LAYER}.ffn") == ("ffn", True)
    assert module_names.known(f"{path}pooler") == ("pooler", False)


@pytest.mark.parametrize("path", ["", "albert", f"{LAYER}.dropout", "encoder.layer.0.ffn", "my_classifier"])
def test_other_modules_are_none_of_ours(path):
    assert module_names.known(path) is None


# --- ONNX graphs --------------------------------------------------------------------------------------------------------


class Exported:
    """A graph as one of torch's exporters writes it: our steps, each a node or two with the marks of its module."""

    def __init__(self, style):
        self.onnx = needs.module("test", "onnx")
        self.style, self.nodes, self.constants = style, [], set()

    def node(self, op, inputs, output, module, call=0):
        helper = self.onnx.helper
        if self.style == "older":
            last = f"_{call}" if call else ""
            made = helper.make_node(op, inputs, [output], name="/" + module.replace(".", "/") + f"{last}/{op}")
        else:
            made = helper.make_node(op, inputs, [output], name=f"node_{len(self.nodes)}")
            entry = made.metadata_props.add()
            entry.key, entry.value = onnx_modules.SCOPES, str(["", "albert", module, output])
        self.nodes.append(made)

    def weights(self, *names):
        self.constants.update(names)

    def model(self):
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        tensors = [helper.make_tensor(name, kinds.FLOAT, [1], [0.0]) for name in sorted(self.constants)]
        inputs = [helper.make_tensor_value_info(name, kinds.FLOAT, None) for name in ("x", "mask")]
        outputs = [helper.make_tensor_value_info(self.nodes[-1].output[0], kinds.FLOAT, None)]
        return helper.make_model(helper.make_graph(self.nodes, "exported", inputs, outputs, tensors))


def encoder(style, layers=3, masked=True, fused=False):
    made = Exported(style)
    hidden = "x"
    for a in range(layers):

        def linear(x, part, a=a):
            made.weights(f"{part}.weight", f"{part}.bias")
            made.node("MatMul", [x, f"{part}.weight"], f"{a}.{part}.product", f"{LAYER}.{part}", a)
            made.node("Add", [f"{part}.bias", f"{a}.{part}.product"], f"{a}.{part}", f"{LAYER}.{part}", a)
            return f"{a}.{part}"

        at = f"{LAYER}.attention"
        q, k, v = (linear(hidden, f"attention.{part}") for part in ("query", "key", "value"))
        if fused:
            made.node("Attention", [q, k, v], f"{a}.context", at, a)
        else:
            made.weights("root")
            made.node("MatMul", [q, k], f"{a}.product", at, a)
            made.node("Div", [f"{a}.product", "root"], f"{a}.scores", at, a)
            if masked:
                made.node("Add", [f"{a}.scores", "mask"], f"{a}.masked", at, a)
            made.node("Softmax", [f"{a}.masked" if masked else f"{a}.scores"], f"{a}.probs", at, a)
            made.node("MatMul", [f"{a}.probs", v], f"{a}.context", at, a)
        dense = linear(f"{a}.context", "attention.dense")
        made.node("Add", [hidden, dense], f"{a}.attention.sum", at, a)
        made.weights("gamma", "beta")
        norm = [f"{a}.attention.sum", "gamma", "beta"]
        made.node("LayerNormalization", norm, f"{a}.attended", f"{at}.LayerNorm", a)
        ffn = linear(f"{a}.attended", "ffn")
        made.node("Tanh", [ffn], f"{a}.tanh", f"{LAYER}.activation", a)
        made.node("Mul", [ffn, f"{a}.tanh"], f"{a}.act", f"{LAYER}.activation", a)
        out = linear(f"{a}.act", "ffn_output")
        made.node("Add", [out, f"{a}.attended"], f"{a}.sum", LAYER, a)
        hidden = f"{a}.out"
        norm = [f"{a}.sum", "gamma", "beta"]
        made.node("LayerNormalization", norm, hidden, f"{LAYER}.full_layer_layer_norm", a)
    return made.model()


THEIRS = {
    "attention.query": "attention.query",
    "attention.scores": "scores",
    "attention.probs": "probs",
    "attention.context": "context",
    "attention.sum": "attention.sum",
    "attention.LayerNorm": "attended",
    "ffn": "ffn",
    "activation": "act",
    "ffn_output": "ffn_output",
    "sum": "sum",
    "full_layer_layer_norm": "out",
}


@pytest.mark.parametrize("style", ["older", "newer"])
@pytest.mark.parametrize("masked", [True, False])
def test_tensors_of_both_exporters_are_found_in_every_application(style, masked):
    found = onnx_modules.tensor_names(encoder(style, masked=masked))
    for a in range(3):
        for ours, theirs in THEIRS.items():
            assert found[f"encoder.layer.{a}.{ours}"] == f"{a}.{theirs}"
    assert len(found) == 3 * 14


def test_fused_attention_has_no_scores_and_no_probs_and_all_else():
    found = onnx_modules.tensor_names(encoder("newer", fused=True))
    assert found["encoder.layer.2.attention.context"] == "2.context"
    assert [name for name in found if name.endswith(("scores", "probs"))] == []
    assert len(found) == 3 * 12


def test_a_graph_without_marks_of_modules_has_nothing_that_is_recognised():
    model = encoder("older")
    for node in model.graph.node:
        node.name = node.name.replace("/", "_")
    assert onnx_modules.tensor_names(model) == {}


def test_nodes_that_a_tool_put_in_are_not_taken_for_what_a_module_reads():
    """A quantizer's: their names say no module, and the sum behind them is another tensor than the model's."""
    model = encoder("newer", layers=1)
    (dense,) = (node for node in model.graph.node if node.output[0] == "0.attention.dense.product")
    del dense.metadata_props[:]
    found = onnx_modules.tensor_names(model)
    assert "encoder.layer.0.attention.context" not in found
    assert found["encoder.layer.0.attention.dense"] == "0.attention.dense"


# --- refusals -----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, capsys):
    needs.module("test", "onnx")
    inputs, out = tmp_path / "inputs.npz", tmp_path / "out.npz"
    np.savez(inputs, input_ids=np.ones((1, 2), int))
    (tmp_path / "broken.onnx").write_bytes(b"\xff\xfe no model")
    for name, said in [("missing.onnx", "is no file"), ("broken.onnx", "is no ONNX model")]:
        code = cli.main(["golden", "capture", str(tmp_path / name), "--inputs", str(inputs), "-o", str(out)])
        error = capsys.readouterr().err
        assert code == 2
        assert said in error
        assert error.count("\n") == 1
    assert not out.exists()


IDS = {"input_ids": np.array([[3, 4, 5]])}
KINDS = {"input_ids": "tensor(int64)", "attention_mask": "tensor(float)", "position_ids": "int32"}


def test_inputs_that_follow_from_the_others_are_made_in_the_dtype_that_the_file_wants():
    feeds = capturing._feeds(IDS, KINDS, "model.onnx")
    assert {name: (x.dtype.name, x.tolist()) for name, x in feeds.items()} == {
        "input_ids": ("int64", [[3, 4, 5]]),
        "attention_mask": ("float32", [[1, 1, 1]]),
        "position_ids": ("int32", [[0, 1, 2]]),
    }


def test_inputs_that_say_nothing_may_be_left_out_and_others_are_missed():
    plain = IDS | {"token_type_ids": np.zeros((1, 3), int), "labels": np.array([1])}
    assert set(capturing._feeds(plain, KINDS, "model.onnx")) == set(KINDS)
    with pytest.raises(ValueError, match="has no input token_type_ids"):
        capturing._feeds(IDS | {"token_type_ids": np.ones((1, 3), int)}, KINDS, "model.onnx")
    with pytest.raises(ValueError, match="has an input pixels"):
        capturing._feeds(IDS, KINDS | {"pixels": "tensor(float)"}, "model.onnx")


# --- real programs ------------------------------------------------------------------------------------------------------

parity = pytest.mark.parity


@pytest.fixture(scope="module")
def torch_and_transformers():
    return needs.module("parity", "torch"), needs.module("parity", "transformers")


def call(kind):
    rng = np.random.default_rng(3)
    shape = (2, 3, 7) if kind == "AlbertForMultipleChoice" else (2, 7)
    mask = np.ones(shape, int)
    mask[1, ..., 5:] = 0
    return {
        "input_ids": rng.integers(0, TINY["vocab_size"], shape),
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, shape),
    }


@pytest.fixture
def both(torch_and_transformers, tmp_path):
    """Makes (a recording of a model, the same model of transformers in float64)."""
    torch, transformers = torch_and_transformers

    def make(kind="AlbertForMaskedLM", attention="eager", chunk=0, **changes):
        config = AlbertConfig(**TINY | changes)
        tensors = {name: x.astype(np.float64) for name, x in trained_like(config, PARTS[kind], 7).items()}
        model = getattr(albert_np, kind)(config, backend="numpy", dtype="float64", tensors=tensors)
        model.save_pretrained(tmp_path / kind)
        theirs = getattr(transformers, kind).from_pretrained(
            tmp_path / kind, attn_implementation=attention, dtype=torch.float64, chunk_size_feed_forward=chunk
        )
        return golden.record(model, call(kind)), theirs.eval()

    return make


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def must_be_close(found, recording, atol=1e-9):
    for name, x in found.items():
        np.testing.assert_allclose(x, recording[name], rtol=0, atol=atol, err_msg=name)


BESIDE = (".heads", ".masked_scores", ".mean", ".variance")
CONFIGS = {
    "AlbertModel": {"chunk": 1},
    "AlbertForMaskedLM": {},
    "AlbertForSequenceClassification": {"num_hidden_groups": 2, "inner_group_num": 2, "num_labels": 3},
    "AlbertForPreTraining": {"hidden_act": "gelu"},
    "AlbertForQuestionAnswering": {"hidden_act": "relu"},
    "AlbertForTokenClassification": {},
    "AlbertForMultipleChoice": {},
}


@parity
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.filterwarnings("error::UserWarning:albert_np")
def test_every_tensor_of_eager_attention_is_captured_and_right(both, kind):
    recording, model = both(kind, **CONFIGS[kind])
    found = golden.capture_torch(model, call(kind))
    assert list(found) == [name for name in recording if not name.endswith(BESIDE)]
    must_be_close(found, recording)
    assert hooks(model) == 0


@parity
def test_sdpa_has_no_scores_and_no_probs_and_says_so(both):
    recording, model = both(attention="sdpa")
    with pytest.warns(UserWarning, match=r"8 of the trace's tensors .*layer\.0\.attention\.scores.*partial=True"):
        found = golden.capture_torch(model, recording=recording)
    assert not any(name.endswith(("scores", "probs")) for name in found)
    assert "encoder.layer.3.attention.context" in found
    must_be_close(found, recording)


@parity
@pytest.mark.parametrize("how", ["cast", "autocast", "float16"])
def test_tensors_of_narrow_precisions_are_exactly_those_that_the_model_has(both, torch_and_transformers, how):
    torch, _ = torch_and_transformers
    recording, model = both()
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            found = golden.capture_torch(model.float(), call("AlbertForMaskedLM"))
    else:
        model = model.to(torch.bfloat16 if how == "cast" else torch.float16)
        found = golden.capture_torch(model, call("AlbertForMaskedLM"))
    x = found["encoder.layer.2.ffn"]
    assert x.dtype == (np.float16 if how == "float16" else np.float32)
    if how != "float16":
        assert not np.any(x.view(np.uint32) & 0xFFFF)  # bfloat16's bits and zeros
    assert not np.array_equal(x, recording["encoder.layer.2.ffn"].astype(x.dtype))
    must_be_close(found, recording, atol=0.3)


@parity
def test_scores_that_only_exist_with_the_mask_on_them_are_given_so(both):
    """Relative positions are added behind the mask, so that transformers has no scores without it."""
    recording, model = both("AlbertModel", position_embedding_type="relative_key_query")
    found = golden.capture_torch(model, call("AlbertModel"))
    allowed = np.broadcast_to(recording.batch["allowed"], found["encoder.layer.0.attention.scores"].shape)
    for a in range(4):
        name = f"encoder.layer.{a}.attention.scores"
        np.testing.assert_allclose(found.pop(name)[allowed], recording[name][allowed], rtol=0, atol=1e-9)
    must_be_close(found, recording)


@parity
def test_hooks_are_gone_after_a_model_that_fails(both):
    _, model = both()
    with pytest.raises(IndexError):
        golden.capture_torch(model, {"input_ids": np.full((1, 3), 10**6)})
    assert hooks(model) == 0


@parity
def test_models_that_cannot_be_captured_are_refused(both, torch_and_transformers):
    torch, _ = torch_and_transformers
    _, model = both()
    with pytest.raises(ValueError, match="training mode"):
        golden.capture_torch(model.train(), call("AlbertForMaskedLM"))
    with pytest.raises(ValueError, match="no module of Linear has a name that ALBERT has"):
        golden.capture_torch(torch.nn.Linear(2, 2).eval(), call("AlbertForMaskedLM"))
    with pytest.raises(ValueError, match="or a recording"):
        golden.capture_torch(model.eval())


@parity
@pytest.mark.parametrize("way", ["in place", "bmm", "own softmax", "one activation"])
def test_a_users_own_modules_are_captured_however_attention_is_written(both, way):
    from support.own_albert import OwnAlbert

    recording, model = both("AlbertModel", attention="eager")
    own = OwnAlbert(model, way).eval()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = golden.capture_torch(own, call("AlbertModel"), recording=recording)
    lacking = {name for name in recording if not name.endswith(BESIDE)} - set(found)
    unseen = {f"encoder.layer.{a}.attention.scores" for a in range(4)} if way == "own softmax" else set()
    assert lacking == unseen
    assert len(said) == (1 if unseen else 0)
    must_be_close(found, recording)


# --- runtimes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(both, torch_and_transformers, tmp_path):
    """Makes (a recording, an ONNX file of the same model)."""
    torch, _ = torch_and_transformers
    needs.module("runtimes", "onnxruntime")

    def make(kind="AlbertForMaskedLM", newer=False, attention="eager", **changes):
        if newer:
            needs.module("runtimes", "onnxscript")
        recording, model = both(kind, attention, **changes)
        given = {name: torch.as_tensor(x) for name, x in call(kind).items()}
        path = tmp_path / "model.onnx"
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own
            torch.onnx.export(
                model.float(), tuple(given.values()), path, dynamo=newer, verbose=False, input_names=list(given)
            )
        return recording, path

    return make


def exported_steps(recording):
    """A file for one shape has its positions as a constant."""
    return {name for name in recording if not name.endswith(BESIDE)} - {"embeddings.position_embeddings"}


@parity
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("newer", [False, True])
def test_onnx_runtime_gives_every_tensor_of_both_exporters_graphs(exported, newer, attention):
    recording, path = exported(newer=newer, attention=attention, num_hidden_groups=2, inner_group_num=2)
    found = golden.capture_onnx(path, call("AlbertForMaskedLM"))
    assert set(found) == exported_steps(recording)
    must_be_close(found, recording, atol=1e-4)
    plain = golden.capture_onnx(path, call("AlbertForMaskedLM"), optimize=False, names=["encoder.layer.3.ffn"])
    assert set(plain) == {"encoder.layer.3.ffn"}
    must_be_close(plain, recording, atol=1e-4)
    everything = golden.capture_onnx(path, call("AlbertForMaskedLM"), unmatched=True)
    assert len(everything) > len(found)
    for name, x in found.items():
        np.testing.assert_allclose(everything[name], x, rtol=0, atol=1e-4)


@parity
def test_openvino_gives_the_same_tensors(exported):
    needs.module("runtimes", "openvino")
    recording, path = exported("AlbertForSequenceClassification", num_labels=3)
    found = golden.capture_openvino(path, call("AlbertForMaskedLM"), config={"INFERENCE_PRECISION_HINT": "f32"})
    assert set(found) == exported_steps(recording)
    must_be_close(found, recording, atol=1e-4)


@parity
def test_a_quantized_file_is_read_with_the_names_of_the_one_that_it_was_made_from(exported, tmp_path, capsys):
    recording, path = exported(newer=True)
    quantization = needs.module("runtimes", "onnxruntime.quantization")
    quantization.quantize_dynamic(path, tmp_path / "int8.onnx")
    np.savez(tmp_path / "inputs.npz", **call("AlbertForMaskedLM"))
    command = ["golden", "capture", tmp_path / "int8.onnx", "--names-of", path, "--inputs", tmp_path / "inputs.npz"]
    code = cli.main([*map(str, command), "-o", str(tmp_path / "candidate.npz"), "--json"])
    with np.load(tmp_path / "candidate.npz") as file:
        found = {name: file[name] for name in file.files}
    said = json.loads(capsys.readouterr().out)
    assert (code, said["tensors"], said["unmatched"]) == (0, len(found), 0)
    assert set(found) == exported_steps(recording)
    error = np.abs(found["encoder.layer.3.ffn"] - recording["encoder.layer.3.ffn"]).max()
    assert 1e-3 < error < 2  # int8, and the right tensor
