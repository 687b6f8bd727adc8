"""The way of a call, which the seven model classes share: the steps before the head, and the way back.

A call first checks all its input, labels included. Then the encoder runs, on all tokens or on real tokens only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, overload

import numpy as np

from albert_np import gradients, heads, inputs, ops
from albert_np.checkpoints.initialise import check_seed
from albert_np.checkpoints.names import hub_name
from albert_np.files import listed, shown
from albert_np.gradients import Back
from albert_np.inputs import Inputs
from albert_np.module import Module
from albert_np.ops import Array, MaskMode
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Trace, Wanted, WantedGradients

TRACES = (False, True, "unfused")
Output = TypeVar("Output", bound=ModelOutput)  # what a call of a class returns


@contextlib.contextmanager
def _within_memory(batch: Inputs) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        B, T = batch.shape
        raise ValueError(
            f"{B} sequences of {T} tokens do not fit this machine's memory: run fewer at a time, or ask for fewer "
            "outputs (logits_positions, no attentions, no trace)"
        ) from error


def zero_skipped(x: Array, real: Array | None) -> Array:  # (B,T,…), (B,T) bool -> (B,T,…)
    """x, with zeros where nothing was computed."""
    if real is None:
        return x
    return np.where(real.reshape(real.shape + (1,) * (x.ndim - real.ndim)), x, x.dtype.type(0))


def ignore_skipped(labels: Array, real: Array | None) -> Array:  # (B,T) int, (B,T) bool -> (B,T) int
    return labels if real is None else np.where(real, labels, ops.IGNORE_INDEX)


class AlbertPreTrainedModel(Module, Generic[Output]):
    """The base of the seven model classes: a module that can be called. Subclasses add a head."""

    head_inputs: ClassVar[tuple[str, ...]] = ("labels",)

    # --- calling -------------------------------------------------------------------------------------------------------

    @overload
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *more: Any,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: Literal[True] | None = None,
        skip_padding: bool = False,
        trace: bool | Literal["unfused"] | Trace = False,
        training: bool = False,
        seed: int | None = None,
        mask_mode: MaskMode = "uniform",
        head_mask_mode: str = "shared",
        output: str = "numpy",
        **head_inputs: Any,
    ) -> Output: ...
    @overload
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *more: Any,
        return_dict: Literal[False],
        **options: Any,
    ) -> tuple[Any, ...]: ...
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *more: Any,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        skip_padding: bool = False,
        trace: bool | Literal["unfused"] | Trace = False,
        training: bool = False,
        seed: int | None = None,
        mask_mode: MaskMode = "uniform",
        head_mask_mode: str = "shared",
        output: str = "numpy",
        **head_inputs: Any,
    ) -> Output | tuple[Any, ...]:
        """Runs the model on a batch. B, T and the other letters are those of config.py.

        input_ids: (B,T) or (T,) ints; or, in their place, inputs_embeds: (B,T,E) floats.
        attention_mask: (B,T), (B,T,T) or (B,1,T,T) [query, key] of 1 and 0; None means all ones.
        token_type_ids: (B,T) ints; None means all zeros. position_ids: (B,T) or (1,T); None means 0 … T−1.
        head_mask: (N,) or (L,N) factors for the attention probabilities. With head_mask_mode "shared" the rows mean what they
        mean in transformers; with "per_application" each application of the layer has its own row.
        output_attentions, output_hidden_states, return_dict: None means the config's value.
        skip_padding: compute real tokens only. What is skipped is zero in every output, and losses ignore it.
        trace: keep the intermediates of this very computation in `out.trace`, by name. `out.trace.absent` lists the steps
        that a fused engine does not compute by themselves. "unfused" computes step by step and keeps every intermediate. A
        Trace (run.py) is filled as "unfused" is: one that overrides __setitem__ may write each array away.
        training: apply dropout, drawn from `seed`, which must then be given.
        mask_mode: what a query with no key to attend to gets: "uniform" (as in transformers), "zeros" or "nan".
        output: "numpy"; or, with backend="cuda", "device": arrays that stay in GPU memory (backends.cuda.arrays.DeviceArray).
        head_inputs depend on the class. `labels` gives a loss; AlbertForPreTraining also needs sentence_order_label, and
        AlbertForQuestionAnswering takes start_positions and end_positions instead. logits_positions (B,M), for the two
        vocabulary heads, asks for the logits of those columns only; class_weights (K,), for the two classifiers, weigh the
        loss. See each class.
        more: the same without their names, in transformers' order: the labels of the class, then output_attentions,
        output_hidden_states and return_dict.
        `out.precision` says what was computed in. Raises ValueError for anything that it cannot do.
        """
        config = self.config
        asked = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            "return_dict": return_dict,
        }
        head_inputs, asked = self._named(more, head_inputs, asked)
        output_attentions, output_hidden_states, return_dict = asked.values()
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        # torchscript has always meant tuples in transformers
        return_dict = config.return_dict and not config.torchscript if return_dict is None else return_dict
        into = trace if isinstance(trace, Trace) else None
        if into is not None:
            trace = "unfused"
        if not isinstance(trace, (bool, str)) or trace not in TRACES:
            raise ValueError(f"trace must be True, False, 'unfused' or a Trace; got {shown(repr(trace), 80)}")
        if skip_padding and (output_attentions or trace):
            raise ValueError("skip_padding=True has no rectangular attentions or trace: ask for them without it")
        if (
            not isinstance(output, str)
            or output not in self._engine.outputs
            or (output != "numpy" and (trace or training))
        ):
            raise ValueError(
                "output must be 'numpy', or 'device' with backend='cuda', without trace or training; got "
                f"{shown(repr(output), 80)} with backend={self.backend!r}"
            )
        if output == "device" and skip_padding:
            raise ValueError("output='device' computes padded positions too: leave out skip_padding")
        if output == "device" and any(x is not None for name, x in head_inputs.items() if name in self.labels):
            raise ValueError("output='device' gives logits, and a loss is computed on the host: leave out the labels")
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        batch, checked = self._check(given, head_mask, head_mask_mode, mask_mode, training, seed, head_inputs)
        if skip_padding:
            self._check_real_tokens(batch)
        wanted = Wanted(
            hidden_states=output_hidden_states,
            attentions=output_attentions,
            skip_padding=skip_padding,
            mask_mode=mask_mode,
            trace="unfused" if trace == "unfused" else "fused" if trace else False,
            into=into,
            rng=np.random.default_rng(seed) if training else None,
            on_device=output == "device",
        )
        with _within_memory(batch):
            out = cast(Output, self._engine.forward(batch, self._bound_head(checked), wanted))
        out.precision = self.precision
        return out if return_dict else self._as_tuple(out)

    forward = __call__  # PyTorch's name for it

    def _named(
        self, more: tuple[Any, ...], head_inputs: dict[str, Any], asked: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments behind inputs_embeds by name: those of the head, and the others, which are `asked` so far."""
        names = (*self.labels, *asked)
        if len(more) > len(names):
            names_here = ", ".join(names) or "nothing"
            raise ValueError(
                f"{type(self).__name__} takes {names_here} behind inputs_embeds; got {len(more)} arguments"
            )
        by_place = dict(zip(names, more, strict=False))
        twice = [name for name in by_place if (head_inputs | asked).get(name) is not None]
        if twice:
            raise ValueError(f"{', '.join(twice)}: given in its place and again by name")
        asked = asked | {name: x for name, x in by_place.items() if name in asked}
        for name, value in asked.items():
            if value is not None and not isinstance(value, (bool, np.bool_, int)):
                raise ValueError(f"{name} must be True, False or None; got {shown(repr(value), 80)}")
        return head_inputs | {name: x for name, x in by_place.items() if name not in asked}, asked

    def _check(
        self,
        given: dict[str, Any],
        head_mask: Any,
        head_mask_mode: str,
        mask_mode: str,
        training: bool,
        seed: int | None,
        head_inputs: dict[str, Any],
    ) -> tuple[Inputs, dict[str, Any]]:
        """The checked batch, and the other arguments of `_head`."""
        self._take_on_changes()
        unknown = set(head_inputs) - set(self.head_inputs)
        if unknown:
            takes = ", ".join(self.head_inputs) or "no labels"
            raise ValueError(f"{type(self).__name__} takes {takes} beside its inputs; got {listed(sorted(unknown))}")
        if not isinstance(mask_mode, str) or mask_mode not in ops.MASK_MODES:
            raise ValueError(f"mask_mode must be one of {', '.join(ops.MASK_MODES)}; got {shown(repr(mask_mode), 80)}")
        if training:
            if seed is None:
                raise ValueError("training=True draws dropout and needs a seed=… to draw the same again")
            check_seed(seed)
        given, choices = self._flatten(given)
        batch = inputs.prepare(self.config, self.dtype, **given, head_mask=head_mask, head_mask_mode=head_mask_mode)
        return batch, self._checked(batch, choices, **head_inputs)

    # --- training ------------------------------------------------------------------------------------------------------

    def value_and_grad(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *more: Any,
        training: bool = False,
        seed: int | None = None,
        mask_mode: MaskMode = "uniform",
        head_mask_mode: str = "shared",
        per_application: bool = False,
        recompute: bool = False,
        all_logits: bool = False,
        trace: Trace | None = None,
        **labels: Any,
    ) -> tuple[Any, dict[str, Array]]:
        """The loss, and its gradient with respect to every parameter, under Hugging Face's names.

        The arguments not described here mean what they mean in a call.

        labels: whatever the class needs for a loss; or, without their names, `more`. training: apply dropout, drawn from
        `seed`.
        per_application: the gradients of a layer's parameters keep an axis for its applications, the first application
        first; the whole gradient is the sum over that axis.
        recompute: forget what a layer computed, and compute it again on the way back. This needs the memory of one layer, not
        of L layers.
        all_logits: compute the vocabulary logits of tokens without a label too. This changes only the time.
        trace: a Trace (run.py), to be filled with the gradient of the loss with respect to every step that it has a name
        for, the last step first: what backend "numpy" computes on its way back.
        Raises ValueError for anything that it cannot do, and if the labels give no loss.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        if trace is not None and (self.backend != "numpy" or not isinstance(trace, Trace)):
            raise ValueError(
                f"trace takes a Trace, and only backend 'numpy' fills one on the way back; got {type(trace).__name__} "
                f"with backend={self.backend!r}"
            )
        labels, _ = self._named(more, labels, {})
        batch, checked = self._check(given, head_mask, head_mask_mode, mask_mode, training, seed, labels)
        if not self.labels or any(labels.get(name) is None for name in self.labels):
            needed = " and ".join(self.labels) or "a head"
            raise ValueError(f"{type(self).__name__} has no loss to differentiate without {needed}")
        wanted = WantedGradients(
            mask_mode=mask_mode,
            rng=np.random.default_rng(seed) if training else None,
            per_application=per_application,
            recompute=recompute,
            all_logits=all_logits,
            into=trace,
        )
        with _within_memory(batch):
            loss, found = self._engine.loss_and_gradients(batch, self._bound_head(checked), wanted)
        found = {hub_name(name, self.parts): x for name, x in found.items()}
        parameters = dict(self.named_parameters())
        return loss, (gradients.by_application if per_application else gradients.totals)(found, parameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """All keywords of a call that a loss needs."""
        return tuple(name for name in self.head_inputs if name not in ("logits_positions", "class_weights"))

    def _bound_head(self, checked: dict[str, Any]) -> Head:
        """The head as an engine sees it: the functions below, with the labels of this call."""
        return Head(
            forward=partial(self._head, **checked),
            backward=partial(self._head_backward, **checked),
            reads=partial(self._reads, **checked),
        )

    def _head(self, run: Run, encoded: Encoded, *args: Any, **head_inputs: Any) -> Output:
        """Logits, and a loss if there are labels. The keywords are those that `_checked` returns."""
        raise NotImplementedError

    def _head_backward(self, back: Back, encoded: Encoded, *args: Any, **head_inputs: Any) -> Array:  # -> (B,T,H)
        """The gradient of the loss with respect to the encoder's output."""
        raise NotImplementedError

    def _reads(self, run: Run, batch: Inputs, **checked: Any) -> Array | None:  # -> (B,T) bool
        """Which of the encoder's states the loss reads; None means all."""
        return None

    def _pooled(self, run: Run, encoded: Encoded) -> Array:  # (B,T,H) -> (B,H)
        return heads.pooler(run, self._weights.pooler, encoded.hidden)

    def _pooled_backward(self, back: Back, encoded: Encoded, d_pooled: Array) -> Array:  # (B,H) -> (B,T,H)
        return gradients.pooler_backward(back, self._weights.pooler, d_pooled, encoded.hidden)

    @property
    def _dropout(self) -> float | None:
        return self.config.classifier_dropout_prob

    def _classifier_backward(self, back: Back, d_logits: Array, x: Array) -> Array:  # (..., K), (..., H) -> (..., H)
        w = self._weights.classifier
        return gradients.classifier_backward(back, "classifier", w, d_logits, x, self._dropout, "dropout")

    def _flatten(self, given: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """The inputs with one axis of sequences, and the number of choices if there was an axis of choices."""
        return given, None

    def _checked(self, batch: Inputs, choices: int | None, *args: Any, **head_inputs: Any) -> dict[str, Any]:
        """Labels and other inputs of the head as checked arrays: the keywords of `_head`."""
        return head_inputs

    def _as_tuple(self, out: ModelOutput) -> tuple[Any, ...]:
        return out.to_tuple()

    def _check_real_tokens(self, batch: Inputs) -> None:
        """Refuses masks that skip_padding cannot follow."""
        if batch.mask.ndim != 2:
            raise ValueError("skip_padding=True takes a (B, T) attention_mask: a mask of pairs leaves no token out")
        if not batch.mask.any(axis=1).all():
            empty = int(np.flatnonzero(~batch.mask.any(axis=1))[0])
            raise ValueError(f"skip_padding=True needs a real token in each sequence; sequence {empty} has none")
        if "pooler" in self.parts and not batch.mask[:, 0].all():
            first = int(np.flatnonzero(~batch.mask[:, 0])[0])
            raise ValueError(
                f"the pooler reads column 0, which skip_padding=True would skip in sequence {first}: pad on the right"
            )
