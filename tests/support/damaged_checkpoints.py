"""Over fifteen hundred damaged checkpoint folders, from a fixed seed, and the program that loads each of them.

`python -m support.damaged_checkpoints FOLDER` prints one JSON line a case: [name, outcome, detail, seconds]. The process may
take 1 GB more than it has after its imports, and it ends with a traceback when one case takes over 10 seconds.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.model import AlbertForSequenceClassification
from support.damaged_weights import CONFIG, Case, content_cases, entries, header_cases, pack, tensors

PLAIN_CONFIG = CONFIG | {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}, "model_type": "albert"}
SECONDS, EXTRA_BYTES = 10, 1024**3


def json_values() -> dict[str, str]:
    """Values, as JSON text, that no field or few fields of a config may have."""
    texts = [
        "null",
        "true",
        "false",
        '"12"',
        '""',
        '"\\u0000\\n"',
        "[]",
        "[1]",
        "[[[]]]",
        "{}",
        '{"a": 1}',
        "-1",
        "0",
        "1",
        "7",
        "1.5",
        "1e308",
        "-1e308",
        "1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "1000000000",
        "2147483648",
        "1" + "0" * 30,
        "1" + "0" * 400,
    ]
    return {text[:24]: text for text in texts} | {
        "5000 digits": "1" * 5000,
        "long text": json.dumps("x" * 100_000),
        "deep list": "[" * 900 + "]" * 900,
        "wide list": json.dumps(list(range(10_000))),
    }


def config_cases() -> Iterator[Case]:
    for field in (*AlbertConfig.__dataclass_fields__, "model_type", "max_layers", "self", "dtype", "unheard_of"):
        rest = json.dumps({key: value for key, value in PLAIN_CONFIG.items() if key != field})[1:]
        for label, text in json_values().items():
            yield f"config {field} = {label}", {"config.json": f'{{"{field}": {text}, {rest}'.encode()}
    good = json.dumps(PLAIN_CONFIG).encode()
    whole = {
        "empty": b"",
        "null": b"null",
        "number": b"5",
        "text": b'"albert"',
        "list": b"[]",
        "cut": good[:-9],
        "twice": good * 2,
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 684\n",
        "html": b"<!DOCTYPE html><html></html>",
        "bom": b"\xef\xbb\xbf" + good,
        "utf-16": good.decode().encode("utf-16"),
        "latin": b'{"a": "\xe9"}',
        "nul": b"\0" * 99,
        "duplicate": b'{"hidden_size": 24, "hidden_size": 24}',
        "half a character": b'{"a": "\\ud800"}',
        "other model": b'{"model_type": "bert"}',
        "comment": b"// config\n" + good,
        "deep": b"[" * 10**6,
        "deep object": b'{"a":' * 10**5,
        "11 MB": good[:-1] + b" " * 11 * 1024**2 + b"}",
        "10 MB of lists": good[:-1] + b',"a":[' + b"[]," * 3_400_000 + b"[]]}",
    }
    for label, text in whole.items():
        yield f"config.json: {label}", {"config.json": text}
    for L, G in (10**9, 1), (10**9, 10**9), (1000, 1000), (1001, 1), (1000, 1):
        text = json.dumps(PLAIN_CONFIG | {"num_hidden_layers": L, "num_hidden_groups": G}).encode()
        yield f"config with L = {L}, G = {G}", {"config.json": text}
    yield "config.json is a folder", {"config.json": Path.mkdir}


def index_cases() -> Iterator[Case]:
    arrays = tensors()
    good = pack(*entries(arrays))
    shard = "model-00001-of-00001.safetensors"
    full = dict.fromkeys(arrays, shard)
    some = next(iter(arrays))
    files = [
        "/etc/passwd",
        "/dev/zero",
        "../model.safetensors",
        "..",
        ".",
        "",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "C:\\x.safetensors",
        "~/x.safetensors",
        "file:///x.safetensors",
        "x.bin",
        "missing.safetensors",
        "a\0.safetensors",
        "\n.safetensors",
        "x" * 300 + ".safetensors",
        "x" * 10**6,
        "config.json",
        "./" + shard,
        shard + "/",
        5,
        None,
        True,
        [shard],
        {},
    ]
    for file in files:
        index = {"metadata": {"total_size": 1}, "weight_map": full | {some: file}}
        yield f"index to {str(file)[:40]!r}", {"model.safetensors.index.json": json.dumps(index).encode(), shard: good}
    texts = {
        "empty": b"",
        "list": b"[]",
        "number": b"5",
        "no map": b"{}",
        "null map": b'{"weight_map": null}',
        "deep": b"[" * 10**5,
        "empty map": b'{"weight_map": {}}',
        "list map": b'{"weight_map": ["a"]}',
        "lfs": b"version https://git-lfs.github.com/spec/v1",
        "html": b"<!doctype html>",
        "map twice": b'{"weight_map": {"a": "b"}, "weight_map": {"a": "b"}}',
        "cut": b'{"weight_map": {"a"',
        "name too many": json.dumps({"weight_map": full | {"x\n" * 999: shard}}).encode(),
        "10 MB of lists": b'{"weight_map":[' + b"[]," * 3_400_000 + b"[]]}",
        "11 MB": b" " * 11 * 1024**2,
    }
    for label, text in texts.items():
        yield f"index: {label}", {"model.safetensors.index.json": text, shard: good}
    index = json.dumps({"weight_map": full | {some: "b.safetensors"}}).encode()
    yield "a tensor in two shards", {"model.safetensors.index.json": index, shard: good, "b.safetensors": good}
    for label, content in {"cut": good[:-1], "empty": b"", "folder": Path.mkdir, "pipe": os.mkfifo}.items():
        files = {"model.safetensors.index.json": json.dumps({"weight_map": full}).encode(), shard: content}
        yield f"{label} shard", files


def cases() -> Iterator[Case]:
    rng = random.Random(20)
    yield "undamaged", {}
    yield from config_cases()
    yield from header_cases(rng)
    yield from content_cases(rng)
    yield from index_cases()


def build(folder: Path, files: dict) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    good = {"config.json": json.dumps(PLAIN_CONFIG).encode()}
    if "model.safetensors.index.json" not in files:
        good["model.safetensors"] = pack(*entries(tensors()))
    for name, content in (good | files).items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)


def outcome(folder: Path) -> tuple[str, str]:
    """("loads" | "refused", detail), or what is wrong with how it ended."""
    try:
        model = AlbertForSequenceClassification.from_pretrained(folder, backend="numpy")
        logits = model([[2, 5, 7, 3]], return_dict=True).logits
    except (ValueError, OSError) as error:
        text, plain = str(error), type(error) is ValueError or isinstance(error, OSError)
        if not plain or len(text.splitlines()) != 1 or not 20 <= len(text) <= 1000 or " " not in text:
            return "not a plain refusal", f"{type(error).__name__}: {text[:500]!r}"
        return ("out of memory" if "more memory than" in text else "refused"), text
    except BaseException as error:
        return "another exception", f"{type(error).__name__}: {str(error)[:500]}"
    return ("loads" if np.isfinite(logits).all() else "not finite"), str(logits.shape)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    build(folder, {})
    outcome(folder)  # imports and buffers that every case needs
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, files in cases():
        build(folder, files)
        print(json.dumps(name), flush=True)  # the last name stands alone where the process dies
        start = time.process_time()  # of this process: other tests run beside it
        faulthandler.dump_traceback_later(6 * SECONDS, exit=True)  # it hangs
        result = outcome(folder)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([name, *result, time.process_time() - start]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
