"""What models have in common with PyTorch's modules: a tree of parts, a device, a mode, and tables that can be resized."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from albert_np import inputs
from albert_np.backends import choose
from albert_np.checkpoints.names import PREFIX, hub_name, with_aliases
from albert_np.config import AlbertConfig
from albert_np.device import Device, device_of
from albert_np.ops import Array
from albert_np.pretrained import StoredModel
from albert_np.quantization.weights import calibration_rows, quantised, rounded_to_bfloat16
from albert_np.resize import TABLES, resized, resized_config
from albert_np.tree import Part

# what code for PyTorch puts in another module's place, or sets beside it
_PARTS = (
    "albert",
    "classifier",
    "embeddings",
    "encoder",
    "num_labels",
    "pooler",
    "predictions",
    "qa_outputs",
    "sop_classifier",
)


class Module(StoredModel):
    """A stored model with the names that code for PyTorch asks for. Nothing here computes."""

    base_model_prefix = PREFIX.rstrip(".")
    config_class = AlbertConfig
    main_input_name = "input_ids"
    framework = "np"  # whose arrays a model takes and gives
    training = False
    elsewhere: ClassVar[Mapping[str, str]] = {}  # names of another framework that are not here -> what to do

    # --- the tree ------------------------------------------------------------------------------------------------------

    if TYPE_CHECKING:  # the parts that a class has; the others are refused when they are asked for
        classifier: Part
        embeddings: Part
        encoder: Part
        pooler: Part
        predictions: Part
        qa_outputs: Part
        sop_classifier: Part
    else:

        def __getattr__(self, name: str) -> Part:
            """A part by name. Those of the encoder are there in models with a head too, and in `model.albert`."""
            found = None
            if not name.startswith("_"):
                tree = self._tree
                found = tree._at(name) or tree._at(PREFIX + name)
            if not isinstance(found, Part):
                raise AttributeError(self._has_no(name))
            return found

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses what would hide a part and change nothing. Raises AttributeError."""
        if name in _PARTS:
            raise AttributeError(
                f"{name} is not set here: model.parameters_to_change() gives arrays to change, load_state_dict takes others, "
                "and from_pretrained(…, num_labels=K, ignore_mismatched_sizes=True, missing='init') draws a new head"
            )
        if name in self.elsewhere:
            raise AttributeError(self._has_no(name))
        super().__setattr__(name, value)

    def _has_no(self, name: str) -> str:
        hint = f": {self.elsewhere[name]}" if name in self.elsewhere else ""
        return f"{type(self).__name__} has no {name!r}{hint}"

    @property
    def _tree(self) -> Part:
        # not state_dict(): values of weights in int8 are made when a part is looked at
        return Part("", with_aliases({hub_name(name, self.parts): x for name, x in self._tensors.items()}))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._tree._names()]

    def parameters(self) -> Iterator[Array]:
        """Each stored array once, as named_parameters."""
        for _, x in self.named_parameters():
            yield x

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """The model, under the name "", and all its parts by their names."""
        yield "", self
        for name, part in self._tree.named_modules():
            if name:
                yield name, part

    @property
    def name_or_path(self) -> str:
        """Where the model is from, as its config says."""
        return self.config.name_or_path

    @property
    def num_labels(self) -> int:
        """K, the number of classes that the config names."""
        return self.config.num_labels

    @property
    def base_model(self) -> Any:
        """The encoder as an AlbertModel: of a model with a head its `albert`, and of an AlbertModel itself."""
        return getattr(self, self.base_model_prefix, self)

    # --- tables of embeddings ------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> Part:
        """The table of word embeddings: `get_input_embeddings().weight` is (V,E), read-only."""
        return self.embeddings.word_embeddings

    def get_output_embeddings(self) -> Part | None:
        """The decoder of the masked-language-model head, with weight (V,E) and bias (V,); None for other classes."""
        return self.predictions.decoder if "predictions" in self.parts else None

    def set_input_embeddings(self, value: Any) -> None:
        """Other word embeddings: an array (V,E), or an object that has it as its `weight`. A tied decoder has them too.

        Raises ValueError for another shape.
        """
        if self._owner is not None:
            self._owner.set_input_embeddings(value)
        else:
            shape = self._tensors[TABLES[0]].shape
            table = inputs.floats("word embeddings", getattr(value, "weight", value), shape, self.dtype)
            self._use(self._tensors | {TABLES[0]: table})

    def tie_weights(self) -> None:
        """Changes nothing: a decoder that config.tie_word_embeddings ties is the table of word embeddings itself."""

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
        *,
        seed: int = 0,
    ) -> Part:
        """Gives the model new_num_tokens tokens, and returns get_input_embeddings(). config.vocab_size says so too.

        Rows that stay keep their bits, and so does their part of every logit. New rows come last. With mean_resizing they are
        normal around the mean of the old rows, with 1e-9 of their covariance, as in transformers; without it they are drawn
        as those of a new model, with config.initializer_range. Both come from `seed`. A decoder of its own gets such rows
        too. The new entries of its bias are the mean of the old ones with mean_resizing, and else zero, as those of a tied
        decoder always are.
        pad_to_multiple_of: round the number up to a multiple of this. new_num_tokens=None is the present number.
        Arrays that parameters_to_change gave before are no longer the model's.
        Raises ValueError if a number is no positive whole number, if pad_token_id would be cut off, and if memory does not
        suffice.
        """
        if self._owner is not None:
            return self._owner.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing, seed=seed)
        config = resized_config(self.config, new_num_tokens, pad_to_multiple_of)
        if config.vocab_size != self.config.vocab_size:
            tensors = resized(self._tensors, self.config, config, mean_resizing, seed)
            self._remake(tensors, config, self.precision)
        return self.get_input_embeddings()

    # --- int8 ----------------------------------------------------------------------------------------------------------

    def quantize(
        self,
        calibration: Iterable[Any] | None = None,
        tokenizer: Any = None,
        *,
        dtype: str = "int8",
        passes: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> Self:
        """A new model with the layers' weights in int8, on backend "numba". This one stays as it is.

        dtype: "bfloat16" rounds the weights to that instead, with as much care, for a model that computes in it: nearer to
        float32 than rounding each weight to the nearest, as from_pretrained(…, dtype="bfloat16") does. Its weights are
        float32 arrays of bfloat16 values, and its files are like those of other models.

        calibration: texts that are like those to be read, some hundred of them; the errors of rounding are then kept small
        for what products read there. They need the model's `tokenizer`; rows of token ids need none. Without calibration,
        rows of random ids from `seed` do nearly as well. A model with the masked-language-model head reads texts with 15 % of
        their tokens masked.
        passes: of int8, over the weights of each product: 1 rounds what is multiplied with them to 8 bits, which is fastest,
        and 2 to 16 bits. None is as many as each product needs: 2 for those of the feed-forward network.
        progress: called as progress(more, all) when more of all work is done; without it there is a bar on a terminal.
        Raises ValueError if the model is int8 already, and for texts without a tokenizer. docs/precision.md has the scheme.
        """
        if self.precision == "int8":
            raise ValueError("the model is int8 already; quantize takes the float32 model, whose weights are exact")
        if dtype not in ("int8", "bfloat16"):
            raise ValueError(f"dtype must be 'int8' or 'bfloat16', what weights are rounded to; got {dtype!r:.80}")
        choose.resolve_backend("numba", dtype)
        rows = None
        if calibration is not None:
            rows = calibration_rows(calibration, tokenizer, self.config, masked="predictions" in self.parts, seed=seed)
        if dtype == "int8":
            tensors = quantised(self._tensors, self.config, rows, passes=passes, seed=seed, progress=progress)
        elif passes is not None:
            raise ValueError(f"passes are for dtype='int8' alone: leave out passes={passes!r:.80}, or dtype='bfloat16'")
        else:
            tensors = rounded_to_bfloat16(self._tensors, self.config, rows, seed=seed, progress=progress)
        return type(self)._with_parts(self.config, self.parts, backend="numba", dtype=dtype, tensors=tensors)

    # --- device, dtype and mode ----------------------------------------------------------------------------------------

    @property
    def device(self) -> Device:
        """Where the model computes: "cpu", or "cuda:0" with backend="cuda". It is a str with a `type`."""
        return Device("cuda:0" if self.backend == "cuda" else "cpu")

    def to(self, *where: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Self:
        """The model itself, after another dtype was taken on: `to("float64")`, `to(np.float32)`, `to("cpu")`.

        To and from "int8" too: the values that codes stand for are then the float ones.
        A model does not move to another device. Raises ValueError for that, and for a dtype that its backend does not compute
        in. non_blocking changes nothing.
        """
        for value in where:
            if _is_dtype(value):
                dtype = value
            else:
                device = value
        if device is not None and device_of(device) != self.device:
            way = (
                "from_pretrained(…, backend='auto')" if self.backend == "cuda" else "from_pretrained(…, backend='cuda')"
            )
            raise ValueError(f"a model on {self.device} does not move to {device_of(device)}: make it there with {way}")
        if dtype is not None:
            self._take_on(choose.resolve_precision(dtype))
        return self

    def _take_on(self, precision: str) -> None:
        if self._owner is not None:
            self._owner._take_on(precision)
        elif precision != self.precision:
            choose.resolve_backend(self.backend, precision)
            tensors: dict[str, Any] = {name: x.astype(choose.DTYPES[precision]) for name, x in self._tensors.items()}
            if precision == "int8":
                tensors = self._in_int8(tensors)
            self._remake(tensors, self.config, precision)

    def cpu(self) -> Self:
        """to("cpu")."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Self:
        """to("cuda")."""
        return self.to("cuda" if device is None else device)

    def float(self) -> Self:
        """to("float32")."""
        return self.to("float32")

    def double(self) -> Self:
        """to("float64")."""
        return self.to("float64")

    def half(self) -> Self:
        """to("float16"), which no backend computes in: it raises ValueError and says what to choose."""
        return self.to("float16")

    def bfloat16(self) -> Self:
        """to("bfloat16")."""
        return self.to("bfloat16")

    def eval(self) -> Self:
        """The model itself: a call without training=True has no dropout."""
        return self

    def train(self, mode: bool = True) -> Self:
        """The model itself, if mode is False. Models have no training mode: for True, ValueError says what to do instead."""
        if mode:
            raise ValueError(
                "a model has no training mode: call it, or value_and_grad, with training=True and a seed for dropout; "
                "albert_np.training has the loops"
            )
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """The model itself. `requires_grad_(False)` raises ValueError: value_and_grad gives every gradient there is."""
        if not requires_grad:
            raise ValueError(
                "value_and_grad gives the gradient of every parameter: to keep some as they are, do not change them "
                "in parameters_to_change()"
            )
        return self


def _is_dtype(value: Any) -> bool:
    if isinstance(value, (np.dtype, type)):
        return True
    name = str(value).removeprefix("torch.")
    return name in choose.DTYPES or name.startswith(("float", "bfloat", "complex", "int", "uint"))
