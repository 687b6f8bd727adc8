"""The exact set: bit for bit the same in every precision, order and backend, and different after every mistake."""

import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import albert_np
from albert_np import AlbertConfig, golden
from albert_np.cli import main
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import ARCHITECTURES, evaluate, graph, run
from albert_np.golden.mistakes.catalogue import Mistaken, mistakes, with_mistake
from albert_np.golden.models.exact_model import EXACT_SIZES, exact_set, save_exact
from albert_np.golden.models.input_sets import load_inputs
from albert_np.golden.recording import batch_of

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy: the extra `golden`")
FORMATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
SMALL = EXACT_SIZES["exact"]


class Case:
    """One exact set, and its trace in float64."""

    def __init__(self, seed=0, architecture="AlbertForPreTraining", length=16, **sizes):
        tensors, self.config, self.call = exact_set(AlbertConfig(**SMALL | sizes), seed, architecture, length=length)
        self.stored, self.architecture = tensors, architecture
        self.weights = {name.removeprefix("albert."): x for name, x in tensors.items()}
        self.steps = graph(self.config, architecture)
        self.batch = batch_of(self.config, architecture, self.call)
        self.values = self.run(Exact(), np.float64)

    def run(self, table, dtype=np.float32, batch=None, weights=None):
        used = {name: x.astype(dtype) for name, x in (weights or self.weights).items()}
        return run(self.steps, batch or self.batch, used, table)


def must_be_the_same(values, truth, what):
    assert values.keys() == truth.keys()
    different = [name for name, x in truth.items() if not np.array_equal(values[name].astype(np.float64), x)]
    assert not different, f"{what}: {len(different)} of {len(truth)} steps differ, first {different[0]}"


def must_be_representable(tensors):
    for name, x in tensors.items():
        for dtype in FORMATS.values():
            assert np.array_equal(x.astype(dtype).astype(x.dtype), x), (name, dtype)


# --- another arithmetic, written apart from the package: every operation is rounded ------------------------------------------


class Rounded:
    """Every operation is rounded to a format, sums one term at a time in a random order into `accumulate`."""

    def __init__(self, dtype, accumulate, seed):
        self.dtype, self.accumulate, self.rng = dtype, accumulate, np.random.default_rng(seed)

    def r(self, x):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(x, np.float32).astype(self.dtype).astype(np.float32)

    def summed(self, terms, count, start):
        """Σ terms(i) in a random order, `start` among them."""
        total = None
        for i in self.rng.permutation(count + 1):
            term = start if i == count else terms(i)
            total = term if total is None else (total + term).astype(self.accumulate).astype(np.float32)
        return self.r(total)

    def matmul(self, x, y):  # (..., n, k), (..., k, m)
        shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
        return self.summed(lambda k: x[..., :, k, None] * y[..., None, k, :], x.shape[-1], np.zeros(shape, np.float32))

    def gather(self, ids, table):
        return table[ids]

    def add(self, *terms):
        total = 0
        for i in self.rng.permutation(len(terms)):
            total = self.r(total + terms[i])
        return total

    def linear(self, x, weight, bias, *, first_token=False):
        x = x[:, 0] if first_token else x
        used = np.flatnonzero(np.any(weight, axis=0))  # products with 0 are 0
        start = np.broadcast_to(bias, (*x.shape[:-1], len(bias)))
        return self.summed(lambda k: x[..., used[k], None] * weight[:, used[k]], len(used), start)

    def layer_norm(self, x, weight, bias, *, eps):
        n = np.float32(x.shape[-1])
        order = self.rng.permutation(x.shape[-1])
        mean = self.r(np.cumsum(x[..., order], axis=-1, dtype=np.float32)[..., -1:] / n)
        centred = self.r(x - mean)
        squares = self.r(centred * centred)
        variance = self.r(np.cumsum(squares[..., order], axis=-1, dtype=np.float32)[..., -1:] / n)
        inverse = self.r(1 / self.r(np.sqrt(self.r(variance + np.float32(eps)))))
        return self.r(self.r(self.r(centred * inverse) * weight) + bias)

    def mean(self, x):
        return x.mean(axis=-1, keepdims=True)

    def variance(self, x):
        return x.var(axis=-1, keepdims=True)

    def heads(self, x, *, num_heads):
        return x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)

    def scores(self, query, key, *, num_heads, position_type):
        q, k = (self.heads(x, num_heads=num_heads) for x in (query, key))
        return self.r(self.matmul(q, k.swapaxes(-1, -2)) / np.float32(np.sqrt(q.shape[-1])))

    def masked_scores(self, scores, allowed):
        return np.where(allowed, scores, self.r(ml_dtypes.finfo(self.dtype).min))

    def probs(self, scores, allowed, *, mask_mode):
        x = self.masked_scores(scores, allowed)
        with np.errstate(over="ignore"):
            e = self.r(np.exp(self.r(x - x.max(axis=-1, keepdims=True))))
        total = self.summed(lambda i: e[..., i, None], e.shape[-1], np.zeros((*e.shape[:-1], 1), np.float32))
        return self.r(e / total)

    def context(self, probs, value, *, num_heads):
        y = self.matmul(probs, self.heads(value, num_heads=num_heads))
        return y.swapaxes(1, 2).reshape(value.shape)

    def activation(self, x, *, name):
        """The textbook's form, step by step: cubes overflow in float16."""
        with np.errstate(over="ignore"):
            if name == "relu":
                return np.maximum(x, 0)
            if name == "silu":
                return self.r(x * self.r(1 / self.r(1 + self.r(np.exp(-x)))))
            assert name == "gelu_new"
            cube = self.r(self.r(x * x) * x)
            inner = self.r(x + self.r(self.r(0.044715) * cube))
            return self.r(self.r(0.5 * x) * self.r(1 + self.r(np.tanh(self.r(self.r(0.7978845608) * inner)))))

    def tanh(self, x):
        return self.r(np.tanh(x))


# --- the same bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_number_of_every_class_is_one_of_all_three_formats(architecture):
    tied = architecture != "AlbertForMaskedLM"
    case = Case(3, architecture, num_hidden_groups=2, inner_group_num=2, num_labels=3, tie_word_embeddings=tied)
    must_be_representable(case.weights)
    must_be_representable(case.values)
    must_be_the_same(case.run(Exact()), case.values, "float32")
    in_dtypes = {
        name: x.astype(dtype).astype(np.float32) for dtype in FORMATS.values() for name, x in case.weights.items()
    }
    assert all(np.array_equal(in_dtypes[name], x) for name, x in case.weights.items())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("dtype", "accumulate"),
    [
        ("float16", "float16"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("bfloat16", "bfloat16"),
        ("float32", "float32"),
    ],
)
def test_rounding_every_operation_in_any_order_changes_no_bit(dtype, accumulate, seed):
    activation = ("gelu_new", "silu")[seed]
    case = Case(seed, num_hidden_layers=2, length=8, hidden_act=activation, num_hidden_groups=2)
    table = Rounded(FORMATS[dtype], FORMATS[accumulate], seed)
    if accumulate == "bfloat16":  # each step by itself: partial sums of a few need more than its eight digits
        used = {name: x.astype(np.float32) for name, x in case.weights.items()}
        known = case.batch | {name: x.astype(np.float32) for name, x in case.values.items()}
        values = {step.name: evaluate(step, known, used, table) for step in case.steps if step.name in case.values}
        wrong = {name for name, x in values.items() if not np.array_equal(x, case.values[name])}
        assert all(name.startswith("predictions") or name.endswith("ffn_output") for name in wrong)
        return
    must_be_the_same(case.run(table), case.values, f"{dtype}, sums in {accumulate}")


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("architecture", ["AlbertForPreTraining", "AlbertForTokenClassification"])
def test_backends_in_float32_give_the_same_bits(backend, architecture):
    case = Case(5, architecture, num_labels=3)
    model = getattr(albert_np, architecture)(case.config, backend=backend, dtype="float32")
    model.load_state_dict(case.stored)
    with np.errstate(under="ignore"):
        trace = model(**case.call, trace="unfused").trace
    must_be_the_same(trace, {name: case.values[name] for name in trace}, backend)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_transformers_in_half_precision_gives_the_same_bits(dtype, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    case = Case(3)
    save_exact(tmp_path, AlbertConfig(**SMALL), 3)
    made = transformers.AlbertForPreTraining.from_pretrained(tmp_path, attn_implementation="eager")
    with torch.no_grad():
        out = made.to(getattr(torch, dtype)).eval()(
            **{name: torch.tensor(x) for name, x in case.call.items()}, output_hidden_states=True
        )
    for a, state in enumerate(out.hidden_states[1:]):
        assert np.array_equal(state.double().numpy(), case.values[f"encoder.layer.{a}.full_layer_layer_norm"]), a
    assert np.array_equal(out.prediction_logits.double().numpy(), case.values["predictions.decoder"])
    assert np.array_equal(out.sop_logits.double().numpy(), case.values["sop_classifier.classifier"])


@cache
def of_seed_7():
    return Case(7, num_hidden_layers=2)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_ids_types_and_mask_are_exact_too(data):
    case = of_seed_7()
    B, T = 3, data.draw(st.integers(1, 16))
    flat = st.lists(st.integers(0, 1), min_size=B * T, max_size=B * T)
    mask, types = (np.reshape(data.draw(flat), (B, T)) for _ in range(2))
    mask[~mask.any(axis=1)] = 1  # of T tokens, not of a power of two
    ids = np.reshape(data.draw(st.lists(st.integers(0, 59), min_size=B * T, max_size=B * T)), (B, T))
    call = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of padding on the left
        batch = batch_of(case.config, case.architecture, call)
    values = case.run(Exact(), np.float64, batch)
    must_be_representable(values)
    probs = values["encoder.layer.1.attention.probs"]
    assert set(np.unique(probs)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_act": "relu"},
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_fast"},
        {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96},
        {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 320},
        {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 800},
        {"hidden_size": 256, "num_attention_heads": 1, "length": 4},
        {"length": 2, "embedding_size": 16, "vocab_size": 20},
    ],
)
def test_other_sizes_and_activations_are_exact(sizes):
    must_be_representable(Case(11, **sizes).values)


def test_more_positions_differ_in_float64_by_less_than_float32_can_see():
    case = Case(2, length=64, hidden_size=256, num_attention_heads=4, max_position_embeddings=64)
    probs = [name for name in case.values if name.endswith("probs")]
    must_be_representable({name: x for name, x in case.values.items() if name not in probs})
    for name in probs:
        must_be_representable({name: case.values[name].astype(np.float32)})
        assert np.all(np.abs(case.values[name] - case.values[name].astype(np.float32)) < 1e-55)


def test_the_sizes_of_albert_base_are_exact():
    case = Case(1, "AlbertModel", **EXACT_SIZES["exact-base"])
    must_be_representable(case.weights)
    must_be_representable(case.values)


# --- other bits ---------------------------------------------------------------------------------------------------------


def test_tokens_and_applications_all_differ_and_no_content_dies_out():
    case = Case(0)
    states = [case.values[f"encoder.layer.{a}.full_layer_layer_norm"] for a in range(4)]
    for a, state in enumerate(states):
        assert all(len(np.unique(rows, axis=0)) == len(rows) for rows in state)
        assert all(not np.array_equal(state, other) for other in states[:a])
        assert 0.3 < np.mean(state[..., np.ptp(state, axis=(0, 1)) > 0] > 0) < 0.7
    context = case.values["encoder.layer.0.attention.context"]
    assert np.mean(np.ptp(context, axis=(0, 1)) > 0) == 1
    probs = case.values["encoder.layer.0.attention.probs"]
    keys = probs[0].argmax(axis=-1)  # (N,T) of the sequence without a mask
    assert len(np.unique(keys, axis=0)) == len(keys)  # every head looks elsewhere
    assert np.all(probs[-1] == 1 / 16)  # nothing to attend to


def changed_outputs(case, name, x):
    """Whether a model with another tensor differs in its outputs, and whether it differs in any step."""
    values = case.run(Exact(), weights=case.weights | {name: x})
    steps = [step for step, y in case.values.items() if not np.array_equal(values[step], y)]
    return any(step in OUTPUTS for step in steps), bool(steps)


OUTPUTS = ("predictions.decoder", "sop_classifier.classifier")
# A change of one sign is seen in the step itself, but need not reach the outputs: dimensions of queries and keys that meet a 0,
# a constant that all scores of a query have in common, a logit that reads half of the pooled numbers, a word's own columns.
HIDDEN = (
    "query.weight",
    "query.bias",
    "key.weight",
    "key.bias",
    "pooler.weight",
    "pooler.bias",
    "predictions.LayerNorm",
)


@pytest.mark.parametrize("seed", range(2))
def test_one_wrong_sign_in_any_tensor_is_seen(seed):
    case, rng = Case(seed, num_hidden_layers=2), np.random.default_rng(seed)
    used = {
        "embeddings.word_embeddings.weight": np.unique(case.call["input_ids"]),
        "embeddings.position_embeddings.weight": np.arange(16),
    }
    for name, x in case.weights.items():
        rows = used.get(name, np.arange(len(x)))
        if name.endswith("full_layer_layer_norm.weight"):  # those of empty channels multiply 0
            rows = np.flatnonzero(np.ptp(case.values["encoder.layer.0.sum"], axis=(0, 1)))
        places = [(r, *c) for r in rows for c in np.argwhere(x[r])]
        place = places[rng.integers(len(places))]
        changed = x.copy()
        changed[place] *= -1
        outputs, anywhere = changed_outputs(case, name, changed)
        assert anywhere, (name, place)
        assert outputs or any(part in name for part in HIDDEN), (name, place)


def test_rows_in_another_order_are_seen_in_the_outputs_for_every_tensor():
    case = Case(4, num_hidden_layers=2)
    for name, x in case.weights.items():
        changed = np.roll(x, 1, axis=0)
        if np.array_equal(changed, x) or name.endswith(
            "key.bias"
        ):  # softmax does not see what all scores have in common
            continue
        assert changed_outputs(case, name, changed)[0], name


# What no saturated function shows: how accurate it is in between, and how large what softmax sees is, if one key wins anyway.
FUNCTIONS = (
    "gelu",
    "silu",
    "relu",
    "elu",
    "tanh",
    "activation",
    "weights_",
    "softmax_",
    "mask_multiplied",
    "layer_norm_over",
)


def unseen(every):
    """(mistakes of the catalogue that no step shows, those that only the outputs do not show, how many were run)"""
    case = Case(1, num_hidden_groups=2, num_hidden_layers=2)
    nowhere, inside, count = [], [], 0
    for mistake in mistakes(case.config, case.architecture)[::every]:
        try:
            wrong = with_mistake(case.steps, mistake)
        except ValueError:  # a mistake with head masks, which this call has not
            continue
        with np.errstate(all="ignore"):
            used = {name: x.astype(np.float64) for name, x in case.weights.items()}
            values = run(wrong, case.batch, used, Mistaken(Exact()))
        count += 1
        different = [name for name, x in case.values.items() if not np.array_equal(values.get(name), x)]
        if not different:
            nowhere.append(mistake.name)
        elif not set(different) & set(OUTPUTS):
            inside.append(mistake.name)
    return nowhere, inside, count


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_porting_mistakes_change_bits_unless_they_are_about_the_middle_of_a_function(every):
    nowhere, inside, count = unseen(every)
    print(f"of {count} mistakes {len(nowhere)} change nothing: {nowhere}; {len(inside)} not the outputs: {inside}")
    assert count >= 400 // every
    # weights that are rounded to another format are those of the set, which every format holds
    assert len([name for name in nowhere if not name.startswith("weights_")]) < 0.18 * count
    assert not [name for name in nowhere if not any(part in name for part in FUNCTIONS)]
    assert len(inside) < 0.1 * count


def test_the_command_line_writes_the_set_and_its_inputs(tmp_path, capsys):
    assert (
        main(
            ["golden", "synthetic", "exact", "-o", str(tmp_path / "a"), "--seed", "2", "--architecture", "AlbertModel"]
        )
        == 0
    )
    assert "AlbertModel of exact numbers, seed 2, with inputs.npz of 16 tokens" in capsys.readouterr().out
    case = Case(2, "AlbertModel")
    model = albert_np.AlbertModel.from_pretrained(tmp_path / "a", backend="numpy", dtype="float64")
    assert model.config.layer_norm_eps == 3
    call = load_inputs(tmp_path / "a" / "inputs.npz", model.config)
    assert all(np.array_equal(call[name], x) for name, x in case.call.items())
    assert np.array_equal(model(**call).last_hidden_state, case.values["encoder.layer.3.full_layer_layer_norm"])
    AlbertConfig(**SMALL, num_hidden_groups=2).save_pretrained(tmp_path / "b")
    words = ["golden", "synthetic", f"exact:{tmp_path / 'b'}", "-o", str(tmp_path / "c"), "--length", "8"]
    assert main(words) == 0
    assert AlbertConfig.from_pretrained(tmp_path / "c").num_hidden_groups == 2


@pytest.mark.parametrize(
    ("sizes", "length", "says"),
    [
        ({"num_attention_heads": 4}, 16, "the head size must be 16, 64 or 256"),
        ({"hidden_size": 96, "num_attention_heads": 6}, 16, "hidden_size must be a multiple of 64"),
        ({"embedding_size": 40}, 16, "embedding_size must be a multiple of 16"),
        ({"vocab_size": 9000}, 16, "embedding_size is too small to tell all tokens apart"),
        ({"intermediate_size": 128}, 16, "intermediate_size must be 1.5 to 5 times hidden_size"),
        ({"hidden_act": "tanh"}, 16, "hidden_act must not be tanh"),
        ({"position_embedding_type": "relative_key"}, 16, "position_embedding_type must be absolute"),
        ({}, 12, "length must be a power of two"),
        ({}, 64, "64 positions must be in the model's 32"),
        ({"max_position_embeddings": 512}, 512, "fewer positions are needed"),
        ({}, 0, "length must be a whole number of 1 or more"),
    ],
)
def test_sizes_that_do_not_work_are_refused(sizes, length, says):
    with pytest.raises(ValueError, match=says):
        exact_set(AlbertConfig(**SMALL | sizes), length=length)
    with pytest.raises(ValueError, match="architecture must be one of"):
        golden.exact_set(architecture="BertModel")
