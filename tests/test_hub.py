"""Hub ids, against a server on this machine. The client reads its environment when imported: each test is one process."""

import json
import os
import subprocess
import sys

import pytest
from support import TESTS
from support.checkpoints import shards, tensors, write
from support.hub_server import TOKEN, Hub
from tolerances import REORDERED_FLOAT64

from albert_np import AlbertModel, AlbertTokenizer
from albert_np.checkpoints import hub

BOTH = ["config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same config with the weights of three seeds, and in shards."""
    at = tmp_path_factory.mktemp("models")
    for seed in (1, 2, 3):
        write(at / str(seed), tensors("AlbertModel", seed=seed))
    shards(at / "shards", tensors("AlbertModel", seed=1))
    write(at / "config only", {}).joinpath("model.safetensors").unlink()
    return at


@pytest.fixture(scope="module")
def sums(folders):
    """What the client prints for each seed: the sum of all weights."""
    named = {seed: tensors("AlbertModel", seed=seed) for seed in (1, 2, 3)}
    return {seed: sum(x.sum(dtype="f8") for x in arrays.values()) for seed, arrays in named.items()}


@pytest.fixture
def server(folders):
    served = Hub()
    served.add("me/tiny", folders / "1")
    served.add("me/tiny", folders / "2", revision="v2")
    served.add("me/tiny", folders / "3", subfolder="inner/")
    served.add("me/secret", folders / "2", kind="private")
    served.add("me/gated", folders / "2", kind="gated")
    served.add("me/shards", folders / "shards")
    served.add("me/bare", folders / "config only")
    served.kinds |= {"me/broken": "broken"}
    yield served
    served.shutdown()
    served.server_close()


def run(server, home, cases, kind="AlbertModel", **environment):
    """The client's answers, one a case; and whether it ever imported huggingface_hub."""
    clean = {
        name: value for name, value in os.environ.items() if not name.lower().startswith(("hf_", "http", "all_proxy"))
    }
    settings = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "NO_PROXY": "*",
    }
    done = subprocess.run(
        [sys.executable, TESTS / "support" / "hub_server.py"],
        input=json.dumps([[kind, name, options] for name, options in cases]),
        env=clean | settings | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *answers, imported = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    return answers, imported


def nowhere(name):
    return (
        f"there is no folder {name} here, and config.json of the hub model {name} is not in the local cache and cannot be "
        "fetched: "
    )


def test_a_hub_id_loads_and_then_needs_no_network(server, tmp_path, sums):
    answers, _ = run(server, tmp_path, [("me/tiny", {}), ("me/shards", {})])
    assert answers == pytest.approx([sums[1], sums[1]], rel=REORDERED_FLOAT64)
    files = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"]
    assert server.fetched() == [*BOTH, "config.json", "model.safetensors.index.json", *files]

    same = [("me/tiny", {}), ("me/tiny", {"force_download": True}), ("me/tiny", {"revision": "v2"})]
    answers, _ = run(server, tmp_path, same)
    assert answers == pytest.approx([sums[1], sums[1], sums[2]], rel=REORDERED_FLOAT64)
    assert server.fetched() == [*BOTH, "model.safetensors"]  # nothing, both, and the one file that differs in v2

    server.shutdown()
    server.server_close()
    local = {"local_files_only": True}
    cases = [("me/tiny", {}), ("me/tiny", local), ("me/shards", local), ("me/tiny", local | {"revision": "v2"})]
    missing = [("me/bare", local), ("me/bare", {}), ("me/tiny", {"force_download": True})]
    answers, _ = run(server, tmp_path, cases + missing)
    assert answers[:4] == pytest.approx([sums[1], sums[1], sums[1], sums[2]], rel=REORDERED_FLOAT64)
    assert answers[4] == f"OSError: {nowhere('me/bare')}local_files_only=True"
    assert answers[5].startswith(f"OSError: {nowhere('me/bare')}")
    assert "refused" in answers[5]
    assert answers[6].startswith("OSError: cannot fetch config.json of me/tiny: ")
    assert "refused" in answers[6]
    answers, _ = run(server, tmp_path, [("me/tiny", {}), ("me/bare", {})], HF_HUB_OFFLINE="1")
    assert answers[0] == pytest.approx(sums[1], rel=REORDERED_FLOAT64)
    assert answers[1].startswith(f"OSError: {nowhere('me/bare')}")
    assert "offline mode is enabled" in answers[1]


def test_an_optional_file_that_cannot_be_fetched_is_not_an_absent_one(server, tmp_path, tiny_dir):
    """A tokenizer without its tokenizer_config.json would cut text another way, and nobody would know."""
    words = tmp_path / "words"
    words.mkdir()
    settings = json.loads((tiny_dir / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (words / "tokenizer_config.json").write_text(json.dumps(settings))
    (words / "spiece.model").write_bytes((tiny_dir / "spiece.model").read_bytes())
    expected = AlbertTokenizer.from_pretrained(words)("The Capital")["input_ids"]
    assert expected != AlbertTokenizer.from_pretrained(tiny_dir)("The Capital")["input_ids"]
    server.add("me/words", words)
    server.broken_files.add("tokenizer_config.json")
    (answer,), _ = run(server, tmp_path, [("me/words", {})], kind="AlbertTokenizer")
    assert answer.startswith("OSError: there is no folder me/words here, and tokenizer_config.json of the hub model")
    assert "500" in answer
    server.broken_files.clear()
    (answer,), _ = run(server, tmp_path, [("me/words", {})], kind="AlbertTokenizer")
    assert answer == expected
    server.shutdown()
    server.server_close()  # which files the model lacks was answered once, and is remembered
    (answer,), _ = run(server, tmp_path, [("me/words", {})], kind="AlbertTokenizer")
    assert answer == expected


def test_where_files_come_from_and_go_to(server, tmp_path, sums):
    cases = [
        ("me/tiny", {"subfolder": "inner", "cache_dir": str(tmp_path / "cache")}),
        ("me/secret", {}),
        ("me/secret", {"token": "hf_wrong"}),
        ("me/secret", {"token": TOKEN}),
        ("me/gated", {}),
        ("me/gated", {"token": TOKEN}),
    ]
    answers, _ = run(server, tmp_path, cases)
    absent = "OSError: there is no folder me/secret here and no such public model on the hub; private ones need token=…"
    assert answers[1:3] == [absent, absent]
    assert answers[4] == "OSError: me/gated is gated: accept its terms on the hub and pass token=…"
    assert [answers[0], answers[3], answers[5]] == pytest.approx([sums[3], sums[2], sums[2]], rel=REORDERED_FLOAT64)
    assert (tmp_path / "cache" / "models--me--tiny").is_dir()
    assert not (tmp_path / "hub" / "models--me--tiny").exists()
    assert (tmp_path / "hub" / "models--me--secret").is_dir()

    answers, _ = run(server, tmp_path / "cache", [("me/secret", {}), ("me/secret", {"token": False})], HF_TOKEN=TOKEN)
    assert answers[0] == pytest.approx(sums[2], rel=REORDERED_FLOAT64)


def test_every_failure_is_one_line_in_words(server, tmp_path, folders):
    server.add("me/cut", folders / "1", kind="cut")
    (tmp_path / "file").write_text("")
    (tmp_path / "model.ckpt-best.index").write_text("")
    cases = {
        (
            "me/none",
            (),
        ): "OSError: there is no folder me/none here and no such public model on the hub; private ones need",
        ("none", ()): "OSError: there is no folder none here and no such public model on the hub; private ones need",
        ("me/tiny", (("revision", "v9"),)): "OSError: me/tiny has no revision 'v9'",
        ("me/tiny", (("subfolder", "x"),)): "OSError: me/tiny has no file config.json",
        (
            "me/bare",
            (),
        ): "OSError: me/bare has none of model.safetensors, pytorch_model.bin, tf_model.h5, flax_model.msgpack, model.onnx "
        "that could be fetched (me/bare has no file model.safetensors)",
        ("me/broken", ()): f"OSError: {nowhere('me/broken')}",
        ("me/broken", (("force_download", True),)): "OSError: cannot fetch config.json of me/broken: ",
        ("me/cut", ()): "OSError: cannot fetch config.json of me/cut: ",
        (
            "me/tiny",
            (("force_download", True), ("local_files_only", True)),
        ): "ValueError: force_download=True and local_files_only=True exclude each other",
        (
            "a/b/c",
            (),
        ): "OSError: there is no folder a/b/c; give an existing folder or a hub id such as 'albert/albert-base-v2'",
        ("../x", ()): "OSError: there is no folder ../x; give an existing folder",
        ("~nobody-at-all/x", ()): "OSError: there is no folder ~nobody-at-all/x; give",
        ("a\\b", ()): "OSError: there is no folder a\\b; give an existing folder",
        ("", ()): "ValueError: a model name is a folder or a hub id such as 'albert/albert-base-v2'; got ''",
        ("a\0b", ()): "ValueError: a model name is a folder or a hub id such as 'albert/albert-base-v2'; got 'a\\x00b'",
        ("name with space", ()): "ValueError: 'name with space' is neither a folder here nor a hub id: ",
        ("me/", ()): "ValueError: 'me/' is neither a folder here nor a hub id: ",
        ("file", ()): "OSError: file is a file; give the folder that holds it",
        (
            "model.ckpt-best",
            (),
        ): "OSError: model.ckpt-best is what the names of a checkpoint's files begin with; give",
    }
    answers, _ = run(server, tmp_path, [(name, dict(options)) for name, options in cases])
    for case, answer, expected in zip(cases, answers, cases.values(), strict=True):
        assert isinstance(answer, str), f"{case} loaded"
        assert answer.startswith(expected), case
        assert len(answer) < 1000, case
        assert answer.isprintable(), case
        assert "500" in answer or case[0] != "me/broken", case


def test_a_folder_never_touches_the_network(server, tmp_path, folders, sums):
    write(tmp_path / "demo", tensors("AlbertModel", seed=2))
    answers, imported = run(server, tmp_path, [(str(folders / "1"), {}), ("./demo", {}), (str(folders / "shards"), {})])
    assert answers == pytest.approx([sums[1], sums[2], sums[1]], rel=REORDERED_FLOAT64)
    answers, imported_for_demo = run(server, tmp_path, [("demo", {})])
    assert answers[0] not in (sums[1], sums[2])
    assert not imported
    assert not imported_for_demo
    assert server.requests == []


def test_only_plain_file_names_are_resolved(folders):
    assert hub.resolve(folders / "1", "config.json") == folders / "1" / "config.json"
    assert hub.resolve(folders / "1", "vocab.txt", required=False) is None
    for name in ("../1/config.json", "/etc/passwd", "a/b", "..", ""):
        with pytest.raises(ValueError, match="a model's file is a plain name"):
            hub.resolve(folders / "1", name)
    with pytest.raises(ValueError, match="got bytes"):
        AlbertModel.from_pretrained(os.fsencode(folders / "1"))
    with pytest.raises(OSError, match="there is no folder no-such-folder"):  # a Path is never a hub id
        AlbertModel.from_pretrained(type(folders)("no-such-folder"))
