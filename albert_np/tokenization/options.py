"""Keywords of a tokenizer's from_pretrained and save_pretrained that transformers has too: honoured, ignored or refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from albert_np.files import shown

# they say how models are loaded, or which of transformers' classes is made
LOADING_WITHOUT_EFFECT = (
    "add_prefix_space",
    "attn_implementation",
    "config",
    "device_map",
    "dtype",
    "from_slow",
    "legacy",
    "low_cpu_mem_usage",
    "torch_dtype",
    "use_fast",
)
# they say how a repository on a hub is written to
SAVING_WITHOUT_EFFECT = (
    "commit_description",
    "commit_message",
    "create_pr",
    "max_shard_size",
    "private",
    "repo_id",
    "revision",
    "safe_serialization",
    "save_jinja_files",
    "tags",
    "token",
    "use_auth_token",
)
# keywords of which only some values can be honoured, and why no others
LIMITED: dict[str, tuple[tuple[Any, ...], str]] = {
    "chat_template": ((None,), "there are no chat templates"),
    "gguf_file": ((None,), "vocabularies are read from spiece.model and tokenizer.json"),
    "push_to_hub": ((None, False), "a tokenizer is written into a folder, and nothing is sent to a hub"),
    "tokenizer_type": ((None, "albert"), "the tokenizer is ALBERT's"),
}
# arguments of the class that the folder gives
FIXED = ("vocab_file", "tokenizer_file", "name_or_path")


class MethodNameError(ValueError, AttributeError):
    """A keyword that is the name of a method: an AttributeError, as in transformers, that is also a ValueError, as here."""


def loading_options(options: dict[str, Any], *classes: Any) -> dict[str, Any]:
    """The keywords of from_pretrained: arguments of one of the classes, which replace what the files say.

    Raises ValueError for one that cannot be honoured.
    """
    _take(options, LOADING_WITHOUT_EFFECT)
    if options.get("max_len") is not None:  # the older name
        options.setdefault("model_max_length", options["max_len"])
    options.pop("max_len", None)
    known = {name for each in classes for name in inspect.signature(each).parameters} - {*FIXED, "options", "settings"}
    unknown = sorted(set(options) - known)
    for name in unknown:
        if any(callable(getattr(each, name, None)) for each in classes):
            raise MethodNameError(
                f"from_pretrained of a tokenizer knows no argument {name!r}, which is one of its methods"
            )
    _refuse(unknown, "from_pretrained of a tokenizer")
    return options


def check_making(options: dict[str, Any], name: str) -> None:
    """Refuses a keyword of the class `name` itself that cannot be honoured. ValueError by name."""
    _take(options, LOADING_WITHOUT_EFFECT)
    _refuse(options, name)


def check_decoding(options: dict[str, Any]) -> None:
    """Refuses a keyword of decode that cannot be honoured. ValueError by name."""
    _take(options, ("use_source_tokenizer",))  # of translators, whose two languages have a tokenizer each
    _refuse(options, "decode")


def check_saving(options: dict[str, Any]) -> None:
    """Refuses a keyword of save_pretrained that cannot be honoured. ValueError by name."""
    _take(options, SAVING_WITHOUT_EFFECT)
    _refuse(options, "save_pretrained of a tokenizer")


def _refuse(unknown: Iterable[str], what: str) -> None:
    if names := ", ".join(map(repr, sorted(unknown))):
        raise ValueError(f"{what} knows no argument {names:.300}")


def _take(options: dict[str, Any], without_effect: tuple[str, ...]) -> None:
    """Takes the keywords that change nothing out of `options`, and refuses the values that would change something."""
    for name in without_effect:
        options.pop(name, None)
    for name, (values, why) in LIMITED.items():
        value = options.pop(name, None)
        if not any(value is allowed or value == allowed for allowed in values):
            allowed = " or ".join(map(repr, values))
            raise ValueError(f"{name} can only be {allowed} here, because {why}; got {shown(repr(value), 80)}")
