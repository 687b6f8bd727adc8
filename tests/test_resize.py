"""resize_token_embeddings: old rows to the bit, new rows by their statistics, decoder, config and engine along with them."""

import numpy as np
import pytest
from support import TINY_MODEL
from support.backends import NUMPY
from tolerances import PARITY_FLOAT64

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, AlbertModel
from albert_np.golden.cases import PARTS, TINY, trained_like
from albert_np.golden.tolerances import assert_close

V = TINY["vocab_size"]
TABLE, DECODER, BIAS = "albert.embeddings.word_embeddings.weight", "predictions.decoder.weight", "predictions.bias"
IDS = [[2, 5, V - 1, 7, 3], [2, 0, 1, 6, 3]]


def made(backend, kind="AlbertForMaskedLM", **changes):
    config = AlbertConfig(**(TINY | {"num_labels": 2} | changes))
    return backend.model(kind, config, trained_like(config, PARTS[kind], 3))


def copies(model):
    return {name: x.copy() for name, x in model.state_dict().items()}


def resized_names(model):
    return {
        name for name in model.state_dict() if name.endswith(("word_embeddings.weight", DECODER, BIAS, "decoder.bias"))
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(PARTS))
def test_old_rows_keep_their_bits_and_everything_else_too(kind, tied):
    model = made(NUMPY, kind, tie_word_embeddings=tied)
    before, changing = copies(model), resized_names(model)
    returned = model.resize_token_embeddings(V + 7)
    assert returned.weight.shape == (V + 7, TINY["embedding_size"])
    assert model.config.vocab_size == V + 7
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, x in before.items():
        assert after[name].dtype == x.dtype
        assert len(after[name]) == len(x) + (7 if name in changing else 0), name
        assert after[name][: len(x)].tobytes() == x.tobytes(), name
    assert model.num_parameters() == sum(x.size for _, x in model.named_parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["AlbertForMaskedLM", "AlbertForPreTraining"])
def test_a_call_before_and_after_gives_old_tokens_the_same_logits(backend, kind, tied):
    model = made(backend, kind, tie_word_embeddings=tied)
    before = model(IDS)[0]  # the engine has packed the old tables
    model.resize_token_embeddings(V + 40)
    after = model(IDS)[0]
    assert after.shape == (2, 5, V + 40)
    backend.assert_same("logits of old tokens", after[..., :V], before)
    new = model([[2, V, V + 39, 3]])[0]
    assert new.shape == (1, 4, V + 40)
    fresh = backend.model(kind, model.config, model._tensors)  # an engine that never saw the old tables
    assert np.array_equal(model(IDS)[0], fresh(IDS)[0])


def test_a_tied_decoder_is_the_new_table_and_its_bias_grows_by_zeros():
    model = made(NUMPY)
    model.resize_token_embeddings(V + 3)
    state = model.state_dict()
    assert state[DECODER] is state[TABLE]
    assert state["predictions.decoder.bias"] is state[BIAS]
    assert state[BIAS][V:].tolist() == [0, 0, 0]
    assert np.any(state[BIAS][:V])


def test_a_decoder_of_its_own_gets_rows_and_a_bias_of_its_own():
    model = made(NUMPY, tie_word_embeddings=False)
    bias = model.state_dict()[BIAS].copy()
    model.resize_token_embeddings(V + 3)
    state = model.state_dict()
    assert state[DECODER].shape == state[TABLE].shape
    assert not np.array_equal(state[DECODER][V:], state[TABLE][V:])
    assert_close(
        "mean of the decoder", state[DECODER][V:], np.tile(state[DECODER][:V].mean(axis=0), (3, 1)), limit=1e-3
    )
    assert np.array_equal(state[BIAS][V:], np.full(3, bias.mean()))
    drawn = made(NUMPY, tie_word_embeddings=False)
    drawn.resize_token_embeddings(V + 3, mean_resizing=False)
    assert drawn.state_dict()[BIAS][V:].tolist() == [0, 0, 0]


def table(rows, columns, seed=5):
    """Rows whose columns are far from zero, of different sizes, and correlated."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)


def resized_table(old, count, **options):
    config = AlbertConfig(**(TINY | {"vocab_size": len(old), "embedding_size": old.shape[1]}))
    model = AlbertModel(config, backend="numpy", dtype="float64")
    model.set_input_embeddings(old)
    return model.resize_token_embeddings(len(old) + count, **options).weight[len(old) :]


def test_averaged_rows_have_the_mean_of_the_old_ones_and_a_billionth_of_their_covariance():
    old, n = table(200, 4), 20_000
    new = resized_table(old, n)
    mean, covariance = old.mean(axis=0), np.cov(old, rowvar=False, bias=True) * 1e-9
    deviation = np.sqrt(np.diag(covariance))
    # six standard errors of a mean, and of an entry of a covariance
    assert np.all(np.abs(new.mean(axis=0) - mean) < 6 * deviation / np.sqrt(n))
    error = np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / n)
    assert np.all(np.abs(np.cov(new, rowvar=False, bias=True) - covariance) < 6 * error)
    assert np.all(np.abs(covariance) > 3 * error)  # or this would say nothing of the correlations
    assert len(np.unique(new, axis=0)) == n


def test_where_old_rows_span_no_full_covariance_new_ones_are_their_mean():
    old = table(3, 4)  # three rows lie in a plane
    new = resized_table(old, 5)
    assert np.array_equal(new, np.tile(old.mean(axis=0), (5, 1)))


def test_drawn_rows_are_those_of_a_new_model():
    old, n = table(200, 4), 20_000
    new = resized_table(old, n, mean_resizing=False)
    limit = 2 * TINY.get("initializer_range", 0.02)
    assert np.abs(new).max() < limit
    assert np.abs(new).max() > 0.99 * limit
    # a normal cut at two deviations has 0.8796 of one
    assert new.std() == pytest.approx(0.8796 * limit / 2, rel=0.01)
    assert abs(new.mean()) < 6 * new.std() / np.sqrt(new.size)


def test_drawn_rows_are_none_that_the_model_has_already():
    model = AlbertModel(AlbertConfig(**TINY), seed=0, backend="numpy")
    weight = model.resize_token_embeddings(2 * V, mean_resizing=False, seed=0).weight
    weight = model.resize_token_embeddings(4 * V, mean_resizing=False, seed=0).weight
    assert len(np.unique(weight, axis=0)) == 4 * V


@pytest.mark.parametrize("mean_resizing", [True, False])
def test_the_seed_decides_the_new_rows(mean_resizing):
    old = table(50, 4)
    one, same, other = (resized_table(old, 6, mean_resizing=mean_resizing, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.any(one == other)


def test_shrinking_cuts_rows_off_and_growing_again_makes_new_ones():
    model = made(NUMPY)
    before = copies(model)
    model.resize_token_embeddings(8)
    state = model.state_dict()
    assert state[TABLE].tobytes() == before[TABLE][:8].tobytes()
    assert state[BIAS].tobytes() == before[BIAS][:8].tobytes()
    assert model([[2, 7]]).logits.shape == (1, 2, 8)
    with pytest.raises(ValueError, match="token id 8"):
        model([[2, 8]])
    model.resize_token_embeddings(V)
    assert not np.array_equal(model.state_dict()[TABLE][8:], before[TABLE][8:])


@pytest.mark.parametrize(
    ("tokens", "multiple", "expected"),
    [
        (None, None, V),
        (V, None, V),
        (None, 64, -(-V // 64) * 64),
        (V + 1, 8, (V // 8 + 1) * 8),
        (64, 64, 64),
        (65, 64, 128),
    ],
)
def test_sizes_are_rounded_up_to_a_multiple(tokens, multiple, expected):
    model = made(NUMPY)
    assert model.resize_token_embeddings(tokens, multiple).weight.shape[0] == model.config.vocab_size == expected


def test_the_present_size_changes_no_array():
    model = made(NUMPY)
    before = dict(model.named_parameters())
    model.resize_token_embeddings(np.int64(V))
    assert all(x is before[name] for name, x in model.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"new_num_tokens": 0}, "new_num_tokens must be a whole number of at least 1, or None; got 0"),
        ({"new_num_tokens": -5}, "new_num_tokens must be"),
        ({"new_num_tokens": 12.0}, "new_num_tokens must be"),
        ({"new_num_tokens": "12"}, "new_num_tokens must be"),
        ({"new_num_tokens": True}, "new_num_tokens must be"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of must be"),
        ({"pad_to_multiple_of": 2.5}, "pad_to_multiple_of must be"),
        ({"new_num_tokens": 2**40}, "vocab_size must be a positive int below"),
        ({"new_num_tokens": 2**31 - 1}, "bytes of memory"),
        ({"new_num_tokens": V + 1, "seed": -1}, "seed must be"),
        ({"new_num_tokens": V + 1, "mean_resizing": "no"}, "mean_resizing must be True or False"),
    ],
)
def test_refusals_come_before_any_change(options, message):
    model = made(NUMPY)
    before = copies(model)
    with pytest.raises(ValueError, match=message):
        model.resize_token_embeddings(**options)
    assert model.config.vocab_size == V
    assert all(np.array_equal(x, before[name]) for name, x in model.state_dict().items())


def test_the_pad_token_is_never_cut_off_and_keeps_its_row():
    model = made(NUMPY, pad_token_id=9)
    with pytest.raises(ValueError, match="pad_token_id must be null or inside the vocabulary"):
        model.resize_token_embeddings(9)
    model.resize_token_embeddings(10)
    from_the_end = made(NUMPY, pad_token_id=-1)  # as torch takes it
    from_the_end.resize_token_embeddings(V + 4)
    assert from_the_end.config.pad_token_id == V - 1


def test_gradients_and_training_go_on(backend):
    model = made(backend)
    model.resize_token_embeddings(V + 2)
    labels = [[-100, V, -100, V + 1, -100], [-100] * 5]
    loss, gradients = model.value_and_grad(IDS, labels=labels)
    assert gradients[TABLE].shape == (V + 2, TINY["embedding_size"])
    for name, x in model.parameters_to_change().items():
        x -= 0.5 * gradients[name].astype(x.dtype)
    assert model(IDS, labels=labels).loss < loss
    model.resize_token_embeddings(V + 3)
    assert np.isfinite(model(IDS, labels=labels).loss)


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_model_is_saved_and_loaded(tmp_path, tied):
    model = made(NUMPY, "AlbertForPreTraining", tie_word_embeddings=tied)
    model.resize_token_embeddings(V + 5)
    model.save_pretrained(tmp_path)
    again = AlbertForPreTraining.from_pretrained(tmp_path, backend="numpy", dtype="float64")
    assert again.config.vocab_size == V + 5
    assert all(np.array_equal(x, model.state_dict()[name]) for name, x in again.state_dict().items())


@pytest.mark.parity
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(PARTS))
def test_transformers_loads_a_resized_model_and_computes_the_same(tmp_path, transformers, torch, kind, tied):
    model = made(NUMPY, kind, tie_word_embeddings=tied)
    model.resize_token_embeddings(V + 5, pad_to_multiple_of=4)
    model.save_pretrained(tmp_path)
    theirs = (
        getattr(transformers, kind).from_pretrained(tmp_path, dtype=torch.float64, attn_implementation="eager").eval()
    )
    assert theirs.get_input_embeddings().weight.shape[0] == model.config.vocab_size
    ids = np.array([[2, V, V + 4, 5, 3], [2, 7, 1, V + 2, 3]])
    ids = ids[:, None] if kind == "AlbertForMultipleChoice" else ids
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids))
    for name, x in model(ids).items():
        assert_close(name, x, expected[name].numpy(), limit=PARITY_FLOAT64)


def grown(folder):
    """The tests' vocabulary and a model for it, both with three more tokens, in a folder; and the two themselves."""
    tokenizer = albert_np.AutoTokenizer.from_pretrained(TINY_MODEL)
    config = AlbertConfig.from_pretrained(TINY_MODEL)
    model = NUMPY.model("AlbertForMaskedLM", config, trained_like(config, PARTS["AlbertForMaskedLM"], 3))
    assert tokenizer.add_tokens(["covfefe", albert_np.AddedToken("[ENT]", special=True), "the"]) == 3
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return tokenizer, model


TEXT = "The covfefe of [ENT] is [MASK], said the king."


def test_a_vocabulary_and_a_model_grow_together(tmp_path):
    tokenizer, model = grown(tmp_path)
    encoding = tokenizer(TEXT, return_tensors="np")
    assert {*range(1000, 1003)} <= {*encoding["input_ids"][0].tolist()}
    fill = albert_np.pipeline("fill-mask", tmp_path, backend="numpy", dtype="float64")
    assert np.array_equal(fill.model(**fill.tokenizer(TEXT, return_tensors="np")).logits, model(**encoding).logits)
    assert fill(TEXT, targets=["covfefe"])[0]["token"] == 1000


def test_a_model_that_did_not_grow_with_its_vocabulary_says_how_it_grows():
    tokenizer = albert_np.AutoTokenizer.from_pretrained(TINY_MODEL)
    tokenizer.add_tokens(["covfefe"])
    model = NUMPY.model("AlbertForMaskedLM", AlbertConfig.from_pretrained(TINY_MODEL))
    with pytest.raises(ValueError, match=r"has 1001 tokens and the model 1000.* model.resize_token_embeddings\(len\("):
        albert_np.pipeline("fill-mask", model, tokenizer)


@pytest.mark.parity
def test_transformers_reads_the_grown_vocabulary_and_model_alike(tmp_path, transformers, torch):
    tokenizer, model = grown(tmp_path)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    encoding = transformers.AlbertTokenizer.from_pretrained(tmp_path)(TEXT, return_tensors="pt")
    assert encoding["input_ids"].tolist() == [tokenizer(TEXT)["input_ids"]]
    with torch.no_grad():
        expected = theirs(**encoding).logits.numpy()
    assert_close("logits", model(**tokenizer(TEXT, return_tensors="np")).logits, expected, limit=PARITY_FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("size", [V + 5, V - 3])
@pytest.mark.parametrize("mean_resizing", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_what_resizing_leaves_and_adds_is_what_it_is_in_transformers(
    tmp_path, transformers, torch, tied, mean_resizing, size
):
    model = made(NUMPY, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    theirs = transformers.AlbertForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert theirs.config.tie_word_embeddings is tied
    theirs.resize_token_embeddings(size, mean_resizing=mean_resizing)
    model.resize_token_embeddings(size, mean_resizing=mean_resizing)
    state = {name: x.numpy() for name, x in theirs.state_dict().items()}
    for name, x in model.state_dict().items():
        kept = min(V, len(x)) if name in resized_names(model) else len(x)
        assert x.shape == state[name].shape, name
        assert np.array_equal(x[:kept], state[name][:kept]), name
        deviation = 1e-3 if mean_resizing else 10 * model.config.initializer_range  # draws of two generators
        assert np.all(np.abs(x[kept:] - state[name][kept:]) <= deviation), name
    assert theirs.config.vocab_size == model.config.vocab_size


# --- the tables by themselves ---------------------------------------------------------------------------------------------


def test_input_embeddings_can_be_set(backend):
    model = made(backend)
    model(IDS)  # which packs the old ones
    rng = np.random.default_rng(0)
    value = rng.normal(size=(V, TINY["embedding_size"])).astype(backend.dtype)
    model.set_input_embeddings(value)
    assert np.array_equal(model.get_input_embeddings().weight, value)
    assert np.array_equal(model.get_output_embeddings().weight, value)
    fresh = backend.model("AlbertForMaskedLM", model.config, model._tensors)
    assert np.array_equal(model(IDS).logits, fresh(IDS).logits)
    value[:] = 0  # the caller's own
    assert np.any(model.get_input_embeddings().weight)
    model.set_input_embeddings(made(backend).get_input_embeddings())  # an object with a weight
    assert np.array_equal(model(IDS).logits, made(backend)(IDS).logits)


@pytest.mark.parametrize("value", [np.zeros((V + 1, TINY["embedding_size"])), np.zeros(3), "table", None])
def test_input_embeddings_of_another_shape_are_refused(value):
    with pytest.raises(ValueError, match="word embeddings"):
        made(NUMPY).set_input_embeddings(value)


def test_output_embeddings_are_the_decoder_of_a_masked_language_model():
    tied, untied = made(NUMPY), made(NUMPY, tie_word_embeddings=False)
    assert np.shares_memory(tied.get_output_embeddings().weight, tied.get_input_embeddings().weight)
    assert not np.shares_memory(untied.get_output_embeddings().weight, untied.get_input_embeddings().weight)
    assert untied.get_output_embeddings().bias.shape == (V,)
    assert AlbertForMaskedLM(AlbertConfig(**TINY)).tie_weights() is None
    for kind in set(PARTS) - {"AlbertForMaskedLM", "AlbertForPreTraining"}:
        assert getattr(albert_np, kind)(AlbertConfig(**TINY)).get_output_embeddings() is None
