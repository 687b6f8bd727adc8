"""pipeline(): from the name of a task, and perhaps of a model, to an object that answers texts."""

from __future__ import annotations

import os
from typing import Any

from albert_np.checkpoints import hub
from albert_np.pipelines.fill_mask import FillMaskPipeline
from albert_np.tokenization.tokenizer import AlbertTokenizer

PIPELINES = {kind.task: kind for kind in (FillMaskPipeline,)}


def pipeline(
    task: str,
    model: Any = None,
    tokenizer: Any = None,
    *,
    backend: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    device: Any = None,
    top_k: int | None = None,
    **options: Any,
) -> FillMaskPipeline:
    """A callable for a task. `pipeline("fill-mask")("The capital of [MASK] is Paris.")`

    model, tokenizer: a folder, "demo" (the default), a hub id, or loaded objects. If no tokenizer is given, it comes from the
    model's place. options: revision, cache_dir, local_files_only, token, subfolder, force_download.
    device may only say the CPU. Raises ValueError for an unknown task, and OSError if files are missing.
    """
    if not isinstance(task, str) or task not in PIPELINES:
        raise ValueError(f"task must be one of {', '.join(PIPELINES)}; got {task!r}")
    kind = PIPELINES[task]
    if str(device) not in ("None", "-1", "cpu"):
        raise ValueError(f"device: pipelines run on the CPU; got {device!r}")
    unknown = sorted(set(options) - set(hub.OPTIONS))
    if unknown:
        raise ValueError(f"pipeline knows no {', '.join(unknown)}; it takes {', '.join(hub.OPTIONS)} beside its own")
    model = hub.DEMO if model is None else model
    is_name = isinstance(model, (str, os.PathLike))
    if not is_name:
        if tokenizer is None:
            raise ValueError("a loaded model does not know its tokenizer: pass tokenizer= too")
        late = {"backend": backend, "dtype": dtype, "torch_dtype": torch_dtype} | options
        unused = sorted(name for name, value in late.items() if value is not None)
        if unused and isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"{', '.join(unused)}: the model is loaded already; pass this to its from_pretrained")
    if tokenizer is None or isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = AlbertTokenizer.from_pretrained(model if tokenizer is None else tokenizer, **options)
    if is_name:
        model = kind.models[0].from_pretrained(
            model, backend=backend or "auto", dtype=dtype, torch_dtype=torch_dtype, **options
        )
    return kind(model, tokenizer, top_k=top_k)
