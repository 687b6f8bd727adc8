"""Names that checkpoints have beside Hugging Face's: prefixes of wrappers, gamma and beta; and encoders that are not there."""

import numpy as np
import pytest
from support.checkpoints import assert_holds, shards, tensors, write
from support.refusals import refusal
from tolerances import PARITY_FLOAT64

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification, AlbertModel
from albert_np.golden.cases import PARTS, TINY
from albert_np.golden.tolerances import assert_close
from albert_np.training.finetune import finetune

KINDS = list(PARTS)
WRAPPERS = [
    "module.",  # DataParallel, DistributedDataParallel
    "model.",  # Lightning, and whoever keeps a model in self.model
    "_orig_mod.",  # torch.compile
    "module.module.",
    "module._orig_mod.",
    "student.",
    "albert.",  # a class that keeps an AlbertFor… in self.albert
    "encoder.",
    "0.auto_model.",
    "my_albert.",
]


def named(arrays, change):
    return {change(name): x for name, x in arrays.items()}


# --- prefixes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_of_all_names_is_left_out(tmp_path, kind, wrapper):
    arrays = tensors(kind)
    folder = write(tmp_path, named(arrays, lambda name: wrapper + name))
    model, info = getattr(albert_np, kind).from_pretrained(folder, output_loading_info=True)
    assert_holds(model, arrays)
    assert not any(info.values())


@pytest.mark.parametrize("wrapper", ["bert.", "transformer.", "module.backbone.albert."])
def test_an_encoder_under_any_prefix_is_a_base_model(tmp_path, wrapper):
    arrays = tensors("AlbertModel")
    folder = write(tmp_path, named(arrays, lambda name: wrapper + name))
    assert_holds(AlbertModel.from_pretrained(folder), arrays)


def test_a_prefix_in_shards_and_over_ranges_and_foreign_tensors(tmp_path):
    arrays = tensors("AlbertForMaskedLM")
    beside = {"albert.embeddings.position_ids": np.arange(9)[None], "loss.weight": np.zeros(1, np.float32)}
    folder = shards(tmp_path, named(arrays | beside, lambda name: "module." + name))
    with pytest.warns(UserWarning, match="also holds module.loss.weight, which this class"):
        model, info = AlbertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert_holds(model, arrays)
    assert info["unexpected_keys"] == ["module.loss.weight"]


def test_a_file_with_huggingfaces_names_and_another_model_beside_them_is_read_as_transformers_reads_it(tmp_path):
    arrays, other = tensors("AlbertForMaskedLM"), tensors("AlbertForMaskedLM", seed=2)
    folder = write(tmp_path, arrays | named(other, lambda name: "teacher." + name))
    with pytest.warns(UserWarning, match="also holds teacher.albert.embeddings"):
        assert_holds(AlbertForMaskedLM.from_pretrained(folder), arrays)


@pytest.mark.parametrize("missing", ["error", "init"])
def test_an_ambiguous_or_partial_prefix_is_refused_with_the_names(tmp_path, missing):
    def message(arrays):
        return refusal(AlbertForSequenceClassification.from_pretrained, write(tmp_path, arrays), missing=missing)

    arrays = tensors("AlbertForSequenceClassification")
    both = {f"{side}.{name}": x for side in ("student", "teacher") for name, x in arrays.items()}
    assert "holds encoders under 2 prefixes, student.albert., teacher.albert.: keep one" in message(both)
    half = {("module." if i % 2 else "") + name: x for i, (name, x) in enumerate(arrays.items())}
    assert "has no embeddings.position_embeddings.weight, " in message(half)
    assert "instead it holds module.albert.embeddings.position_embeddings.weight, " in message(half)
    headless = named(arrays, lambda name: name.replace("albert.", "bert."))
    assert (
        "the encoder's names begin with 'bert.' and classifier.weight, classifier.bias do not begin with 'bert.': rename"
        in message(headless)
    )
    mixed = named(arrays, lambda name: name.replace("albert.encoder", "encoder"))
    assert "some names of the encoder begin with 'albert.' and some do not (albert.embeddings." in message(mixed)


# --- an encoder that is not there -------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["error", "init"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name: name.replace("word_embeddings", "words"), r"has no embeddings.word_embeddings.weight \(1 of 27"),
        (
            lambda name: name.replace("albert_layers", "layer"),
            r"has no encoder.albert_layer_groups.0.albert_layers.0.*16 of",
        ),
        (
            lambda name: name.replace(".", "/"),
            r"has no embeddings.word_embeddings.weight, .*instead it holds albert/embed",
        ),
    ],
)
def test_an_encoder_is_never_drawn_and_the_refusal_says_what_is_there(tmp_path, change, says, missing):
    folder = write(tmp_path, named(tensors("AlbertForSequenceClassification"), change))
    with pytest.raises(ValueError, match=says + ".*only a head and a pooler can be drawn, the encoder must be there"):
        AlbertForSequenceClassification.from_pretrained(folder, missing=missing)


def test_an_empty_file_has_no_encoder(tmp_path):
    with pytest.raises(ValueError, match="instead it holds nothing: only a head"):
        AlbertModel.from_pretrained(write(tmp_path, {}), missing="init")


def test_a_missing_group_or_relative_position_is_not_drawn(tmp_path):
    folder = write(tmp_path, tensors("AlbertModel"))
    for changes in ({"num_hidden_groups": 2}, {"inner_group_num": 2}, {"position_embedding_type": "relative_key"}):
        with pytest.raises(ValueError, match=r"has no encoder.*the encoder must be there"):
            AlbertModel.from_pretrained(folder, missing="init", **changes)


def test_pooler_and_head_are_drawn_over_an_encoder_with_a_prefix(tmp_path):
    arrays = {name: x for name, x in tensors("AlbertModel").items() if "pooler" not in name}
    folder = write(tmp_path, named(arrays, lambda name: "module.albert." + name))
    with pytest.warns(UserWarning, match=r"pooler.weight, pooler.bias, classifier.weight, classifier.bias drawn"):
        model = AlbertForSequenceClassification.from_pretrained(folder, missing="init")
    assert_holds(model, named(arrays, lambda name: "albert." + name))


def test_finetune_refuses_a_checkpoint_whose_names_it_does_not_know(tmp_path):
    folder = tmp_path / "model"
    AlbertModel.from_pretrained("demo").save_pretrained(folder)
    albert_np.AlbertTokenizer.from_pretrained("demo").save_pretrained(folder)
    config = AlbertConfig.from_pretrained(folder)
    arrays = named(AlbertModel.from_pretrained(folder).state_dict(), lambda name: name.replace(".", "/"))
    write(folder, arrays, config)
    (tmp_path / "rows.csv").write_text("text,label\nGood.,a\nBad.,b\nFine.,a\nPoor.,b\n")
    message = refusal(finetune, "text-classification", tmp_path / "rows.csv", tmp_path / "out", model=folder, steps=1)
    assert "instead it holds embeddings/word_embeddings/weight" in message
    assert not (tmp_path / "out").exists()


# --- gamma and beta ---------------------------------------------------------------------------------------------------


def legacy(name):
    module, _, last = name.rpartition(".")
    words = {"weight": "gamma", "bias": "beta"}
    return f"{module}.{words[last]}" if module.endswith(("LayerNorm", "layer_norm")) else name


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize("kind", KINDS)
def test_gamma_and_beta_are_weight_and_bias_of_every_layernorm(tmp_path, kind, wrapper):
    arrays = tensors(kind)
    old = named(arrays, lambda name: wrapper + legacy(name))
    assert sum(name.endswith(("gamma", "beta")) for name in old) in (6, 8)
    model, info = getattr(albert_np, kind).from_pretrained(write(tmp_path, old), output_loading_info=True)
    assert_holds(model, arrays)
    assert not any(info.values())


def test_two_spellings_of_one_tensor_must_agree(tmp_path):
    arrays = tensors("AlbertModel")
    both = arrays | {"embeddings.LayerNorm.gamma": arrays["embeddings.LayerNorm.weight"]}
    assert_holds(AlbertModel.from_pretrained(write(tmp_path, both)), arrays)
    for other in (arrays["embeddings.LayerNorm.weight"] + 1, np.zeros(3, np.float32)):
        folder = write(tmp_path, arrays | {"embeddings.LayerNorm.gamma": other})
        message = refusal(AlbertModel.from_pretrained, folder)
        assert "embeddings.LayerNorm.weight" in message
        assert "embeddings.LayerNorm.gamma" in message
        assert message.endswith("are two names of one tensor, but differ: remove one")


@pytest.mark.parity
def test_gamma_and_beta_are_read_as_transformers_reads_them(transformers, torch, tmp_path):
    # transformers renames what ends in LayerNorm.gamma, and would draw full_layer_layer_norm
    old = named(tensors("AlbertModel"), lambda name: name if "full_layer" in name else legacy(name))
    write(tmp_path, old)
    theirs, info = transformers.AlbertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert_holds(AlbertModel.from_pretrained(tmp_path), {name: x.numpy() for name, x in theirs.state_dict().items()})


# --- the bias of an untied decoder ------------------------------------------------------------------------------------

UNTIED = AlbertConfig(**TINY, tie_word_embeddings=False)
FIRST, SECOND = "predictions.bias", "predictions.decoder.bias"


def with_biases(kind, names):
    """What a file with these names of the bias holds, each with other values."""
    arrays = tensors(kind, UNTIED)
    bias = arrays.pop(FIRST)
    return arrays | {name: bias + 1 + i for i, name in enumerate(names)}


@pytest.mark.parametrize("kind", ["AlbertForMaskedLM", "AlbertForPreTraining"])
@pytest.mark.parametrize("names", [(FIRST,), (SECOND,), (FIRST, SECOND)], ids="+".join)
def test_an_untied_decoder_has_the_bias_that_both_versions_of_transformers_add(tmp_path, kind, names):
    arrays = with_biases(kind, names)
    model, info = getattr(albert_np, kind).from_pretrained(write(tmp_path, arrays, UNTIED), output_loading_info=True)
    assert not any(info.values())
    state = model.state_dict()
    assert state[FIRST] is state[SECOND]
    assert np.array_equal(state[FIRST], arrays[names[-1]])


def test_an_unused_bias_of_another_shape_does_not_matter(tmp_path):
    arrays = with_biases("AlbertForMaskedLM", (FIRST, SECOND)) | {FIRST: np.zeros(3, np.float32)}
    model = AlbertForMaskedLM.from_pretrained(write(tmp_path, arrays, UNTIED))
    assert np.array_equal(model.state_dict()[SECOND], arrays[SECOND])


def test_an_untied_model_is_saved_with_its_bias_under_both_names(tmp_path):
    model = AlbertForMaskedLM.from_pretrained(
        write(tmp_path, with_biases("AlbertForMaskedLM", (FIRST, SECOND)), UNTIED)
    )
    model.save_pretrained(tmp_path / "saved")
    again, info = AlbertForMaskedLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values())
    assert_holds(again, model.state_dict())


@pytest.mark.parity
@pytest.mark.parametrize("names", [(FIRST,), (SECOND,), (FIRST, SECOND)], ids="+".join)
def test_an_untied_decoder_gives_the_logits_of_transformers(transformers, torch, tmp_path, names):
    write(tmp_path, with_biases("AlbertForMaskedLM", names), UNTIED)
    theirs = transformers.AlbertForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    ours = AlbertForMaskedLM.from_pretrained(tmp_path, backend="numpy", dtype="float64")
    with torch.no_grad():
        expected = theirs(torch.tensor([[2, 7, 3]])).logits.numpy()
    assert_close("logits", ours([[2, 7, 3]]).logits, expected, limit=PARITY_FLOAT64)
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.AlbertForMaskedLM.from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    with torch.no_grad():
        assert np.array_equal(again(torch.tensor([[2, 7, 3]])).logits.numpy(), expected)
