"""Numbers that others have published about real checkpoints: opt-in, for whoever has the weights.

ALBERT_NP_CHECKPOINTS names a folder of checkpoint folders, each called as the last part of its hub id (albert-base-v2).
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from support import needs
from support.backends import NUMBA, PLAIN

import albert_np

pytestmark = pytest.mark.parametrize(
    "backend", [PLAIN, NUMBA], ids=str, indirect=True
)  # as they were published: float32

GOLDENS = {
    "hf_pt_base_v2_hidden": ("AlbertModel", "last_hidden_state", np.s_[:, 1:4, 1:4]),
    "hf_tf_base_v2_mlm": ("AlbertForMaskedLM", "logits", np.s_[:, :3, :3]),
    "bumblebee_base_v2_mlm": ("AlbertForMaskedLM", "logits", np.s_[:, 1:4, 1:4]),
    "bumblebee_imdb_seqcls": ("AlbertForSequenceClassification", "logits", np.s_[:]),
    "bumblebee_vumichien_tiny_tokcls": ("AlbertForTokenClassification", "logits", np.s_[:, 1:4, :]),
}
FILLED = {"hf_pt_base_v2_fillmask_paris": 5, "hf_doc_base_v2_mlm": 1}


@pytest.fixture(scope="module")
def published(fixtures_dir):
    return {golden["id"]: golden for golden in json.loads((fixtures_dir / "published_model_goldens.json").read_text())}


def checkpoint(golden):
    root = os.environ.get("ALBERT_NP_CHECKPOINTS")
    if not root:
        needs.missing("data", "ALBERT_NP_CHECKPOINTS names no folder of published checkpoints")
    folder = Path(root) / golden["checkpoint"].rpartition("/")[2]
    if not folder.is_dir():
        needs.missing("data", f"there is no checkpoint {folder.name}")
    return folder


@pytest.mark.parametrize("name", GOLDENS)
def test_arrays_are_those_published(published, backend, name):
    golden = published[name]
    kind, field, where = GOLDENS[name]
    out = getattr(albert_np, kind).from_pretrained(checkpoint(golden), backend=backend.name)(
        golden["input_ids"], golden["attention_mask"] if isinstance(golden.get("attention_mask"), list) else None
    )
    if "shape" in golden:
        assert list(out[field].shape) == golden["shape"]
    expected = np.array(golden["expected"])
    assert np.all(np.abs(out[field][where] - expected) <= golden["atol"] + golden.get("rtol", 0) * np.abs(expected))


@pytest.mark.parametrize("name", FILLED)
def test_masks_are_filled_as_published(published, backend, name):
    golden = published[name]
    folder = checkpoint(golden)
    tokenizer = albert_np.AlbertTokenizer.from_pretrained(folder)
    assert [tokenizer(golden["text"])["input_ids"]] == golden["input_ids"]
    answers = albert_np.pipeline("fill-mask", folder, backend=backend.name)(golden["text"], top_k=FILLED[name])
    expected = golden.get("expected_top5") or [golden["expected_top1"]]
    assert [answer["token_str"] for answer in answers] == expected


def test_an_answer_is_found_as_published(published, backend):
    golden = published["hf_doc_qa"]
    start, end = golden["loss_targets_start_end"]
    model = albert_np.AlbertForQuestionAnswering.from_pretrained(checkpoint(golden), backend=backend.name)
    out = model(
        golden["input_ids"], token_type_ids=golden["token_type_ids"], start_positions=[start], end_positions=[end]
    )
    assert round(float(out.loss), golden["decimals"]) == golden["expected_loss"]
    assert [int(out.start_logits.argmax()), int(out.end_logits.argmax())] == golden["argmax_start_end"]
