"""The seven Flax classes of transformers 4.57.6: the models of model.py, called as Flax's are. NumPy arrays go in and out.

Names, order of arguments and fields of outputs are those of modeling_flax_albert.py. The arithmetic is that of model.py, and so
are the answers where Flax's classes compute something else: relative positions count, which Flax's leave out; a LayerNorm keeps
its precision far from zero; weights in half precision are taken to float32 before anything is added; and in training, a
classifier drops out what PyTorch's does. Dropout is drawn from NumPy's generator and not from JAX's. The head for the order of
sentences has two logits, as Flax's, whatever num_labels says.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from albert_np import inputs, model
from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats.flax_names import is_kernel, stored_name, understood
from albert_np.checkpoints.initialise import initialise
from albert_np.checkpoints.load import load_state_dict
from albert_np.checkpoints.memory import tensor_of
from albert_np.checkpoints.names import expected_shapes, hub_name
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.flax_outputs import (
    FlaxAlbertForPreTrainingOutput,
    FlaxBaseModelOutputWithPooling,
    FlaxMaskedLMOutput,
    FlaxModelOutput,
    FlaxMultipleChoiceModelOutput,
    FlaxQuestionAnsweringModelOutput,
    FlaxSequenceClassifierOutput,
    FlaxTokenClassifierOutput,
)
from albert_np.flax_params import SOURCE, LiveParams, checked, flattened, is_same, nested, put, seed_of
from albert_np.ops import Array
from albert_np.outputs import ModelOutput

# what a call of the classes in model.py takes, beside what their heads take
OPTIONS = frozenset(inspect.signature(AlbertPreTrainedModel.__call__).parameters)

HEADS_WITH_DROPOUT = frozenset(
    ("choice", "classifier", "sop_classifier")
)  # parts of names.py that drop out their own input

# what Flax's classes have and these do not -> what to do
ELSEWHERE = dict.fromkeys(
    ("to_bf16", "to_fp16", "to_fp32"),
    "params of any of these dtypes are taken, and are computed with in float32; albert_np.convert(…, dtype=…) stores others",
) | {
    "enable_gradient_checkpointing": "value_and_grad(…, recompute=True) needs the memory of one layer",
    "module": "call the model, with params= for other params",
    "params_shape_tree": "required_params has the paths of the leaves, and params the leaves",
}

FlaxOutput = TypeVar("FlaxOutput", bound=FlaxModelOutput)


class FlaxAlbertPreTrainedModel(AlbertPreTrainedModel[Any], Generic[FlaxOutput]):
    """The base of the seven Flax classes. Each is one of the classes of model.py too, with all that those have."""

    own_format = "msgpack"
    holds_int8 = False  # params are arrays
    class_prefix = "Flax"
    elsewhere = ELSEWHERE
    output_class: ClassVar[type[FlaxModelOutput]]
    _is_initialized = True
    _live: LiveParams | None = None  # once somebody has asked for `params`
    _other: Any = None  # a model like this one, with the other params that were given last

    def __init__(
        self,
        config: AlbertConfig,
        input_shape: tuple[int, ...] = (1, 1),
        seed: int = 0,
        dtype: Any = "float32",
        _do_init: bool = True,
        **made: Any,
    ) -> None:
        """A freshly initialised model, as AlbertModel's. input_shape changes nothing.

        _do_init=False: the model has no `params`, and each call must be given some.
        """
        super().__init__(config, seed=seed, dtype=_dtype_of(dtype), **made)
        self.input_shape = input_shape
        self._is_initialized = _do_init

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        dtype: Any = None,
        *model_args: Any,
        _do_init: bool = True,
        **options: Any,
    ) -> Any:
        """Loads a model from a folder, "demo" or a hub id: flax_model.msgpack first, and then any other format that it has.

        dtype: "float32" or "float64", or NumPy's or JAX's types of that name. from_pt=True reads nothing but PyTorch's files.
        _do_init=False: returns (a model without `params`, the params). All else is as in AlbertModel.from_pretrained: a head
        that the files do not have is refused unless missing="init".
        """
        options.pop("input_shape", None)
        if not _do_init and options.get("output_loading_info"):
            raise ValueError("with _do_init=False the second value is the params: leave out output_loading_info")
        made = super().from_pretrained(pretrained_model_name_or_path, *model_args, dtype=_dtype_of(dtype), **options)
        if _do_init:
            return made
        params = made.params
        made._is_initialized = False
        return made, params

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike,
        params: Mapping[str, Any] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "10GB",
        token: Any = None,
        safe_serialization: bool = True,
        **options: Any,
    ) -> None:
        """Writes config.json and model.safetensors, which the other classes and transformers' PyTorch classes read too.

        params: others than the model's own. safe_serialization: False writes flax_model.msgpack, which transformers' Flax
        classes read. All else is as in AlbertModel.save_pretrained.
        """
        self._need_params(params)
        super(FlaxAlbertPreTrainedModel, self if params is None else self._with(params)).save_pretrained(
            save_directory,
            push_to_hub=push_to_hub,
            max_shard_size=max_shard_size,
            token=token,
            safe_serialization=safe_serialization,
            **options,
        )

    # --- calling -------------------------------------------------------------------------------------------------------

    def __call__(  # type: ignore[override]
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        params: Mapping[str, Any] | None = None,
        dropout_rng: Any = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> FlaxOutput:
        """Runs the model on a batch; with return_dict=False, it returns a tuple.

        input_ids, token_type_ids and position_ids may be floats that are whole numbers, such as np.ones((1, 1)).
        params: nested dicts as `params` has them, with which this call computes. Where they are the model's own, that costs
        nothing. Others are compared, which copies nothing, with those that were given last; if they differ, a second model
        is made of them and kept, which shares the arrays that are this model's.
        dropout_rng: for train=True, a seed, or a key of two uint32: jax.random.PRNGKey(7) is the seed 7.
        options: whatever else a call of the class in model.py takes, except labels, of which Flax's classes know nothing.
        Raises ValueError for anything that it cannot do.
        """
        refused = [name for name in ("labels", "training", "seed", *self.labels) if options.pop(name, None) is not None]
        if refused:
            raise ValueError(
                f"Flax's classes take train=, dropout_rng= and no labels; got {listed(list(dict.fromkeys(refused)))}: "
                "value_and_grad(…) gives a loss"
            )
        unknown = [name for name in options if name not in OPTIONS and name not in self.head_inputs]
        if unknown:
            takes = listed(["Flax's arguments", *(name for name in self.head_inputs if name not in self.labels)])
            raise ValueError(f"{type(self).__name__} takes {takes}; got {listed(unknown)}")
        if not isinstance(train, (bool, np.bool_)):
            raise ValueError(f"train must be True or False; got {shown(repr(train), 80)}")
        self._need_params(params)
        out = super(FlaxAlbertPreTrainedModel, self if params is None else self._with(params)).__call__(
            _whole("input_ids", input_ids),
            attention_mask,
            _whole("token_type_ids", token_type_ids),
            _whole("position_ids", position_ids),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,  # type: ignore[arg-type]
            training=train,
            seed=self._dropout_seed(dropout_rng) if train else None,
            **options,
        )
        return out if isinstance(out, tuple) else self.output_class.of(out)  # type: ignore[return-value]

    forward = __call__  # type: ignore[assignment]

    def value_and_grad(
        self, *given: Any, params: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Array]]:
        """The loss and its gradients, as in AlbertModel, at the model's own params or at those that are given."""
        self._need_params(params)
        whole = self if params is None else self._with(params)
        return super(FlaxAlbertPreTrainedModel, whole).value_and_grad(*given, **options)

    def _dropout_seed(self, dropout_rng: Any) -> int:
        config = self.config
        if dropout_rng is not None:
            return seed_of(dropout_rng)
        of_head = config.classifier_dropout_prob and not HEADS_WITH_DROPOUT.isdisjoint(self.parts)
        if any((config.hidden_dropout_prob, config.attention_probs_dropout_prob, of_head)):
            raise ValueError("train=True draws dropout, and needs dropout_rng: a seed, or a key of two uint32")
        return 0

    def _need_params(self, params: Any) -> None:
        if params is None and not self._is_initialized:
            raise ValueError("a model that was made with _do_init=False has no params of its own: give params=")

    # --- params --------------------------------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Any]:
        """The weights as nested dicts under Flax's names. Kernels are transposed; all leaves are read-only views.

        It is the same dict each time. A leaf that is put in it counts from the model's next call on, and so does assigning
        other params: `model.params = params`. Their values are copied, and rounded to the model's dtype; `model.params` is
        another dict then, and the one before keeps what it holds. Where the model's arrays change in place
        (albert_np.training does that), so do these views; to_flax_params gives copies.
        Assigning raises ValueError, and the model's next call does, where names or shapes are not this model's, and for NaN.
        """
        self._need_params(None)
        live = self._live
        if live is None:
            self._live = live = LiveParams(self._by_flax_name(self._held))
        return live.tree

    @params.setter
    def params(self, params: Mapping[str, Any]) -> None:
        self._need_params(None)
        tensors = self._replaced(params)
        self._live = None  # what was handed out before keeps what it holds
        self._use(tensors)

    @property
    def required_params(self) -> set[tuple[str, ...]]:
        """The paths of all leaves."""
        return {tuple(name.split("/")) for name in self._by_flax_name(self._held)}

    def init_weights(
        self, rng: Any, input_shape: tuple[int, ...] = (1, 1), params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Params of a freshly initialised model. Those that are given stay as they are; rng is as dropout_rng in a call."""
        drawn = initialise(expected_shapes(self.config, self.parts), self.config, self.dtype, seed_of(rng))
        tree = nested({name: x.T if is_kernel(name) else x for name, x in self._by_flax_name(drawn).items()})
        for name, leaf in flattened({} if params is None else params).items():
            put(tree, name, leaf)
        return tree

    @property
    def _tensors(self) -> dict[str, Array]:
        """The stored arrays, after what was put into `params`."""
        self._take_on_changes()
        return self._held

    @_tensors.setter
    def _tensors(self, tensors: dict[str, Array]) -> None:
        self._held, self._other = tensors, None
        live = self._live
        if live is not None:
            live.fill(self._by_flax_name(tensors))

    def _by_flax_name(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        return {stored_name(hub_name(name, self.parts)): x for name, x in tensors.items()}

    def _take_on_changes(self) -> None:
        live = self._live
        if live is not None and not live.is_as_filled() and not live.owns(flattened(live.tree)):
            self._use(self._replaced(live.tree))

    def _with(self, params: Mapping[str, Any]) -> Self:
        """A model that has these params: this one, or the one that was made for other params, or a new one."""
        self._take_on_changes()
        live = self._live  # another thread may assign params meanwhile
        if live is not None and (params is live.tree or live.owns(flattened(params))):
            return self
        held = self._by_flax_name(self._held)
        leaves = checked(params, {name: x.shape for name, x in held.items()})
        own = {name for name, leaf in leaves.items() if self._is_own(name, leaf)}
        for known in filter(None, (self._other, self)):
            arrays = known._by_flax_name(known._held)
            same = ((name in own and x is held[name]) or is_same(name, leaves[name], x) for name, x in arrays.items())
            if all(same):
                return known
        made = {"backend": self.backend, "dtype": self.precision, "tensors": self._replaced(params)}
        self._other = other = type(self)._with_parts(self.config, self.parts, **made)
        return other

    def _is_own(self, name: str, leaf: Array) -> bool:
        live = self._live
        return live is not None and live.leaves[name] is leaf

    def _replaced(self, params: Any) -> dict[str, Array]:
        """The model's arrays, with new ones where the params have other values."""
        held = self._by_flax_name(self._held)
        leaves = checked(params, {name: x.shape for name, x in held.items()})
        other = {n: x for n, x in leaves.items() if not self._is_own(n, x) and not is_same(n, x, held[n])}
        names = dict(zip(held, self._held, strict=True))
        found = {names[name]: understood(tensor_of(name, x, SOURCE)) for name, x in other.items()}
        tensors, _ = load_state_dict(
            self._held, found, SOURCE, self.config, self.parts, strict=False, check_finite="error"
        )
        return tensors

    def __getstate__(self) -> dict[str, Any]:
        self._take_on_changes()
        return {name: value for name, value in super().__getstate__().items() if name not in ("_live", "_other")}


def _dtype_of(dtype: Any) -> Any:
    """JAX's types of numbers say what NumPy's they are; all others as they are."""
    found = getattr(dtype, "dtype", None)
    return found if isinstance(found, np.dtype) else dtype


def _whole(name: str, value: Any) -> Any:
    """An array of floats that are whole numbers as integers, because Flax casts; all else as it is."""
    if getattr(getattr(value, "dtype", None), "kind", "") != "f":
        return value
    x = inputs.array(name, value)
    with np.errstate(invalid="ignore"):  # NaN is no whole number, and is refused with all others
        whole = x.astype(np.int64)
    return whole if np.array_equal(whole, x) else value


class FlaxAlbertModel(FlaxAlbertPreTrainedModel[FlaxBaseModelOutputWithPooling], model.AlbertModel):
    """AlbertModel, called as Flax's."""

    output_class = FlaxBaseModelOutputWithPooling

    def _as_tuple(self, out: ModelOutput) -> tuple[Any, ...]:
        return out.to_tuple()  # no place is kept for a pooler that is not there


class FlaxAlbertForPreTraining(FlaxAlbertPreTrainedModel[FlaxAlbertForPreTrainingOutput], model.AlbertForPreTraining):
    """AlbertForPreTraining, called as Flax's."""

    output_class = FlaxAlbertForPreTrainingOutput


class FlaxAlbertForMaskedLM(FlaxAlbertPreTrainedModel[FlaxMaskedLMOutput], model.AlbertForMaskedLM):
    """AlbertForMaskedLM, called as Flax's."""

    output_class = FlaxMaskedLMOutput


class FlaxAlbertForSequenceClassification(
    FlaxAlbertPreTrainedModel[FlaxSequenceClassifierOutput], model.AlbertForSequenceClassification
):
    """AlbertForSequenceClassification, called as Flax's."""

    output_class = FlaxSequenceClassifierOutput


class FlaxAlbertForMultipleChoice(
    FlaxAlbertPreTrainedModel[FlaxMultipleChoiceModelOutput], model.AlbertForMultipleChoice
):
    """AlbertForMultipleChoice, called as Flax's."""

    output_class = FlaxMultipleChoiceModelOutput


class FlaxAlbertForTokenClassification(
    FlaxAlbertPreTrainedModel[FlaxTokenClassifierOutput], model.AlbertForTokenClassification
):
    """AlbertForTokenClassification, called as Flax's."""

    output_class = FlaxTokenClassifierOutput


class FlaxAlbertForQuestionAnswering(
    FlaxAlbertPreTrainedModel[FlaxQuestionAnsweringModelOutput], model.AlbertForQuestionAnswering
):
    """AlbertForQuestionAnswering, called as Flax's."""

    output_class = FlaxQuestionAnsweringModelOutput
