"""pipeline(): from the name of a task, and perhaps of a model, to an object that answers texts."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

from albert_np.checkpoints import hub
from albert_np.config import AlbertConfig
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
    backend: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    device: Any = None,
    **options: Any,
) -> Any:
    """A callable for a task. `pipeline("fill-mask")("The capital of [MASK] is Paris.")`

    task: one of TASKS, or an alias of transformers; without it, the task follows from the class that saved the model.
    model, tokenizer: a folder, "demo" (the default), a hub id, or loaded objects. If no tokenizer is given, it comes from the
    model's place. options: revision, cache_dir, local_files_only, token, subfolder, force_download; the others are those of
    the pipeline's calls, as their defaults.
    device may only say the CPU. Raises ValueError for an unknown task, and OSError if files are missing.
    """
    where = {name: options.pop(name) for name in hub.OPTIONS if name in options}
    model = hub.DEMO if model is None else model
    task = _task_of(model, where) if task is None else ALIASES.get(str(task), task)
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    if str(device) not in ("None", "-1", "cpu"):
        raise ValueError(f"device: pipelines run on the CPU; got {device!r}")
    is_name = isinstance(model, (str, os.PathLike))
    late = {"backend": backend, "dtype": dtype, "torch_dtype": torch_dtype} | where
    unused = sorted(name for name, value in late.items() if value is not None)
    if task == SIMILARITY:
        return _similarity(model, tokenizer, late, options)
    kind = PIPELINES[task]
    if not is_name:
        if tokenizer is None:
            raise ValueError("a loaded model does not know its tokenizer: pass tokenizer= too")
        if unused and isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"{', '.join(unused)}: the model is loaded already; pass this to its from_pretrained")
    if tokenizer is None or isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = AlbertTokenizer.from_pretrained(model if tokenizer is None else tokenizer, **where)
    if is_name:
        model = kind.load(model, backend=backend or "auto", dtype=dtype, torch_dtype=torch_dtype, **where)
    return kind(model, tokenizer, **options)


def _task_of(model: Any, where: dict[str, Any]) -> str:
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
    model: Any, tokenizer: Any, made: dict[str, Any], options: dict[str, Any]
) -> SentenceSimilarityPipeline:
    if options or tokenizer is not None:
        raise ValueError(
            f"{SIMILARITY} takes a model only, a name or a SentenceEncoder; got {listed(sorted(options)) or 'tokenizer'}"
        )
    if isinstance(model, (str, os.PathLike)):
        torch_dtype = made.pop("torch_dtype")
        made["dtype"] = torch_dtype if made["dtype"] is None else made["dtype"]
        made["backend"] = made["backend"] or "auto"
        model = SentenceEncoder.from_pretrained(model, **made)
    return SentenceSimilarityPipeline(model)
