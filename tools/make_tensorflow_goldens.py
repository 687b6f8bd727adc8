"""Makes tests/goldens/formats/tensorflow_calls.npz: what transformers' TFAlbert classes return for the models beside it.

For each call, by `folder/case`: its labels (`in_…`), the loss, the class of the output, the names of its fields in order, and
the shapes of the tuple that return_dict=False gives. The other inputs are those of the folder's expected.npz.

Versions as in make_format_goldens.py. Run it by path:

    TF_USE_LEGACY_KERAS=1 python tools/make_tensorflow_goldens.py             # rewrites that file
    TF_USE_LEGACY_KERAS=1 python tools/make_tensorflow_goldens.py --out FILE  # writes elsewhere, to compare
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ROOT / "tests" / "goldens" / "formats"


def labels_of(name: str, shape: tuple[int, ...], config: Any) -> dict[str, dict[str, np.ndarray]]:
    """Case -> labels, for input_ids of this shape. −100 is a label that does not count."""
    rng = np.random.default_rng(7)
    B, T = shape[0], shape[-1]
    words = rng.integers(0, config.vocab_size, (B, T))
    words[:, ::3] = -100
    each = rng.integers(0, config.num_labels, B)
    tokens = rng.integers(0, config.num_labels, (B, T))
    tokens[0, : T // 2] = -100
    order = np.arange(B) % 2
    cases: dict[str, dict[str, dict[str, np.ndarray]]] = {
        "AlbertModel": {"plain": {}},
        "AlbertForPreTraining": {
            "both": {"labels": words, "sentence_order_label": order},
            "an order that does not count": {"labels": words, "sentence_order_label": np.where(order, -100, order)},
            "words alone": {"labels": words},
        },
        "AlbertForMaskedLM": {"some": {"labels": words}, "none": {"labels": np.full((B, T), -100)}},
        "AlbertForSequenceClassification": {"rows": {"labels": each}, "columns": {"labels": each[:, None]}},
        "AlbertForMultipleChoice": {"choices": {"labels": rng.integers(0, shape[1], B)}},
        "AlbertForTokenClassification": {"some": {"labels": tokens}, "none": {"labels": np.full((B, T), -100)}},
        "AlbertForQuestionAnswering": {
            "both": {"start_positions": rng.integers(0, T, B), "end_positions": rng.integers(0, T, B)},
            "one": {"start_positions": rng.integers(0, T, B)},
        },
    }
    return cases[name]


def noted(model: Any, inputs: dict[str, Any], labels: dict[str, Any]) -> dict[str, np.ndarray]:
    """What a call returns."""
    import tensorflow as tf

    labels = {name: tf.constant(x) for name, x in labels.items()}
    out = model({**inputs, **labels}, output_hidden_states=True)
    shapes = [np.asarray(x).shape for x in model({**inputs, **labels}, return_dict=False)]
    found = {"type": np.str_(type(out).__name__), "fields": np.array(list(out)), "shapes": np.str_(json.dumps(shapes))}
    return found | ({} if "loss" not in out else {"loss": np.asarray(out.loss)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "goldens" / "formats" / "tensorflow_calls.npz")
    out = parser.parse_args().out
    import transformers

    results: dict[str, np.ndarray] = {}

    def note(key: str, model: Any, inputs: dict[str, Any], labels: dict[str, np.ndarray]) -> None:
        found = noted(model, inputs, labels) | {f"in_{name}": x for name, x in labels.items()}
        results.update({f"{key}/{name}": x for name, x in found.items()})

    for folder, about in json.loads((FOLDERS / "manifest.json").read_text()).items():
        if about["writer"] != "tensorflow":
            continue
        cls = getattr(transformers, f"TF{about['class']}")
        model = cls.from_pretrained(FOLDERS / folder)
        saved = np.load(FOLDERS / folder / "expected.npz")
        inputs = {name[3:]: saved[name] for name in saved if name.startswith("in_")}
        for case, labels in labels_of(about["class"], inputs["input_ids"].shape, model.config).items():
            note(f"{folder}/{case}", model, inputs, labels)
        if about["class"] == "AlbertForSequenceClassification":  # regression: the head's first label alone
            weights = [x[..., :1] for x in model.classifier.get_weights()]
            model = cls.from_pretrained(FOLDERS / folder, num_labels=1, ignore_mismatched_sizes=True)
            model.classifier.set_weights(weights)
            targets = np.linspace(-2, 3, len(inputs["input_ids"]), dtype=np.float32)
            note(f"{folder}/regression", model, inputs, {"labels": targets})
            note(f"{folder}/regression in columns", model, inputs, {"labels": targets[:, None]})
    np.savez_compressed(out, **results)


if __name__ == "__main__":
    main()
