"""Runs a model once and writes every step of it away while it runs."""

from __future__ import annotations

import platform
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import PREFIX, hub_name
from albert_np.checkpoints.save import save
from albert_np.encoder import LAYERS, applications, layer_name
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate, graph
from albert_np.golden.measures.ulps import rounded
from albert_np.golden.recording import GRADIENT, MODEL, Recording, Writer, batch_of
from albert_np.ops import Array, MaskMode
from albert_np.run import Trace
from albert_np.version import __version__


def record(
    model: AlbertPreTrainedModel[Any],
    inputs: Mapping[str, Any],
    out: str | Path | None = None,
    *,
    mask_mode: MaskMode = "uniform",
    truth: bool = True,
    backward: bool = False,
    file_format: str = "safetensors",
    about: Mapping[str, Any] | None = None,
) -> Recording:
    """Records one call of a model: each step of its trace, and the optional steps (graph.py) that follow from them.

    model: one of the seven classes. inputs: the arrays of a call, by name: input_ids (B,T), attention_mask, token_type_ids,
    position_ids, head_mask, inputs_embeds, and with backward=True the labels of the class.
    out: a folder, new or of an older recording, which is replaced. None: a temporary one, which goes with the Recording.
    mask_mode: what a query with no key to attend to gets; it stands in the manifest.
    truth: run the reference in float64, whatever the model runs on. False: record what the model itself computes, step by
    step: a candidate.
    backward: the gradients of the loss with respect to every step and every weight too, as gradient/NAME; of a shared
    layer's weight one for each application, as gradient/NAME[application].
    file_format: "safetensors" or "npz". about: more for the manifest, such as the seed that weights were drawn from.
    Memory: the weights, and SHARD_BYTES (recording.py) of steps; not the whole trace.
    Raises ValueError for inputs that the model refuses, OSError for a folder that cannot be written to.
    """
    if not isinstance(model, AlbertPreTrainedModel):
        raise ValueError(f"record takes one of the model classes; got {type(model).__name__}")
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs are arrays by name, such as input_ids; got {type(inputs).__name__}")
    call = {name: np.asarray(x) for name, x in inputs.items()}
    labels = {name: x for name, x in call.items() if name in model.labels}
    if backward and (not labels or set(labels) != set(model.labels)):
        needed = " and ".join(model.labels) or "a head that has a loss"
        raise ValueError(f"backward=True differentiates the loss of {type(model).__name__}, which needs {needed}")
    if truth:
        model = in_float64(model)
    temporary = None
    if out is None:
        temporary = tempfile.TemporaryDirectory(prefix="albert-np-golden-")
        out = temporary.name
    architecture, pooler = type(model).__name__, "pooler" in model.parts
    plain = {name: x for name, x in call.items() if name not in model.labels}
    embeds, head_mask = "inputs_embeds" in plain, "head_mask" in plain
    with Writer(out, file_format) as writer:
        _write_model(model, Path(out) / MODEL)
        writer.write_inputs(call)
        steps = graph(
            model.config, architecture, mask_mode=mask_mode, embeds=embeds, head_mask=head_mask, pooler=pooler
        )
        batch = batch_of(model.config, architecture, plain)
        trace = _Written(writer, steps, batch, model._tensors)
        named: dict[str, Any] = {**plain, "mask_mode": mask_mode, "trace": trace}
        model(**named)
        if backward:
            _record_gradients(writer, model, call, mask_mode)
        writer.finish(
            {
                "versions": {
                    "albert_np": __version__,
                    "numpy": np.__version__,
                    "python": platform.python_version(),
                    "machine": platform.machine(),
                },
                "architecture": architecture,
                "pooler": pooler,
                "backend": model.backend,
                "dtype": model.dtype.name,
                "mask_mode": mask_mode,
                "exact": trace.exact,
                "inputs": {name: {"shape": list(x.shape), "dtype": x.dtype.name} for name, x in call.items()},
                **(about or {}),
                "config": model.config.to_dict(),
            }
        )
    recording = Recording(out)
    if temporary is not None:
        weakref.finalize(recording, temporary.cleanup)
    return recording


def in_float64(model: AlbertPreTrainedModel[Any]) -> AlbertPreTrainedModel[Any]:
    """The same weights on the reference, in float64."""
    if model.backend == "numpy" and model.dtype == np.float64:
        return model
    tensors = {name: x.astype(np.float64) for name, x in model._tensors.items()}
    return model._with_parts(model.config, model.parts, backend="numpy", dtype="float64", tensors=tensors)


def _write_model(model: AlbertPreTrainedModel[Any], folder: Path) -> None:
    """The weights in one file, in float32 if nothing is lost by it."""
    tensors = {hub_name(name, model.parts): x for name, x in model._tensors.items()}
    narrow = {name: x.astype(np.float32) for name, x in tensors.items()}
    exact = all(np.array_equal(narrow[name], x, equal_nan=True) for name, x in tensors.items())
    config = model.config.replace(architectures=[type(model).__name__], dtype="float32" if exact else "float64")
    save(folder, config, as_tensors(narrow if exact else tensors), max_shard_size="1TB")


class _Written(Trace):
    """A trace that writes each step away, and the optional steps that are made from it alone."""

    def __init__(
        self, writer: Writer, steps: list[Step], batch: Mapping[str, Array], weights: Mapping[str, Array]
    ) -> None:
        super().__init__()
        self._writer, self._batch, self._weights = writer, batch, weights
        self._due = steps  # the graph, of which what is written is taken away
        self.exact = True  # do float16, bfloat16 and float32 hold every step?

    def __setitem__(self, name: str, x: Array) -> None:
        """Optional steps that the trace does not have come before it in the graph if they read the batch, else behind it."""
        while self._due and self._due[0].name != name:
            self._write_optional({})
        self._write(self._due[0], x)
        self._due = self._due[1:]
        while self._due and self._due[0].beside and set(self._due[0].inputs) <= {name, *self._batch}:
            self._write_optional({name: x})

    def _write_optional(self, known: Mapping[str, Array]) -> None:
        one, self._due = self._due[0], self._due[1:]
        assert one.optional, f"the trace lacks {one.name}"
        x = evaluate(one, {**self._batch, **known}, self._weights, Exact())
        self._write(one, np.asarray(x))

    def _write(self, one: Step, x: Array) -> None:
        if self.exact and one.op != "masked_scores":
            self.exact = all(np.array_equal(rounded(x, name), x) for name in ("float16", "bfloat16"))
        about = {
            "op": one.op,
            "application": one.application,
            "module": one.module,
            "inputs": list(one.inputs),
            "weights": list(one.weights),
            "attributes": dict(one.attributes),
            "optional": one.optional,
        }
        self._writer.add(one.name, x, **about)


class _WrittenGradients(Trace):
    """A trace that writes the gradient with respect to each step away."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def __setitem__(self, name: str, x: Array) -> None:
        self._writer.add(f"{GRADIENT}{name}", x, op="gradient", of=name)


def _record_gradients(
    writer: Writer, model: AlbertPreTrainedModel[Any], call: Mapping[str, Array], mask_mode: MaskMode
) -> None:
    """The loss; with respect to each step, the last step first; and with respect to each weight, split by application."""
    how = {"mask_mode": mask_mode, "per_application": True, "all_logits": True}
    named: dict[str, Any] = {**call, **how, "trace": _WrittenGradients(writer)}
    loss, gradients = model.value_and_grad(**named)
    writer.add("loss", np.asarray(loss), op="loss")
    for name, x in gradients.items():
        if LAYERS in name and x.ndim > model._tensors[name.removeprefix(PREFIX)].ndim:
            for application, part in zip(_applications_of(model, name), x, strict=True):
                about = {"op": "gradient", "of": name, "application": application}
                writer.add(f"{GRADIENT}{name}[{application}]", part, **about)
        else:
            writer.add(f"{GRADIENT}{name}", x, op="gradient", of=name)


def _applications_of(model: AlbertPreTrainedModel[Any], name: str) -> list[int]:
    """The applications of the stored layer that this weight is of."""
    return [a for a, group, inner in applications(model.config) if f"{layer_name(group, inner)}." in name]
