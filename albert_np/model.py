"""AlbertModel and the six heads beside it: config + weights + a table of ops, called with arrays, returning arrays.

Names, arguments, defaults and result fields are transformers' (4.57.6, modeling_albert.py), so that changing one import is
the whole migration. The arithmetic stands in embeddings.py, encoder.py and heads.py; this file joins it and adds losses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from albert_np import backend as backends
from albert_np import heads, inputs, ops, weights
from albert_np.config import AlbertConfig
from albert_np.embeddings import embeddings
from albert_np.encoder import Attending, encoder
from albert_np.files import listed
from albert_np.inputs import Inputs
from albert_np.ops import Array
from albert_np.outputs import (
    AlbertForPreTrainingOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from albert_np.run import Run, weight_tree

MASK_MODES = ("uniform", "zeros", "nan")


@dataclass(frozen=True)
class Encoded:
    """What a head starts from."""

    hidden: Array  # (B,T,H)
    pooled: Array | None  # (B,H)
    hidden_states: tuple[Array, ...] | None
    attentions: tuple[Array, ...] | None
    real: Array | None  # (B,T) bool with skip_padding: where something was computed; None is everywhere

    def zero_skipped(self, token_logits: Array) -> Array:  # (B,T,…) -> (B,T,…)
        if self.real is None:
            return token_logits
        return np.where(self.real[..., None], token_logits, token_logits.dtype.type(0))

    def ignore_skipped(self, labels: Array) -> Array:  # (B,T) int -> (B,T) int
        return labels if self.real is None else np.where(self.real, labels, ops.IGNORE_INDEX)


class AlbertPreTrainedModel:
    """What the seven classes share: making, loading, saving, listing and calling. Subclasses add a head."""

    parts: ClassVar[tuple[str, ...]] = ()  # the heads of weights.py whose tensors this class has
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
        """A freshly initialised model: weights from a truncated normal of deviation config.initializer_range.

        tensors: the stored arrays instead, under the names of weights.py (what from_pretrained passes).
        """
        if not isinstance(config, AlbertConfig):
            raise ValueError(f"config must be an AlbertConfig; got {type(config).__name__}")
        self.config = config
        self.dtype = backends.resolve_dtype(dtype)
        self.backend = backends.resolve_backend(backend, self.dtype)
        expected = weights.expected_shapes(config, self.parts)
        if tensors is None:
            tensors = weights.initialise(expected, config, self.dtype, seed)
        elif {name: (x.shape, x.dtype) for name, x in tensors.items()} != {
            name: (shape, self.dtype) for name, shape in expected.items()
        }:
            raise ValueError(f"tensors must be the {len(expected)} arrays of this config, in {self.dtype}")
        self._tensors = dict(tensors)
        self._weights = weight_tree(self._tensors)
        self._ops = backends.ops_table(self.backend)

    # --- making, saving, listing ---------------------------------------------------------------------------------------

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
    ) -> Any:
        """A model from a folder, "demo" or a hub id, of safetensors in float32, float16, bfloat16 or float64.

        dtype: "float32" (default, whatever the file holds) or "float64"; torch_dtype is an alias.
        missing: "error", or "init" to start a fine-tune with tensors drawn from `seed` where the file has none.
        ignore_mismatched_sizes: draw tensors of another shape from `seed` too (a new head over an old one).
        check_finite: "error", "warn" or "off" for NaN and infinity among the weights.
        output_loading_info: return (model, {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}).
        options: revision, cache_dir, local_files_only, token, subfolder, force_download say where files come from;
        every other keyword replaces a value of the config.
        Raises OSError (files, network) or ValueError (content, arguments), in one line, before any arithmetic.
        """
        torch_dtype = options.pop("torch_dtype", None)
        dtype = "float32" if dtype is None and torch_dtype is None else (torch_dtype if dtype is None else dtype)
        parts = cls._parts(options)
        where, config = weights.resolve_options(name_or_path, config, options)
        dtype = backends.resolve_dtype(dtype)
        backends.resolve_backend(backend, dtype)  # a backend that cannot run says so before gigabytes are read
        tensors, info = weights.load(
            name_or_path, where, config, parts, dtype,
            missing=missing, seed=seed, ignore_mismatched_sizes=ignore_mismatched_sizes, check_finite=check_finite,
        )  # fmt: skip
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
        """Writes config.json and model.safetensors, which transformers loads; tied tensors once, no file half written."""
        config = self.config.replace(architectures=[type(self).__name__], dtype=self.dtype.name)
        weights.save(folder, config, dict(self.named_parameters()))

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Each stored array once, under its Hugging Face name."""
        for name, array in self._tensors.items():
            yield weights.hub_name(name, self.parts), array

    def state_dict(self) -> dict[str, Array]:
        """The parameters and, for tied ones, their second names: the same arrays."""
        return weights.with_aliases(dict(self.named_parameters()))

    def num_parameters(self) -> int:
        return sum(array.size for _, array in self.named_parameters())

    # --- calling -------------------------------------------------------------------------------------------------------

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
        trace: bool = False,
        training: bool = False,
        seed: int | None = None,
        mask_mode: str = "uniform",
        head_mask_mode: str = "shared",
        **head_inputs: Any,
    ) -> Any:
        """Runs the model on a batch. B, T and the other letters are those of config.py.

        input_ids: (B,T) or (T,) ints, or inputs_embeds: (B,T,E) floats in their place.
        attention_mask: (B,T), (B,T,T) or (B,1,T,T) [query, key] of 1 and 0; None is all ones.
        token_type_ids: (B,T) ints; None is all zeros. position_ids: (B,T) or (1,T); None is 0 … T−1.
        head_mask: (N,) or (L,N) factors on the attention probabilities; head_mask_mode "shared" reads the rows as
        transformers does, "per_application" gives each application of the layer its own.
        output_attentions, output_hidden_states, return_dict: None takes the config's value.
        skip_padding: compute real tokens only; what is skipped is zero in every output and ignored by losses.
        trace: keep every intermediate, in `out.trace`, by name.
        training: apply dropout, drawn from `seed`, which must then be given.
        mask_mode: what a query with no key to attend to gets: "uniform" (as transformers), "zeros" or "nan".
        Raises ValueError for anything it cannot honour.
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return_dict = config.return_dict if return_dict is None else return_dict
        unknown = set(head_inputs) - set(self.head_inputs)
        if unknown:
            takes = ", ".join(self.head_inputs) or "no labels"
            raise ValueError(f"{type(self).__name__} takes {takes} beside its inputs; got {listed(sorted(unknown))}")
        if not isinstance(mask_mode, str) or mask_mode not in MASK_MODES:
            raise ValueError(f"mask_mode must be one of {', '.join(MASK_MODES)}; got {mask_mode!r}")
        if training:
            if seed is None:
                raise ValueError("training=True draws dropout and needs a seed=… to draw the same again")
            weights.check_seed(seed)
        if skip_padding and (output_attentions or trace):
            raise ValueError("skip_padding=True has no rectangular attentions or trace: ask for them without it")
        batch = inputs.prepare(
            config, self.dtype,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, head_mask=head_mask, head_mask_mode=head_mask_mode, inputs_embeds=inputs_embeds,
        )  # fmt: skip
        run = Run(self._ops, config, np.random.default_rng(seed) if training else None, {} if trace else None)
        encode = self._encode_real_tokens if skip_padding else self._encode
        encoded = encode(run, batch, mask_mode, output_attentions, output_hidden_states)
        out = self._head(run, encoded, **head_inputs)
        out.hidden_states, out.attentions, out.trace = encoded.hidden_states, encoded.attentions, run.trace  # type: ignore[attr-defined]
        return out if return_dict else out.to_tuple()

    def _encode(
        self, run: Run, batch: Inputs, mask_mode: Any, keep_attentions: bool, keep_hidden_states: bool,
        positions: Array | None = None,
    ) -> Encoded:  # fmt: skip
        w = self._weights
        x = embeddings(
            run, w.embeddings, batch.input_ids, batch.inputs_embeds, batch.token_type_ids, batch.position_ids
        )
        attending = Attending(batch.allowed, positions, batch.head_mask, mask_mode)
        x, hidden_states, attentions = encoder(
            run, w.encoder, x, attending, keep_hidden_states=keep_hidden_states, keep_attentions=keep_attentions
        )
        pooled = heads.pooler(run, w.pooler, x) if "pooler" in self.parts else None
        return Encoded(
            x, pooled, hidden_states if keep_hidden_states else None, attentions if keep_attentions else None, None
        )

    def _encode_real_tokens(
        self, run: Run, batch: Inputs, mask_mode: Any, keep_attentions: bool, keep_hidden_states: bool
    ) -> Encoded:
        """One sequence after the other without its padding, put back between zeros. Real tokens keep their positions."""
        B, T = batch.shape
        if batch.mask.ndim != 2:
            raise ValueError("skip_padding=True takes a (B, T) attention_mask: one of pairs leaves no token out")
        if not batch.mask.any(axis=1).all():
            empty = int(np.flatnonzero(~batch.mask.any(axis=1))[0])
            raise ValueError(f"skip_padding=True needs a real token in each sequence; sequence {empty} has none")
        if "pooler" in self.parts and not batch.mask[:, 0].all():
            first = int(np.flatnonzero(~batch.mask[:, 0])[0])
            raise ValueError(
                f"the pooler reads column 0, which skip_padding=True would skip in sequence {first}: pad on the right"
            )
        rows = []
        for b in range(B):
            columns = np.flatnonzero(batch.mask[b])
            position_row = batch.position_ids[b if len(batch.position_ids) == B else 0]
            one = Inputs(
                None if batch.input_ids is None else batch.input_ids[b : b + 1, columns],
                None if batch.inputs_embeds is None else batch.inputs_embeds[b : b + 1, columns],
                batch.token_type_ids[b : b + 1, columns],
                position_row[None, columns],
                np.ones((1, len(columns)), bool),
                batch.head_mask,
            )
            rows.append((columns, self._encode(run, one, mask_mode, False, keep_hidden_states, positions=columns)))

        def scattered(states: list[Array]) -> Array:  # B × (1,t,H) -> (B,T,H)
            full = np.zeros((B, T, self.config.hidden_size), self.dtype)
            for b, state in enumerate(states):
                full[b, rows[b][0]] = state[0]
            return full

        hidden_states = None
        if keep_hidden_states:
            hidden_states = tuple(
                scattered(list(layer)) for layer in zip(*(e.hidden_states for _, e in rows), strict=True)
            )
        pooled = np.concatenate([e.pooled for _, e in rows]) if "pooler" in self.parts else None
        return Encoded(scattered([e.hidden for _, e in rows]), pooled, hidden_states, None, batch.mask)

    def _head(self, run: Run, encoded: Encoded, *args: Any, **head_inputs: Any) -> ModelOutput:
        raise NotImplementedError


class AlbertModel(AlbertPreTrainedModel):
    """The encoder alone, with the pooler unless add_pooling_layer=False."""

    parts: tuple[str, ...] = ("pooler",)  # type: ignore[misc]
    head_inputs = ()

    def __init__(self, config: AlbertConfig, add_pooling_layer: bool = True, **made: Any) -> None:
        self.parts = ("pooler",) if add_pooling_layer else ()
        super().__init__(config, **made)

    @classmethod
    def _parts(cls, options: dict[str, Any]) -> tuple[str, ...]:
        return ("pooler",) if options.pop("add_pooling_layer", True) else ()

    @classmethod
    def _with_parts(cls, config: AlbertConfig, parts: tuple[str, ...], **made: Any) -> Self:
        return cls(config, add_pooling_layer=bool(parts), **made)

    def _head(self, run: Run, encoded: Encoded, **head_inputs: Any) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(last_hidden_state=encoded.hidden, pooler_output=encoded.pooled)


class _Predicts(AlbertPreTrainedModel):
    """The masked-language-model head of two classes."""

    def _predictions(self, run: Run, encoded: Encoded, positions: Array | None) -> Array:  # -> (B,T,V) or (B,M,V)
        hidden, real = encoded.hidden, encoded.real
        if positions is not None:
            batch = np.arange(len(hidden))[:, None]
            hidden, real = hidden[batch, positions], None if real is None else real[batch, positions]
        w = self._weights
        table = w.embeddings.word_embeddings if self.config.tie_word_embeddings else w.predictions.decoder
        logits = heads.predictions(run, w.predictions, table.weight, hidden)
        return Encoded(hidden, None, None, None, real).zero_skipped(logits)

    def _mlm_loss(self, encoded: Encoded, logits: Array, labels: Any) -> Any:
        V = self.config.vocab_size
        checked = encoded.ignore_skipped(inputs.labels("labels", labels, encoded.hidden.shape[:2], V))
        return ops.cross_entropy(logits.reshape(-1, V), checked.reshape(-1))

    def _positions(self, encoded: Encoded, logits_positions: Any, labels: Any) -> Array | None:  # -> (B,M) int
        if logits_positions is None:
            return None
        if labels is not None:
            raise ValueError("labels need the logits of every token: leave out labels or logits_positions")
        positions = inputs.integers("logits_positions", logits_positions, batch_of_one=True)
        B, T = encoded.hidden.shape[:2]
        if positions.ndim != 2 or len(positions) != B:
            raise ValueError(
                f"logits_positions must have the shape ({B}, M), M columns a sequence; got {positions.shape}"
            )
        inputs.in_range("logits_positions", positions, T, "columns are counted from 0", "column")
        return positions


class AlbertForPreTraining(_Predicts):
    """Masked-language-model and sentence-order logits; the loss, their sum, when both labels are given."""

    parts = ("pooler", "predictions", "sop_classifier")
    head_inputs = ("labels", "sentence_order_label", "logits_positions")

    def _head(
        self, run: Run, encoded: Encoded, labels: Any = None, sentence_order_label: Any = None, logits_positions: Any = None
    ) -> AlbertForPreTrainingOutput:  # fmt: skip
        positions = self._positions(encoded, logits_positions, labels)
        prediction_logits = self._predictions(run, encoded, positions)
        assert encoded.pooled is not None
        sop_logits = heads.sop_classifier(run, self._weights.sop_classifier, encoded.pooled)
        loss = None
        if labels is not None and sentence_order_label is not None:
            order = inputs.labels("sentence_order_label", sentence_order_label, (len(sop_logits),), 2)
            loss = self._mlm_loss(encoded, prediction_logits, labels) + ops.cross_entropy(sop_logits, order)
        return AlbertForPreTrainingOutput(loss=loss, prediction_logits=prediction_logits, sop_logits=sop_logits)


class AlbertForMaskedLM(_Predicts):
    """Logits over the vocabulary for every token, or for the columns in logits_positions (B,M)."""

    parts = ("predictions",)
    head_inputs = ("labels", "logits_positions")

    def _head(
        self, run: Run, encoded: Encoded, labels: Any = None, logits_positions: Any = None
    ) -> MaskedLMOutput:  # fmt: skip
        logits = self._predictions(run, encoded, self._positions(encoded, logits_positions, labels))
        loss = None if labels is None else self._mlm_loss(encoded, logits, labels)
        return MaskedLMOutput(loss=loss, logits=logits)


class AlbertForSequenceClassification(AlbertPreTrainedModel):
    """One row of K logits a sequence. The loss follows config.problem_type, or what the labels look like."""

    parts = ("pooler", "classifier")

    def _head(self, run: Run, encoded: Encoded, labels: Any = None) -> SequenceClassifierOutput:
        pooled, dropout = encoded.pooled, self.config.classifier_dropout_prob
        assert pooled is not None
        logits = heads.classifier(run, self._weights.classifier, pooled, dropout)
        loss = None if labels is None else self._loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _loss(self, logits: Array, labels: Any) -> Any:
        """As transformers infers it: one label is regression, integer labels are classes, others are multi-label.

        The inferred type is not written into the config, where it would bind the next call.
        """
        B, K = logits.shape
        problem = self.config.problem_type
        if problem is None:
            is_int = inputs.array("labels", labels).dtype.kind in "iu"
            several = "single_label_classification" if is_int else "multi_label_classification"
            problem = "regression" if K == 1 else several
        if problem == "single_label_classification":
            return ops.cross_entropy(logits, inputs.labels("labels", labels, (B,), K))
        target = inputs.floats("labels", labels, (B, K), self.dtype)
        return ops.mse_loss(logits, target) if problem == "regression" else ops.bce_with_logits(logits, target)


class AlbertForTokenClassification(AlbertPreTrainedModel):
    """One row of K logits a token."""

    parts = ("classifier",)

    def _head(self, run: Run, encoded: Encoded, labels: Any = None) -> TokenClassifierOutput:
        config = self.config
        # without a classifier_dropout_prob this head, and only this one, takes the hidden one
        dropout = config.classifier_dropout_prob
        dropout = config.hidden_dropout_prob if dropout is None else dropout
        logits = encoded.zero_skipped(heads.classifier(run, self._weights.classifier, encoded.hidden, dropout))
        loss = None
        if labels is not None:
            checked = encoded.ignore_skipped(inputs.labels("labels", labels, logits.shape[:2], config.num_labels))
            loss = ops.cross_entropy(logits.reshape(-1, config.num_labels), checked.reshape(-1))
        return TokenClassifierOutput(loss=loss, logits=logits)


class AlbertForQuestionAnswering(AlbertPreTrainedModel):
    """Start and end logits for every token; the loss when both positions are given."""

    parts = ("qa_outputs",)
    head_inputs = ("start_positions", "end_positions")

    def _head(
        self, run: Run, encoded: Encoded, start_positions: Any = None, end_positions: Any = None
    ) -> QuestionAnsweringModelOutput:
        logits = [
            encoded.zero_skipped(x[..., None])[..., 0]
            for x in heads.qa_outputs(run, self._weights.qa_outputs, encoded.hidden)
        ]
        loss = None
        if start_positions is not None and end_positions is not None:
            targets = ("start_positions", start_positions), ("end_positions", end_positions)
            losses = [self._loss(encoded, x, *target) for x, target in zip(logits, targets, strict=True)]
            loss = (losses[0] + losses[1]) / 2
        return QuestionAnsweringModelOutput(loss=loss, start_logits=logits[0], end_logits=logits[1])

    def _loss(self, encoded: Encoded, logits: Array, name: str, positions: Any) -> Any:
        """Cross entropy over the columns. Positions are clamped to [0, T], and T, outside the input, is ignored."""
        B, T = logits.shape
        x = inputs.integers(name, positions).reshape(-1)
        inputs.same_shape(name, x, (B,))
        x = np.clip(x, 0, T)
        if encoded.real is not None:  # a skipped column is neither an answer nor part of the sum
            answerable = np.append(encoded.real, np.zeros((B, 1), bool), axis=1)[np.arange(B), x]
            x = np.where(answerable, x, T)
            logits = np.where(encoded.real, logits, np.finfo(logits.dtype).min)
        return ops.cross_entropy(logits, x, ignore_index=T)


class AlbertForMultipleChoice(AlbertPreTrainedModel):
    """One logit a choice: inputs are (B, choices, T), each choice a sequence of its own."""

    parts = ("pooler", "choice")
    head_inputs = ("labels", "num_choices")

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        **options: Any,
    ) -> Any:
        """As the other models, with an axis of choices after B in every input; logits are (B, choices)."""
        given = {
            "input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids,
            "position_ids": position_ids, "inputs_embeds": inputs_embeds,
        }  # fmt: skip
        arrays = {name: inputs.array(name, value) for name, value in given.items() if value is not None}
        flat: dict[str, Any] = {"head_mask": head_mask}
        shapes = {}
        for name, x in arrays.items():
            axes = 4 if name == "inputs_embeds" else 3
            if x.ndim != axes:
                raise ValueError(
                    f"{name} must have {axes} axes (B, choices, T{', E' if axes == 4 else ''}); got {x.shape}"
                )
            flat[name], shapes[name] = x.reshape(-1, *x.shape[2:]), x.shape[:2]
        main = "inputs_embeds" if input_ids is None else "input_ids"
        for name, shape in shapes.items():
            if shape != shapes.get(main, shape):
                raise ValueError(f"{name} must begin with (B, choices) = {shapes[main]} as {main}; got {shape}")
        num_choices = shapes[main][1] if main in shapes else None
        return super().__call__(**flat, num_choices=num_choices, **options)

    def _head(
        self, run: Run, encoded: Encoded, labels: Any = None, num_choices: Any = None
    ) -> MultipleChoiceModelOutput:
        pooled, dropout = encoded.pooled, self.config.classifier_dropout_prob
        assert pooled is not None
        logits = heads.classifier(run, self._weights.classifier, pooled, dropout).reshape(-1, num_choices)
        loss = None
        if labels is not None:
            loss = ops.cross_entropy(logits, inputs.labels("labels", labels, (len(logits),), num_choices))
        return MultipleChoiceModelOutput(loss=loss, logits=logits)
