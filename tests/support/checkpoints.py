"""Checkpoint folders of a tiny trained-like model, written byte by byte: one file, or shards."""

import json

import numpy as np

from albert_np import AlbertConfig
from albert_np.checkpoints.names import hub_name
from albert_np.golden.cases import PARTS, TINY, trained_like
from support.damaged_weights import entries, pack

CONFIG = AlbertConfig(**TINY, num_labels=3)


def tensors(kind, config=CONFIG, seed=1):
    """What a file of this class holds, under the names of the file."""
    return {hub_name(name, PARTS[kind]): x for name, x in trained_like(config, PARTS[kind], seed).items()}


def write(folder, arrays, config=CONFIG, file="model.safetensors", words=None):
    folder.mkdir(exist_ok=True)
    config.save_pretrained(folder)
    (folder / file).write_bytes(pack(*entries(arrays, words)))
    return folder


def shards(folder, arrays, count=3):
    """The same checkpoint in several files, tensors dealt out like cards."""
    write(folder, {}, file="unused")
    (folder / "unused").unlink()
    files = {name: f"model-{i % count + 1:05}-of-{count:05}.safetensors" for i, name in enumerate(arrays)}
    for file in set(files.values()):
        (folder / file).write_bytes(pack(*entries({name: x for name, x in arrays.items() if files[name] == file})))
    index = {"metadata": {"total_size": sum(x.nbytes for x in arrays.values())}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def assert_holds(model, arrays):
    state = model.state_dict()
    for name, x in arrays.items():
        assert np.array_equal(state[name], x), name
