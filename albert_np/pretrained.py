"""Models as things that are made, loaded, saved, listed and changed: what the seven classes share before any call."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np

from albert_np.backends import choose
from albert_np.checkpoints.formats import FORMATS, safetensors
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.initialise import initialise
from albert_np.checkpoints.load import LoadedKeys, load, load_state_dict, stored_tensors
from albert_np.checkpoints.memory import SOURCE, read_state_dict
from albert_np.checkpoints.names import expected_shapes, hub_name, with_aliases
from albert_np.checkpoints.options import resolve_options, take_formats
from albert_np.checkpoints.quantized import certificate_of, is_quantised, marked, plain, to_arrays, to_metadata
from albert_np.checkpoints.save import check_options, save
from albert_np.config import AlbertConfig, as_config
from albert_np.device import backend_on, place_of
from albert_np.files import listed
from albert_np.ops import Array
from albert_np.quantization.weights import quantised
from albert_np.quantized import QuantizedWeight, floats_of
from albert_np.run import weight_tree


class StoredModel:
    """A config, its arrays and an engine. module.py adds PyTorch's names, calling.py calls, and model.py heads."""

    # the format of weight files that is looked for first; "": none, so that the order is that of formats.FORMATS
    own_format: ClassVar[str] = ""
    class_prefix: ClassVar[str] = ""  # "TF" or "Flax", before the architecture in a class's name
    parts: ClassVar[tuple[str, ...]] = ()  # the heads of checkpoints/names.py whose tensors this class has
    # the encoder of a model with a head as a model of its own, as long as somebody has it; and there, the model with the head,
    # whose arrays and engine it has
    _base: weakref.ref[Any] | None = None
    _owner: Any = None
    holds_int8: ClassVar[bool] = True  # whether the class can have QuantizedWeight among its tensors
    certificate: dict[str, Any] | None = None  # what the file of a model in int8 says of its quality

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
        self._config = as_config(config)
        self.backend, self.precision = choose.resolve(backend, dtype)
        self.dtype = choose.DTYPES[self.precision]
        expected = expected_shapes(config, self.parts)
        if tensors is None:
            tensors = initialise(expected, config, self.dtype, seed)
        elif not isinstance(tensors, Mapping) or {
            name: (np.shape(x), getattr(x, "dtype", None)) for name, x in tensors.items()
        } != {name: (shape, self.dtype) for name, shape in expected.items()}:
            raise ValueError(f"tensors must be the {len(expected)} arrays of this config, in {self.dtype}")
        if self.precision == "int8":
            tensors = self._in_int8(tensors)
        self._tensors: dict[str, Any] = {
            name: x if isinstance(x, QuantizedWeight) else np.ascontiguousarray(x) for name, x in tensors.items()
        }
        self._weights = weight_tree(self._tensors)
        self._engine = choose.make(self.backend, self._weights, config, self.precision)

    @property
    def config(self) -> AlbertConfig:
        """The model's config. It can be set to another one for the same tensors, and the model then computes as that says."""
        return self._config

    @config.setter
    def config(self, config: AlbertConfig) -> None:
        whole = self._owner or self  # the encoder of a model with a head has no arrays of its own
        expected, now = expected_shapes(as_config(config), whole.parts), expected_shapes(whole.config, whole.parts)
        changed = [name for name in {**now, **expected} if now.get(name) != expected.get(name)]
        if changed:
            raise ValueError(
                f"the new config has other shapes for {listed([hub_name(name, whole.parts) for name in changed])}: "
                "resize_token_embeddings changes the vocabulary, and from_pretrained(…, ignore_mismatched_sizes=True, "
                "missing='init') draws a new head"
            )
        whole._remake(whole._tensors, config, whole.precision)

    def __repr__(self) -> str:
        c = self.config
        sizes = f"V={c.vocab_size}, E={c.embedding_size}, H={c.hidden_size}, L={c.num_hidden_layers}"
        name, count = type(self).__name__, self.num_parameters()
        return f"{name}({sizes}, backend={self.backend!r}, dtype={self.precision!r}, {count:,} parameters)"

    def __getstate__(self) -> dict[str, Any]:
        # an engine has memory of its own, and a copy of an encoder is no part of the model that it was taken from
        return {name: value for name, value in vars(self).items() if name not in ("_engine", "_base", "_owner")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._engine = choose.make(self.backend, self._weights, self.config, self.precision)

    # --- loading, saving, listing --------------------------------------------------------------------------------------

    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *model_args: Any,
        backend: str = "auto",
        dtype: Any = None,
        config: AlbertConfig | str | os.PathLike | None = None,
        state_dict: Mapping[str, Any] | None = None,
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
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *model_args: Any,
        output_loading_info: Literal[True],
        **options: Any,
    ) -> tuple[Self, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *model_args: Any,
        backend: str = "auto",
        dtype: Any = None,
        config: AlbertConfig | str | os.PathLike | None = None,
        state_dict: Mapping[str, Any] | None = None,
        missing: str = "error",
        seed: int = 0,
        ignore_mismatched_sizes: bool = False,
        check_finite: str = "error",
        output_loading_info: bool = False,
        **options: Any,
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Loads a model from a folder, "demo" or a hub id, in float32, float16, bfloat16 or float64.

        Of several weight files in a folder, model.safetensors counts, then those of checkpoints/formats in their order.
        from_tf, from_flax: read TensorFlow's or Flax's files alone. use_safetensors: True reads nothing but safetensors, and
        False anything else. Classes with the calling habits of TensorFlow or Flax look for their framework's file first, and
        from_pt=True makes them read PyTorch's alone.

        dtype: "float32" (the default, whatever floats the file holds) or "float64"; torch_dtype is an alias. backend="numba"
        also takes "bfloat16" and "int8", and backend="cuda" "tf32" and "bfloat16": products are then computed in that type,
        and results stay in float32. Weights do too, but for int8, which rounds those of the layers. A file of int8 is loaded
        as int8 where no other dtype or backend is asked for, and else gives the float32 values that its codes stand for.
        device_map: "cpu", or "cuda", which means backend="cuda"; "auto" leaves it to `backend`.
        config: an AlbertConfig or the folder of another; without it, the config of the model's own folder.
        state_dict: weights from memory instead of files, named as in files; pretrained_model_name_or_path may then be None.
        missing: "error", or "init" to start a fine-tune: a head and a pooler that the file does not have are then drawn
        from `seed`. The encoder must be there.
        ignore_mismatched_sizes: draw tensors from `seed` too where the file's have another shape (a new head for an old one).
        check_finite: what to do about NaN and infinity in the weights: "error", "warn" or "off".
        output_loading_info: return (model, {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}).
        options: revision, cache_dir, local_files_only, token, subfolder and force_download say where files come from; the
        other keywords of transformers are ignored where they change nothing here, and else refused (checkpoints/options.py);
        every other keyword replaces a value of the config.
        Raises OSError (files, network) or ValueError (content, arguments), in one line, before any arithmetic.
        """
        torch_dtype = options.pop("torch_dtype", None)
        dtype = torch_dtype if dtype is None else dtype
        as_stored = dtype is None or (isinstance(dtype, str) and dtype == "auto")
        if model_args:
            raise ValueError(f"from_pretrained takes one value without a name; got {len(model_args)} more: name them")
        backend = backend_on(backend, place_of(None, options.pop("device_map", None)))
        parts = cls._parts(options)
        formats = take_formats(options, cls.own_format)
        where, config = resolve_options(pretrained_model_name_or_path, config, state_dict, options)
        _, dtype = choose.resolve(backend, dtype)  # a backend that cannot run says so before gigabytes are read
        config = plain(config)
        found, source = stored_tensors(pretrained_model_name_or_path, where, formats, state_dict)
        if as_stored and is_quantised(found) and cls.holds_int8 and choose.computes(backend, "int8"):
            dtype = "int8"
        tensors, info = load(
            found,
            source,
            config,
            parts,
            choose.DTYPES[dtype],
            int8=dtype == "int8",
            missing=missing,
            seed=seed,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            check_finite=check_finite,
        )
        model = cls._with_parts(config, parts, backend=backend, dtype=dtype, tensors=tensors)
        if dtype == "int8":
            model.certificate = certificate_of(found)
        return (model, info) if output_loading_info else model

    @classmethod
    def _parts(cls, options: dict[str, Any]) -> tuple[str, ...]:
        if "add_pooling_layer" in options:
            raise ValueError(f"add_pooling_layer is an argument of AlbertModel; {cls.__name__} has its own layout")
        return cls.parts

    @classmethod
    def _with_parts(cls, config: AlbertConfig, parts: tuple[str, ...], **made: Any) -> Self:
        return cls(config, **made)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: Mapping[str, Any] | None = None,
        save_function: Any = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "5GB",
        safe_serialization: bool = True,
        **options: Any,
    ) -> None:
        """Writes config.json and model.safetensors, which transformers can load. Tied tensors are written once, and no file
        is left half written. A model in int8 is written as it is, with its certificate, and albert_np alone reads that.

        safe_serialization: False writes pytorch_model.bin instead, which torch.load reads with weights_only=True, with both
        names of a tied tensor; classes with TensorFlow's or Flax's calling habits write that framework's file. What an
        earlier save left, and readers would take first, is removed.
        max_shard_size: bytes, or text such as "200MB"; weights that are larger are written in several files and an index.
        state_dict: other values for the weights of this model, named as in files.
        is_main_process: False writes the weights alone, as in transformers. The other arguments are transformers' too; they
        change nothing, and are refused (ValueError) where they would.
        """
        refused = {"push_to_hub": push_to_hub, "safe_serialization": safe_serialization, "save_function": save_function}
        check_options(refused | options)
        tensors, is_int8 = self._tensors, self.precision == "int8"
        if is_int8 and (state_dict is not None or safe_serialization is False):
            raise ValueError(
                "a model in int8 is written as model.safetensors, with the weights that it has: model.to('float32') is written "
                "in any format"
            )
        if state_dict is not None:
            tensors, _ = load_state_dict(
                tensors, read_state_dict(state_dict), SOURCE, self.config, self.parts, strict=True, check_finite="error"
            )
        kind = safetensors.FORMAT
        if safe_serialization is False:
            kind = next(kind for kind in FORMATS if kind.name == (self.own_format or "bin"))
        stored = to_arrays({hub_name(name, self.parts): x for name, x in tensors.items()})
        name = type(self).__name__.removeprefix(self.class_prefix)
        config = self.config.replace(architectures=[name], dtype=self.dtype.name) if is_main_process else None
        config = marked(config) if config and is_int8 else config
        said = to_metadata(self.certificate) if is_int8 else None
        save(save_directory, config, as_tensors(stored), max_shard_size, kind, name, self.own_format, said)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False, *, check_finite: str = "error"
    ) -> LoadedKeys:
        """Replaces the weights by those of a state dict: arrays, or torch's tensors. Returns (missing_keys, unexpected_keys).

        The names are those of `state_dict()`, and whatever else is read in files: a prefix that all names have, a
        LayerNorm's gamma and beta, either name of a tied tensor. Values are copied, and rounded to the model's dtype.
        strict: refuse missing and unexpected names; False leaves what is missing as it is. check_finite as in
        from_pretrained. Raises ValueError, and then no weight has changed. A model in int8 takes none.
        """
        self._refuse_int8("load_state_dict")
        if assign:
            raise ValueError(
                "assign=True would share memory and dtype with the state dict; values are always copied here"
            )
        tensors, keys = load_state_dict(
            self._tensors,
            read_state_dict(state_dict),
            SOURCE,
            self.config,
            self.parts,
            strict=strict,
            check_finite=check_finite,
        )
        whole = self._owner or self  # the encoder of a model with a head has no arrays of its own
        whole._use(whole._tensors | tensors)
        return keys

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Each stored array once, under its Hugging Face name. Of weights in int8, the float32 values, in a read-only copy."""
        for name, x in self._tensors.items():
            yield hub_name(name, self.parts), floats_of(x)

    def state_dict(self) -> dict[str, Array]:
        """The parameters by name, as named_parameters. A tied one appears under its second name too, as the same array."""
        return with_aliases(dict(self.named_parameters()))

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the parameters hold. Tied parameters count once.

        only_trainable: changes nothing, since every parameter can be trained. exclude_embeddings: leave out the tables that
        are looked up in; a decoder of its own is none.
        """
        left_out = ("_embeddings.weight", "distance_embedding.weight") if exclude_embeddings else ()
        return sum(x.size for name, x in self._tensors.items() if not name.endswith(left_out))

    def _take_on_changes(self) -> None:
        """Called before weights are used, for classes that hand out something in which they can be replaced (flax.py)."""

    # --- changing ------------------------------------------------------------------------------------------------------

    def parameters_to_change(self) -> dict[str, Array]:
        """The stored arrays under Hugging Face's names, to be changed in place. Their packed copies are forgotten.

        Call this before each change, because a call of the model packs its weights and makes the arrays read-only.
        Raises ValueError for a model in int8, whose codes are not changed.
        """
        self._refuse_int8("parameters_to_change")
        if self._owner is not None:
            self._owner.parameters_to_change()
            return dict(self.named_parameters())
        changed = {}
        for name, x in self._tensors.items():
            changed[name] = x
            try:
                x.flags.writeable = True
            except ValueError:  # a view of somebody else's memory, such as a mapped file
                changed[name] = x.copy()
        self._use(changed)
        return dict(self.named_parameters())

    def _refuse_int8(self, what: str) -> None:
        if self.precision == "int8":
            raise ValueError(
                f"{what} changes float weights, and this model's are int8: do it with the float32 model, or with "
                "model.to('float32'), and then .to('int8')"
            )

    def _in_int8(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        if not self.holds_int8:
            raise ValueError(f"{type(self).__name__} has no weights in int8: its class without Flax's habits has")
        return quantised(tensors, self.config)

    def _use(self, tensors: dict[str, Array]) -> None:
        """The stored arrays are these from now on, for the head and for the engine."""
        self.certificate = None  # which was about the weights before
        self._tensors = tensors
        self._weights = weight_tree(tensors)
        self._engine.forget_weights(self._weights)
        self._share_with_base()

    def _remake(self, tensors: dict[str, Array], config: AlbertConfig, precision: str) -> None:
        """The same with arrays of other shapes or another dtype, which take another engine. The backend can run them."""
        self._config, self.precision, self.dtype = config, precision, choose.DTYPES[precision]
        self.certificate = None
        self._tensors = tensors
        self._weights = weight_tree(tensors)
        self._engine = choose.make(self.backend, self._weights, config, precision)
        self._share_with_base()

    def _share_with_base(self) -> None:
        """The encoder's own model has what this one has: config, engine, and the same arrays."""
        if (base := None if self._base is None else self._base()) is not None:
            tensors = {name: self._tensors[name] for name in expected_shapes(self.config, base.parts)}
            shared = {name: vars(self)[name] for name in ("_config", "precision", "dtype", "backend", "_engine")}
            vars(base).update(shared, _tensors=tensors, _weights=weight_tree(tensors))
