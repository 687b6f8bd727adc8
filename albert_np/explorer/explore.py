"""`albert_np.explore`: one traced call of a model, as a page that needs nothing else."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.hub import OPTIONS
from albert_np.checkpoints.stored import find_weights, read_headers
from albert_np.config import AlbertConfig
from albert_np.conversion.architecture import CLASSES, by_heads
from albert_np.conversion.verify_names import under_first_names
from albert_np.explorer.attention import attention_of
from albert_np.explorer.lens import lens_of, thousandths
from albert_np.explorer.network import network_of
from albert_np.explorer.size import MOST_BYTES, check, refusal
from albert_np.explorer.states import states_of
from albert_np.files import class_of, shown, write_atomically
from albert_np.golden.graph import graph
from albert_np.golden.recorder import in_float64
from albert_np.golden.recording import batch_of
from albert_np.model import AlbertForSequenceClassification
from albert_np.ops import softmax
from albert_np.page.shell import escaped, fill, page
from albert_np.run import Trace
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.version import __version__

HERE = Path(__file__).parent
SCRIPTS = ("plots.js", "lens.js", "attention.js", "states.js", "step.js", "network.js", "explorer.js")
# the classes in which a checkpoint is loaded, the first whose head it has; AlbertModel if none
PREFERRED = (
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertForTokenClassification",
    "AlbertForSequenceClassification",
    "AlbertForQuestionAnswering",
)
HEIGHT = 860  # of the frame in a notebook, in pixels


class Exploration:
    """What `explore` returns: `data` is what the page shows, as plain values; a notebook shows the page itself."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def html(self) -> str:
        """The page."""
        tokens, model = self.data["tokens"], self.data["model"]
        text = " ".join(one["piece"] for one in tokens)
        texts = {
            "text": escaped(self.data["text"]) or "(an empty text)",
            "applications": str(model["A"]),
            "tokens": str(len(tokens)),
            "footer": escaped(
                f"Made by albert_np {__version__} from one call of {model['class']} ({model['name']}), computed in "
                f"{model['dtype']} by the reference in NumPy. This file loads nothing and sends nothing."
            ),
        }
        return page(
            f"Inside ALBERT: {text}",
            fill(HERE / "explorer.html", texts),
            self.data,
            styles=[HERE / "explorer.css"],
            scripts=[HERE / name for name in SCRIPTS],
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the page, and returns its path. Raises OSError where it cannot be written."""
        write_atomically(path, self.html().encode())
        return Path(path)

    def _repr_html_(self) -> str:
        """The page in a frame that may run its script, and nothing else: what a notebook shows."""
        return (
            f'<iframe title="What ALBERT does with the text" sandbox="allow-scripts" width="100%" height="{HEIGHT}" '
            f'style="border:1px solid #8886;border-radius:8px" srcdoc="{html.escape(self.html())}"></iframe>'
        )

    def __repr__(self) -> str:
        model = self.data["model"]
        return f"Exploration of {len(self.data['tokens'])} tokens through {model['A']} applications ({model['name']})"


def explore(
    text: str,
    model: Any = "demo",
    *,
    pair: str | None = None,
    tokenizer: Any = None,
    **where: Any,
) -> Exploration:
    """What a model does with a text, ready to look at: `explore("A [MASK] came in.").save("page.html")`.

    text: one text, with any number of [MASK]. pair: a second text, which becomes segment 1.
    model: a folder, a hub id, "demo" or another embedded model, or a loaded model, whose tokenizer is found by its
    config.name_or_path unless `tokenizer` is given. where: revision, cache_dir, local_files_only and the other options of
    from_pretrained that say where files are.
    The numbers are those of the reference in float64, whatever a loaded model runs on.
    Raises ValueError for a text that is too long for the model or for one page, before anything is computed, and for a model
    that compares texts (AlbertForMultipleChoice); OSError if files are missing.
    """
    for name, value in (("text", text), ("pair", pair)):
        if not isinstance(value, str) and (name, value) != ("pair", None):
            raise ValueError(f"{name} must be a str; got {class_of(value)}")
    if unknown := [name for name in where if name not in OPTIONS]:
        raise ValueError(
            f"unknown {', '.join(unknown)}: explore takes pair, tokenizer, {', '.join(OPTIONS)}; "
            "its numbers are always those of the reference in float64"
        )
    if isinstance(model, (str, os.PathLike)):
        config = AlbertConfig.from_pretrained(model, **where)
        kind = _class_of(model, config, where)
    elif isinstance(model, AlbertPreTrainedModel):
        config, kind = model.config, type(model)
        if where:
            raise ValueError(f"{', '.join(where)}: the model is loaded already; leave it out")
    else:
        raise ValueError(f"model must be a name or one of the model classes; got {class_of(model)}")
    architecture = kind.__name__
    if architecture not in CLASSES or architecture == "AlbertForMultipleChoice":
        raise ValueError(
            f"the explorer follows one text through AlbertModel or a class with a head, not {architecture}"
        )
    tokenizer = _tokenizer(model, config, tokenizer, where)
    row = tokenizer(text, pair, return_special_tokens_mask=True, verbose=False)
    check(len(row["input_ids"]), config)
    if isinstance(model, (str, os.PathLike)):
        model = kind.from_pretrained(model, dtype="float64", backend="numpy", **where)
    found = Exploration(_data(in_float64(model), tokenizer, row, text if pair is None else f"{text} {pair}"))
    size = len(found.html().encode())
    if size > MOST_BYTES:  # names of pieces or labels that are longer than anybody would think
        raise ValueError(refusal(len(row["input_ids"]), config, f"its page would have {size:,} bytes"))
    return found


def _class_of(name: Any, config: AlbertConfig, where: dict[str, Any]) -> type[AlbertPreTrainedModel[Any]]:
    stored = find_weights(name, where)
    fitting = [] if stored is None else by_heads(under_first_names(read_headers(stored), config))
    return CLASSES[next((kind for kind in PREFERRED if kind in fitting), "AlbertModel")]


def _tokenizer(model: Any, config: AlbertConfig, tokenizer: Any, where: dict[str, Any]) -> Any:
    if tokenizer is not None and not isinstance(tokenizer, (str, os.PathLike)):
        if not callable(tokenizer):
            raise ValueError(f"tokenizer must be a name or a tokenizer; got {class_of(tokenizer)}")
        return tokenizer
    name = model if isinstance(model, (str, os.PathLike)) else config.name_or_path
    name = name if tokenizer is None else tokenizer
    if not name:
        raise ValueError("a model that was made, and not loaded, does not know its tokenizer: pass tokenizer= too")
    return AlbertTokenizer.from_pretrained(name, **where)


def _name_of(config: AlbertConfig) -> str:
    """What a page says of the model. It may be sent around, so of a folder it has the last part alone."""
    name = config.name_or_path or "a model that was made here"
    return shown(Path(name).name if os.path.isdir(name) else name, 80)


def _label(model: AlbertPreTrainedModel[Any], trace: Trace) -> tuple[str, int] | None:
    """The label of the whole text and its chance, if the model gives one."""
    config = model.config
    one_of_several = config.num_labels > 1 and config.problem_type in (None, "single_label_classification")
    if not isinstance(model, AlbertForSequenceClassification) or not one_of_several:
        return None
    chances = softmax(trace["classifier"][0])
    return str(config.label_names[int(chances.argmax())]), thousandths(chances.max())


def _data(model: AlbertPreTrainedModel[Any], tokenizer: Any, row: Any, text: str) -> dict[str, Any]:
    """All that the page shows, from one call of the model."""
    config, architecture = model.config, type(model).__name__
    ids, types = row["input_ids"], row.get("token_type_ids") or [0] * len(row["input_ids"])
    call: dict[str, Any] = {"input_ids": np.array([ids]), "token_type_ids": np.array([types])}
    trace: Trace = model(**call, trace="unfused").trace
    bad = next((name for name, x in trace.items() if not np.isfinite(x).all()), None)
    if bad is not None:
        raise ValueError(
            f"{bad} has NaN or infinity, which no page can show; albert-np verify says more of a checkpoint"
        )
    batch = batch_of(config, architecture, call)
    steps = graph(config, architecture, pooler="pooler" in model.parts)
    states = states_of(config, trace)

    def piece_of(i: int) -> str:  # a word table may have more rows than there are pieces
        return tokenizer.convert_ids_to_tokens(i) if i < len(tokenizer) else f"id {i}"

    return {
        "text": text,
        "model": {
            "name": _name_of(config),
            "class": architecture,
            "dtype": model.dtype.name,
            "A": config.num_hidden_layers * config.inner_group_num,
            "L": config.num_hidden_layers,
            "G": config.num_hidden_groups * config.inner_group_num,
            "N": config.num_attention_heads,
            "E": config.embedding_size,
            "H": config.hidden_size,
            "D": config.hidden_size // config.num_attention_heads,
            "I": config.intermediate_size,
            "V": config.vocab_size,
            "P": config.max_position_embeddings,
            "T": len(ids),
        },
        "tokens": [
            {
                "piece": piece_of(i),
                "id": i,
                "segment": segment,
                "special": bool(special),
                "mask": i == tokenizer.mask_token_id,
                "unknown": i == tokenizer.unk_token_id,
            }
            for i, segment, special in zip(ids, types, row["special_tokens_mask"], strict=True)
        ],
        "order": thousandths(softmax(trace["sop_classifier.classifier"][0])[0])
        if any(types) and "sop_classifier.classifier" in trace
        else None,
        "label": _label(model, trace),
        "lens": lens_of(model, states.states, ids, piece_of),
        "attention": attention_of(config, trace, row["special_tokens_mask"]),
        "states": states.data(),
        "network": network_of(model, steps, trace, batch),
    }
