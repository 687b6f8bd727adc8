"""The Auto names of transformers, so that its examples run. What is not ALBERT is refused by name."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints import hub
from albert_np.checkpoints.options import take_options
from albert_np.config import CONFIG_NAME, MAX_CONFIG_BYTES, AlbertConfig
from albert_np.files import listed, read_json, shown
from albert_np.model import (
    AlbertForMaskedLM,
    AlbertForMultipleChoice,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
)
from albert_np.tokenization.files import ANY_CLASSES, CONFIG, read_json_object
from albert_np.tokenization.spiece import refuse_wordpiece
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.tokenization.vocab_txt import BERT

Model = TypeVar("Model", bound=AlbertPreTrainedModel)

# the classes that a folder may name for a tokenizer of ALBERT, "Fast" left out
TOKENIZERS = ("AlbertTokenizer", BERT, *ANY_CLASSES)


class _Auto:
    """What all Auto names share: they make objects of other classes, and never of their own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        name = type(self).__name__
        ways = [f"{name}.{way}(…)" for way in ("from_pretrained", "from_config", "for_model") if hasattr(self, way)]
        raise ValueError(f"{name} is not made by itself: {' or '.join(ways)} makes an object of ALBERT's class")


class AutoConfig(_Auto):
    """AlbertConfig, under transformers' name for the config of any architecture."""

    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        return_unused_kwargs: Literal[False] = False,
        **options: Any,
    ) -> AlbertConfig: ...
    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        return_unused_kwargs: Literal[True],
        **options: Any,
    ) -> tuple[AlbertConfig, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **options: Any) -> Any:
        """AlbertConfig.from_pretrained, whose result knows its name. ValueError for the config of another architecture."""
        named = {"name_or_path": pretrained_model_name_or_path}
        return AlbertConfig.from_pretrained(pretrained_model_name_or_path, *args, **named | options)

    @classmethod
    def for_model(cls, model_type: str, **values: Any) -> AlbertConfig:
        """A config from its values. Raises ValueError for another model_type than "albert"."""
        return AlbertConfig(model_type=model_type, **values)


class AutoTokenizer(_Auto):
    """AlbertTokenizer, under transformers' name for the tokenizer of any architecture."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        use_fast: bool | None = None,
        tokenizer_type: str | None = None,
        config: Any = None,
        **options: Any,
    ) -> AlbertTokenizer:
        """AlbertTokenizer.from_pretrained. Raises ValueError if the folder, or an argument, names another architecture.

        use_fast makes no difference: offsets and word_ids are always there, and `style` says whose ids these are.
        """
        if use_fast not in (None, True, False):
            raise ValueError(f"use_fast must be True or False; got {use_fast!r:.80}")
        _check_type("albert" if tokenizer_type is None else tokenizer_type)
        refuse_wordpiece(pretrained_model_name_or_path)
        _check_config(config)
        where = hub.take_options(options)
        path = hub.resolve(pretrained_model_name_or_path, CONFIG, required=False, **where)
        kind = read_json_object(path).get("tokenizer_class") if path else None
        if kind is not None and str(kind).removesuffix("Fast") not in TOKENIZERS:
            raise ValueError(
                f"{path} says tokenizer_class {shown(kind)}, the tokenizer of another architecture: tokenize with that class, "
                "and pass the ids to the model"
            )
        if str(kind).removesuffix("Fast") == BERT:
            options.setdefault("style", "wordpiece")  # a vocab.txt, or an error that says there is none
        path = hub.resolve(pretrained_model_name_or_path, CONFIG_NAME, required=False, **where)
        values = read_json(path, MAX_CONFIG_BYTES) if path else {}
        if isinstance(values, dict) and values.get("model_type", "albert") != "albert":
            raise ValueError(
                f"{path} says model_type {shown(values['model_type'])}, another architecture; "
                "AlbertTokenizer.from_pretrained reads the tokenizer alone"
            )
        return AlbertTokenizer.from_pretrained(pretrained_model_name_or_path, **where, **options)


class _AutoModel(_Auto, Generic[Model]):
    kind: ClassVar[Any]  # type[Model], which a ClassVar cannot say

    @overload
    @classmethod
    def from_pretrained(
        cls, *args: Any, config: Any = None, output_loading_info: Literal[False] = False, **options: Any
    ) -> Model: ...
    @overload
    @classmethod
    def from_pretrained(
        cls, *args: Any, config: Any = None, output_loading_info: Literal[True], **options: Any
    ) -> tuple[Model, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(cls, *args: Any, config: Any = None, **options: Any) -> Any:
        """`from_pretrained` of ALBERT's class, with its arguments. Raises ValueError for another architecture."""
        _check_config(config)
        return cls.kind.from_pretrained(*args, config=config, **options)

    @classmethod
    def from_config(
        cls,
        config: AlbertConfig,
        *,
        backend: str = "auto",
        dtype: Any = None,
        torch_dtype: Any = None,
        seed: int = 0,
        **options: Any,
    ) -> Model:
        """A freshly initialised model of ALBERT's class, with its arguments; torch_dtype is an alias of dtype.

        Other keywords of transformers are ignored where they change nothing, as in from_pretrained. Raises ValueError for
        another architecture, and for keywords that cannot be honoured.
        """
        _check_config(config)
        parts = cls.kind._parts(options)
        take_options(options)
        if options:
            raise ValueError(
                f"from_config knows no {listed(sorted(options))}; values of the config are given to AlbertConfig"
            )
        dtype = next((given for given in (dtype, torch_dtype) if given is not None), "float32")
        return cls.kind._with_parts(config, parts, backend=backend, dtype=dtype, seed=seed)


class AutoModel(_AutoModel[AlbertModel]):
    """AlbertModel, under transformers' name for the encoder of any architecture."""

    kind = AlbertModel


class AutoModelForMaskedLM(_AutoModel[AlbertForMaskedLM]):
    """AlbertForMaskedLM, under transformers' name for any architecture's."""

    kind = AlbertForMaskedLM


class AutoModelForMultipleChoice(_AutoModel[AlbertForMultipleChoice]):
    """AlbertForMultipleChoice, under transformers' name for any architecture's."""

    kind = AlbertForMultipleChoice


class AutoModelForPreTraining(_AutoModel[AlbertForPreTraining]):
    """AlbertForPreTraining, under transformers' name for any architecture's."""

    kind = AlbertForPreTraining


class AutoModelForQuestionAnswering(_AutoModel[AlbertForQuestionAnswering]):
    """AlbertForQuestionAnswering, under transformers' name for any architecture's."""

    kind = AlbertForQuestionAnswering


class AutoModelForSequenceClassification(_AutoModel[AlbertForSequenceClassification]):
    """AlbertForSequenceClassification, under transformers' name for any architecture's."""

    kind = AlbertForSequenceClassification


class AutoModelForTokenClassification(_AutoModel[AlbertForTokenClassification]):
    """AlbertForTokenClassification, under transformers' name for any architecture's."""

    kind = AlbertForTokenClassification


def _check_type(model_type: Any) -> None:
    if model_type != "albert":
        raise ValueError(f"model_type must be 'albert'; got {shown(repr(model_type), 80)}, another architecture")


def _check_config(config: Any) -> None:
    _check_type(getattr(config, "model_type", "albert"))
