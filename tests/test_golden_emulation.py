"""A twin rounds where its device rounds: formats by exhaustion, sums by hand, whole models against the truth and PyTorch."""

import math

import numpy as np
import pytest
from support import needs

import albert_np
from albert_np import golden
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import CASES, PARTS, TINY, batch, random_case, trained_like
from albert_np.golden.graph import evaluate, graph
from albert_np.golden.measures.formats import FLOAT32, FORMATS
from albert_np.golden.measures.three_errors import three_way
from albert_np.golden.recording import batch_of
from albert_np.golden.twin.emulation import PRECISIONS
from albert_np.golden.twin.functions import function
from albert_np.golden.twin.other_programs import ORDERS, PLAIN
from albert_np.golden.twin.program import Program, unrounded
from albert_np.golden.twin.summation import Order, Summation
from albert_np.kernels.cpu.bfloat16 import emulation


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def every_float32_near_16_bits():
    """Every pattern of the upper 16 bits of a float32, each with lower halves that are ties, just beside ties, or nothing."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    return np.concatenate([(upper + lower).view(np.float32) for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float8_e5m2", "float8_e4m3fn"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_that_of_ml_dtypes_at_every_pattern_of_16_bits(name, dtype):
    ml_dtypes = needs.module("test", "ml_dtypes")
    theirs = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    x = every_float32_near_16_bits()
    with np.errstate(all="ignore"):
        expected = x.astype(theirs).astype(np.float32)
        given = x.astype(dtype)
    found = FORMATS[name].round(given)
    np.testing.assert_array_equal(found, expected)
    kept = ~np.isnan(x)
    kept &= ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[kept]), np.signbit(expected[kept]))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "tf32", "float8_e5m2"])
def test_each_number_of_a_format_stays_and_between_two_it_is_nearest_or_truncated(name):
    form = FORMATS[name]
    x = np.abs(every_float32_near_16_bits())
    low = np.unique(form.round(x[x < form.largest], "truncate"))
    np.testing.assert_array_equal(form.round(low), low)
    np.testing.assert_array_equal(form.round(-low), -low)
    step = form.place(low)  # to the next number upwards
    for share, nearest in [(0.49, low), (0.51, low + step)]:
        between = low + share * step
        np.testing.assert_array_equal(form.round(between, "truncate").astype(np.float64), low)
        inside = nearest <= form.largest
        np.testing.assert_array_equal(form.round(between)[inside].astype(np.float64), nearest[inside])


def test_a_float64_is_rounded_once_and_not_by_way_of_float32():
    just_above_a_tie = 1 + 2.0**-8 + 2.0**-40  # as a float32 it is the tie, which goes down
    assert FORMATS["bfloat16"].round(np.array([just_above_a_tie]))[0] == 1 + 2.0**-7


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_subnormals_are_flushed_to_zeros_of_their_sign(name):
    form = FORMATS[name]
    smallest = form.smallest_normal
    x = np.array([smallest, -smallest, smallest * (1 - 2 * form.unit), -smallest / 2, 0.0])
    np.testing.assert_array_equal(form.round(x), x.astype(np.float32))
    flushed = form.round(x, flush=True)
    np.testing.assert_array_equal(flushed, [smallest, -smallest, 0, 0, 0])
    np.testing.assert_array_equal(np.signbit(flushed), [False, True, False, True, False])
    program = Program(stored=form, flush=True)
    assert not np.any(program.add(x[2:4], np.zeros(2)))


# --- sums -----------------------------------------------------------------------------------------------------------------


def by_hand(a, b, add):
    """Σ aᵢbᵢ as a loop."""
    total = None
    for x, y in zip(a, b, strict=True):
        total = np.float32(x * y) if total is None else add(total, x, y)
    return total


def test_orders_of_sums_are_what_they_say(rng):
    a, b = (rng.standard_normal(37).astype(np.float32) for _ in range(2))

    def dot(order, **options):
        return Summation(order=order, **options).dot(a[None], b[:, None])[0, 0]

    def separate(total, x, y):
        return np.float32(total + np.float32(x * y))

    def once(total, x, y):
        return np.float32(float(total) + float(x) * float(y))

    assert dot(Order(1)) == by_hand(a, b, separate)
    assert dot(Order(1, fused=True)) == by_hand(a, b, once)
    assert dot(Order(1, start="reversed")) == by_hand(a[::-1], b[::-1], separate)
    places = np.random.default_rng(5).permutation(37)
    assert dot(Order(1, start=5)) == by_hand(a[places], b[places], separate)
    lanes = [by_hand(a[i::4], b[i::4], separate) for i in range(4)]
    assert dot(Order(1, lanes=4)) == np.float32(np.float32(np.float32(lanes[0] + lanes[1]) + lanes[2]) + lanes[3])

    def tree(x):
        return x[0] if len(x) == 1 else np.float32(tree(x[: len(x) // 2]) + tree(x[len(x) // 2 :]))

    assert dot(Order(1, pairwise=True)) == tree(a * b)
    bfloat16 = FORMATS["bfloat16"]
    products = bfloat16.round(a.astype(np.float64) * b)
    chain = products[:1].astype(np.float64)
    for product in products[1:]:
        chain = bfloat16.round(chain + product).astype(np.float64)
    assert dot(Order(1), accumulate=bfloat16) == chain[0]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("K", [1, 7, 8, 70])
def test_every_order_is_within_its_bound_of_the_exact_sum(name, K, rng):
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, K), (K, 2)))
    sums = Summation(order=ORDERS[name])
    for i in range(3):
        terms = [[float(a[i, k]) * float(b[k, j]) for k in range(K)] for j in range(2)]
        exact = np.array([math.fsum(row) for row in terms])
        size = np.array([math.fsum(map(abs, row)) for row in terms])
        assert np.all(np.abs(sums.dot(a[i : i + 1], b)[0] - exact) <= (K + 1) * FLOAT32.unit * size)
        assert abs(sums.total(a[i : i + 1])[0, 0] - math.fsum(map(float, a[i]))) <= K * FLOAT32.unit * np.sum(
            np.abs(a[i])
        )


def test_a_narrow_accumulator_loses_what_it_cannot_hold():
    ones = np.ones((1, 400), np.float32)
    narrow = Summation(FORMATS["bfloat16"], Order(1))
    assert narrow.dot(ones, ones.T)[0, 0] == 256  # 256 + 1 is a tie, which goes to the even 256
    assert Summation(FORMATS["bfloat16"], Order(32)).dot(ones, ones.T)[0, 0] == 400
    assert narrow.total(ones)[0, 0] == 256


# --- functions with faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_a_fault_of_4_ulp_is_off_by_up_to_4_units_in_the_last_place(name, rng):
    form, x = FORMATS[name], rng.uniform(-3, 3, 20000)
    exact = np.tanh(x)
    off = (function("tanh", "4 ulp", form)(x) - exact) / form.place(exact)
    assert 3.9 < np.max(off) <= 4.001
    assert -4.001 <= np.min(off) < -3.9
    assert abs(np.mean(off)) < 0.1
    assert abs(np.mean(off[1:] * off[:-1])) < 0.2  # of 5.3 in the mean square
    for sign in "+-":
        biased = (function("tanh", f"{sign}4 ulp", form)(x) - exact) / form.place(exact)
        np.testing.assert_allclose(biased, float(f"{sign}4"), atol=1e-3)


def test_a_lookup_table_is_straight_between_its_points_and_flat_beyond():
    points = np.linspace(-4, 4, 65)
    table = function("tanh", (points, np.tanh(points)), FLOAT32)
    np.testing.assert_array_equal(table(points), np.tanh(points))
    np.testing.assert_array_equal(table(np.array([-9.0, 9.0])), np.tanh([-4.0, 4.0]))
    assert table(np.array([0.0625])) == pytest.approx(np.tanh(0.125) / 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [("4", "like '4 ulp'"), ("ulp", "like '4 ulp'"), (4, "a function of an array"), (([1, 0], [0, 1]), "points rise")],
)
def test_what_is_no_function_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        function("tanh", given, FLOAT32)


# --- twins ----------------------------------------------------------------------------------------------------------------


def made(name, dtype="float64"):
    """A model and the inputs of a call."""
    if name in CASES:
        kind, changes, features = CASES[name]
        config = albert_np.AlbertConfig(**TINY | changes)
        tensors, call = trained_like(config, PARTS[kind], 3), batch(config, kind, 5, **features)
    else:
        kind = tuple(PARTS)[name % len(PARTS)]
        config, tensors, call = random_case(name, kind)
        call.pop("position_ids", None)
        call["attention_mask"] = np.sort(call["attention_mask"], axis=-1)[..., ::-1]  # padding on the right
    tensors = {key: x.astype(dtype) for key, x in tensors.items()}
    model = getattr(albert_np, kind)(config, backend="numpy", dtype=dtype, tensors=tensors)
    return model, {key: x for key, x in call.items() if key not in model.labels}


def relative(found, expected):
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("name", [*CASES, *range(4)])
def test_a_twin_of_float64_is_the_reference(name):
    model, call = made(name)
    expected, twin = model(**call, trace="unfused"), golden.emulate(model, "float64", gelu="sigmoid")
    found = twin(**call)
    assert list(found) == list(expected)
    for key in expected:
        if key != "trace":
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-10, atol=1e-12, err_msg=key, strict=True)
    for key, x in expected.trace.items():
        np.testing.assert_allclose(found.trace[key], x, rtol=1e-10, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("mask_mode", ["uniform", "zeros", "nan"])
@pytest.mark.parametrize("fused", [False, "flash"])
def test_a_row_with_nothing_to_attend_to_is_what_the_mask_mode_says(mask_mode, fused):
    model, call = made("model_nothing_to_attend")
    expected = model(**call, trace="unfused", mask_mode=mask_mode).trace
    twin = golden.emulate(model, "float32", fused=fused).run({**call, "mask_mode": mask_mode})
    for key, x in expected.items():
        np.testing.assert_allclose(twin[key], x, rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_value_of_a_twin_is_one_that_its_format_has(precision):
    model, call = made("pretraining")
    form = FORMATS[PRECISIONS[precision][0]]
    for options in ({}, {"fused": True}, {"stepwise": True}, {"rounding": "truncate", "flush_to_zero": True}):
        for key, x in golden.emulate(model, precision, **options).run(call, beside=True).items():
            np.testing.assert_array_equal(form.round(x), x, err_msg=key)


def test_errors_grow_as_digits_are_taken_away():
    model, call = made("pretraining")
    truth = model(**call, trace="unfused").trace["encoder.layer.3.full_layer_layer_norm"]

    def error(*args, **options):
        return relative(
            golden.emulate(model, *args, **options).run(call)["encoder.layer.3.full_layer_layer_norm"], truth
        )

    float32, tf32, float16, bfloat16 = map(error, PLAIN)
    assert 1e-8 < float32 < 1e-6
    assert 1e-4 < tf32 < 2 * float16 < bfloat16 < 3e-2
    assert error("bfloat16", rounding="truncate") > 1.5 * bfloat16
    assert error("bfloat16", accumulate="bfloat16", block=1) > 1.3 * bfloat16
    assert bfloat16 < error("int8") < 0.1
    assert error("float8_e4m3fn") < error("float8_e5m2") < 0.5
    assert error("float32", tanh="64 ulp") > 2 * float32
    assert error("float32", rsqrt="+64 ulp") > 2 * float32
    assert error("float32", exp="64 ulp") > 2 * float32


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"precision": "float32", "multiply": "bfloat16"}])
def test_products_may_be_added_as_the_tiles_of_amx_do(options):
    """Which is what the kernels of bfloat16 on the CPU do: their emulation has the machine's bits."""
    model, call = made("model")
    twin = golden.emulate(model, order="amx", **options)
    steps, other = twin.run(call), golden.emulate(model, **options).run(call)
    name = "encoder.layer.0.ffn"
    read, found = steps["encoder.layer.0.attention.LayerNorm"], steps[name]
    layer = "encoder.albert_layer_groups.0.albert_layers.0.ffn."
    expected = emulation.product(read, twin.weights[f"{layer}weight"].T) + twin.weights[f"{layer}bias"]
    assert np.array_equal(found, twin.store(expected))
    assert relative(found, other[name]) < 2**-7
    if options["precision"] == "float32":  # where the last digits are kept
        assert not np.array_equal(found, other[name])


def test_weights_are_rounded_unless_they_stay_wide():
    model, call = made("pretraining")
    rounded, wide = golden.emulate(model, "bfloat16"), golden.emulate(model, "bfloat16", round_weights=False)
    for name, x in model._tensors.items():
        np.testing.assert_array_equal(rounded.weights[name], FORMATS["bfloat16"].round(x))
        np.testing.assert_array_equal(wide.weights[name], x.astype(np.float32))
    name = "encoder.embedding_hidden_mapping_in"
    assert not np.array_equal(rounded.run(call)[name], wide.run(call)[name])


def test_a_fused_step_is_recorded_rounded_and_read_unrounded():
    model, call = made("pretraining")
    plain, fused = (golden.emulate(model, "bfloat16", fused=f).run(call) for f in (False, "attention"))
    at = "encoder.layer.0.attention"
    np.testing.assert_array_equal(plain[f"{at}.scores"], fused[f"{at}.scores"])  # the same sums, recorded rounded
    assert not np.array_equal(plain[f"{at}.probs"], fused[f"{at}.probs"])
    exact = Exact()
    steps = graph(model.config, "AlbertForPreTraining")
    named = {one.name: one for one in steps}
    known = {key: x.astype(np.float64) for key, x in fused.items()} | batch_of(
        model.config, "AlbertForPreTraining", call
    )
    probs = evaluate(named[f"{at}.probs"], known, {}, exact)
    wide = exact.context(probs, known[f"{at}.value"], num_heads=3)
    unit = FORMATS["bfloat16"].unit
    assert unrounded(steps, ["attention"]) >= {f"{at}.scores", f"{at}.probs"}
    # its own recorded probs explain the context less well than a rounding would: they are not what was read
    recorded = exact.context(known[f"{at}.probs"], known[f"{at}.value"], num_heads=3)
    assert relative(known[f"{at}.context"], recorded) > 0.5 * unit
    assert relative(known[f"{at}.context"], wide) < 6 * unit


def test_what_is_fused_has_no_reader_outside_its_kernel():
    steps = graph(albert_np.AlbertConfig(**TINY), "AlbertForPreTraining")
    wide = unrounded(steps, ["attention", "activation", "residual"])
    layer = {name.removeprefix("encoder.layer.1.") for name in wide if name.startswith("encoder.layer.1.")}
    assert layer == {
        "attention.scores",
        "attention.probs",
        "attention.dense",
        "attention.sum",
        "ffn",
        "ffn_output",
        "sum",
    }
    assert {"embeddings.sum", "embeddings.word_embeddings", "pooler", "predictions.dense"} <= wide
    assert not {"embeddings.LayerNorm", "predictions.activation", "encoder.embedding_hidden_mapping_in"} & wide


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "precision must be one of float64, float32"),
        ({"accumulate": "int32"}, "accumulate must be one of"),
        ({"block": 0}, "1 or more"),
        ({"multiply": "fp8"}, "a format is one of"),
        ({"rounding": "up"}, "rounding must be one of"),
        ({"fused": "everything"}, "fused must be one of attention"),
        ({"stepwise": ["probs", "tanh"]}, "stepwise must be one of"),
        ({"gelu": "erf"}, "gelu must be one of"),
        ({"order": "vnni"}, "order must be one of amx"),
        ({"order": "amx", "precision": "float32"}, "order='amx' adds products of bfloat16 in float32"),
        ({"order": "amx", "block": 32}, "order='amx' adds products of bfloat16 in float32"),
    ],
)
def test_choices_that_there_are_not_are_refused(options, message):
    model, _ = made("model")
    with pytest.raises(ValueError, match=message):
        golden.emulate(model, **options)


def test_a_twin_refuses_what_it_cannot_run():
    model, call = made("model")
    twin = golden.emulate(model)
    with pytest.raises(ValueError, match="a twin takes input_ids"):
        twin(**call, output_attentions=True)
    with pytest.raises(ValueError, match="mask_mode must be one of"):
        twin(**call, mask_mode="half")
    with pytest.raises(ValueError, match="one of the model classes"):
        golden.emulate("albert-base-v2")


# --- three-way verdicts -----------------------------------------------------------------------------------------------------


def test_three_way_verdicts_go_by_the_ratio_of_root_mean_squares(rng):
    error = rng.standard_normal(1000)
    few = [0.1, -0.2]  # of two numbers one may be small by luck
    assert three_way([1.0, -2.0], few).verdict == "expected"
    assert three_way([10.0, -20.0], few).verdict == "broken"
    assert three_way(error[::-1], error)[:2] == ("expected", pytest.approx(1))
    assert three_way(2.9 * error, error)[:2] == ("suspicious", pytest.approx(2.9))
    assert three_way(4.8 * error, error).verdict == "broken"
    assert three_way(0 * error, error)[:2] == ("expected", 0)
    assert three_way(0 * error, 0 * error)[:2] == ("expected", 0)
    assert three_way(error, 0 * error)[:2] == ("broken", np.inf)
    assert three_way(np.where(error == error[7], np.nan, error), error).verdict == "broken"
    assert three_way(1e-200 * error, 1e-200 * error[::-1])[:2] == ("expected", pytest.approx(1))
    with pytest.raises(ValueError, match="one shape"):
        three_way(error[1:], error)


def test_the_overlap_is_that_of_two_normal_distributions(rng):
    a, b = rng.standard_normal(1000), 0.5 + 2 * rng.standard_normal(1000)
    s, t, apart = np.std(a), np.std(b), np.mean(a) - np.mean(b)
    x = np.linspace(-20, 20, 200001)

    def density(mean, deviation):
        return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))

    expected = np.sum(np.sqrt(density(apart, s) * density(0, t))) * (x[1] - x[0])
    assert three_way(a, b).overlap == pytest.approx(expected, rel=1e-9)
    assert three_way(a, a).overlap == pytest.approx(1)
    assert math.isnan(three_way(a[:1], b[:1]).overlap)
    assert three_way(np.zeros(3), np.ones(3)).overlap == 0
