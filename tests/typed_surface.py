"""What a type checker sees of the package: mypy reads this file (pyproject.toml), nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertModel,
    AlbertTokenizer,
    AlbertTokenizerFast,
    AutoConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BatchEncoding,
    FlaxAlbertForMaskedLM,
    FlaxMaskedLMOutput,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    convert,
    explore,
    num_threads,
    pipeline,
    verify,
)
from albert_np.conversion.findings import Verification
from albert_np.conversion.report import Report
from albert_np.explorer.explore import Exploration
from albert_np.outputs import BaseModelOutputWithPooling
from albert_np.pipelines.fill_mask import FillMaskPipeline
from albert_np.run import Trace

Array = np.ndarray[Any, np.dtype[Any]]

model = AlbertForMaskedLM.from_pretrained("demo", dtype="float64")
assert_type(model, AlbertForMaskedLM)
assert_type(model.config, AlbertConfig)
assert_type(model([[1, 2]]), MaskedLMOutput)
assert_type(model([[1, 2]], trace=True).trace, Trace | None)
assert_type(model([[1, 2]]).logits, Array | None)
assert_type(model([[1, 2]], return_dict=False), tuple[Any, ...])
assert_type(model.value_and_grad([[1, 2]], labels=[[1, 2]]), tuple[Any, dict[str, Array]])
assert_type(model.state_dict(), dict[str, Array])
assert_type(AlbertForPreTraining.from_pretrained("demo")([[1, 2]]).sop_logits, Array | None)
assert_type(AlbertModel(AlbertConfig())([[1, 2]]), BaseModelOutputWithPooling)
assert_type(AlbertForQuestionAnswering(AlbertConfig())([[1, 2]]), QuestionAnsweringModelOutput)
assert_type(AlbertModel.from_pretrained("demo", output_loading_info=True), tuple[AlbertModel, dict[str, Any]])
assert_type(FlaxAlbertForMaskedLM(AlbertConfig())([[1, 2]]), FlaxMaskedLMOutput)
assert_type(FlaxAlbertForMaskedLM(AlbertConfig()).params, dict[str, Any])

tokenizer = AlbertTokenizer.from_pretrained("demo")
assert_type(tokenizer, AlbertTokenizer)
assert_type(AlbertTokenizerFast.from_pretrained("demo"), AlbertTokenizerFast)
assert_type(tokenizer("a text"), BatchEncoding)
assert_type(tokenizer.tokenize("a text"), list[str])
assert_type(AutoModelForMaskedLM.from_pretrained("demo"), AlbertForMaskedLM)
assert_type(
    AutoModelForMaskedLM.from_pretrained("demo", output_loading_info=True), tuple[AlbertForMaskedLM, dict[str, Any]]
)
assert_type(AutoConfig.from_pretrained("demo"), AlbertConfig)
assert_type(AutoConfig.from_pretrained("demo", return_unused_kwargs=True), tuple[AlbertConfig, dict[str, Any]])
assert_type(model.resize_token_embeddings(70).weight, Any)
assert_type(model.albert, AlbertModel)
assert_type(AutoTokenizer.from_pretrained("demo"), AlbertTokenizer)
assert_type(pipeline("fill-mask"), FillMaskPipeline)

with num_threads(1):
    pass

assert_type(convert("demo", "./there", "bin", dtype="bfloat16"), Report)
assert_type(verify("demo"), Verification)
assert_type(explore("a [MASK]"), Exploration)
