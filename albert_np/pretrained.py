"""What the seven model classes share: making, loading, saving and listing, and the steps of a call before the head.

A call first checks all its input, labels included. Then the encoder runs, on all tokens or on real tokens only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, overload

import numpy as np

from albert_np import gradients, heads, inputs, ops
from albert_np.backends import choose
from albert_np.checkpoints.initialise import check_seed, initialise
from albert_np.checkpoints.load import load, resolve_options
from albert_np.checkpoints.names import expected_shapes, hub_name, with_aliases
from albert_np.checkpoints.save import save
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.gradients import Back
from albert_np.inputs import Inputs
from albert_np.ops import Array, MaskMode
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Wanted, WantedGradients, weight_tree

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


class AlbertPreTrainedModel(Generic[Output]):
    """The base of the seven model classes: making, loading, saving, listing and calling. Subclasses add a head."""

    parts: ClassVar[tuple[str, ...]] = ()  # the heads of checkpoints/names.py whose tensors this class has
    head_inputs: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(
        self,
        config: AlbertConfig,
        *,
        seed: int = 0,
        backend: str = "auto",
        dtype: Any = "float32",
        tensors: Mapping[str, Array] | None = None,
    ) -> None:
        """A freshly initialised model: weights from a truncated normal with standard deviation config.initializer_range.

        dtype: what the model computes in, as in from_pretrained; the attribute `precision` holds it. The arrays, and the
        attribute `dtype`, are float32 or float64.
        tensors: stored arrays to use instead, under the names of checkpoints/names.py (from_pretrained passes them).
        """
        if not isinstance(config, AlbertConfig):
            raise ValueError(f"config must be an AlbertConfig; got {type(config).__name__}")
        self.config = config
        self.precision = choose.resolve_precision(dtype)
        self.dtype = choose.DTYPES[self.precision]
        self.backend = choose.resolve_backend(backend, self.precision)
        expected = expected_shapes(config, self.parts)
        if tensors is None:
            tensors = initialise(expected, config, self.dtype, seed)
        elif not isinstance(tensors, Mapping) or {
            name: (np.shape(x), getattr(x, "dtype", None)) for name, x in tensors.items()
        } != {name: (shape, self.dtype) for name, shape in expected.items()}:
            raise ValueError(f"tensors must be the {len(expected)} arrays of this config, in {self.dtype}")
        self._tensors = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
        self._weights = weight_tree(self._tensors)
        self._engine = choose.make(self.backend, self._weights, config, self.precision)

    def __repr__(self) -> str:
        c = self.config
        sizes = f"V={c.vocab_size}, E={c.embedding_size}, H={c.hidden_size}, L={c.num_hidden_layers}"
        name, count = type(self).__name__, self.num_parameters()
        return f"{name}({sizes}, backend={self.backend!r}, dtype={self.precision!r}, {count:,} parameters)"

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in vars(self).items() if name != "_engine"
        }  # an engine has memory of its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._engine = choose.make(self.backend, self._weights, self.config, self.precision)

    # --- making, saving, listing ---------------------------------------------------------------------------------------

    @overload
    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike,
        *,
        backend: str = "auto",
        dtype: Any = None,
        config: AlbertConfig | None = None,
        missing: str = "error",
        seed: int = 0,
        ignore_mismatched_sizes: bool = False,
        check_finite: str = "error",
        output_loading_info: Literal[False] = False,
        **options: Any,
    ) -> Self: ...
    @overload
    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike, *, output_loading_info: Literal[True], **options: Any
    ) -> tuple[Self, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike,
        *,
        backend: str = "auto",
        dtype: Any = None,
        config: AlbertConfig | None = None,
        missing: str = "error",
        seed: int = 0,
        ignore_mismatched_sizes: bool = False,
        check_finite: str = "error",
        output_loading_info: bool = False,
        **options: Any,
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Loads a model from a folder, "demo" or a hub id: safetensors in float32, float16, bfloat16 or float64.

        dtype: "float32" (the default, whatever the file holds) or "float64"; torch_dtype is an alias. backend="cuda" also
        takes "tf32" and "bfloat16": products are then computed in that type, on tensor cores, and weights and results stay
        in float32.
        missing: "error", or "init" to start a fine-tune: tensors that the file does not have are then drawn from `seed`.
        ignore_mismatched_sizes: draw tensors from `seed` too where the file's have another shape (a new head for an old one).
        check_finite: what to do about NaN and infinity in the weights: "error", "warn" or "off".
        output_loading_info: return (model, {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}).
        options: revision, cache_dir, local_files_only, token, subfolder and force_download say where files come from;
        every other keyword replaces a value of the config.
        Raises OSError (files, network) or ValueError (content, arguments), in one line, before any arithmetic.
        """
        torch_dtype = options.pop("torch_dtype", None)
        dtype = "float32" if dtype is None and torch_dtype is None else (torch_dtype if dtype is None else dtype)
        parts = cls._parts(options)
        where, config = resolve_options(name_or_path, config, options)
        dtype = choose.resolve_precision(dtype)
        choose.resolve_backend(backend, dtype)  # a backend that cannot run says so before gigabytes are read
        tensors, info = load(
            name_or_path,
            where,
            config,
            parts,
            choose.DTYPES[dtype],
            missing=missing,
            seed=seed,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            check_finite=check_finite,
        )
        model = cls._with_parts(config, parts, backend=backend, dtype=dtype, tensors=tensors)
        return (model, info) if output_loading_info else model

    @classmethod
    def _parts(cls, options: dict[str, Any]) -> tuple[str, ...]:
        if "add_pooling_layer" in options:
            raise ValueError(f"add_pooling_layer is an argument of AlbertModel; {cls.__name__} has its own layout")
        return cls.parts

    @classmethod
    def _with_parts(cls, config: AlbertConfig, parts: tuple[str, ...], **made: Any) -> Self:
        return cls(config, **made)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which transformers can load. Tied tensors are written once, and no file
        is left half written."""
        config = self.config.replace(architectures=[type(self).__name__], dtype=self.dtype.name)
        save(folder, config, dict(self.named_parameters()))

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Each stored array once, under its Hugging Face name."""
        for name, array in self._tensors.items():
            yield hub_name(name, self.parts), array

    def state_dict(self) -> dict[str, Array]:
        """The parameters by name. A tied one appears under its second name too, as the same array."""
        return with_aliases(dict(self.named_parameters()))

    def num_parameters(self) -> int:
        """How many numbers the parameters hold. Tied parameters count once."""
        return sum(array.size for _, array in self.named_parameters())

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
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: Literal[True] | None = None,
        skip_padding: bool = False,
        trace: bool | Literal["unfused"] = False,
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
        *,
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
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        skip_padding: bool = False,
        trace: bool | Literal["unfused"] = False,
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
        that a fused engine does not compute by themselves. "unfused" computes step by step and keeps every intermediate.
        training: apply dropout, drawn from `seed`, which must then be given.
        mask_mode: what a query with no key to attend to gets: "uniform" (as in transformers), "zeros" or "nan".
        output: "numpy"; or, with backend="cuda", "device": arrays that stay in GPU memory (backends.cuda.arrays.DeviceArray).
        head_inputs depend on the class. `labels` gives a loss; AlbertForPreTraining also needs sentence_order_label, and
        AlbertForQuestionAnswering takes start_positions and end_positions instead. logits_positions (B,M), for the two
        vocabulary heads, asks for the logits of those columns only. See each class.
        Raises ValueError for anything that it cannot do.
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        # torchscript has always meant tuples in transformers
        return_dict = config.return_dict and not config.torchscript if return_dict is None else return_dict
        if not isinstance(trace, (bool, str)) or trace not in TRACES:
            raise ValueError(f"trace must be True, False or 'unfused'; got {shown(repr(trace), 80)}")
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
            rng=np.random.default_rng(seed) if training else None,
            on_device=output == "device",
        )
        with _within_memory(batch):
            out = cast(Output, self._engine.forward(batch, self._bound_head(checked), wanted))
        return out if return_dict else self._as_tuple(out)

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
        *,
        training: bool = False,
        seed: int | None = None,
        mask_mode: MaskMode = "uniform",
        head_mask_mode: str = "shared",
        per_application: bool = False,
        recompute: bool = False,
        all_logits: bool = False,
        **labels: Any,
    ) -> tuple[Any, dict[str, Array]]:
        """The loss, and its gradient with respect to every parameter, under Hugging Face's names.

        The arguments not described here mean what they mean in a call.

        labels: whatever the class needs for a loss. training: apply dropout, drawn from `seed`.
        per_application: the gradients of a layer's parameters keep an axis for its applications, the first application
        first; the whole gradient is the sum over that axis.
        recompute: forget what a layer computed, and compute it again on the way back. This needs the memory of one layer, not
        of L layers.
        all_logits: compute the vocabulary logits of tokens without a label too. This changes only the time.
        Raises ValueError for anything that it cannot do, and if the labels give no loss.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
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
        )
        with _within_memory(batch):
            loss, found = self._engine.loss_and_gradients(batch, self._bound_head(checked), wanted)
        found = {hub_name(name, self.parts): x for name, x in found.items()}
        parameters = dict(self.named_parameters())
        return loss, (gradients.by_application if per_application else gradients.totals)(found, parameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """All keywords of a call that a loss needs."""
        return tuple(name for name in self.head_inputs if name != "logits_positions")

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

    def parameters_to_change(self) -> dict[str, Array]:
        """The stored arrays under Hugging Face's names, to be changed in place. Their packed copies are forgotten.

        Call this before each change, because a call of the model packs its weights and makes the arrays read-only.
        """
        changed = {}
        for name, x in self._tensors.items():
            changed[name] = x
            try:
                x.flags.writeable = True
            except ValueError:  # a view of somebody else's memory, such as a mapped file
                changed[name] = x.copy()
        self._use(changed)
        return dict(self.named_parameters())

    def _use(self, tensors: dict[str, Array]) -> None:
        """The stored arrays are these from now on, for the head and for the engine."""
        self._tensors = tensors
        self._weights = weight_tree(tensors)
        self._engine.forget_weights(self._weights)

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
