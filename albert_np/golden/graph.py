"""ALBERT as a list of steps: what a trace holds, which steps and weights each is made from, and how to compute it alone.

The book (embeddings.py, encoder.py, heads.py) is the model. This file says the same as data, so that one op can be computed
again from somebody else's inputs, in another arithmetic, or with a mistake in it. The names are those of a trace of the
book, and a test holds both to the same bits.

A step is *optional* where few programs have its tensor: nobody is asked for it, but who has it can have it judged. Some of
them lie on the way (the gathers, both residual sums): if one is missing, the next step is computed from what it is made of.
Others lie beside it (the masked scores, heads apart, the statistics of a LayerNorm): no other step reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import applications, layer_name, step
from albert_np.golden.arithmetic import Table
from albert_np.inputs import Inputs
from albert_np.ops import Array, MaskMode


@dataclass(frozen=True)
class Step:
    """One op of the graph."""

    name: str  # in the trace
    op: str  # the method of a table
    inputs: tuple[str, ...]  # other steps, or the batch: its arrays come first
    weights: tuple[str, ...] = ()  # names in a checkpoint, without "albert."; they come behind the inputs
    attributes: Mapping[str, Any] = field(default_factory=dict)  # keywords of the method
    application: int | None = None  # which application of a shared layer this is
    module: str = ""  # Hugging Face's module that computes it
    optional: bool = False
    beside: bool = False  # no other step reads it


# architecture -> its heads, as checkpoints/names.py calls them
ARCHITECTURES = {
    "AlbertModel": ("pooler",),
    "AlbertForPreTraining": ("pooler", "predictions", "sop_classifier"),
    "AlbertForMaskedLM": ("predictions",),
    "AlbertForSequenceClassification": ("pooler", "classifier"),
    "AlbertForMultipleChoice": ("pooler", "choice"),
    "AlbertForTokenClassification": ("classifier",),
    "AlbertForQuestionAnswering": ("qa_outputs",),
}


def graph(
    config: AlbertConfig,
    architecture: str = "AlbertModel",
    *,
    mask_mode: MaskMode = "uniform",
    embeds: bool = False,
    head_mask: bool = False,
    pooler: bool = True,
) -> list[Step]:
    """All steps of a forward, in the order of the trace.

    embeds: the batch brings inputs_embeds and no ids. head_mask: it brings factors for the heads. pooler=False: AlbertModel
    without its pooler. Raises ValueError for an architecture that is not ALBERT's.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r:.80}")
    parts = tuple(part for part in ARCHITECTURES[architecture] if pooler or part != "pooler")
    root = "" if architecture == "AlbertModel" else "albert."
    steps = [*_embeddings(config, root, embeds)]
    hidden = "encoder.embedding_hidden_mapping_in"
    steps.append(_linear(hidden, "embeddings.LayerNorm", hidden, root + hidden))
    for application, group, inner in applications(config):
        steps += _layer(config, hidden, application, layer_name(group, inner), root, mask_mode, head_mask)
        hidden = step(application, "full_layer_layer_norm")
    return [*steps, *_heads(config, hidden, parts, root)]


def _linear(name: str, x: str, weights: str, module: str, application: int | None = None, **attributes: Any) -> Step:
    return Step(name, "linear", (x,), (f"{weights}.weight", f"{weights}.bias"), attributes, application, module)


def _layer_norm(  # with the statistics that it is made of
    name: str, x: str, weights: str, eps: float, module: str, application: int | None = None
) -> Iterator[Step]:
    both: dict[str, Any] = {"application": application, "module": module}
    for statistic in ("mean", "variance"):
        yield Step(f"{name}.{statistic}", statistic, (x,), optional=True, beside=True, **both)
    yield Step(name, "layer_norm", (x,), (f"{weights}.weight", f"{weights}.bias"), {"eps": eps}, **both)


def _embeddings(config: AlbertConfig, root: str, embeds: bool) -> Iterator[Step]:
    read = {"token_type_embeddings": "token_type_ids"}
    if not embeds:
        read = {"word_embeddings": "input_ids"} | read
    if config.position_embedding_type == "absolute":
        read["position_embeddings"] = "position_ids"
    names = [f"embeddings.{table}" for table in read]
    for name, ids in zip(names, read.values(), strict=True):
        yield Step(name, "gather", (ids,), (f"{name}.weight",), module=root + name, optional=True)
    terms = ("inputs_embeds", *names) if embeds else tuple(names)
    yield Step("embeddings.sum", "add", terms, module=f"{root}embeddings")
    norm = "embeddings.LayerNorm"
    yield from _layer_norm(norm, "embeddings.sum", norm, config.layer_norm_eps, root + norm)


def _layer(
    config: AlbertConfig, x: str, a: int, weights: str, root: str, mask_mode: MaskMode, head_mask: bool
) -> Iterator[Step]:
    """One application of a stored layer: encoder.py, albert_layer and attention."""
    N, eps, relative = config.num_attention_heads, config.layer_norm_eps, config.position_embedding_type != "absolute"
    at, of, module = step(a, "attention"), f"{weights}.attention", f"{root}{weights}.attention"
    here: dict[str, Any] = {"application": a, "module": module}
    beside: dict[str, Any] = here | {"optional": True, "beside": True}
    for part in ("query", "key", "value"):
        yield _linear(f"{at}.{part}", x, f"{of}.{part}", f"{module}.{part}", a)
        yield Step(f"{at}.{part}.heads", "heads", (f"{at}.{part}",), (), {"num_heads": N}, **beside)
    both, table = (f"{at}.query", f"{at}.key"), (f"{of}.distance_embedding.weight",) if relative else ()
    how = {"num_heads": N, "position_type": config.position_embedding_type}
    yield Step(f"{at}.scores", "scores", both, table, how, **here)
    yield Step(f"{at}.masked_scores", "masked_scores", (f"{at}.scores", "allowed"), **beside)
    read = (f"{at}.scores", "allowed", *((f"head_mask.{a}",) if head_mask else ()))
    yield Step(f"{at}.probs", "probs", read, (), {"mask_mode": mask_mode}, **here)
    yield Step(f"{at}.context", "context", (f"{at}.probs", f"{at}.value"), (), {"num_heads": N}, **here)
    yield _linear(f"{at}.dense", f"{at}.context", f"{of}.dense", f"{module}.dense", a)
    yield Step(f"{at}.sum", "add", (x, f"{at}.dense"), optional=True, **here)
    attended = f"{at}.LayerNorm"
    yield from _layer_norm(attended, f"{at}.sum", f"{of}.LayerNorm", eps, f"{module}.LayerNorm", a)

    module = f"{root}{weights}"
    ffn, act, out, both_added = (step(a, part) for part in ("ffn", "activation", "ffn_output", "sum"))
    yield _linear(ffn, attended, f"{weights}.ffn", f"{module}.ffn", a)
    yield Step(act, "activation", (ffn,), (), {"name": config.hidden_act}, a, f"{module}.activation")
    yield _linear(out, act, f"{weights}.ffn_output", f"{module}.ffn_output", a)
    yield Step(both_added, "add", (out, attended), (), {}, a, module, optional=True)
    norm = "full_layer_layer_norm"
    yield from _layer_norm(step(a, norm), both_added, f"{weights}.{norm}", eps, f"{module}.{norm}", a)


def _heads(config: AlbertConfig, hidden: str, parts: tuple[str, ...], root: str) -> Iterator[Step]:
    """What is above the encoder: heads.py."""
    pooled = hidden
    if "pooler" in parts:
        yield _linear("pooler", hidden, "pooler", f"{root}pooler", first_token=True)
        pooled = "pooler_activation"
        yield Step(pooled, "tanh", ("pooler",), module=f"{root}pooler_activation")
    if "predictions" in parts:
        yield _linear("predictions.dense", hidden, "predictions.dense", "predictions.dense")
        act = "predictions.activation"
        yield Step(act, "activation", ("predictions.dense",), (), {"name": config.hidden_act}, module=act)
        norm = "predictions.LayerNorm"
        yield from _layer_norm(norm, act, norm, config.layer_norm_eps, norm)
        tied = config.tie_word_embeddings
        table = "embeddings.word_embeddings.weight" if tied else "predictions.decoder.weight"
        name = "predictions.decoder"
        yield Step(name, "linear", (norm,), (table, "predictions.bias"), module=name)
    if "sop_classifier" in parts:
        name = "sop_classifier.classifier"
        yield _linear(name, pooled, name, name)
    if "classifier" in parts or "choice" in parts:
        yield _linear("classifier", pooled, "classifier", "classifier")
    if "qa_outputs" in parts:
        yield _linear("qa_outputs", hidden, "qa_outputs", "qa_outputs")


def batch_values(batch: Inputs) -> dict[str, Array]:
    """What the first steps read, by the names that steps use: the arrays of a checked batch."""
    values = {
        "input_ids": batch.input_ids,
        "inputs_embeds": batch.inputs_embeds,
        "token_type_ids": batch.token_type_ids,
        "position_ids": batch.position_ids,
        "allowed": batch.allowed,
    }
    if batch.head_mask is not None:
        values |= {f"head_mask.{a}": row for a, row in enumerate(batch.head_mask)}
    return {name: x for name, x in values.items() if x is not None}


def evaluate(step: Step, values: Mapping[str, Array], weights: Mapping[str, Array], table: Table) -> Any:
    """One step, from the values of its inputs: an array, or whatever else the table answers with."""
    arrays = [values[name] for name in step.inputs] + [weights[name] for name in step.weights]
    return getattr(table, step.op)(*arrays, **step.attributes)


def run(
    steps: list[Step], batch: Mapping[str, Array], weights: Mapping[str, Array], table: Table, *, beside: bool = False
) -> dict[str, Array]:
    """The whole forward: every step's value by name, in order. beside: also of the steps that no other step reads."""
    values: dict[str, Array] = {}
    known = dict(batch)
    for one in steps:
        if beside or not one.beside:
            values[one.name] = known[one.name] = np.asarray(evaluate(one, known, weights, table))
    return values


def outputs(steps: list[Step], architecture: str) -> dict[str, str]:
    """What a call of that class returns -> the step that it is, in transformers' names of fields.

    The logits of AlbertForQuestionAnswering are the two columns of one step, and those of AlbertForMultipleChoice are (B,
    choices) where the step has a row for each choice.
    """
    names = {one.name for one in steps}
    last = [one.name for one in steps if one.name.endswith(".full_layer_layer_norm")][-1]
    fields = {
        "AlbertModel": {"last_hidden_state": last, "pooler_output": "pooler_activation"},
        "AlbertForPreTraining": {
            "prediction_logits": "predictions.decoder",
            "sop_logits": "sop_classifier.classifier",
        },
        "AlbertForMaskedLM": {"logits": "predictions.decoder"},
        "AlbertForQuestionAnswering": {"start_logits": "qa_outputs", "end_logits": "qa_outputs"},
    }.get(architecture, {"logits": "classifier"})
    return {field: name for field, name in fields.items() if name in names}
