"""Models in int8 as things that are made, saved, loaded and changed: the same codes again, and every refusal in words."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
from support.damaged_weights import entries, pack
from support.refusals import refusal

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertModel,
    AlbertTokenizer,
    FlaxAlbertForMaskedLM,
    TFAlbertForMaskedLM,
    convert,
    verify,
)
from albert_np.checkpoints import quantized
from albert_np.checkpoints.formats import safetensors
from albert_np.golden.cases import PARTS, TINY, trained_like
from albert_np.quantized import QuantizedWeight, weight_names

CONFIG = AlbertConfig(**TINY, num_labels=3)
NAMES = weight_names(CONFIG)
FFN = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
WORDS = {"float32": "F32", "int8": "I8", "uint8": "U8", "float64": "F64"}


def floats(kind=AlbertForMaskedLM, seed=1):
    arrays = trained_like(CONFIG, PARTS[kind.__name__], seed)
    return kind(CONFIG, tensors={name: x.astype(np.float32) for name, x in arrays.items()})


@pytest.fixture(scope="module")
def int8():
    return floats().quantize()


@pytest.fixture(scope="module")
def folder(int8, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8")
    int8.save_pretrained(path)
    return path


def assert_same(one, other):
    assert one.precision == other.precision == "int8"
    for name, x in one._tensors.items():
        y = other._tensors[name]
        assert isinstance(x, QuantizedWeight) == isinstance(y, QuantizedWeight) == (name in NAMES), name
        if name in NAMES:
            assert x.passes == y.passes
            assert np.array_equal(x.scale, y.scale)
            x, y = x.codes, y.codes
        assert x.dtype == y.dtype, name
        assert np.array_equal(x, y), name


def test_a_model_in_int8_says_so_and_has_no_floats_of_what_it_rounded(int8):
    assert (int8.precision, int8.dtype, int8.backend) == ("int8", np.float32, "numba")
    assert "dtype='int8'" in repr(int8)
    assert int8.num_parameters() == floats().num_parameters()
    assert all(isinstance(int8._tensors[name], QuantizedWeight) for name in NAMES)
    ffn = int8.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight
    assert ffn.dtype == np.float32
    assert not ffn.flags.writeable
    assert np.array_equal(ffn, int8.state_dict()[FFN])
    assert not int8.state_dict()[FFN].flags.writeable


def test_every_way_to_int8_gives_the_same_codes(int8, tmp_path):
    assert_same(int8, floats().to("int8"))
    assert_same(int8, floats().to(np.int8))
    assert_same(int8, AlbertForMaskedLM(CONFIG, dtype="int8", tensors=floats()._tensors))
    floats().save_pretrained(tmp_path)
    for dtype in ("int8", "torch.int8", np.dtype(np.int8)):
        assert_same(int8, AlbertForMaskedLM.from_pretrained(tmp_path, dtype=dtype))
    assert_same(int8, AlbertForMaskedLM.from_pretrained(tmp_path, torch_dtype="int8"))
    assert_same(int8, TFAlbertForMaskedLM.from_pretrained(tmp_path, dtype="int8"))
    assert AlbertForMaskedLM.from_pretrained(tmp_path).precision == "float32"
    assert AlbertForMaskedLM.from_pretrained(tmp_path, dtype="auto").precision == "float32"


def test_a_file_gives_the_same_bits_again(int8, folder, tmp_path):
    for options in ({}, {"dtype": "int8"}, {"dtype": "auto"}, {"backend": "numba"}):
        assert_same(int8, AlbertForMaskedLM.from_pretrained(folder, **options))
    again = AlbertForMaskedLM.from_pretrained(folder)
    again.save_pretrained(tmp_path)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_another_dtype_or_backend_has_the_values_that_codes_stand_for(int8, folder, tmp_path):
    state = int8.state_dict()
    for options in ({"dtype": "float32"}, {"backend": "numpy"}, {"dtype": "bfloat16", "backend": "numba"}):
        made = AlbertForMaskedLM.from_pretrained(folder, **options)
        assert made.precision == options.get("dtype", "float32")
        assert all(np.array_equal(x, state[name]) for name, x in made.state_dict().items())
    assert AlbertForMaskedLM.from_pretrained(folder, dtype="float64").dtype == np.float64
    assert FlaxAlbertForMaskedLM.from_pretrained(folder, from_pt=True).precision == "float32"
    back = copy.deepcopy(int8).to("float32")
    assert back.precision == "float32"
    assert all(np.array_equal(x, state[name]) for name, x in back.state_dict().items())
    back.save_pretrained(tmp_path)
    assert "quantization_config" not in (tmp_path / "config.json").read_text()
    made = AlbertForMaskedLM.from_pretrained(folder, dtype="float32")
    made.save_pretrained(tmp_path)
    assert "quantization_config" not in (tmp_path / "config.json").read_text()


def test_copies_and_pickles_have_the_same_codes(int8):
    assert_same(int8, copy.deepcopy(int8))
    assert_same(int8, pickle.loads(pickle.dumps(int8)))
    assert int8.albert.precision == "int8"


def test_a_model_in_int8_can_have_more_tokens(int8):
    made = copy.deepcopy(int8)
    made.resize_token_embeddings(CONFIG.vocab_size + 3)
    assert made.config.vocab_size == CONFIG.vocab_size + 3
    assert made.precision == "int8"
    assert np.array_equal(
        made._tensors[FFN.removeprefix("albert.")].codes, int8._tensors[FFN.removeprefix("albert.")].codes
    )


def test_what_would_change_codes_is_refused(int8, tmp_path):
    ids = [[2, 7, 3]]
    assert "parameters_to_change changes float weights" in refusal(int8.parameters_to_change)
    assert "parameters_to_change changes float weights" in refusal(int8.albert.parameters_to_change)
    assert "load_state_dict changes float weights" in refusal(int8.load_state_dict, int8.state_dict())
    assert "computes in float32 alone; this model computes in int8" in refusal(int8.value_and_grad, ids, labels=ids)
    assert "computes in float32 alone" in refusal(int8, ids, training=True, seed=0)
    assert "int8 already" in refusal(int8.quantize)
    for options in ({"safe_serialization": False}, {"state_dict": int8.state_dict()}):
        assert "is written as model.safetensors" in refusal(int8.save_pretrained, tmp_path, **options)
    assert "has no weights in int8" in refusal(FlaxAlbertForMaskedLM, CONFIG, dtype="int8")
    assert "computes in float32, float64; got int8" in refusal(AlbertForMaskedLM, CONFIG, backend="numpy", dtype="int8")


def test_calibration_takes_texts_with_a_tokenizer_or_rows_of_ids(int8):
    tokenizer = AlbertTokenizer.from_pretrained("demo")
    texts = ["There was a knock at the door.", "It rained all day, and nobody came. " * 60]
    demo = AlbertModel.from_pretrained("demo")
    made = demo.quantize(texts, tokenizer)
    rows = [
        tokenizer(text, truncation=True, max_length=demo.config.max_position_embeddings)["input_ids"] for text in texts
    ]
    assert_same(made, demo.quantize(rows))
    assert demo.precision == "float32"  # the model itself stays as it is
    assert "calibration texts need tokenizer=" in refusal(demo.quantize, texts)
    for wrong in (texts[0], [b"A text."], [2, 7, 3], [None], [[2, 7.5, 3]], [["a"]]):
        assert "calibration takes texts" in refusal(demo.quantize, wrong, tokenizer)
    assert "nothing to calibrate with" in refusal(demo.quantize, [])
    with pytest.raises(ValueError, match="token id"):
        demo.quantize([[2, 10**6, 3]])


def test_other_programs_are_told_that_they_cannot_read_it(folder):
    assert json.loads((folder / "config.json").read_text())["quantization_config"] == quantized.IN_CONFIG
    assert "quant_method" not in quantized.IN_CONFIG
    assert safetensors.metadata(folder / "model.safetensors") == {"format": "albert_np.int8"}


@pytest.mark.parity
def test_transformers_refuses_a_folder_in_int8(torch, folder):
    import transformers

    with pytest.raises(ValueError, match="no `quant_method` attribute"):
        transformers.AlbertForMaskedLM.from_pretrained(folder)


def test_verify_and_convert_take_a_folder_in_int8_for_the_floats_it_stands_for(int8, folder, tmp_path):
    found = verify(folder)
    assert (found.of("error"), found.of("warning")) == ([], []), found
    for to in ("safetensors", "bin", "h5"):
        convert(folder, tmp_path / to, to)
        made = AlbertForMaskedLM.from_pretrained(tmp_path / to)
        assert made.precision == "float32"
        assert all(np.array_equal(x, int8.state_dict()[name]) for name, x in made.state_dict().items())
        assert "quantization_config" not in (tmp_path / to / "config.json").read_text()


# --- files that break a rule ----------------------------------------------------------------------------------------------


def arrays_of(int8):
    return quantized.to_arrays(
        {f"albert.{name}" if name.startswith(("emb", "enc")) else name: x for name, x in int8._tensors.items()}
    )


def written(folder, arrays, to):
    shutil.copytree(folder, to)
    (to / "model.safetensors").write_bytes(pack(*entries(arrays, WORDS)))
    return to


def at(x, where, value):
    x = x.copy()
    x[where] = value
    return x


BROKEN = {
    "−128": (lambda a: {FFN: at(a[FFN], (1, 2), -128)}, "codes must be −127 to 127; got −128"),
    "a negative scale": (lambda a: {FFN + "_scale": at(a[FFN + "_scale"], 2, -1)}, "got -1.0 at [2]"),
    "NaN for a scale": (lambda a: {FFN + "_scale": at(a[FFN + "_scale"], 2, np.nan)}, "got nan at [2]"),
    "a scale of zero": (lambda a: {FFN + "_scale": at(a[FFN + "_scale"], 2, 0)}, "got 0.0 at [2]"),
    "an infinite scale": (lambda a: {FFN + "_scale": at(a[FFN + "_scale"], 2, np.inf)}, "got inf at [2]"),
    "3 passes": (lambda a: {FFN + "_passes": np.array([3], np.uint8)}, "passes must be 1 or 2; got 3"),
    "two passes": (lambda a: {FFN + "_passes": np.array([1, 1], np.uint8)}, "passes (1,) of U8; got"),
    "passes in float": (lambda a: {FFN + "_passes": np.array([1], np.float32)}, "passes (1,) of U8; got"),
    "too few scales": (lambda a: {FFN + "_scale": a[FFN + "_scale"][:-1]}, "need scales"),
    "scales in float64": (lambda a: {FFN + "_scale": a[FFN + "_scale"].astype(np.float64)}, "need scales"),
    "codes in 1-D": (lambda a: {FFN: a[FFN].reshape(-1)}, "not (N,K)"),
    "codes of another shape": (lambda a: {FFN: np.ascontiguousarray(a[FFN][:, :-1])}, "has the shape"),
    "no scale": (lambda a: {FFN + "_scale": None}, "there is no"),
    "no passes": (lambda a: {FFN + "_passes": None}, "there is no"),
    "an embedding in int8": (
        lambda a: {
            "albert.embeddings.word_embeddings.weight": np.zeros((CONFIG.vocab_size, CONFIG.embedding_size), np.int8)
        },
        "is I8; weights are read from",
    ),
    "a float among codes": (
        lambda a: {FFN: a[FFN].astype(np.float32), FFN + "_scale": None, FFN + "_passes": None},
        "some weights of the layers are int8 and some are not",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_breaks_a_rule_is_refused_by_name(int8, folder, tmp_path, broken):
    change, says = BROKEN[broken]
    arrays = arrays_of(int8)
    arrays = {name: x for name, x in (arrays | change(arrays)).items() if x is not None}
    message = refusal(AlbertForMaskedLM.from_pretrained, written(folder, arrays, tmp_path / "x"))
    assert says in message
    assert "model.safetensors" in message or "some weights" in message


def test_an_untouched_copy_of_that_file_is_read(int8, folder, tmp_path):
    assert_same(int8, AlbertForMaskedLM.from_pretrained(written(folder, arrays_of(int8), tmp_path / "x")))


def test_codes_and_scales_may_lie_in_different_files(int8, tmp_path):
    int8.save_pretrained(tmp_path, max_shard_size=1)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len({index[FFN], index[FFN + "_scale"], index[FFN + "_passes"]}) == 3
    assert_same(int8, AlbertForMaskedLM.from_pretrained(tmp_path))


def test_too_many_inputs_are_refused_before_their_codes_are_read(tmp_path):
    config = CONFIG.replace(intermediate_size=65_537)
    assert "takes at most 65,536" in refusal(AlbertModel(config).quantize)


def test_a_certificate_is_kept_with_the_weights_it_is_about(int8, tmp_path):
    made = copy.deepcopy(int8)
    made.certificate = {"labels": 1.0, "text": "ä"}
    made.save_pretrained(tmp_path)
    again = AlbertForMaskedLM.from_pretrained(tmp_path)
    assert again.certificate == made.certificate
    again.resize_token_embeddings(CONFIG.vocab_size + 1)
    assert again.certificate is None
    assert AlbertForMaskedLM.from_pretrained(tmp_path, dtype="float32").certificate is None


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1, "a": 2}'])
def test_a_certificate_that_is_no_json_object_is_refused(int8, tmp_path, text):
    int8.save_pretrained(tmp_path)
    header, data = entries(arrays_of(int8), WORDS)
    header = {"__metadata__": {"format": "albert_np.int8", "certificate": text}, **header}
    (tmp_path / "model.safetensors").write_bytes(pack(header, data))
    assert "the certificate in the metadata of" in refusal(AlbertForMaskedLM.from_pretrained, tmp_path)
