"""from_pretrained's arguments, and folders that hold no checkpoint: what is refused, and in which words."""

import shutil

import numpy as np
import pytest
from support.checkpoints import CONFIG, assert_holds, tensors, write
from support.refusals import refusal

from albert_np import AlbertConfig, AlbertModel
from albert_np.golden.cases import TINY
from albert_np.outputs import BaseModelOutputWithPooling


def test_an_empty_folder_and_no_folder_are_refused_in_words(tmp_path):
    with pytest.raises(OSError, match=r"there is no file config.json in .*; it holds nothing"):
        AlbertModel.from_pretrained(tmp_path)
    CONFIG.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"has no weights: none of model.safetensors.*; it holds config.json"):
        AlbertModel.from_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"there is no folder .*/nowhere"):
        AlbertModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"config.json is a file; give the folder that holds it"):
        AlbertModel.from_pretrained(tmp_path / "config.json")


def test_a_subfolder(tmp_path):
    arrays = tensors("AlbertModel")
    write(tmp_path / "inner", arrays)
    assert_holds(AlbertModel.from_pretrained(tmp_path, subfolder="inner"), arrays)
    for outside in ("..", "/tmp", "inner/../..", 5):
        with pytest.raises(ValueError, match="subfolder must stay inside the model's folder"):
            AlbertModel.from_pretrained(tmp_path, subfolder=outside)


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "float64"},
        {"dtype": np.float64},
        {"dtype": np.dtype("f8")},
        {"dtype": "torch.float64"},
        {"torch_dtype": "float64"},
        {"torch_dtype": "float32", "dtype": "float64"},
    ],
)
def test_dtype_has_many_spellings(tmp_path, given):
    arrays = tensors("AlbertModel")
    model = AlbertModel.from_pretrained(write(tmp_path, arrays), **given)
    assert model.dtype == np.float64
    assert {x.dtype for x in model.state_dict().values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", ["auto", None, np.dtype(">f4"), np.float32, "torch.float32"])
@pytest.mark.parametrize("stored", ["float16", "float64"])
def test_auto_is_float32_whatever_the_file_holds(tmp_path, stored, dtype):
    arrays = {name: x.astype(stored) for name, x in tensors("AlbertModel").items()}
    folder = write(tmp_path, arrays, CONFIG.replace(dtype=stored))
    for given in ({"dtype": dtype}, {"torch_dtype": dtype}):
        model = AlbertModel.from_pretrained(folder, **given)
        assert (model.precision, model.dtype) == ("float32", np.float32)
    assert AlbertModel(CONFIG, dtype=dtype).precision == "float32"


@pytest.mark.parametrize("backend", ["auto", "numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float16", np.float16, np.dtype("f2"), "torch.float16", "half"])
def test_the_refusal_of_half_precision_says_what_to_choose(tmp_path, dtype, backend):
    for name in ("dtype", "torch_dtype"):
        folder = write(tmp_path, tensors("AlbertModel"))
        message = refusal(AlbertModel.from_pretrained, folder, backend=backend, **{name: dtype})
        assert message.endswith("choose dtype='float32', which holds all its values, or dtype='bfloat16'")


@pytest.mark.parity
def test_dtypes_of_torch_are_those_of_their_names(torch, tmp_path):
    write(tmp_path, tensors("AlbertModel"))
    for dtype in (torch.float32, torch.float64):
        assert AlbertModel.from_pretrained(tmp_path, dtype=dtype).precision == str(dtype).removeprefix("torch.")
    assert "choose dtype='float32', which" in refusal(AlbertModel.from_pretrained, tmp_path, dtype=torch.float16)
    model = AlbertModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16, backend="numba")
    assert (model.precision, model.dtype) == ("bfloat16", np.float32)


@pytest.mark.parametrize("dtype", ["float16", np.int32, int, dict, "automatic", 5, "<f4", np.floating])
def test_another_dtype_is_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        AlbertModel.from_pretrained(write(tmp_path, tensors("AlbertModel")), dtype=dtype)


COMPUTES = {
    "auto": "never means one that",
    "numpy": "computes in float32, float64; got",
    "numba": "computes in float32, bfloat16, int8; got",
    "cuda": "computes in float32, tf32, bfloat16; got",
}


@pytest.mark.parametrize(
    ("dtype", "backend", "instead"),
    [
        ("tf32", "auto", "backend='cuda'"),
        ("tf32", "numpy", "backend='cuda'"),
        ("tf32", "numba", "backend='cuda'"),
        ("bfloat16", "numpy", "backend='numba' or backend='cuda'"),
        ("torch.bfloat16", "numpy", "backend='numba' or backend='cuda'"),
        ("int8", "numpy", "backend='numba'"),
        ("torch.int8", "numpy", "backend='numba'"),
        (np.int8, "cuda", "backend='numba'"),
    ],
)
def test_a_dtype_is_refused_by_a_backend_that_does_not_compute_in_it(tmp_path, dtype, backend, instead):
    says = f"^backend '{backend}' {COMPUTES[backend]}.*: choose {instead}, or dtype='float32'"
    with pytest.raises(ValueError, match=says):
        AlbertModel.from_pretrained(write(tmp_path, tensors("AlbertModel")), dtype=dtype, backend=backend)


IGNORED = [
    {"low_cpu_mem_usage": True},
    {"use_fast": False},
    {"resume_download": None},
    {"mirror": "tuna"},
    {"_fast_init": False},
    {"weights_only": False},
    {"offload_folder": "x", "offload_state_dict": True},
    {"use_safetensors": True},
    {"use_safetensors": None},
    {"trust_remote_code": False},
    {"proxies": None},
    {"proxies": {}},
    {"device_map": None},
    {"device_map": "cpu"},
    {"device_map": {"": "cpu"}},
    {"attn_implementation": "eager"},
    {"attn_implementation": "sdpa"},
    {"use_flash_attention_2": False},
    {"code_revision": "main"},
    {"device_map": "cpu:0"},
    {"device_map": "auto"},
    {"device_map": {"albert": "cpu", "classifier": -1}},
    {"from_tf": False, "from_flax": False},
    {"load_in_8bit": False, "load_in_4bit": False, "quantization_config": None},
    {"variant": None, "gguf_file": None, "key_mapping": None, "tp_plan": None, "max_memory": None},
    {"use_auth_token": None},
    {"local_files_only": True, "revision": "main", "cache_dir": None, "force_download": False, "token": None},
]


@pytest.mark.parametrize("options", IGNORED, ids=str)
def test_what_cannot_matter_here_is_ignored(tmp_path, options):
    plain = AlbertModel.from_pretrained(write(tmp_path, tensors("AlbertModel")))
    model = AlbertModel.from_pretrained(pretrained_model_name_or_path=tmp_path, **options)
    assert model.config == plain.config
    assert_holds(model, plain.state_dict())


REFUSED = [
    ("device_map", "balanced", "device_map: device must be 'cpu', 'cuda', 0 (the GPU) or -1 (the CPU); got 'balanced'"),
    ("device_map", ["cpu"], "device_map: device must be"),
    (
        "device_map",
        {"": "cpu", "albert": "cuda:0"},
        "a model computes in one place; device and device_map name cpu, cuda:0",
    ),
    ("device_map", 1, "device_map: device cuda:1 is another than the first GPU"),
    ("attn_implementation", "flash_attention_2", "attn_implementation can only be None or 'eager' or 'sdpa' here"),
    ("attn_implementation", ["eager"], "attn_implementation can only be"),
    ("trust_remote_code", True, "trust_remote_code=True runs code of a model's folder, which albert_np never does"),
    (
        "quantization_config",
        {"load_in_8bit": True},
        "quantization_config can only be None here, because dtype='int8' quantises",
    ),
    ("load_in_8bit", True, "load_in_8bit can only be None or False here"),
    ("from_tf", "yes", "from_tf must be True, False or None; got 'yes'"),
    ("use_safetensors", 1, "use_safetensors must be True, False or None; got 1"),
    ("variant", "fp16", "variant can only be None here"),
    ("gguf_file", "m.gguf", "gguf_file can only be None here"),
    ("key_mapping", {"a": "b"}, "key_mapping can only be None here"),
    ("max_memory", {0: "1GB"}, "max_memory can only be None here"),
    ("proxies", {"http": "x"}, "proxies are not passed on: set the environment variables"),
    ("hiden_size", 24, "from_pretrained knows no hiden_size, and neither does AlbertConfig"),
    ("config", TINY, "config must be an AlbertConfig; got dict"),
]


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path, name, value, says):
    write(tmp_path, tensors("AlbertModel"))
    assert refusal(AlbertModel.from_pretrained, tmp_path, **{name: value}).startswith(says)


def test_a_config_of_transformers_is_told_how_it_becomes_one_of_ours():
    theirs = type("AlbertConfig", (), {"__module__": "transformers.models.albert", "to_dict": lambda self: TINY})()
    way_out = ": AlbertConfig.from_dict(config.to_dict()) makes one of it"
    says = f"config must be an AlbertConfig; got AlbertConfig of transformers{way_out}"
    for call in (AlbertModel, lambda config: AlbertModel.from_pretrained(None, config=config, state_dict={})):
        assert refusal(call, theirs) == says
    assert AlbertModel(AlbertConfig.from_dict(theirs.to_dict())).config.hidden_size == TINY["hidden_size"]
    assert refusal(AlbertModel, TINY).endswith("got dict: AlbertConfig.from_dict(config) makes one of it")


def test_positions_and_names_of_arguments_are_those_of_transformers(tmp_path):
    write(tmp_path, tensors("AlbertModel"))
    assert "without a name or path, from_pretrained needs both" in refusal(AlbertModel.from_pretrained)
    assert "takes one value without a name; got 2 more" in refusal(AlbertModel.from_pretrained, tmp_path, False, 3)
    assert "a model name is a str or a path; got int" in refusal(AlbertModel.from_pretrained, 5)
    assert "token and use_auth_token are two names" in refusal(
        AlbertModel.from_pretrained, tmp_path, token="a", use_auth_token="b"
    )
    for torchscript, kind in ((False, BaseModelOutputWithPooling), (True, tuple)):
        assert type(AlbertModel.from_pretrained(tmp_path, torchscript=torchscript)([[1]])) is kind


@pytest.mark.parametrize("place", ["cuda", "cuda:0", 0, {"": "cuda"}])
def test_a_gpu_in_device_map_means_the_backend_for_it(tmp_path, place):
    write(tmp_path, tensors("AlbertModel"))
    assert refusal(AlbertModel.from_pretrained, tmp_path, device_map=place, backend="numpy") == (
        "backend='numpy' does not compute on cuda:0: leave out one of the two"
    )
    assert refusal(AlbertModel.from_pretrained, tmp_path, device_map="cpu", backend="cuda") == (
        "backend='cuda' does not compute on cpu: leave out one of the two"
    )
    says = refusal(AlbertModel.from_pretrained, tmp_path, device_map=place, dtype="float64")
    assert says.startswith("backend 'cuda' computes in float32")


@pytest.mark.parity
def test_a_device_of_torch_is_a_place_too(torch, tmp_path):
    write(tmp_path, tensors("AlbertModel"))
    for place in (torch.device("cpu"), {"": torch.device("cpu")}):
        assert AlbertModel.from_pretrained(tmp_path, device_map=place).dtype == np.float32
    with pytest.raises(ValueError, match="does not compute on cuda:0"):
        AlbertModel.from_pretrained(tmp_path, device_map=torch.device("cuda"), backend="numpy")


def test_keywords_replace_values_of_the_config(tmp_path):
    folder = write(tmp_path, tensors("AlbertModel"))
    assert AlbertModel.from_pretrained(folder, num_hidden_layers=2).config.num_hidden_layers == 2
    given = AlbertModel.from_pretrained(folder, config=CONFIG.replace(num_hidden_layers=3), hidden_act="relu").config
    assert (given.num_hidden_layers, given.hidden_act) == (3, "relu")


def test_the_demo_is_a_reserved_name(tmp_path, monkeypatch):
    write(tmp_path / "demo", tensors("AlbertModel"))
    monkeypatch.chdir(tmp_path)
    assert AlbertModel.from_pretrained("./demo").config.vocab_size == TINY["vocab_size"]
    embedded = AlbertConfig.from_pretrained("demo")
    shutil.rmtree(tmp_path / "demo")
    assert embedded.vocab_size != TINY["vocab_size"]
    assert AlbertConfig.from_pretrained("demo") == embedded
