"""The Auto names: what they make, what they refuse, and what is said about those that are not here."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support import TINY_MODEL

import albert_np
from albert_np import AlbertConfig, AlbertTokenizer

MODELS = {
    "AutoModel": "AlbertModel",
    "AutoModelForMaskedLM": "AlbertForMaskedLM",
    "AutoModelForMultipleChoice": "AlbertForMultipleChoice",
    "AutoModelForPreTraining": "AlbertForPreTraining",
    "AutoModelForQuestionAnswering": "AlbertForQuestionAnswering",
    "AutoModelForSequenceClassification": "AlbertForSequenceClassification",
    "AutoModelForTokenClassification": "AlbertForTokenClassification",
}
CONFIG = AlbertConfig(
    vocab_size=9, embedding_size=2, hidden_size=4, num_attention_heads=2, intermediate_size=3, num_hidden_layers=1
)


def folder(path, **files):
    """A folder of JSON files."""
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


@pytest.fixture
def bert(tmp_path):
    """What transformers writes for a BERT, as far as anybody reads it before the refusal."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n")
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 6}
    return folder(tmp_path, config=config, tokenizer_config={"tokenizer_class": "BertTokenizer"})


@pytest.mark.parametrize(("auto", "ours"), MODELS.items())
def test_each_auto_model_is_that_of_albert(tmp_path, auto, ours):
    auto, ours = getattr(albert_np, auto), getattr(albert_np, ours)
    made = auto.from_config(CONFIG, seed=3)
    assert type(made) is ours
    made.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path, backend="numpy", dtype="float64")
    assert type(loaded) is ours
    assert (loaded.backend, loaded.precision) == ("numpy", "float64")
    for name, x in ours(CONFIG, seed=3).state_dict().items():
        assert np.array_equal(loaded.state_dict()[name], x), name


def test_the_auto_tokenizer_and_config_are_those_of_albert():
    from albert_np import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    assert type(tokenizer) is AlbertTokenizer
    assert tokenizer("a text") == AlbertTokenizer.from_pretrained(TINY_MODEL)("a text")
    assert AutoConfig.from_pretrained(TINY_MODEL, num_labels=3) == AlbertConfig.from_pretrained(
        TINY_MODEL, num_labels=3
    )
    assert AutoConfig.for_model("albert", hidden_size=128).hidden_size == 128


@pytest.mark.parametrize("use_fast", [True, False])
def test_use_fast_changes_nothing_in_the_auto_tokenizer(use_fast):
    from albert_np import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL, use_fast=use_fast, do_lower_case=False)
    assert type(tokenizer) is AlbertTokenizer
    assert not tokenizer.do_lower_case


@pytest.mark.parametrize("auto", [*MODELS, "AutoConfig", "AutoTokenizer"])
def test_a_folder_of_bert_is_refused_by_name(bert, auto):
    with pytest.raises(ValueError, match=r"bert.*another architecture") as error:
        getattr(albert_np, auto).from_pretrained(bert)
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_another_class_is_refused_beside_any_config(bert):
    refusal = "tokenizer_class RobertaTokenizer.*another architecture.*pass the ids to the model"
    folder(bert, config=CONFIG.to_dict(), tokenizer_config={"tokenizer_class": "RobertaTokenizer"})
    with pytest.raises(ValueError, match=refusal):
        albert_np.AutoTokenizer.from_pretrained(bert)
    (bert / "config.json").unlink()
    with pytest.raises(ValueError, match=refusal):
        albert_np.AutoTokenizer.from_pretrained(bert)
    folder(bert, tokenizer_config={"tokenizer_class": "RobertaTokenizerFast"})
    with pytest.raises(ValueError, match="RobertaTokenizerFast"):
        albert_np.AutoTokenizer.from_pretrained(bert)


def test_bert_as_the_class_of_a_tokenizer_means_its_vocabulary(bert):
    pytest.importorskip("tokenizers")
    folder(bert, config=CONFIG.to_dict())  # tests/test_wordpiece.py goes on from here
    assert albert_np.AutoTokenizer.from_pretrained(bert).style == "wordpiece"
    (bert / "vocab.txt").unlink()
    with pytest.raises(OSError, match=r"no file vocab\.txt"):
        albert_np.AutoTokenizer.from_pretrained(bert)


def test_the_config_of_another_architecture_is_refused_with_a_tokenizer_of_albert(tmp_path):
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(tmp_path)
    assert albert_np.AutoTokenizer.from_pretrained(tmp_path)("a").input_ids  # there need not be a config
    folder(tmp_path, config={"model_type": "deberta-v2"})
    with pytest.raises(ValueError, match=r"deberta-v2.*another architecture.*AlbertTokenizer"):
        albert_np.AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name", ["AlbertTokenizer", "AlbertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"]
)
def test_names_of_classes_that_albert_is_saved_under_are_read(tmp_path, name):
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    folder(tmp_path, tokenizer_config=settings | {"tokenizer_class": name})
    assert albert_np.AutoTokenizer.from_pretrained(tmp_path)("a text") == AlbertTokenizer.from_pretrained(TINY_MODEL)(
        "a text"
    )


class BertConfig:
    model_type = "bert"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: albert_np.AutoModel(CONFIG), r"AutoModel is not made by itself: AutoModel.from_pretrained\(…\)"),
        (lambda: albert_np.AutoModel(), r"AutoModel.from_config\(…\)"),
        (lambda: albert_np.AutoModelForMaskedLM(config=CONFIG), "AutoModelForMaskedLM.from_pretrained"),
        (lambda: albert_np.AutoTokenizer(), "AutoTokenizer.from_pretrained"),
        (lambda: albert_np.AutoConfig(), "AutoConfig.from_pretrained"),
        (
            lambda: albert_np.AutoConfig.for_model("bert"),
            "model_type must be 'albert'; got 'bert', another architecture",
        ),
        (lambda: albert_np.AutoModel.from_config(BertConfig()), "got 'bert', another architecture"),
        (lambda: albert_np.AutoModel.from_pretrained(TINY_MODEL, config=BertConfig()), "got 'bert', another arch"),
        (lambda: albert_np.AutoModel.from_config({"model_type": "albert"}), "must be an AlbertConfig; got dict"),
        (lambda: albert_np.AutoModel.from_config(CONFIG, nothing=1), "from_config knows no nothing"),
        (
            lambda: albert_np.AutoModel.from_config(CONFIG, num_labels=3),
            "num_labels; values of the config are given to",
        ),
        (lambda: albert_np.AutoModel.from_config(CONFIG, load_in_8bit=True), "load_in_8bit can only be"),
        (
            lambda: albert_np.AutoModelForMaskedLM.from_config(CONFIG, add_pooling_layer=True),
            "an argument of AlbertModel",
        ),
        (lambda: albert_np.AutoModel.from_config(CONFIG, trust_remote_code=True), "trust_remote_code=True runs code"),
        (
            lambda: albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, trust_remote_code=True),
            "trust_remote_code=True runs code",
        ),
        (lambda: albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, tokenizer_type="bert"), "got 'bert', another"),
        (lambda: albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, config=BertConfig()), "got 'bert', another"),
        (lambda: albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, use_fast="no"), "use_fast must be True or False"),
        (lambda: albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, nothing=1), "nothing"),
    ],
)
def test_refusals_are_value_errors_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_what_examples_pass_and_changes_nothing_is_accepted():
    made = albert_np.AutoModel.from_config(
        CONFIG, attn_implementation="eager", torch_dtype="float64", trust_remote_code=False, add_pooling_layer=False
    )
    assert (made.precision, made.parts) == ("float64", ())
    tokenizer = albert_np.AutoTokenizer.from_pretrained(
        pretrained_model_name_or_path=TINY_MODEL, use_fast=True, trust_remote_code=False, revision="main", token=None
    )
    assert tokenizer("a text") == AlbertTokenizer.from_pretrained(TINY_MODEL)("a text")


def test_a_config_or_the_type_of_albert_is_welcome_beside_the_tokenizer():
    plain = AlbertTokenizer.from_pretrained(TINY_MODEL)("a text")
    assert albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, tokenizer_type="albert")("a text") == plain
    assert albert_np.AutoTokenizer.from_pretrained(TINY_MODEL, config=CONFIG)("a text") == plain


OTHERS = [
    "AutoModelForCausalLM",
    "AutoModelForSeq2SeqLM",
    "AutoProcessor",
    "AutoFeatureExtractor",
    "AutoImageProcessor",
]


@pytest.mark.parametrize("name", OTHERS)
def test_other_auto_names_say_what_there_is_as_attributes_and_in_imports(name):
    message = f"albert_np knows one architecture, an encoder of text, and has no {name}: use AutoConfig, AutoModel, "
    with pytest.raises(AttributeError, match=message):
        getattr(albert_np, name)
    assert not hasattr(albert_np, name)
    assert getattr(albert_np, name, None) is None
    with pytest.raises(ImportError, match=message):
        exec(f"from albert_np import {name}")
    with pytest.raises(ImportError, match=message):
        exec(f"from albert_np import AlbertModel, {name}")


def test_a_program_that_imports_another_auto_name_ends_with_that_line():
    code = "from albert_np import AutoTokenizer, AutoModelForCausalLM"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    *above, last = run.stderr.splitlines()
    assert last.startswith("ImportError: albert_np knows one architecture")
    assert "importlib" not in "".join(above)


def test_names_that_are_no_auto_names_keep_the_messages_of_python():
    with pytest.raises(ImportError, match="cannot import name 'AlbertForCausalLM' from 'albert_np'"):
        exec("from albert_np import AlbertForCausalLM")
    with pytest.raises(AttributeError, match="no attribute 'Autonomous'"):
        _ = albert_np.Autonomous


# --- as scripts for transformers use them ---------------------------------------------------------------------------------


def small(tmp_path, auto):
    """A model of the tiny vocabulary in a folder, with its tokenizer."""
    auto.from_config(AlbertConfig.from_pretrained(TINY_MODEL), seed=2).save_pretrained(tmp_path)
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(tmp_path)
    return albert_np.AutoTokenizer.from_pretrained(tmp_path)


def test_a_mask_is_filled_by_hand_as_the_pipeline_fills_it(tmp_path):
    tokenizer = small(tmp_path, albert_np.AutoModelForMaskedLM)
    model = albert_np.AutoModelForMaskedLM.from_pretrained(
        tmp_path, dtype="float32", attn_implementation="sdpa", device_map="auto"
    )
    inputs = tokenizer("The [MASK] is old.", return_tensors="np").to(model.device)
    outputs = model(**inputs)
    (place,) = np.where(inputs["input_ids"] == tokenizer.mask_token_id)[1]
    best = outputs.logits[0, [place]].argmax(axis=-1)
    (answer,) = albert_np.pipeline("fill-mask", model=str(tmp_path))("The [MASK] is old.", top_k=1)
    assert (best.tolist(), tokenizer.decode(best)) == ([answer["token"]], answer["token_str"])

    labels = np.where(inputs.input_ids == tokenizer.mask_token_id, answer["token"], -100)
    loss = model(**inputs, labels=labels).loss
    assert loss.item() == pytest.approx(-np.log(answer["score"]), rel=1e-5)


def test_a_choice_is_made_by_hand_as_the_pipeline_makes_it(tmp_path):
    tokenizer = small(tmp_path, albert_np.AutoModelForMultipleChoice)
    model = albert_np.AutoModelForMultipleChoice.from_pretrained(tmp_path)
    choices = ["a house", "an old river and a garden"]
    encoding = tokenizer(["the garden"] * 2, choices, return_tensors="np", padding=True)
    outputs = model(**{name: x[None] for name, x in encoding.items()}, labels=np.array([0]))
    ranked = albert_np.pipeline("multiple-choice", model=str(tmp_path))("the garden", choices=choices)
    assert outputs.logits.argmax() == ranked[0]["index"]
    (right,) = (one["score"] for one in ranked if one["index"] == 0)
    assert outputs.loss.item() == pytest.approx(-np.log(right), rel=1e-5)
