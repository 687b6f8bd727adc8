"""Loading: dtypes, prefixes, heads, ties, shards, missing and misshapen tensors, and every refusal's words."""

import numpy as np
import pytest
from support.checkpoints import CONFIG, assert_holds, shards, tensors, write

import albert_np
from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
)
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.names import hub_name
from albert_np.golden.cases import PARTS, TINY, trained_like

WORDS = "embeddings.word_embeddings.weight"


# --- what a file may hold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["float64", "float32", "float16"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stored_dtypes(tmp_path, stored, dtype):
    arrays = {name: x.astype(stored) for name, x in tensors("AlbertModel").items()}
    model = AlbertModel.from_pretrained(write(tmp_path, arrays), dtype=dtype)
    assert model.dtype == dtype
    assert_holds(model, {name: x.astype(dtype) for name, x in arrays.items()})


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    halves = {name: (x.view(np.uint32) >> 16).astype(np.uint16) for name, x in tensors("AlbertModel").items()}
    model = AlbertModel.from_pretrained(write(tmp_path, halves, words={"uint16": "BF16"}))
    assert_holds(model, {name: (x.astype(np.uint32) << 16).view(np.float32) for name, x in halves.items()})


@pytest.mark.parametrize("prefix", ["", "albert."])
@pytest.mark.parametrize("kind", ["AlbertModel", "AlbertForSequenceClassification"])
def test_the_prefix_is_optional_in_every_class(tmp_path, kind, prefix):
    plain = trained_like(CONFIG, PARTS[kind], 1)
    encoder = ("embeddings.", "encoder.", "pooler.")
    arrays = {(prefix if name.startswith(encoder) else "") + name: x for name, x in plain.items()}
    model = getattr(albert_np, kind).from_pretrained(write(tmp_path, arrays))
    assert_holds(model, {hub_name(name, PARTS[kind]): x for name, x in plain.items()})


def test_shards_equal_one_file(tmp_path):
    arrays = tensors("AlbertForPreTraining")
    one = AlbertForPreTraining.from_pretrained(write(tmp_path / "one", arrays))
    several = AlbertForPreTraining.from_pretrained(shards(tmp_path / "several", arrays))
    assert_holds(several, one.state_dict())


def test_another_format_is_a_reader_and_a_map_of_names_and_the_first_with_a_file_is_read(tmp_path, monkeypatch):
    """What FORMATS promises to whoever adds one: here NumPy's .npz, with names of its own."""

    def read(path):
        stored = np.load(path)
        for name in stored.files:
            tensor = Tensor(name, stored[name].shape, "F32", lambda name=name: stored[name])
            yield tensor.under(name.removeprefix("theirs/"))

    other = Format("other", "other.npz", "other.npz.index.json", read)
    monkeypatch.setattr("albert_np.checkpoints.formats.FORMATS", (*FORMATS, other))
    plain = trained_like(CONFIG, PARTS["AlbertModel"], 1)
    CONFIG.save_pretrained(tmp_path)
    np.savez(tmp_path / "other.npz", **{f"theirs/{name}": x.astype(np.float32) for name, x in plain.items()})
    assert_holds(AlbertModel.from_pretrained(tmp_path), plain)
    ours = tensors("AlbertModel", seed=2)
    assert_holds(AlbertModel.from_pretrained(write(tmp_path, ours)), ours)


def test_stored_ranges_are_neither_missing_nor_unexpected(tmp_path):
    P = CONFIG.max_position_embeddings
    ranges = {
        "albert.embeddings.position_ids": np.arange(P)[None],
        "albert.embeddings.token_type_ids": np.zeros((1, P), int),
    }
    folder = write(tmp_path, tensors("AlbertForMaskedLM") | ranges)
    _, info = AlbertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}


# --- base and head ----------------------------------------------------------------------------------------------------


def test_a_head_is_not_made_up_over_a_base_checkpoint(tmp_path):
    folder = write(tmp_path, tensors("AlbertModel"))
    with pytest.raises(
        ValueError, match=r"has no classifier.weight, classifier.bias \(2 of 27 tensors\).*missing='init'"
    ):
        AlbertForSequenceClassification.from_pretrained(folder)
    with pytest.raises(ValueError, match="missing must be 'error' or 'init'; got 'warn'"):
        AlbertForSequenceClassification.from_pretrained(folder, missing="warn")


def test_missing_init_draws_the_head_from_the_seed(tmp_path):
    base = tensors("AlbertModel")
    folder = write(tmp_path, base)
    models = []
    for seed in (7, 7, 8):
        with pytest.warns(
            UserWarning, match=f"classifier.weight, classifier.bias drawn from seed {seed}; answers mean"
        ):
            model, info = AlbertForSequenceClassification.from_pretrained(
                folder, missing="init", seed=seed, output_loading_info=True
            )
        assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
        assert_holds(model, {"albert." + name: x for name, x in base.items()})
        models.append(model.state_dict())
    first, same, other = (state["classifier.weight"] for state in models)
    assert first.shape == (3, 24)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert 0 < np.abs(first).max() <= 0.04
    assert not models[0]["classifier.bias"].any()


def test_a_base_model_from_a_head_checkpoint_warns_once_and_tells(tmp_path):
    extra = {"albert.extra": np.zeros(1), "sop_classifier.extra": np.zeros(1)}
    arrays = tensors("AlbertForSequenceClassification") | extra
    folder = write(tmp_path, arrays)
    with pytest.warns(UserWarning, match="also holds") as caught:
        model, info = AlbertModel.from_pretrained(folder, output_loading_info=True)
    assert len(caught) == 1
    foreign = ["classifier.weight", "classifier.bias", *extra]
    assert f"also holds {', '.join(foreign)}, which this class" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert info["unexpected_keys"] == foreign
    assert_holds(
        model,
        {name.removeprefix("albert."): x for name, x in arrays.items() if name.startswith("albert.e") and x.size > 1},
    )


@pytest.mark.parametrize(
    ("kind", "unused", "count"),
    [
        ("AlbertModel", ("predictions.", "sop_classifier."), 8),
        ("AlbertForMaskedLM", ("albert.pooler.", "sop_classifier."), 4),
    ],
)
def test_heads_of_pre_training_that_a_class_leaves_aside_are_told_without_a_warning(tmp_path, kind, unused, count):
    arrays = tensors("AlbertForPreTraining")
    arrays["predictions.decoder.bias"] = arrays["predictions.bias"]
    _, info = getattr(albert_np, kind).from_pretrained(write(tmp_path, arrays), output_loading_info=True)
    assert info["unexpected_keys"] == [name for name in arrays if name.startswith(unused)]
    assert len(info["unexpected_keys"]) == count


def test_without_a_pooler_the_error_says_how_to_load(tmp_path):
    arrays = {name: x for name, x in tensors("AlbertModel").items() if "pooler" not in name}
    with pytest.raises(ValueError, match=r"has no pooler.weight, pooler.bias .*add_pooling_layer=False"):
        AlbertModel.from_pretrained(write(tmp_path, arrays))
    model = AlbertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert model([[1, 2]]).pooler_output is None
    assert_holds(model, arrays)
    with pytest.raises(ValueError, match="add_pooling_layer is an argument of AlbertModel"):
        AlbertForMaskedLM.from_pretrained(tmp_path, add_pooling_layer=False)


# --- tied tensors -----------------------------------------------------------------------------------------------------


def test_the_embedding_overrides_a_stored_decoder(tmp_path):
    arrays = tensors("AlbertForMaskedLM")
    truth = AlbertForMaskedLM.from_pretrained(write(tmp_path / "once", arrays))
    stale = {
        "predictions.decoder.weight": arrays["albert." + WORDS] + 1,
        "predictions.decoder.bias": arrays["predictions.bias"],
    }
    model, info = AlbertForMaskedLM.from_pretrained(write(tmp_path / "twice", arrays | stale), output_loading_info=True)
    assert info["unexpected_keys"] == []
    assert np.array_equal(model([[2, 7, 3]]).logits, truth([[2, 7, 3]]).logits)
    assert model.state_dict()["predictions.decoder.weight"] is model.state_dict()["albert." + WORDS]


def test_a_file_with_second_names_only(tmp_path):
    arrays = tensors("AlbertForMaskedLM")
    truth = AlbertForMaskedLM.from_pretrained(write(tmp_path / "first", arrays))
    renames = {"predictions.bias": "predictions.decoder.bias", "albert." + WORDS: "predictions.decoder.weight"}
    second = {renames.get(name, name): x for name, x in arrays.items()}
    model = AlbertForMaskedLM.from_pretrained(write(tmp_path / "second", second))
    assert np.array_equal(model([[2, 7, 3]]).logits, truth([[2, 7, 3]]).logits)


def test_two_biases_that_differ_are_refused(tmp_path):
    arrays = tensors("AlbertForMaskedLM")
    folder = write(tmp_path, arrays | {"predictions.decoder.bias": arrays["predictions.bias"] + 1})
    with pytest.raises(ValueError, match=r"predictions.bias and predictions.decoder.bias are tied, but differ"):
        AlbertForMaskedLM.from_pretrained(folder)


def test_an_untied_decoder_is_its_own_tensor(tmp_path):
    config = AlbertConfig(**TINY, tie_word_embeddings=False)
    arrays = tensors("AlbertForMaskedLM", config)
    model = AlbertForMaskedLM.from_pretrained(write(tmp_path, arrays, config))
    assert_holds(model, arrays)
    assert not np.array_equal(arrays["predictions.decoder.weight"], arrays["albert." + WORDS])
    del arrays["albert." + WORDS]
    with pytest.raises(ValueError, match=rf"has no {WORDS}"):  # the decoder is no stand-in for it
        AlbertForMaskedLM.from_pretrained(write(tmp_path, arrays, config))
    with pytest.raises(ValueError, match=r"has no predictions.decoder.weight \(1 of"):
        AlbertForMaskedLM.from_pretrained(write(tmp_path, tensors("AlbertForMaskedLM"), config))


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_a_head_of_another_size_is_refused_or_drawn_anew(tmp_path):
    folder = write(tmp_path, tensors("AlbertForTokenClassification"))
    message = r"model.safetensors: tensor classifier.weight has the shape \(3, 24\), but the config says \(5, 24\)"
    with pytest.raises(ValueError, match=message + r"; 1 more differ: classifier.bias; .*ignore_mismatched_sizes=True"):
        AlbertForTokenClassification.from_pretrained(folder, num_labels=5)
    with pytest.warns(UserWarning, match="classifier.weight, classifier.bias drawn from seed 0"):
        model, info = AlbertForTokenClassification.from_pretrained(
            folder, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert info["mismatched_keys"] == [("classifier.weight", (3, 24), (5, 24)), ("classifier.bias", (3,), (5,))]
    assert model([[1, 2]]).logits.shape == (1, 2, 5)


@pytest.mark.parametrize(
    ("kind", "head"), [(AlbertForPreTraining, "sop_classifier.classifier"), (AlbertForQuestionAnswering, "qa_outputs")]
)
def test_three_rows_in_a_head_of_two_are_refused(tmp_path, kind, head):
    arrays = tensors(kind.__name__)
    arrays |= {f"{head}.weight": np.zeros((3, 24), np.float32), f"{head}.bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=rf"{head}.weight has the shape \(3, 24\), .*\(2, 24\).*always has two logits"):
        kind.from_pretrained(write(tmp_path, arrays))
