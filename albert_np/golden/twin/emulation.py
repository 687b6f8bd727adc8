"""A twin: the model as a program of some precision would run it, with the device's own accumulator, functions and faults.

    twin = golden.emulate(model, "bfloat16", tanh="4 ulp")
    twin(**inputs).last_hidden_state        # like the model's own call
    twin.run(inputs)                        # every step of the graph, by name

Its distance from the truth is what a correct port is expected to have: golden/measures/three_errors.py compares the two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from albert_np import outputs
from albert_np.calling import AlbertPreTrainedModel
from albert_np.golden.graph import graph
from albert_np.golden.graph import outputs as output_steps
from albert_np.golden.measures.formats import FLOAT32, Rounding, named
from albert_np.golden.recording import batch_of
from albert_np.golden.twin.functions import EXACT, Given, function
from albert_np.golden.twin.program import FUSIONS, STEPWISE, Program
from albert_np.golden.twin.summation import Order, Summation
from albert_np.ops import MASK_MODES, Array
from albert_np.outputs import ModelOutput
from albert_np.run import Trace

# precision -> (format of stored values, of the operands of products, scaled format of linear's operands)
PRECISIONS = {
    "float64": ("float64", None, None),
    "float32": ("float32", None, None),
    "tf32": ("float32", "tf32", None),
    "float16": ("float16", None, None),
    "bfloat16": ("bfloat16", None, None),
    "float8_e4m3fn": ("bfloat16", None, "float8_e4m3fn"),
    "float8_e5m2": ("bfloat16", None, "float8_e5m2"),
    "int8": ("float32", None, "int8"),
}
ACCUMULATORS = ("float64", "float32", "bfloat16", "float16")
CLASSES = {
    "AlbertModel": outputs.BaseModelOutputWithPooling,
    "AlbertForPreTraining": outputs.AlbertForPreTrainingOutput,
    "AlbertForMaskedLM": outputs.MaskedLMOutput,
    "AlbertForSequenceClassification": outputs.SequenceClassifierOutput,
    "AlbertForTokenClassification": outputs.TokenClassifierOutput,
    "AlbertForQuestionAnswering": outputs.QuestionAnsweringModelOutput,
    "AlbertForMultipleChoice": outputs.MultipleChoiceModelOutput,
}
NARROW_BLOCK = (
    32  # products that an accumulator of 16 bits adds before it is rounded: the depth of a tensor instruction
)


@dataclass(frozen=True)
class Twin(Program):
    """A model in an emulated arithmetic. It is called like the model, and it is a table of arithmetic."""

    model: AlbertPreTrainedModel[Any] | None = None

    @functools.cached_property
    def weights(self) -> dict[str, Array]:
        """The model's weights as the twin stores them."""
        assert self.model is not None
        return {name: self._read_weight(np.asarray(x)) for name, x in self.model._tensors.items()}

    def run(self, inputs: Mapping[str, Any], *, beside: bool = False) -> dict[str, Array]:
        """Every step's stored value by the name of graph.py, float32 (float64 for that precision), exact in the twin's format.

        inputs: the arrays of a call by name, and mask_mode; labels are left out, since a twin has no loss. beside: also the
        steps that no other step reads. Raises ValueError for inputs that the model refuses.
        """
        assert self.model is not None
        call = {name: x for name, x in inputs.items() if name not in self.model.labels and x is not None}
        mask_mode = call.pop("mask_mode", "uniform")
        if mask_mode not in MASK_MODES:
            raise ValueError(f"mask_mode must be one of {', '.join(MASK_MODES)}; got {mask_mode!r:.80}")
        known = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
        unknown = sorted(set(call) - set(known))
        if unknown:
            raise ValueError(f"a twin takes {', '.join(known)} and mask_mode; got {', '.join(unknown):.200}")
        model, architecture = self.model, type(self.model).__name__
        steps = graph(
            model.config,
            architecture,
            mask_mode=mask_mode,
            embeds="inputs_embeds" in call,
            head_mask="head_mask" in call,
            pooler="pooler" in model.parts,
        )
        batch = batch_of(model.config, architecture, {name: np.asarray(x) for name, x in call.items()})
        return self.forward(steps, batch, self.weights, beside=beside)

    def __call__(self, **inputs: Any) -> ModelOutput:
        """What the model's call returns, in the emulated arithmetic, with every step in `.trace`. It takes what `run` takes."""
        assert self.model is not None
        values, architecture = self.run(inputs), type(self.model).__name__
        fields: dict[str, Array] = {}
        trace = Trace("emulated", self.stored.name)
        trace.update(values)
        steps = graph(self.model.config, architecture, pooler="pooler" in self.model.parts)
        for i, (name, step) in enumerate(output_steps(steps, architecture).items()):
            x = values[step][..., i] if step == "qa_outputs" else values[step]
            if architecture == "AlbertForMultipleChoice":
                given = inputs.get("input_ids")
                x = x.reshape(np.shape(inputs["inputs_embeds"] if given is None else given)[:2])
            fields[name] = x
        return CLASSES[architecture](**fields, trace=trace)


def emulate(
    model: AlbertPreTrainedModel[Any],
    precision: str = "bfloat16",
    *,
    accumulate: str = "float32",
    block: int | None = None,
    order: str | None = None,
    multiply: str | None = None,
    rounding: Rounding = "nearest",
    flush_to_zero: bool = False,
    round_weights: bool = True,
    fused: bool | str | Iterable[str] = False,
    stepwise: bool | str | Iterable[str] = False,
    tanh: Given = None,
    exp: Given = None,
    rsqrt: Given = None,
    erf: Given = None,
    gelu: str = "tanh",
) -> Twin:
    """The model as a device of that precision would run it, in NumPy.

    precision: what is stored between two ops: float64, float32, float16 or bfloat16. "tf32": float32, and the operands of every
    product of matrices have tf32's 11 digits. "int8": float32, and every linear layer's operands are scaled, by row of x and by
    row of the weight, to −127 … 127. "float8_e4m3fn", "float8_e5m2": bfloat16, with such scaled operands in these formats.
    accumulate: what sums of products, means and the softmax's sum are added in: float64, float32, bfloat16 or float16.
    float32: NumPy's float32 product of matrices. In 16 bits the sum is rounded after every `block` products (32 unless given;
    1 is after every product).
    block: with float32 too, sums of that many products that are then added one after the other.
    order: "amx" for products of bfloat16 added as Intel's AMX does, and this project's bfloat16 on any CPU: of each 32 the even
    ones, the odd ones, and these two to what is there, each addition rounded and subnormals zero.
    multiply: a format that operands of products of matrices are rounded to, such as "bfloat16" for a tensor core that reads the
    probabilities of a fused attention.
    rounding: of what is stored: "nearest", ties to even, or "truncate". flush_to_zero: subnormals, of what is stored and of
    results inside an op, are zero.
    round_weights: False keeps the weights in float32 and rounds activations alone.
    fused: what is computed in one kernel, so that the values between are never rounded: "attention", "flash" (attention whose
    probabilities are divided by their sum at the end), "activation" (a linear layer with the activation behind it), "residual"
    (linear layer, sum and LayerNorm), or several of these; True is "attention", "activation" and "residual". Their values
    in the trace are rounded copies.
    stepwise: ops of which every small step is rounded to what is stored; else all is float32 inside an op, and its result is
    rounded once. "add", "linear" (the product before the bias), "layer_norm", "scores" (the product before the division),
    "probs", "activation", or several of these; True is all. PyTorch's eager attention with transformers' gelu_new is
    ("add", "scores", "activation").
    tanh, exp, rsqrt, erf: a function from float64 to float64, a fault such as "4 ulp", "+4 ulp" (of what is stored), or a pair
    (points, values) of a lookup table: see golden/twin/functions.py. exp is the softmax's, and the sigmoid's of silu; tanh the
    pooler's, and that of the tanh form of GELU; rsqrt LayerNorm's; erf that of the other GELU.
    gelu: the tanh form as "tanh", ½x(1 + tanh u), or as "sigmoid", x·σ(2u), which keeps its left tail.
    Raises ValueError for a choice that there is not.
    """
    if not isinstance(model, AlbertPreTrainedModel):
        raise ValueError(f"emulate takes one of the model classes; got {type(model).__name__}")
    _one_of("precision", precision, PRECISIONS)
    _one_of("accumulate", accumulate, ACCUMULATORS)
    _one_of("rounding", rounding, ("nearest", "truncate"))
    _one_of("gelu", gelu, ("tanh", "sigmoid"))
    if block is not None and (isinstance(block, bool) or not isinstance(block, (int, np.integer)) or block < 1):
        raise ValueError(
            f"block is how many products are added before the sum is rounded, 1 or more; got {block!r:.60}"
        )
    stored_name, operands, scaled = PRECISIONS[precision]
    stored, accumulator = named(stored_name), named("float64" if precision == "float64" else accumulate)
    if block is None and accumulator.digits < FLOAT32.digits:
        block = NARROW_BLOCK
    operands = operands if multiply is None else multiply
    if order is not None:
        _one_of("order", order, ("amx",))
        if (operands or stored_name) != "bfloat16" or accumulator != FLOAT32 or block is not None:
            raise ValueError(
                "order='amx' adds products of bfloat16 in float32: choose precision='bfloat16' or multiply='bfloat16', "
                "accumulate='float32' and no block"
            )
    given = {"tanh": tanh, "exp": exp, "rsqrt": rsqrt, "erf": erf}
    return Twin(
        model=model,
        stored=stored,
        summation=Summation(accumulator, Order(block=block, tiles=order is not None), rounding, flush_to_zero),
        multiply=None if operands is None else named(operands),
        quantised=None if scaled is None else "int8" if scaled == "int8" else named(scaled),
        rounding=rounding,
        flush=bool(flush_to_zero),
        round_weights=bool(round_weights),
        fused=_several("fused", fused, FUSIONS, ("attention", "activation", "residual")),
        stepwise=_several("stepwise", stepwise, STEPWISE, STEPWISE),
        functions={name: function(name, given[name], stored) for name in EXACT},
        gelu=cast(Any, gelu),
    )


def _one_of(what: str, given: Any, choices: Iterable[str]) -> None:
    if not isinstance(given, str) or given not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {given!r:.60}")


def _several(what: str, given: Any, choices: Iterable[str], of_true: Iterable[str]) -> frozenset[str]:
    names = of_true if given is True else () if given is False else (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        _one_of(what, name, choices)
    return frozenset(names)
