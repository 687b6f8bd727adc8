"""from_pretrained's arguments, and folders that hold no checkpoint: what is refused, and in which words."""

import shutil

import numpy as np
import pytest
from support.checkpoints import CONFIG, assert_holds, tensors, write

from albert_np import AlbertConfig, AlbertModel
from albert_np.golden.synthetic import TINY


@pytest.mark.parametrize("file", ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.ckpt-best.index"])
def test_other_formats_are_refused_by_name(tmp_path, file):
    CONFIG.save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(OSError, match=f"neither model.safetensors nor .*, only {file}, .*save it as safetensors first"):
        AlbertModel.from_pretrained(tmp_path)


def test_an_empty_folder_and_no_folder_are_refused_in_words(tmp_path):
    with pytest.raises(OSError, match=r"there is no file config.json in .*; it holds nothing"):
        AlbertModel.from_pretrained(tmp_path)
    CONFIG.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"neither model.safetensors nor .*; it holds config.json"):
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


@pytest.mark.parametrize("dtype", ["float16", np.int32, int, dict, "auto", 5])
def test_another_dtype_is_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        AlbertModel.from_pretrained(write(tmp_path, tensors("AlbertModel")), dtype=dtype)


@pytest.mark.parametrize("backend", ["auto", "numpy", "numba"])
@pytest.mark.parametrize("dtype", ["tf32", "bfloat16", "torch.bfloat16"])
def test_what_only_tensor_cores_compute_in_is_refused_elsewhere(tmp_path, dtype, backend):
    name = dtype.removeprefix("torch.")
    computes = {
        "auto": "never means one that",
        "numpy": "computes in float32, float64; got",
        "numba": "computes in float32; got",
    }
    says = f"^backend '{backend}' {computes[backend]}.*{name}: choose backend='cuda', or dtype='float32'"
    with pytest.raises(ValueError, match=says):
        AlbertModel.from_pretrained(write(tmp_path, tensors("AlbertModel")), dtype=dtype, backend=backend)


def test_torch_only_and_unknown_arguments_are_refused_by_name(tmp_path):
    write(tmp_path, tensors("AlbertModel"))
    for name in (
        "device_map",
        "low_cpu_mem_usage",
        "attn_implementation",
        "trust_remote_code",
        "quantization_config",
        "state_dict",
        "from_tf",
        "from_flax",
        "use_safetensors",
        "variant",
        "weights_only",
        "load_in_8bit",
    ):
        with pytest.raises(ValueError, match=f"{name} is an argument of PyTorch models"):
            AlbertModel.from_pretrained(tmp_path, **{name: None})
    with pytest.raises(ValueError, match="knows no hiden_size, and neither does AlbertConfig"):
        AlbertModel.from_pretrained(tmp_path, hiden_size=24)
    with pytest.raises(ValueError, match="config must be an AlbertConfig; got dict"):
        AlbertModel.from_pretrained(tmp_path, config=TINY)
    with pytest.raises(ValueError, match="a model name is a str or a path; got int"):
        AlbertModel.from_pretrained(5)


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
