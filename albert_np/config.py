"""AlbertConfig, and the legend of shape letters that every def line, kernel, test and document uses.

B  batch          T  tokens of one sequence     R  rows: the tokens of all sequences together
E  embedding_size H  hidden_size                I  intermediate_size    V  vocab_size
N  num_attention_heads                          D  head size, H = N·D
L  num_hidden_layers                            G  num_hidden_groups
P  max_position_embeddings                      S  type_vocab_size      K  num_labels
M  columns asked for (logits_positions)         1|T  an axis of length 1, which broadcasts, or of length T
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

from albert_np.checkpoints import hub
from albert_np.config_defaults import COMMON_DEFAULTS, PASSIVE_DEFAULTS
from albert_np.config_google import GOOGLE_CONFIG_NAME, from_google
from albert_np.config_labels import merge_labels, resolve_labels
from albert_np.config_values import by_name, dtype_name, is_int, is_real, json_path, shown_value
from albert_np.files import class_of, folder_to_write, listed, read_json, write_atomically

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 10 * 1024 * 1024  # a thousand times a real one; tables of labels make them long
MAX_LAYERS = 1_000  # the size of the file does not depend on L, as layers share weights: a wrong L only runs forever
MAX_LAYER_COPIES = 4_096  # G · inner_group_num, each of which is sixteen tensors by name

ACTIVATIONS = (
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu",
    "gelu_python",
    "gelu_fast",
    "relu",
    "silu",
    "swish",
    "tanh",
)
POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(init=False)
class AlbertConfig:
    """The shape of a model, and the few numbers that its arithmetic depends on (transformers 4.57.6 and 5.x, AlbertConfig).

    Every keyword is a field of config.json, and the first twenty may also be given by place, as in transformers. The defaults
    are those of transformers, which are albert-xxlarge-v2's. Unknown keywords are kept: they can be read as attributes and
    are written back. name_or_path says where a config is from, and is neither written nor compared.
    Values are checked once, here; later code relies on them. Raises ValueError with the name of the field, its value and what
    is allowed.
    """

    vocab_size: int = 30000  # V
    embedding_size: int = 128  # E: the factorised embedding of the paper's section 3.1
    hidden_size: int = 4096  # H
    num_hidden_layers: int = 12  # L: how often the shared layer is applied
    num_hidden_groups: int = 1  # G: how many different layers there are; 1 is ALBERT's cross-layer sharing
    num_attention_heads: int = 64  # N
    intermediate_size: int = 16384  # I
    inner_group_num: int = 1  # layers inside a group
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0
    attention_probs_dropout_prob: float = 0
    max_position_embeddings: int = 512  # P
    type_vocab_size: int = 2  # S
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout_prob: float | None = 0.1
    position_embedding_type: str = "absolute"
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = True
    num_labels: int = 2  # K; config.json stores it as the length of id2label
    id2label: dict[int, Any] | None = None  # in files of others also from 1, with holes, or with names that are no text
    label2id: dict[Any, Any] | None = None
    problem_type: str | None = None
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    chunk_size_feed_forward: int = 0  # accepted, but without effect: chunks change no number
    pruned_heads: dict | None = None
    architectures: list[str] | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # keys this class does not know, kept as they came

    model_type = "albert"
    attribute_map: ClassVar[dict[str, str]] = {}  # other names of fields, of which ALBERT has none
    _name_or_path = ""

    def __init__(self, *sizes: Any, max_layers: int = MAX_LAYERS, **values: Any) -> None:
        names = list(self.__dataclass_fields__)
        values = by_name(names[: names.index("eos_token_id") + 1], sizes, values)
        if not is_int(max_layers) or max_layers < 1:
            raise ValueError(f"max_layers must be a positive int; got {shown_value(max_layers)}")
        known = {f.name: f.default for f in fields(self) if f.name != "extra"}
        extra = values.pop("extra", {})  # dataclasses.replace and copies hand it back under its own name
        if not isinstance(extra, Mapping):
            raise ValueError(f"extra must be a table of further values; got {shown_value(extra)}")
        values = dict(extra) | values
        if "torch_dtype" in values:  # the older name; transformers lets `dtype` win
            values.setdefault("dtype", values.pop("torch_dtype"))
            values.pop("torch_dtype", None)
        if "dtype" in values:
            values["dtype"] = dtype_name(values["dtype"])
        where = [values.pop(name) for name in ("name_or_path", "_name_or_path") if name in values]
        if where:
            object.__setattr__(self, "_name_or_path", str(where[0]))
        attention = values.pop("attn_implementation", None)  # which changes nothing here, and is not written
        if attention not in (None, "eager", "sdpa"):
            raise ValueError(f"attn_implementation must be 'eager' or 'sdpa'; got {shown_value(attention)}")
        model_type = values.pop("model_type", self.model_type)
        if model_type != self.model_type:
            raise ValueError(f"model_type must be 'albert'; got {shown_value(model_type)}, another architecture")
        settings = known | {name: value for name, value in values.items() if name in known}
        settings["num_labels"], settings["id2label"], settings["label2id"] = resolve_labels(
            values.get("num_labels"), values.get("id2label"), values.get("label2id")
        )
        settings["pruned_heads"] = settings["pruned_heads"] or {}
        settings["extra"] = {name: value for name, value in values.items() if name not in known}
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        _check(self, max_layers)

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(
            f"a config does not change: config.replace({name}={value!r:.60}) is a new one"
        )

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"a config does not change: {name} stays")

    def __getattr__(self, name: str) -> Any:  # only called for what is no field
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        if name in PASSIVE_DEFAULTS:
            return PASSIVE_DEFAULTS[name]
        raise AttributeError(f"AlbertConfig has no field {name!r}")

    @property
    def name_or_path(self) -> str:
        """The folder or hub id of the model that was loaded with this config, or what its file says; else ""."""
        return self._name_or_path

    @property
    def torch_dtype(self) -> Any:
        """The older name of `dtype`, the type in which the weights were stored, or None."""
        return self.dtype

    @property
    def use_return_dict(self) -> bool:
        """Whether a call returns an output object, if the call itself does not say so."""
        return self.return_dict and not self.torchscript

    @property
    def head_size(self) -> int:
        """D = H / N."""
        return self.hidden_size // self.num_attention_heads

    @property
    def label_names(self) -> dict[int, Any]:
        """The name of each of the K classes, for decoding. Class i is LABEL_i where id2label does not name it."""
        names = self.id2label or {}
        return {i: names.get(i, f"LABEL_{i}") for i in range(self.num_labels)}

    def replace(self, **changes: Any) -> AlbertConfig:
        """A copy with other values, which are checked again."""
        # a new number of labels invents new names for them, unless they are given
        if "num_labels" in changes and changes["num_labels"] != self.num_labels:
            changes = {"id2label": None, "label2id": None} | changes
        if "id2label" in changes:
            changes = {"num_labels": None, "label2id": None} | changes
        applied = self.num_hidden_layers * self.inner_group_num
        allowed = {"max_layers": max(MAX_LAYERS, applied)}  # what this config was once allowed
        own = {"num_labels": self.num_labels, "name_or_path": self.name_or_path}
        return AlbertConfig(**(self.to_dict() | own | allowed | changes))

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Raises ValueError: a config does not change."""
        raise ValueError(
            f"a config does not change: config.replace(**values) is a new one; got {shown_value(config_dict)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All that config.json holds, under transformers' names. `AlbertConfig(**config.to_dict())` gives an equal config."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("extra", "num_labels")}
        return copy.deepcopy(values | {"model_type": self.model_type} | self.extra)

    def to_diff_dict(self) -> dict[str, Any]:
        """What transformers writes: sizes of ALBERT, and what differs from the defaults of all its architectures."""
        own = AlbertConfig().to_dict()
        return {
            name: value
            for name, value in self.to_dict().items()
            if name not in COMMON_DEFAULTS or value != COMMON_DEFAULTS[name] or value != own.get(name, value)
        }

    def to_json_string(self, use_diff: bool = True) -> str:
        """The values as JSON: those of to_diff_dict, or of to_dict with use_diff=False, which is the text of config.json.

        Raises ValueError if an unknown field holds a value that JSON cannot express.
        """
        # str: a dtype object given in Python is written as its name
        try:
            values = self.to_diff_dict() if use_diff else self.to_dict()
            return json.dumps(values, indent=2, sort_keys=True, default=str) + "\n"
        except TypeError as error:
            raise ValueError(f"config.json cannot hold a value of this config: {error}") from error

    def to_json_file(self, json_file_path: str | os.PathLike, use_diff: bool = True) -> None:
        """Writes to_json_string(use_diff) into a file, whole or not at all."""
        write_atomically(json_path(json_file_path), self.to_json_string(use_diff).encode())

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, token: Any = None, **options: Any
    ) -> None:
        """Writes config.json into a folder, which is made if it does not exist. Raises ValueError for push_to_hub=True."""
        if push_to_hub or options:
            raise ValueError(
                f"save_pretrained writes a folder and sends nothing to a hub; got {listed(sorted(options)) or 'push_to_hub'}"
            )
        write_atomically(folder_to_write(save_directory) / CONFIG_NAME, self.to_json_string(use_diff=False).encode())

    @overload
    @classmethod
    def from_dict(
        cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[False] = False, **overrides: Any
    ) -> AlbertConfig: ...
    @overload
    @classmethod
    def from_dict(
        cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[True], **overrides: Any
    ) -> tuple[AlbertConfig, dict[str, Any]]: ...
    @classmethod
    def from_dict(cls, config_dict: Any, *, return_unused_kwargs: bool = False, **overrides: Any) -> Any:
        """The config of a parsed config.json. Raises ValueError if it belongs to another architecture, or breaks a rule.

        return_unused_kwargs: return (config, those of the overrides that are no field of it, and dtype) instead of keeping
        these.
        """
        values = config_dict
        if not isinstance(values, Mapping):
            raise ValueError(f"config.json must hold one JSON object; got {type(values).__name__}")
        if not all(isinstance(name, str) for name in values):
            raise ValueError(f"the fields of a config are named by str; got {shown_value(list(values))}")
        # the first two are the caller's to give, never the file's; `extra` is our own word
        callers = ("max_layers", "attn_implementation")
        values = {name: value for name, value in values.items() if name not in (*callers, "extra", "self")}
        known = {*cls.__dataclass_fields__, *PASSIVE_DEFAULTS, *values, *callers, "name_or_path", "torch_dtype"}
        unused = {name: overrides.pop(name) for name in list(overrides) if return_unused_kwargs and name not in known}
        config = cls(**merge_labels(values, overrides))
        if "dtype" in overrides or "torch_dtype" in overrides:
            unused["dtype"] = config.dtype  # which a model takes too
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike) -> AlbertConfig:
        """The config of a JSON file of any name. Raises OSError (no such file) or ValueError (a value is refused)."""
        return cls._from_file(json_path(json_file), {})

    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        *,
        return_unused_kwargs: Literal[False] = False,
        **options: Any,
    ) -> AlbertConfig: ...
    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        *,
        return_unused_kwargs: Literal[True],
        **options: Any,
    ) -> tuple[AlbertConfig, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Any:
        """The config of a folder, a JSON file, "demo" or a hub id. Without config.json, a folder's albert_config.json is read.

        cache_dir, force_download, local_files_only, token, revision and subfolder: as in `hub.resolve`.
        options: return_unused_kwargs as in from_dict; every other keyword replaces a value of the file.
        Raises OSError (no such file) or ValueError (a value is refused).
        """
        where = {"cache_dir": cache_dir, "force_download": force_download, "local_files_only": local_files_only}
        options |= where | {"token": token, "revision": revision}
        return cls._from_file(_file(pretrained_model_name_or_path, options), options)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """(what the JSON of a config holds, unchecked; the keywords that do not say where it is)."""
        path = _file(pretrained_model_name_or_path, options)
        return _own_words(read_json(path, MAX_CONFIG_BYTES), path), options

    @classmethod
    def _from_file(cls, path: Path, overrides: dict[str, Any]) -> Any:
        values = read_json(path, MAX_CONFIG_BYTES)
        try:
            return cls.from_dict(_own_words(values, path), **overrides)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _file(name: Any, options: dict[str, Any]) -> Path:
    """The JSON file of a config. The keywords that say where it is are taken out of `options`."""
    where = hub.take_options(options)
    if isinstance(name, (str, os.PathLike)) and name not in hub.EMBEDDED and os.path.isfile(name):
        if not os.fspath(name).endswith(".json"):  # a file of weights, say
            raise OSError(f"{name} is a file; give the folder that holds it")
        return Path(name)
    return config_path(name, where)


def config_path(name_or_path: str | os.PathLike, where: dict[str, Any]) -> Path:
    """config.json of a model, or else albert_config.json of its folder. `where`: hub.OPTIONS. OSError if there is neither."""
    path = hub.resolve(name_or_path, CONFIG_NAME, required=False, **where)
    path = path or hub.google_file(name_or_path, GOOGLE_CONFIG_NAME, **where)
    path = path or hub.resolve(name_or_path, CONFIG_NAME, **where)
    assert path is not None
    return path


def _own_words(values: Any, path: Path) -> Any:
    """What a config's file holds, in the words of config.json: Google's file has a name of its own."""
    return from_google(values) if path.name == GOOGLE_CONFIG_NAME else values


def as_config(value: Any) -> AlbertConfig:
    """The value, which must be a config. Raises ValueError, which says how one of transformers becomes one of these."""
    if isinstance(value, AlbertConfig):
        return value
    has_values = isinstance(value, Mapping) or hasattr(value, "to_dict")
    values = "config" if isinstance(value, Mapping) else "config.to_dict()"
    way_out = f": AlbertConfig.from_dict({values}) makes one of it" if has_values else ""
    raise ValueError(f"config must be an AlbertConfig; got {class_of(value)}{way_out}")


def preset(size: str, **changes: Any) -> AlbertConfig:
    """The published shapes: "base", "large", "xlarge", "xxlarge" (paper, table 1)."""
    shapes = {
        "base": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        "large": {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24},
        "xlarge": {"hidden_size": 2048, "num_attention_heads": 16, "intermediate_size": 8192, "num_hidden_layers": 24},
        "xxlarge": {"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384},
    }
    if not isinstance(size, str) or size not in shapes:
        raise ValueError(f"size must be one of {', '.join(shapes)}; got {size!r}")
    return AlbertConfig(**(shapes[size] | changes))


def _check(config: AlbertConfig, max_layers: int) -> None:
    """Checks every value that later code relies on. The message names the field, the value and what is allowed."""

    def require(name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {allowed}; got {shown_value(getattr(config, name))}")

    for name in (
        "vocab_size",
        "embedding_size",
        "hidden_size",
        "num_hidden_layers",
        "num_hidden_groups",
        "num_attention_heads",
        "intermediate_size",
        "inner_group_num",
        "max_position_embeddings",
        "type_vocab_size",
    ):
        value = getattr(config, name)
        require(name, is_int(value) and 0 < value < 2**31, "a positive int below 2³¹")
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"):
        value = getattr(config, name)
        optional = name == "classifier_dropout_prob" and value is None
        require(name, optional or (is_real(value) and 0 <= value < 1), "a number in [0, 1)")
    for name in ("layer_norm_eps", "initializer_range"):
        value = getattr(config, name)
        require(name, is_real(value) and 0 < value <= sys.float_info.max, "a finite number above 0")
    for name in ("tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict"):
        require(name, isinstance(getattr(config, name), bool), "true or false")
    require("hidden_act", config.hidden_act in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")
    require(
        "position_embedding_type",
        config.position_embedding_type in POSITION_TYPES,
        f"one of {', '.join(POSITION_TYPES)}",
    )
    require("problem_type", config.problem_type in (None, *PROBLEM_TYPES), f"null or one of {', '.join(PROBLEM_TYPES)}")
    chunk = config.chunk_size_feed_forward
    require("chunk_size_feed_forward", is_int(chunk) and chunk >= 0, "an int of 0 or more")
    require("pruned_heads", config.pruned_heads == {}, "empty: pruned heads change the shapes of the shared layer")
    names = config.architectures
    is_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require("architectures", names is None or is_names, "null or a list of class names")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, name)
        several = name == "eos_token_id" and isinstance(value, list) and all(is_int(v) for v in value)
        allowed = "null, an int or a list of ints" if name == "eos_token_id" else "null or an int"
        require(name, value is None or several or is_int(value), allowed)
    pad = config.pad_token_id  # torch.nn.Embedding's padding_idx: negative counts from the end of the table
    in_table = pad is None or -config.vocab_size <= pad < config.vocab_size
    require("pad_token_id", in_table, f"null or inside the vocabulary (V = {config.vocab_size})")

    H, N = config.hidden_size, config.num_attention_heads
    require("num_attention_heads", H % N == 0, f"a divisor of hidden_size ({H})")
    L, G = config.num_hidden_layers, config.num_hidden_groups
    require(
        "num_hidden_layers",
        max_layers >= L,
        f"at most {max_layers} (shared weights leave no evidence of it in the file; max_layers= allows more)",
    )
    require("num_hidden_groups", G <= L, f"at most num_hidden_layers ({L}), or a group would never be used")
    require(
        "inner_group_num",
        G * config.inner_group_num <= MAX_LAYER_COPIES,
        f"at most {MAX_LAYER_COPIES // G} with {G} groups ({MAX_LAYER_COPIES} stored layers in all)",
    )
    require(
        "inner_group_num",
        config.inner_group_num == 1 or max_layers >= L * config.inner_group_num,
        f"at most {max_layers // L} with {L} layers ({max_layers} applications in all; max_layers= allows more)",
    )
