"""Past one machine: one class to hand to Ray Data's map_batches and to Dask's map_partitions.

    from albert_np.distributed import BatchPredictor

    texts = ray.data.read_parquet("texts")
    asked = {"task": "text-classification", "model": "folder"}
    answers = texts.map_batches(BatchPredictor, fn_constructor_kwargs=asked, compute=ActorPoolStrategy(size=2))

    predict = BatchPredictor("text-classification", "folder")
    answers = frame.map_partitions(predict, meta=predict.meta(frame))

The engine reads and writes, keeps the order, and tries again where a worker dies. This class holds one model in each process
and answers batches: tables of pandas or pyarrow, or dicts of arrays; columns are added to what came in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.checkpoints import hub
from albert_np.files import listed
from albert_np.pipelines.base import ON_ERROR, checked_count
from albert_np.pipelines.make import ALIASES, TASKS, default_model, pipeline
from albert_np.pipelines.sentence_encoder import SentenceEncoder

EMBEDDINGS = "sentence-embeddings"
# the columns of a batch that a task reads, under these names or the names that `columns` tells; the others read "text"
INPUTS = {
    "question-answering": ("question", "context"),
    "multiple-choice": ("prompt", "choices"),
    "sentence-order": ("text", "text_pair"),
    "sentence-similarity": ("source_sentence", "sentences"),
}
# the columns that an answer becomes; the others become one, "answer", as JSON
OUTPUTS: dict[str, dict[str, str]] = {
    "text-classification": {"label": "object", "score": "float64"},
    "question-answering": {"score": "float64", "start": "int64", "end": "int64", "answer": "object"},
    "sentence-order": {"label": "object", "score": "float64"},
    EMBEDDINGS: {"embedding": "object"},
}

_models: dict[str, Any] = {}  # in this process, by what they were made from
_loading = threading.Lock()


class BatchPredictor:
    """Answers batches of rows. It is pickled without its model, which each process loads once, when it is first needed."""

    def __init__(
        self,
        task: str,
        model: str | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        threads: int = 1,
        on_error: str = "raise",
        prefix: str = "",
        **options: Any,
    ) -> None:
        """task: one of pipeline's, or "sentence-embeddings". model: a folder or hub id that every worker can reach; None
        is the embedded model of the task.

        columns: what a task reads (text, question, context …) -> the column of the batch; {"text_pair": …} for pairs.
        threads: those of one worker; workers times threads should not exceed the cores of a machine.
        on_error: "raise" leaves a bad row to the engine; "skip" puts its message into the column "error".
        prefix: put before the names of the columns that are added. options: those of the pipeline, or of encode.
        Raises ValueError.
        """
        task = ALIASES.get(str(task), task)
        if task not in (*TASKS, EMBEDDINGS):
            raise ValueError(f"task must be one of {', '.join((*TASKS, EMBEDDINGS))}; got {task!r}")
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}; got {on_error!r:.80}")
        needed = INPUTS.get(task, ("text",))
        optional = ("text_pair",) if task == "text-classification" else ()
        given = dict(columns or {})
        unknown = [name for name in given if name not in (*needed, *optional)]
        if unknown:
            raise ValueError(f"columns names {listed(unknown)}; {task} reads {listed([*needed, *optional])}")
        if model is None:
            model = hub.DEMO if task == EMBEDDINGS else default_model(task)
        self.task, self.model, self.options = task, str(model), options
        self.threads = checked_count(threads, "threads")
        self.on_error, self.prefix = on_error, prefix
        self.columns = {name: given.get(name, name) for name in (*needed, *given)}

    def __call__(self, batch: Any) -> Any:
        """The batch with the answers as further columns: a DataFrame, a pyarrow.Table or a dict of arrays, as it came."""
        from albert_np.kernels.cpu.threads import num_threads

        table = batch.to_pydict() if hasattr(batch, "to_pydict") else batch
        missing = [column for column in self.columns.values() if column not in table]
        if missing:
            raise ValueError(f"the batch has no column {listed(missing)}; it has {listed(list(map(str, table)))}")
        values = [list(table[column]) for column in self.columns.values()]
        items = [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]
        with num_threads(self.threads):
            answers = self._embeddings(items) if self.task == EMBEDDINGS else self._answers(items)
        return self._beside(batch, self._as_columns(answers))

    def meta(self, frame: Any) -> Any:
        """What a call makes of a DataFrame, without rows: the `meta` of Dask's map_partitions.

        An embedding is a column of vectors, whose type to_parquet cannot tell: schema={"embedding": pyarrow.list_(…)} says it.
        """
        empty = getattr(frame, "_meta", frame).iloc[:0]
        samples = {"object": "", "float64": 0.0, "int64": 0}  # as pandas takes them from lists, whatever its version
        made = {name: samples[dtype] for name, dtype in self._dtypes().items() if name != "embedding"}
        like = type(empty)({self.prefix + name: [value] for name, value in made.items()}).iloc[:0]
        if "embedding" in self._dtypes():
            like[self.prefix + "embedding"] = np.zeros(0, object)
        return empty.assign(**{name: like[name] for name in like})

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answers(self, items: list[dict[str, Any]]) -> list[Any]:
        pipe = self._once(lambda: pipeline(self.task, self.model, **self.options))
        alone = len(self.columns) == 1
        inputs = (item["text"] if alone else _plain(item) for item in items)
        if self.task == "sentence-similarity":
            return [pipe(item) for item in inputs]
        return list(pipe(inputs, batch_size=max(1, len(items)), on_error=self.on_error))

    def _embeddings(self, items: list[dict[str, Any]]) -> list[Any]:
        encoder = self._once(lambda: SentenceEncoder.from_pretrained(self.model))
        return [{"embedding": vector} for vector in encoder.encode([item["text"] for item in items], **self.options)]

    def _once(self, make: Any) -> Any:
        """The pipeline or encoder of these arguments, made when this process first needs it."""
        key = repr((self.task, self.model, sorted(self.options.items())))
        with _loading:
            if key not in _models:
                _models[key] = make()
        return _models[key]

    # --- from answers to columns -------------------------------------------------------------------------------------

    def _dtypes(self) -> dict[str, str]:
        """The columns that are added, and their types."""
        several = set(self.options) & {"top_k", "return_all_scores"}
        names = (
            {"answer": "object"}
            if several and self.task != EMBEDDINGS
            else OUTPUTS.get(self.task, {"answer": "object"})
        )
        if self.on_error == "raise" or self.task == EMBEDDINGS:
            return names
        numbers = {
            name: "float64" if dtype == "int64" else dtype for name, dtype in names.items()
        }  # NaN beside an error
        return {**numbers, "error": "object"}

    def _as_columns(self, answers: list[Any]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        bad = [isinstance(answer, dict) and set(answer) == {"error"} for answer in answers]
        for name, dtype in self._dtypes().items():
            column = np.empty(len(answers), dtype=object)
            for i, answer in enumerate(answers):
                if name == "error":
                    column[i] = answer["error"] if bad[i] else None
                elif bad[i]:
                    column[i] = np.nan if dtype == "float64" else None
                elif name == "answer" and not (isinstance(answer, dict) and "answer" in answer):
                    column[i] = json.dumps(answer, ensure_ascii=False)
                else:
                    column[i] = answer[name]
            found[self.prefix + name] = column.astype(dtype)
        return found

    def _beside(self, batch: Any, columns: dict[str, np.ndarray]) -> Any:
        if hasattr(batch, "to_pydict"):  # pyarrow
            for name, values in columns.items():
                batch = batch.append_column(name, [values.tolist()])
            return batch
        if hasattr(batch, "iloc"):  # pandas
            return batch.assign(
                **{name: values if _holds_vectors(values) else values.tolist() for name, values in columns.items()}
            )
        if "embedding" in {name.removeprefix(self.prefix) for name in columns} and len(next(iter(columns.values()))):
            columns = {name: np.stack(list(values)) for name, values in columns.items()}  # Ray has tensors of its own
        return {**batch, **columns}


def _holds_vectors(values: np.ndarray) -> bool:
    return len(values) > 0 and isinstance(values[0], np.ndarray)


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Lists in the place of arrays: what a table holds as the choices of a prompt."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in item.items()}
