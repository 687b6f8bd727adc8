"""Weights in int8: rounding against the textbook's loop, moments against a trace, and the rule for a second pass."""

import numpy as np
import pytest
from support.refusals import refusal
from tolerances import MOMENTS_FLOAT32

from albert_np import AlbertConfig, AlbertForMaskedLM
from albert_np.encoder import LAYERS, step
from albert_np.golden.cases import PARTS, TINY, trained_like
from albert_np.kernels.cpu.bfloat16.emulation import round_to_bfloat16
from albert_np.quantization import moments, rounding, weights
from albert_np.quantized import PRODUCTS, TOP, QuantizedWeight, as_floats, weight_names

CONFIG = AlbertConfig(**TINY)
LAYER = f"{LAYERS}0.albert_layers.0"


def model(config=CONFIG, seed=1, **changed):
    arrays = trained_like(config, PARTS["AlbertForMaskedLM"], seed) | changed
    return AlbertForMaskedLM(config, tensors={name: x.astype(np.float32) for name, x in arrays.items()})


def correlated(K, rows=500, seed=0):
    """Inputs of which neighbours are alike, with scales of their own, and one that is always 0; and their moments."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, K)) @ (np.eye(K) + 0.8 * np.eye(K, k=1)) * draw.uniform(0.2, 3, K)
    x[:, K // 3] = 0
    return x, x.T @ x / rows


def textbook(w, scale, H):
    """GPTQ column by column with the whole inverse (Frantar et al. 2022, equations 2 and 3), by falling diagonal."""
    K = len(H)
    dead = H.diagonal() == 0
    H = H + rounding.DAMPING * H.diagonal().mean() * np.eye(K)
    inverse, v, codes = np.linalg.inv(H), (w / scale[:, None]).astype(float), np.zeros(w.shape, int)
    left = list(np.argsort(-np.where(dead, 0, H.diagonal()), kind="stable"))
    while left:
        k = left.pop(0)
        codes[:, k] = np.clip(np.rint(v[:, k]), -TOP, TOP)
        off = (v[:, k] - codes[:, k]) / inverse[k, k]
        v -= np.outer(off, inverse[k])
        inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return codes


def test_rounding_is_the_textbook_s(monkeypatch):
    _, H = correlated(50)
    w = np.random.default_rng(1).standard_normal((20, 50)).astype(np.float32)
    result = rounding.rounded(w, [H])
    assert np.array_equal(result.codes, textbook(w.astype(float), result.scale.astype(float), H))
    monkeypatch.setattr(rounding, "LAZY", 7)
    assert np.array_equal(rounding.rounded(w, [H]).codes, result.codes)


def test_errors_are_made_up_for_and_the_error_is_that_of_the_outputs():
    x, H = correlated(60)
    w = np.random.default_rng(1).standard_normal((30, 60)).astype(np.float32)
    result = rounding.rounded(w, [H])
    off = np.asarray(result.weight(1)).astype(float) - w
    assert result.error == pytest.approx(np.square(x @ off.T).sum(axis=1).mean(), rel=MOMENTS_FLOAT32)
    nearest = np.rint(w / result.scale[:, None]) * result.scale[:, None] - w
    assert result.error < 0.6 * np.square(x @ nearest.T).sum(axis=1).mean()


def test_rounding_to_bfloat16_makes_up_for_errors_too():
    x, H = correlated(60)
    w = np.random.default_rng(1).standard_normal((30, 60)).astype(np.float32)
    values, nearest = rounding.rounded_to_bfloat16(w, [H]), round_to_bfloat16(w)
    assert np.array_equal(values, round_to_bfloat16(values))
    errors = [np.square(x @ (some.astype(float) - w).T).sum() for some in (values, nearest)]
    assert errors[0] < 0.6 * errors[1]
    assert np.array_equal(rounding.rounded_to_bfloat16(w, [np.eye(60)]), nearest)


def test_a_model_of_bfloat16_has_such_weights_where_products_read_them_and_is_nearer_to_float32():
    whole = model()
    made = whole.quantize(dtype="bfloat16")
    assert (made.precision, made.backend) == ("bfloat16", "numba")
    names, before, after = weight_names(CONFIG), dict(whole._tensors), dict(made._tensors)
    for name, x in after.items():
        assert x.dtype == np.float32
        assert np.array_equal(x, round_to_bfloat16(x) if name in names else before[name]), name
    assert any(not np.array_equal(after[name], round_to_bfloat16(before[name])) for name in names)
    ids = np.random.default_rng(0).integers(5, CONFIG.vocab_size, (8, 12))
    plain = AlbertForMaskedLM(CONFIG, tensors=before, backend="numba", dtype="bfloat16")
    truth = whole(ids).logits
    assert np.square(made(ids).logits - truth).sum() < np.square(plain(ids).logits - truth).sum()


@pytest.mark.parametrize("passes", [1, 2])
def test_every_product_gets_the_passes_that_are_asked_for(passes):
    made = model().quantize(passes=passes)
    assert {x.passes for x in made._tensors.values() if isinstance(x, QuantizedWeight)} == {passes}


def test_passes_that_there_are_not_are_refused():
    for wrong in (0, 3, True, "1"):
        assert "passes must be 1 or 2" in refusal(model().quantize, passes=wrong)
    assert "passes are for dtype='int8' alone" in refusal(model().quantize, dtype="bfloat16", passes=1)
    assert "dtype must be 'int8' or 'bfloat16'" in refusal(model().quantize, dtype="int4")


def test_without_correlation_weights_are_rounded_to_the_nearest():
    w = np.random.default_rng(1).standard_normal((9, 33)).astype(np.float32)
    for H in (np.eye(33), np.zeros((33, 33)), np.diag(np.arange(33.0))):
        result = rounding.rounded(w, [H])
        assert np.array_equal(result.codes, np.rint(w.astype(float) / result.scale[:, None]))
        assert np.abs(result.codes).max(axis=1).tolist() == [TOP] * 9


def test_blocks_of_the_diagonal_are_rounded_alone():
    _, H = correlated(40)
    w = np.random.default_rng(2).standard_normal((8, 40)).astype(np.float32)
    w[:, 0] = 5  # the largest of each row, so that both halves have the scale of the whole
    w[:, 25] = 5
    both = rounding.rounded(w, [H[:24, :24], H[24:, 24:]])
    for some in (slice(0, 24), slice(24, 40)):
        assert np.array_equal(both.codes[:, some], rounding.rounded(w[:, some], [H[some, some]]).codes)


@pytest.mark.parametrize("w", [np.zeros((3, 8)), np.full((3, 8), 1e-44), np.full((3, 8), 3.4e38)])
def test_extreme_weights_have_scales_that_are_numbers(w):
    weight = rounding.rounded(w.astype(np.float32), [np.ones((8, 8))]).weight(1)
    assert np.isfinite(np.asarray(weight)).all()
    if w[0, 0] > 1:
        assert np.array_equal(weight.codes, np.full((3, 8), TOP))


def test_moments_are_those_of_what_the_products_read():
    config = CONFIG.replace(inner_group_num=2, num_hidden_groups=2, num_hidden_layers=2)
    made = model(config)
    rows = [[2, 7, 9, 3], [2, 8, 3], [2, 11, 5, 3]]
    found = moments.moments_of(made._tensors, config, rows, lambda more, total: None)
    x = {}
    for ids in rows:
        trace = made(input_ids=[ids], trace="unfused").trace
        read = "encoder.embedding_hidden_mapping_in"
        for application, place in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            at = step(application, "attention")
            names = read, f"{at}.context", f"{at}.LayerNorm", step(application, "activation")
            for product, name in zip(PRODUCTS, names, strict=True):
                x.setdefault((*place, product), []).append(trace[name][0].astype(float))
            read = step(application, "full_layer_layer_norm")
    assert found.keys() == x.keys()
    for key, parts in x.items():
        every = np.concatenate(parts)
        (block,) = found[key].mean
        wanted = every.T @ every / len(every)
        assert found[key].rows == len(every) == 11
        assert np.abs(block - wanted).max() <= MOMENTS_FLOAT32 * np.abs(wanted).max()
        reach = np.maximum(every.max(axis=1), 0) - np.minimum(every.min(axis=1), 0)
        assert found[key].rounding == pytest.approx(np.mean((reach / 255) ** 2) / 12, rel=MOMENTS_FLOAT32)


def test_shared_layers_have_the_moments_of_all_their_applications(monkeypatch):
    made = model()
    monkeypatch.setattr(moments, "COLUMNS", 20)
    found = moments.moments_of(made._tensors, CONFIG, [[2, 9, 3]], lambda more, total: None)
    assert {key[2]: value.rows for key, value in found.items()} == dict.fromkeys(PRODUCTS, 3 * CONFIG.num_hidden_layers)
    assert [len(block) for block in found[0, 0, "qkv"].blocks] == [12, 12][: len(found[0, 0, "qkv"].blocks)] or all(
        len(block) <= 20 for block in found[0, 0, "qkv"].blocks
    )
    assert sum(len(block) for block in found[0, 0, "ffn_output"].blocks) == CONFIG.intermediate_size


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    made, seen = model(), []
    first = weights.quantised(made._tensors, CONFIG, progress=lambda more, total: seen.append((more, total)))
    again, other = weights.quantised(made._tensors, CONFIG), weights.quantised(made._tensors, CONFIG, seed=1)
    assert sum(more for more, _ in seen) == seen[0][1]
    assert len({total for _, total in seen}) == 1
    for name in weight_names(CONFIG):
        assert np.array_equal(first[name].codes, again[name].codes)
        assert np.array_equal(first[name].scale, again[name].scale)
    assert any(not np.array_equal(first[name].codes, other[name].codes) for name in weight_names(CONFIG))
    ids = np.array(moments.random_rows(CONFIG, 0))
    assert (ids[:, 0] == moments.CLS).all()
    assert (ids[:, -1] == moments.SEP).all()
    assert 0.1 < (ids == moments.MASK).mean() < 0.2
    assert ids.max() < CONFIG.vocab_size


def test_nothing_but_the_layers_matrices_is_rounded():
    made = model()
    found = weights.quantised(made._tensors, CONFIG)
    assert {name for name, x in found.items() if isinstance(x, QuantizedWeight)} == set(weight_names(CONFIG))
    assert len(weight_names(CONFIG)) == 6 * CONFIG.num_hidden_groups * CONFIG.inner_group_num
    for name, x in found.items():
        if not isinstance(x, QuantizedWeight):
            assert np.array_equal(x, made._tensors[name])
    again = weights.quantised(found, CONFIG)
    assert all(again[name] is found[name] for name in weight_names(CONFIG))
    assert {x.dtype for x in as_floats(found).values()} == {np.dtype(np.float32)}


def passes(made):
    found = weights.quantised(made._tensors, made.config)
    return {
        name.removeprefix(f"{LAYER}.").removesuffix(".weight"): x.passes
        for name, x in found.items()
        if hasattr(x, "passes")
    }


def test_outlier_channels_need_a_second_pass():
    demo = AlbertForMaskedLM.from_pretrained("demo")
    assert passes(demo) == {
        "attention.query": 1,
        "attention.key": 1,
        "attention.value": 1,
        "attention.dense": 1,
        "ffn": 2,
        "ffn_output": 2,
    }
    arrays = demo.parameters_to_change()
    for name in ("attention.LayerNorm", "full_layer_layer_norm"):
        arrays[f"albert.{LAYER}.{name}.weight"][[7, 100, 200]] *= 20
    assert set(passes(demo).values()) == {2}


def test_what_cannot_be_rounded_is_refused_by_name():
    made = model()
    name = f"{LAYER}.ffn.weight"
    whole = weights.quantised(made._tensors, CONFIG)
    assert "some weights of the layers are int8 and some are not" in refusal(
        weights.quantised, whole | {name: made._tensors[name]}, CONFIG
    )
    bad = made._tensors[name].copy()
    bad[0, 1] = np.nan
    assert f"{name} is not finite" in refusal(weights.quantised, made._tensors | {name: bad}, CONFIG)
    norm = f"{LAYER}.attention.LayerNorm.weight"
    for value in (np.nan, 1e30):  # of the inputs, and of their squares
        spoilt = made._tensors | {norm: np.full_like(made._tensors[norm], value)}
        for rounds in (weights.quantised, weights.rounded_to_bfloat16):
            with np.errstate(all="ignore"):
                assert "weight are not finite, or too large to be squared" in refusal(rounds, spoilt, CONFIG)
    wide = np.zeros((2, 65_537), np.float32)
    assert "takes at most 65,536" in refusal(weights.quantised, made._tensors | {name: wide}, CONFIG)
    assert "nothing to calibrate with" in refusal(weights.quantised, made._tensors, CONFIG, [])
    assert "seed must be" in refusal(weights.quantised, made._tensors, CONFIG, seed=-1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"codes": np.zeros((2, 3), np.int16)}, "codes must be (N,K) int8"),
        ({"codes": np.zeros(3, np.int8)}, "codes must be (N,K) int8"),
        ({"codes": np.array([[0, -128, 0], [0, 0, 0]], np.int8)}, "codes must be −127 to 127; got −128"),
        ({"codes": np.zeros((2, 65_537), np.int8)}, "at most 65,536 inputs"),
        ({"scale": np.ones(3, np.float32)}, "scale must be (2,) float32"),
        ({"scale": np.ones(2)}, "scale must be (2,) float32"),
        (
            {"scale": np.array([1, 0], np.float32)},
            "each scale must be positive, and 127 times it finite; got 0.0 at [1]",
        ),
        ({"scale": np.array([-1, 1], np.float32)}, "got -1.0 at [0]"),
        ({"scale": np.array([1, np.nan], np.float32)}, "got nan at [1]"),
        ({"scale": np.array([np.inf, 1], np.float32)}, "got inf at [0]"),
        ({"scale": np.array([1e37, 1], np.float32)}, "127 times it finite"),
        ({"passes": 3}, "passes must be 1 or 2; got 3"),
        ({"passes": True}, "passes must be 1 or 2; got True"),
    ],
)
def test_a_weight_checks_what_it_is_made_of(changes, says):
    good = {"codes": np.zeros((2, 3), np.int8), "scale": np.ones(2, np.float32), "passes": 1}
    assert says in refusal(QuantizedWeight, **good | changes)


def test_a_weight_stands_for_a_float32_array():
    weight = QuantizedWeight(np.array([[1, -127], [0, 5]], np.int8), np.array([0.5, 2], np.float32), 2)
    assert (weight.shape, weight.size, weight.dtype) == ((2, 2), 4, np.float32)
    assert np.array_equal(np.asarray(weight), np.array([[0.5, -63.5], [0, 10]], np.float32))
    assert np.asarray(weight, np.float64).dtype == weight.astype(np.float64).dtype == np.float64
    assert "QuantizedWeight(2 × 2, passes=2)" == repr(weight)
    with pytest.raises(ValueError, match="always a new array"):
        np.array(weight, copy=False)
