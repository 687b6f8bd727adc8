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
from typing import Any

from albert_np.checkpoints import hub
from albert_np.config_labels import merge_labels, resolve_labels
from albert_np.files import folder_to_write, read_json, write_atomically

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

# What transformers 4.57.6 and 5.x also write for an encoder, with the defaults they share. They change nothing here.
PASSIVE_DEFAULTS: dict[str, Any] = {
    "torchscript": False,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "finetuning_task": None,
    "task_specific_params": None,
    "tokenizer_class": None,
    "prefix": None,
    "sep_token_id": None,
    "decoder_start_token_id": None,
    "transformers_version": None,
    "dtype": None,
    "_name_or_path": "",
    "tf_legacy_loss": False,
    "use_bfloat16": False,
    # text generation, which an encoder never does
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


@dataclass(init=False)
class AlbertConfig:
    """The shape of a model, and the few numbers that its arithmetic depends on (transformers 4.57.6 and 5.x, AlbertConfig).

    Every keyword is a field of config.json. The defaults are those of transformers, which are albert-xxlarge-v2's. Unknown
    keywords are kept: they can be read as attributes and are written back. Values are checked once, here; later code
    relies on them. Raises ValueError with the name of the field, its value and what is allowed.
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

    def __init__(self, *, max_layers: int = MAX_LAYERS, **values: Any) -> None:
        if not _is_int(max_layers) or max_layers < 1:
            raise ValueError(f"max_layers must be a positive int; got {_shown(max_layers)}")
        known = {f.name: f.default for f in fields(self) if f.name != "extra"}
        extra = values.pop("extra", {})  # dataclasses.replace and copies hand it back under its own name
        if not isinstance(extra, Mapping):
            raise ValueError(f"extra must be a table of further values; got {_shown(extra)}")
        values = dict(extra) | values
        if "torch_dtype" in values:  # the older name; transformers lets `dtype` win
            values.setdefault("dtype", values.pop("torch_dtype"))
            values.pop("torch_dtype", None)
        model_type = values.pop("model_type", self.model_type)
        if model_type != self.model_type:
            raise ValueError(f"model_type must be 'albert'; got {_shown(model_type)}, another architecture")
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
        allowed = {"max_layers": max(MAX_LAYERS, self.num_hidden_layers)}  # what this config was once allowed
        return AlbertConfig(**(self.to_dict() | {"num_labels": self.num_labels} | allowed | changes))

    def to_dict(self) -> dict[str, Any]:
        """All that config.json holds, under transformers' names. `AlbertConfig(**config.to_dict())` gives an equal config."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("extra", "num_labels")}
        return copy.deepcopy(values | {"model_type": self.model_type} | self.extra)

    def to_json_string(self) -> str:
        """The text of config.json. Raises ValueError if an unknown field holds a value that JSON cannot express."""
        # str: a dtype object given in Python is written as its name
        try:
            return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=str) + "\n"
        except TypeError as error:
            raise ValueError(f"config.json cannot hold a value of this config: {error}") from error

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes folder/config.json. Makes the folder if it does not exist."""
        write_atomically(folder_to_write(folder) / CONFIG_NAME, self.to_json_string().encode())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> AlbertConfig:
        """The config of a parsed config.json. Raises ValueError if it belongs to another architecture, or breaks a rule."""
        if not isinstance(values, Mapping):
            raise ValueError(f"config.json must hold one JSON object; got {type(values).__name__}")
        if not all(isinstance(name, str) for name in values):
            raise ValueError(f"the fields of a config are named by str; got {_shown(list(values))}")
        # `max_layers` is the caller's to give, never the file's; `extra` is our own word
        values = {name: value for name, value in values.items() if name not in ("max_layers", "extra", "self")}
        return cls(**merge_labels(values, overrides))

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, **options: Any) -> AlbertConfig:
        """The config of a folder, "demo" or a hub id.

        options: revision, cache_dir, local_files_only, token, subfolder and force_download as in `hub.resolve`; every other
        keyword replaces a value of the file. Raises OSError (no such file) or ValueError (a value is refused).
        """
        where = {name: options.pop(name) for name in hub.OPTIONS if name in options}
        path = hub.resolve(name_or_path, CONFIG_NAME, **where)
        assert path is not None
        values = read_json(path, MAX_CONFIG_BYTES)
        try:
            return cls.from_dict(values, **options)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


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
            raise ValueError(f"{name} must be {allowed}; got {_shown(getattr(config, name))}")

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
        require(name, _is_int(value) and 0 < value < 2**31, "a positive int below 2³¹")
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"):
        value = getattr(config, name)
        optional = name == "classifier_dropout_prob" and value is None
        require(name, optional or (_is_real(value) and 0 <= value < 1), "a number in [0, 1)")
    for name in ("layer_norm_eps", "initializer_range"):
        value = getattr(config, name)
        require(name, _is_real(value) and 0 < value <= sys.float_info.max, "a finite number above 0")
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
    require("chunk_size_feed_forward", _is_int(chunk) and chunk >= 0, "an int of 0 or more")
    require("pruned_heads", config.pruned_heads == {}, "empty: pruned heads change the shapes of the shared layer")
    names = config.architectures
    is_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require("architectures", names is None or is_names, "null or a list of class names")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, name)
        several = name == "eos_token_id" and isinstance(value, list) and all(_is_int(v) for v in value)
        allowed = "null, an int or a list of ints" if name == "eos_token_id" else "null or an int"
        require(name, value is None or several or _is_int(value), allowed)
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


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # True would be taken for the size 1


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())  # a message is one line, and an array's repr is not
    return text if len(text) <= 80 else text[:77] + "…"
