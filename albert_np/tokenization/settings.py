"""The settings of a tokenizer: some may change between calls, the others are built into its encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from albert_np.tokenization.lengths import NO_LIMIT, check_side


def checked_flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r:.80}")
    return value


def check_sp_model_kwargs(given: Any) -> None:
    """Accepts arguments of SentencePieceProcessor that leave the pieces as they are. ValueError names any other."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"sp_model_kwargs must be an object of settings by name; got {given!r:.80}")
    for name, value in (given or {}).items():
        if name == "enable_sampling" and value:
            raise ValueError(
                f"sp_model_kwargs asks for {name}={value!r:.40}: sampling is not supported; ids must repeat"
            )
        if name in _CHANGING and value:
            raise ValueError(
                f"sp_model_kwargs asks for {name}={value!r:.40}, which would change the pieces; leave it out"
            )
        if name not in (*_WITHOUT_EFFECT, *_CHANGING):
            raise ValueError(f"sp_model_kwargs has {name!r:.40}, which no tokenizer of ALBERT takes; leave it out")


# nbest_size and alpha mean something with enable_sampling only; out_type and num_threads never change a piece
_WITHOUT_EFFECT = ("enable_sampling", "nbest_size", "alpha", "out_type", "num_threads")
_CHANGING = ("add_bos", "add_eos", "reverse", "emit_unk_piece")


def _max_length(value: Any, name: str) -> int:
    if value is None:
        return NO_LIMIT
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more; got {value!r:.80}")
    return int(value)


INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")


def _input_names(value: Any, name: str) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} must be a list of names such as 'input_ids'; got {value!r:.80}")
    return list(value)


def _checked(name: str, check: Callable[[Any, str], Any]) -> Any:
    """An attribute whose new values are checked by `check`."""

    def change(self: Any, value: Any) -> None:
        setattr(self, f"_{name}", check(value, name))

    return property(lambda self: getattr(self, f"_{name}"), change, doc=f"{name}; checked when it is set")


def fixed(name: str) -> Any:
    """An attribute that can be read, but not set."""

    def refuse(self: Any, value: Any) -> None:
        raise AttributeError(f"{name} is built into the tokenizer: load it again with {name}={value!r:.80}")

    return property(lambda self: getattr(self, f"_{name}"), refuse, doc=f"{name}, as the tokenizer was made")


class Settings:
    """Settings as attributes. Those that may change are checked when they do; a bad value raises ValueError."""

    padding_side = _checked("padding_side", check_side)
    truncation_side = _checked("truncation_side", check_side)
    model_max_length = _checked("model_max_length", _max_length)
    clean_up_tokenization_spaces = _checked("clean_up_tokenization_spaces", checked_flag)
    split_special_tokens = _checked("split_special_tokens", checked_flag)
    model_input_names = _checked("model_input_names", _input_names)
    verbose = _checked("verbose", checked_flag)
    do_lower_case, remove_space = fixed("do_lower_case"), fixed("remove_space")
    keep_accents, style = fixed("keep_accents"), fixed("style")
