"""ALBERT (A Lite BERT) from scratch in NumPy, with no deep-learning framework.

    from albert_np import AlbertTokenizer, AlbertForMaskedLM, pipeline

Importing this package imports NumPy and nothing heavier. Each name below loads its module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from albert_np.version import __version__

if TYPE_CHECKING:
    from albert_np.auto import AutoConfig as AutoConfig
    from albert_np.auto import AutoModel as AutoModel
    from albert_np.auto import AutoModelForMaskedLM as AutoModelForMaskedLM
    from albert_np.auto import AutoModelForMultipleChoice as AutoModelForMultipleChoice
    from albert_np.auto import AutoModelForPreTraining as AutoModelForPreTraining
    from albert_np.auto import AutoModelForQuestionAnswering as AutoModelForQuestionAnswering
    from albert_np.auto import AutoModelForSequenceClassification as AutoModelForSequenceClassification
    from albert_np.auto import AutoModelForTokenClassification as AutoModelForTokenClassification
    from albert_np.auto import AutoTokenizer as AutoTokenizer
    from albert_np.calling import AlbertPreTrainedModel as AlbertPreTrainedModel
    from albert_np.config import AlbertConfig as AlbertConfig
    from albert_np.conversion.convert import convert as convert
    from albert_np.conversion.verify import verify as verify
    from albert_np.explorer.explore import explore as explore
    from albert_np.flax import FlaxAlbertForMaskedLM as FlaxAlbertForMaskedLM
    from albert_np.flax import FlaxAlbertForMultipleChoice as FlaxAlbertForMultipleChoice
    from albert_np.flax import FlaxAlbertForPreTraining as FlaxAlbertForPreTraining
    from albert_np.flax import FlaxAlbertForQuestionAnswering as FlaxAlbertForQuestionAnswering
    from albert_np.flax import FlaxAlbertForSequenceClassification as FlaxAlbertForSequenceClassification
    from albert_np.flax import FlaxAlbertForTokenClassification as FlaxAlbertForTokenClassification
    from albert_np.flax import FlaxAlbertModel as FlaxAlbertModel
    from albert_np.flax import FlaxAlbertPreTrainedModel as FlaxAlbertPreTrainedModel
    from albert_np.flax_outputs import FlaxAlbertForPreTrainingOutput as FlaxAlbertForPreTrainingOutput
    from albert_np.flax_outputs import FlaxBaseModelOutputWithPooling as FlaxBaseModelOutputWithPooling
    from albert_np.flax_outputs import FlaxMaskedLMOutput as FlaxMaskedLMOutput
    from albert_np.flax_outputs import FlaxMultipleChoiceModelOutput as FlaxMultipleChoiceModelOutput
    from albert_np.flax_outputs import FlaxQuestionAnsweringModelOutput as FlaxQuestionAnsweringModelOutput
    from albert_np.flax_outputs import FlaxSequenceClassifierOutput as FlaxSequenceClassifierOutput
    from albert_np.flax_outputs import FlaxTokenClassifierOutput as FlaxTokenClassifierOutput
    from albert_np.flax_params import from_flax_params as from_flax_params
    from albert_np.flax_params import to_flax_params as to_flax_params
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
    from albert_np.pipelines.base import PipelineException as PipelineException
    from albert_np.pipelines.make import pipeline as pipeline
    from albert_np.pipelines.sentence_encoder import SentenceEncoder as SentenceEncoder
    from albert_np.tensorflow import TFAlbertForMaskedLM as TFAlbertForMaskedLM
    from albert_np.tensorflow import TFAlbertForMultipleChoice as TFAlbertForMultipleChoice
    from albert_np.tensorflow import TFAlbertForPreTraining as TFAlbertForPreTraining
    from albert_np.tensorflow import TFAlbertForPreTrainingOutput as TFAlbertForPreTrainingOutput
    from albert_np.tensorflow import TFAlbertForQuestionAnswering as TFAlbertForQuestionAnswering
    from albert_np.tensorflow import TFAlbertForSequenceClassification as TFAlbertForSequenceClassification
    from albert_np.tensorflow import TFAlbertForTokenClassification as TFAlbertForTokenClassification
    from albert_np.tensorflow import TFAlbertMainLayer as TFAlbertMainLayer
    from albert_np.tensorflow import TFAlbertModel as TFAlbertModel
    from albert_np.tensorflow import TFAlbertPreTrainedModel as TFAlbertPreTrainedModel
    from albert_np.tensorflow import TFBaseModelOutputWithPooling as TFBaseModelOutputWithPooling
    from albert_np.tensorflow import TFMaskedLMOutput as TFMaskedLMOutput
    from albert_np.tensorflow import TFMultipleChoiceModelOutput as TFMultipleChoiceModelOutput
    from albert_np.tensorflow import TFQuestionAnsweringModelOutput as TFQuestionAnsweringModelOutput
    from albert_np.tensorflow import TFSequenceClassifierOutput as TFSequenceClassifierOutput
    from albert_np.tensorflow import TFTokenClassifierOutput as TFTokenClassifierOutput
    from albert_np.tokenization.added_tokens import AddedToken as AddedToken
    from albert_np.tokenization.batch import BatchEncoding as BatchEncoding
    from albert_np.tokenization.tokenizer import AlbertTokenizer as AlbertTokenizer
    from albert_np.tokenization.tokenizer import AlbertTokenizerFast as AlbertTokenizerFast
    from albert_np.vectorizer import AlbertVectorizer as AlbertVectorizer

_HOME = {
    "AddedToken": "tokenization.added_tokens",
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
    "AlbertVectorizer": "vectorizer",
    "AutoConfig": "auto",
    "AutoModel": "auto",
    "AutoModelForMaskedLM": "auto",
    "AutoModelForMultipleChoice": "auto",
    "AutoModelForPreTraining": "auto",
    "AutoModelForQuestionAnswering": "auto",
    "AutoModelForSequenceClassification": "auto",
    "AutoModelForTokenClassification": "auto",
    "AutoTokenizer": "auto",
    "BaseModelOutputWithPooling": "outputs",
    "BatchEncoding": "tokenization.batch",
    "FlaxAlbertForMaskedLM": "flax",
    "FlaxAlbertForMultipleChoice": "flax",
    "FlaxAlbertForPreTraining": "flax",
    "FlaxAlbertForPreTrainingOutput": "flax_outputs",
    "FlaxAlbertForQuestionAnswering": "flax",
    "FlaxAlbertForSequenceClassification": "flax",
    "FlaxAlbertForTokenClassification": "flax",
    "FlaxAlbertModel": "flax",
    "FlaxAlbertPreTrainedModel": "flax",
    "FlaxBaseModelOutputWithPooling": "flax_outputs",
    "FlaxMaskedLMOutput": "flax_outputs",
    "FlaxMultipleChoiceModelOutput": "flax_outputs",
    "FlaxQuestionAnsweringModelOutput": "flax_outputs",
    "FlaxSequenceClassifierOutput": "flax_outputs",
    "FlaxTokenClassifierOutput": "flax_outputs",
    "MaskedLMOutput": "outputs",
    "MultipleChoiceModelOutput": "outputs",
    "PipelineException": "pipelines.base",
    "QuestionAnsweringModelOutput": "outputs",
    "SentenceEncoder": "pipelines.sentence_encoder",
    "SequenceClassifierOutput": "outputs",
    "TFAlbertForMaskedLM": "tensorflow",
    "TFAlbertForMultipleChoice": "tensorflow",
    "TFAlbertForPreTraining": "tensorflow",
    "TFAlbertForPreTrainingOutput": "tensorflow",
    "TFAlbertForQuestionAnswering": "tensorflow",
    "TFAlbertForSequenceClassification": "tensorflow",
    "TFAlbertForTokenClassification": "tensorflow",
    "TFAlbertMainLayer": "tensorflow",
    "TFAlbertModel": "tensorflow",
    "TFAlbertPreTrainedModel": "tensorflow",
    "TFBaseModelOutputWithPooling": "tensorflow",
    "TFMaskedLMOutput": "tensorflow",
    "TFMultipleChoiceModelOutput": "tensorflow",
    "TFQuestionAnsweringModelOutput": "tensorflow",
    "TFSequenceClassifierOutput": "tensorflow",
    "TFTokenClassifierOutput": "tensorflow",
    "TokenClassifierOutput": "outputs",
    "convert": "conversion.convert",
    "explore": "explorer.explore",
    "from_flax_params": "flax_params",
    "get_num_threads": "kernels.cpu.threads",
    "num_threads": "kernels.cpu.threads",
    "pipeline": "pipelines.make",
    "set_num_threads": "kernels.cpu.threads",
    "to_flax_params": "flax_params",
    "verify": "conversion.verify",
}

__all__ = ["__version__", *(name for name in _HOME if name != "AlbertVectorizer")]  # which needs scikit-learn


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"albert_np.{_HOME[name]}"), name)
    if not name.startswith("Auto") or not name[4:5].isupper():
        raise AttributeError(f"module 'albert_np' has no attribute {name!r}")
    autos = ", ".join(known for known in _HOME if known.startswith("Auto"))
    message = f"albert_np knows one architecture, an encoder of text, and has no {name}: use {autos}"
    # `from albert_np import …` asks hasattr first, and would make an ImportError of its own, without this message
    if sys._getframe(1).f_globals.get("__name__") in ("importlib._bootstrap", "_frozen_importlib"):
        raise ImportError(message, name="albert_np")
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOME})
