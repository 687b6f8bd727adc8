"""pipeline(): from the name of a task, and perhaps of a model, to an object that answers texts."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any, Literal, overload

from albert_np.checkpoints import hub
from albert_np.config import AlbertConfig
from albert_np.device import Device, backend_on, place_of
from albert_np.files import listed
from albert_np.pipelines.base import Pipeline
from albert_np.pipelines.feature_extraction import FeatureExtractionPipeline
from albert_np.pipelines.fill_mask import FillMaskPipeline
from albert_np.pipelines.multiple_choice import MultipleChoicePipeline
from albert_np.pipelines.question_answering import QuestionAnsweringPipeline
from albert_np.pipelines.sentence_encoder import SentenceEncoder
from albert_np.pipelines.sentence_order import SentenceOrderPipeline
from albert_np.pipelines.sentence_similarity import SentenceSimilarityPipeline
from albert_np.pipelines.text_classification import TextClassificationPipeline
from albert_np.pipelines.token_classification import TokenClassificationPipeline
from albert_np.pipelines.zero_shot import ZeroShotClassificationPipeline
from albert_np.tokenization.tokenizer import AlbertTokenizer

PIPELINES: dict[str, type[Pipeline[Any]]] = {
    kind.task: kind
    for kind in (
        FeatureExtractionPipeline,
        FillMaskPipeline,
        MultipleChoicePipeline,
        QuestionAnsweringPipeline,
        SentenceOrderPipeline,
        TextClassificationPipeline,
        TokenClassificationPipeline,
        ZeroShotClassificationPipeline,
    )
}
SIMILARITY = SentenceSimilarityPipeline.task
ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
TASKS = (*PIPELINES, SIMILARITY)
# the task of a model that was saved by a class; AlbertModel's states are good for anything
TASK_OF = {
    "AlbertForMaskedLM": "fill-mask",
    "AlbertForPreTraining": "fill-mask",
    "AlbertForSequenceClassification": "text-classification",
    "AlbertForTokenClassification": "token-classification",
    "AlbertForQuestionAnswering": "question-answering",
    "AlbertForMultipleChoice": "multiple-choice",
    "AlbertModel": "feature-extraction",
}
# the embedded model of a task, and what it is good for; the other tasks have none
PROSE = "English prose of 1839 to 1930"
DEFAULTS = {
    "feature-extraction": (hub.DEMO, f"a small model of {PROSE}"),
    "fill-mask": (hub.DEMO, f"a small model of {PROSE}"),
    "sentence-order": (hub.DEMO, f"a small model of {PROSE}"),
    SIMILARITY: (hub.DEMO, f"a small model of {PROSE}"),
    "text-classification": ("demo-speech", f"a small model that tells spoken from told sentences in {PROSE}"),
    "token-classification": ("demo-names", f"a small model that marks names in {PROSE}"),
}

logger = logging.getLogger("albert_np")


@overload
def pipeline(
    task: Literal["feature-extraction"], model: Any = None, tokenizer: Any = None, **options: Any
) -> FeatureExtractionPipeline: ...
@overload
def pipeline(
    task: Literal["fill-mask"], model: Any = None, tokenizer: Any = None, **options: Any
) -> FillMaskPipeline: ...
@overload
def pipeline(
    task: Literal["multiple-choice"], model: Any = None, tokenizer: Any = None, **options: Any
) -> MultipleChoicePipeline: ...
@overload
def pipeline(
    task: Literal["question-answering"], model: Any = None, tokenizer: Any = None, **options: Any
) -> QuestionAnsweringPipeline: ...
@overload
def pipeline(
    task: Literal["sentence-order"], model: Any = None, tokenizer: Any = None, **options: Any
) -> SentenceOrderPipeline: ...
@overload
def pipeline(
    task: Literal["sentence-similarity"], model: Any = None, tokenizer: Any = None, **options: Any
) -> SentenceSimilarityPipeline: ...
@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"], model: Any = None, tokenizer: Any = None, **options: Any
) -> TextClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"], model: Any = None, tokenizer: Any = None, **options: Any
) -> TokenClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: Any = None, tokenizer: Any = None, **options: Any
) -> ZeroShotClassificationPipeline: ...
@overload
def pipeline(task: str | None = None, model: Any = None, tokenizer: Any = None, **options: Any) -> Pipeline[Any]: ...
def pipeline(
    task: str | None = None,
    model: Any = None,
    tokenizer: Any = None,
    *,
    config: Any = None,
    backend: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    framework: str | None = None,
    **options: Any,
) -> Any:
    """A callable for a task. `pipeline("fill-mask")("The capital of [MASK] is Paris.")`

    task: one of TASKS, or an alias of transformers; without it, the task follows from the class that saved the model.
    model, tokenizer: a folder, a hub id, "demo" or another embedded model, or loaded objects. Without a model, it is the
    embedded one of the task (DEFAULTS), and a line of the log says so. Without a tokenizer, it comes from the model's place.
    config, dtype, torch_dtype and model_kwargs are for the model's from_pretrained.
    device: "cpu" or -1; "cuda", "cuda:0" or 0, which mean backend="cuda"; or a torch.device. device_map: such a place, or
    "auto", which leaves it to `backend`. framework: "np", if anything.
    options: revision, cache_dir, local_files_only, token, subfolder, force_download; those of the pipeline's calls, as their
    defaults; and what changes nothing here (use_fast, trust_remote_code=False, feature_extractor=None, num_workers …).
    Raises ValueError for an unknown task and for arguments that cannot be honoured, and OSError if files are missing.
    """
    where = {name: value for name, value in hub.take_options(options).items() if value is not None}
    if task is None:
        task = "fill-mask" if model is None else task_of(model, where)
    task = ALIASES.get(str(task), task)
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r:.80}")
    model = default_model(task) if model is None else model
    if framework not in (None, "np"):
        raise ValueError(
            f"framework can only be 'np' here, because models take and give NumPy's arrays; got {framework!r:.80}"
        )
    _check_foreign(task, options)
    settings = _settings(
        model_kwargs,
        {"config": config, "backend": backend, "dtype": dtype, "torch_dtype": torch_dtype, "device_map": device_map},
    )
    place = place_of(device, settings.pop("device_map", None))
    is_name = isinstance(model, (str, os.PathLike))
    if is_name:
        settings["backend"] = backend_on(settings.get("backend"), place)
    if task == SIMILARITY:
        return _similarity(model, tokenizer, settings | where, place, options)
    kind = PIPELINES[task]
    if not is_name and tokenizer is None:
        raise ValueError("a loaded model does not know its tokenizer: pass tokenizer= too")
    if not is_name and settings:
        raise ValueError(f"{listed(sorted(settings))}: the model is loaded already; pass this to its from_pretrained")
    tokenizer = _tokenizer(model if tokenizer is None else tokenizer, where, used=is_name)
    if is_name:
        model = kind.load(model, **settings, **where)
    made = kind(model, tokenizer, **options)
    made.model.to(device=place)
    return made


@functools.cache  # says it once
def default_model(task: str) -> str:
    """The embedded model of a task, and a line of the log that says so. Raises ValueError if there is none."""
    if task not in DEFAULTS:
        raise ValueError(f"{task} has no embedded model: pass model=, a folder or a hub id of a model trained for it")
    name, what = DEFAULTS[task]
    logger.warning("%s without a model uses the embedded %s, %s; for real work pass model= (--model)", task, name, what)
    return name


def task_of(model: Any, where: dict[str, Any]) -> str:
    """The task of a model, by its class or by the class that its config names."""
    if isinstance(model, SentenceEncoder):
        return SIMILARITY
    named = [type(model).__name__]
    if isinstance(model, (str, os.PathLike)):
        named = AlbertConfig.from_pretrained(model, **where).architectures or []
    tasks = {TASK_OF[name] for name in named if name in TASK_OF}
    if len(tasks) != 1:
        raise ValueError(
            f"which task is meant? The model was saved by {listed(named) or 'an unknown class'}: pass task="
        )
    return tasks.pop()


def _similarity(
    model: Any, tokenizer: Any, made: dict[str, Any], place: Device | None, options: dict[str, Any]
) -> SentenceSimilarityPipeline:
    if options or tokenizer is not None:
        raise ValueError(
            f"{SIMILARITY} takes a model only, a name or a SentenceEncoder; got {listed(sorted(options)) or 'tokenizer'}"
        )
    if isinstance(model, (str, os.PathLike)):
        if (torch_dtype := made.pop("torch_dtype", None)) is not None:
            made.setdefault("dtype", torch_dtype)
        model = SentenceEncoder.from_pretrained(model, **made)
    elif made:
        raise ValueError(f"{listed(sorted(made))}: the model is loaded already; pass this to its from_pretrained")
    similarity = SentenceSimilarityPipeline(model)
    model.model.to(device=place)
    return similarity


def _settings(model_kwargs: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What the model's from_pretrained is told: the arguments that were given, and model_kwargs."""
    more = {} if model_kwargs is None else model_kwargs
    if not isinstance(more, Mapping):
        raise ValueError(f"model_kwargs must be a dict of arguments of from_pretrained; got {type(more).__name__}")
    settings = {name: value for name, value in given.items() if value is not None}
    if twice := sorted(set(settings) & set(more)):
        raise ValueError(f"{listed(twice)}: given as an argument and again in model_kwargs")
    return settings | dict(more)


def _check_foreign(task: str, options: dict[str, Any]) -> None:
    """Takes out what only other tasks and other libraries need. Raises ValueError if something is asked of it."""
    for name in ("feature_extractor", "image_processor", "processor"):
        if options.pop(name, None) is not None:
            raise ValueError(f"{name}: {task} reads texts and needs a tokenizer alone; leave it out")
    kind: Any = SentenceSimilarityPipeline if task == SIMILARITY else PIPELINES[task]
    if options.pop("pipeline_class", None) not in (None, kind):
        raise ValueError(f"pipeline_class: the class for {task} is {kind.__name__}; leave it out")
    for name in ("use_fast", "num_workers"):
        options.pop(name, None)


def _tokenizer(tokenizer: Any, where: dict[str, Any], used: bool) -> Any:
    """A tokenizer by its name, or by (name, arguments) as in transformers; a loaded one as it is.

    used: whether the model is loaded from `where`. Raises ValueError if nothing is.
    """
    more: dict[str, Any] = {}
    if isinstance(tokenizer, tuple) and len(tokenizer) == 2 and isinstance(tokenizer[1], Mapping):
        tokenizer, more = tokenizer[0], {name: x for name, x in tokenizer[1].items() if name != "use_fast"}
    if isinstance(tokenizer, (str, os.PathLike)):
        return AlbertTokenizer.from_pretrained(tokenizer, **(where | more))
    if where and not used:
        raise ValueError(f"{listed(sorted(where))}: the model is loaded already, and so is the tokenizer; leave it out")
    return tokenizer
