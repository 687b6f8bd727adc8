"""Every example of `albert-np golden --help` and of its subcommands runs, in the order in which they are shown."""

import argparse
import json
import shlex
import shutil
import warnings

import numpy as np
import pytest
from support import TINY_MODEL

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer, cli, golden
from albert_np.checkpoints import hub
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import outputs, run
from albert_np.golden.models import generator
from albert_np.golden.models.exact_model import save_exact


def subcommands(parser):
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return action.choices


GOLDEN = subcommands(cli._parser())["golden"]
SHOWN = {
    name: [shlex.split(line)[1:] for line in parser.format_help().splitlines() if line.strip().startswith("albert-np ")]
    for name, parser in {"": GOLDEN, **subcommands(GOLDEN)}.items()
}


def test_every_subcommand_shows_an_example():
    assert [name for name, found in SHOWN.items() if not found] == []
    assert sum(map(len, SHOWN.values())) >= 15


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with all that the examples read, and the model that stands for demo and for every size."""
    folder = tmp_path_factory.mktemp("golden")
    sizes = {"hidden_size": 16, "num_hidden_layers": 8, "num_attention_heads": 2, "intermediate_size": 32}
    config = AlbertConfig.from_pretrained(TINY_MODEL, **sizes, embedding_size=8, max_position_embeddings=64)
    model = AlbertForPreTraining(config, seed=1, backend="numpy", dtype="float32")
    model.save_pretrained(folder / "my-albert")
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder / "my-albert")
    call = golden.inputs("text", config, batch=2, length=12)
    np.savez(folder / "inputs.npz", **call)
    recording = golden.record(model, call, folder / "goldens")
    golden.record(model, call, folder / "candidate", truth=False)
    weights = {name: x.astype(np.float32) for name, x in recording.weights.items()}
    values = run(recording.steps, recording.batch, weights, Exact())
    for name in ("candidate.npz", "run.npz"):
        np.savez(folder / name, **{key: x for key, x in values.items() if not key.endswith("_embeddings")})
    (folder / "names.json").write_text(json.dumps({"encoder.layer.*.ffn": "encoder.layer.*.ffn"}))
    last = outputs(recording.steps, recording.architecture)
    np.savez(folder / "outputs.npz", **{key: values[step] for key, step in last.items()})
    save_exact(folder / "exact")
    return folder


# capture reads ONNX files: tests/test_golden_capture.py writes some, and runs the command on them
@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"capture"}), ids=lambda name: name or "golden")
def test_every_example_runs(name, made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "DEMO_FOLDER", made / "my-albert")
    monkeypatch.setitem(hub.EMBEDDED, hub.DEMO, made / "my-albert")
    monkeypatch.setitem(generator.SIZES, "albert-base-v2", generator.SIZES["tiny"])
    for argv in SHOWN[name]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = cli.main(argv)
        out, err = capsys.readouterr()
        assert code == 0, (argv, out, err)
        if "--json" in argv:
            assert json.loads(out)
        assert out.strip()
