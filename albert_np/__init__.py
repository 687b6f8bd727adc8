"""ALBERT (A Lite BERT) from scratch in NumPy, with no deep-learning framework.

    from albert_np import AlbertTokenizer, AlbertForMaskedLM, pipeline

Importing this package imports NumPy and nothing heavier. Each name below loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from albert_np.version import __version__

if TYPE_CHECKING:
    from albert_np.calling import AlbertPreTrainedModel as AlbertPreTrainedModel
    from albert_np.config import AlbertConfig as AlbertConfig
    from albert_np.kernels.cpu.threads import get_num_threads as get_num_threads
    from albert_np.kernels.cpu.threads import num_threads as num_threads
    from albert_np.kernels.cpu.threads import set_num_threads as set_num_threads
    from albert_np.model import AlbertForMaskedLM as AlbertForMaskedLM
    from albert_np.model import AlbertForMultipleChoice as AlbertForMultipleChoice
    from albert_np.model import AlbertForPreTraining as AlbertForPreTraining
    from albert_np.model import AlbertForQuestionAnswering as AlbertForQuestionAnswering
    from albert_np.model import AlbertForSequenceClassification as AlbertForSequenceClassification
    from albert_np.model import AlbertForTokenClassification as AlbertForTokenClassification
    from albert_np.model import AlbertModel as AlbertModel
    from albert_np.outputs import AlbertForPreTrainingOutput as AlbertForPreTrainingOutput
    from albert_np.outputs import BaseModelOutputWithPooling as BaseModelOutputWithPooling
    from albert_np.outputs import MaskedLMOutput as MaskedLMOutput
    from albert_np.outputs import MultipleChoiceModelOutput as MultipleChoiceModelOutput
    from albert_np.outputs import QuestionAnsweringModelOutput as QuestionAnsweringModelOutput
    from albert_np.outputs import SequenceClassifierOutput as SequenceClassifierOutput
    from albert_np.outputs import TokenClassifierOutput as TokenClassifierOutput
    from albert_np.pipelines.make import pipeline as pipeline
    from albert_np.tokenization.batch import BatchEncoding as BatchEncoding
    from albert_np.tokenization.tokenizer import AlbertTokenizer as AlbertTokenizer
    from albert_np.tokenization.tokenizer import AlbertTokenizerFast as AlbertTokenizerFast

_HOME = {
    "AlbertConfig": "config",
    "AlbertForMaskedLM": "model",
    "AlbertForMultipleChoice": "model",
    "AlbertForPreTraining": "model",
    "AlbertForPreTrainingOutput": "outputs",
    "AlbertForQuestionAnswering": "model",
    "AlbertForSequenceClassification": "model",
    "AlbertForTokenClassification": "model",
    "AlbertModel": "model",
    "AlbertPreTrainedModel": "calling",
    "AlbertTokenizer": "tokenization.tokenizer",
    "AlbertTokenizerFast": "tokenization.tokenizer",
    "BaseModelOutputWithPooling": "outputs",
    "BatchEncoding": "tokenization.batch",
    "MaskedLMOutput": "outputs",
    "MultipleChoiceModelOutput": "outputs",
    "QuestionAnsweringModelOutput": "outputs",
    "SequenceClassifierOutput": "outputs",
    "TokenClassifierOutput": "outputs",
    "get_num_threads": "kernels.cpu.threads",
    "num_threads": "kernels.cpu.threads",
    "pipeline": "pipelines.make",
    "set_num_threads": "kernels.cpu.threads",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name.startswith("Auto"):
        head = name.removeprefix("AutoModel").removeprefix("Auto") or "Model"
        known = f"Albert{head}" if f"Albert{head}" in _HOME else "the Albert class for that task"
        raise AttributeError(f"albert_np knows one architecture and has no {name}: use {known}")
    if name not in _HOME:
        raise AttributeError(f"module 'albert_np' has no attribute {name!r}")
    return getattr(importlib.import_module(f"albert_np.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
