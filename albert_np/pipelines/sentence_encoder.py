"""Sentence embeddings: a text as one vector, under the names of sentence-transformers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from albert_np.checkpoints import hub
from albert_np.device import device_of
from albert_np.files import listed, shown
from albert_np.model import AlbertModel
from albert_np.ops import Array
from albert_np.pipelines.base import MODEL_INPUTS, Options, Pipeline, Prepared, Row, checked_count, real_tokens
from albert_np.pipelines.sentence_folder import SentenceFolder, read_sentence_folder
from albert_np.tasks.vectors import (
    POOLINGS,
    PRECISIONS,
    SIMILARITIES,
    nearest,
    normalised,
    pooled,
    quantized,
    similarity,
)
from albert_np.tokenization.tokenizer import AlbertTokenizer

logger = logging.getLogger("albert_np")

OUTPUTS = ("sentence_embedding", "token_embeddings", None)
BAR_AFTER = 1.0  # seconds of work before a progress bar shows


class SentenceEncoder:
    """An encoder with its tokenizer and a pooling: texts in, vectors out. The same text gives the same bits in any batch."""

    def __init__(self, model: AlbertModel, tokenizer: AlbertTokenizer, folder: SentenceFolder | None = None) -> None:
        _States(model, tokenizer, np.copy)  # says if they do not belong together
        self.model, self.tokenizer = model, tokenizer
        self._folder = SentenceFolder() if folder is None else folder
        most = min(model.config.max_position_embeddings, tokenizer.model_max_length)
        self.max_seq_length = min(self._folder.max_seq_length or most, most)
        self.prompts, self.default_prompt_name = dict(self._folder.prompts), self._folder.default_prompt_name
        self.similarity_fn_name = self._folder.similarity

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike = hub.DEMO,
        *,
        pooling: str | Sequence[str] | None = None,
        max_seq_length: int | None = None,
        backend: str = "auto",
        dtype: Any = None,
        **where: Any,
    ) -> SentenceEncoder:
        """Loads a folder of sentence-transformers, or a plain ALBERT, whose states are then pooled by `pooling` ("mean").

        pooling: "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", or several of them, whose
        vectors are put end to end. max_seq_length: tokens of a text; a longer one is cut.
        where: revision, cache_dir, local_files_only, token, subfolder, force_download. Raises OSError or ValueError.
        """
        unknown = sorted(set(where) - set(hub.OPTIONS))
        if unknown:
            raise ValueError(f"SentenceEncoder.from_pretrained knows no {listed(unknown)}")
        folder = read_sentence_folder(name_or_path, where)
        if folder is None:
            modes = ("mean",) if pooling is None else (pooling,) if isinstance(pooling, str) else tuple(pooling)
            unknown = [str(mode) for mode in modes if mode not in POOLINGS]
            if unknown or not modes:
                raise ValueError(f"pooling is one or several of {', '.join(POOLINGS)}; got {shown(repr(pooling), 80)}")
            folder = SentenceFolder(pooling=modes)
        elif pooling is not None:
            raise ValueError(
                f"{name_or_path} says how its states are pooled ({', '.join(folder.pooling)}): leave out pooling"
            )
        inside = {**where, "subfolder": os.path.join(where.get("subfolder") or "", folder.subfolder)}
        tokenizer = AlbertTokenizer.from_pretrained(name_or_path, **inside)
        model = AlbertModel.from_pretrained(
            name_or_path, add_pooling_layer=False, backend=backend, dtype=dtype, **inside
        )
        encoder = cls(model, tokenizer, folder)
        if max_seq_length is not None:
            encoder.max_seq_length = checked_count(
                max_seq_length, "max_seq_length", model.config.max_position_embeddings
            )
        return encoder

    def __repr__(self) -> str:
        pooling = ", ".join(self._folder.pooling)
        return f"{type(self).__name__}({self.model!r}, pooling={pooling!r}, max_seq_length={self.max_seq_length})"

    def get_sentence_embedding_dimension(self) -> int:
        """How many numbers a vector has."""
        states = np.zeros((1, self.model.config.hidden_size), self.model.dtype)
        return len(self._vector(states, 0))

    get_embedding_dimension = get_sentence_embedding_dimension

    # --- texts to vectors --------------------------------------------------------------------------------------------

    def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """The vectors of texts: an array (n,d) of several, (d,) of one.

        prompt, or the prompt of that name, is put before each text. batch_size: how many texts are computed together, which
        changes no bit of the result. show_progress_bar: None shows one on a terminal, for work of over a second.
        output_value: "token_embeddings" gives the hidden states (T,H) of each text instead, and None all there is.
        precision: see tasks.vectors.quantized; a model in float64 gives float64 vectors as long as this is "float32".
        convert_to_numpy=False gives a list of vectors; convert_to_tensor=True is refused. device: where the model is, or None.
        truncate_dim: only the first entries of each vector.
        Raises ValueError for what is no text.
        """
        if output_value not in OUTPUTS:
            raise ValueError(f"output_value is one of {OUTPUTS}; got {shown(repr(output_value), 60)}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got {shown(repr(precision), 60)}")
        if convert_to_tensor:
            raise ValueError(
                "convert_to_tensor=True: albert_np makes NumPy arrays only; torch.from_numpy makes tensors of them"
            )
        if device is not None and device_of(device) != self.model.device:
            raise ValueError(
                f"the model is on {self.model.device}: from_pretrained(…, backend=…) chooses another place"
            )
        if truncate_dim is not None:
            checked_count(truncate_dim, "truncate_dim")
        checked_count(batch_size, "batch_size")
        alone = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else sentences
        if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
            raise ValueError(f"encode takes a text or several; got {type(sentences).__name__}")
        texts = list(texts)
        before = self._prompt(prompt_name, prompt)
        skipped = 0 if self._folder.include_prompt or not before else len(self._row(before)["input_ids"]) - 1

        def vector_of(states: Array) -> Array:  # (n,H) -> (d,)
            vector = self._vector(states, skipped)[:truncate_dim]
            return normalised(vector) if normalize_embeddings else vector

        # of a batch of long texts, the vectors alone are little
        reduce = vector_of if output_value == "sentence_embedding" else np.copy
        found = []
        computed = self._computed(texts, before, batch_size, reduce)
        for row, value in self._shown(computed, len(texts), show_progress_bar):
            beside = {"token_embeddings": value, "sentence_embedding": vector_of(value)} if output_value is None else {}
            found.append({**row, **beside} if beside else value)
        if output_value != "sentence_embedding":
            return found[0] if alone else found
        dimension = min(self.get_sentence_embedding_dimension(), truncate_dim or np.inf)
        array = np.array(found, self.model.dtype).reshape(len(found), int(dimension))
        array = array if precision == "float32" else quantized(array, precision)
        if alone:
            return array[0]
        return array if convert_to_numpy else list(array)

    def encode_query(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """`encode`, with the prompt "query" if the model has one."""
        return self.encode(sentences, **self._with_prompt(("query",), options))

    def encode_document(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """`encode`, with the prompt "document", "passage" or "corpus" if the model has one."""
        return self.encode(sentences, **self._with_prompt(("document", "passage", "corpus"), options))

    def _with_prompt(self, names: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            known = [name for name in names if name in self.prompts]
            options = {**options, "prompt_name": known[0] if known else None}
        return options

    def _prompt(self, name: str | None, text: str | None) -> str:
        if text is not None:
            if not isinstance(text, str):
                raise ValueError(f"prompt must be a text; got {type(text).__name__}")
            return text
        name = self.default_prompt_name if name is None else name
        if name is not None and name not in self.prompts:
            raise ValueError(
                f"there is no prompt {shown(repr(name), 60)}; there are {listed(list(self.prompts)) or 'none'}"
            )
        return "" if name is None else self.prompts[name]

    def _row(self, text: str) -> Row:
        text = text.lower() if self._folder.lower else text
        return self.tokenizer(text, truncation=True, max_length=self.max_seq_length, verbose=False)

    def _computed(
        self, texts: list[Any], before: str, batch_size: int, reduce: Callable[[Array], Array]
    ) -> Iterator[tuple[Row, Array]]:
        options = Options(batch_size=batch_size)
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"encode takes texts; number {position} is a {type(text).__name__}")
        rows = (self._row(before + text) for text in texts)
        return _States(self.model, self.tokenizer, reduce).stream(rows, options, max(batch_size, 1))

    def _shown(self, results: Iterator[Any], total: int, show: bool | None) -> Iterable[Any]:
        from tqdm import tqdm

        disabled = None if show is None else not show
        return tqdm(results, total=total, unit=" texts", disable=disabled, delay=BAR_AFTER if show is None else 0)

    def _vector(self, states: Array, skipped: int) -> Array:  # (n,H) -> (d,)
        vector = pooled(states[min(skipped, len(states) - 1) :], self._folder.pooling)
        for step in self._folder.steps:
            vector = step(vector)
        return vector

    # --- vectors to answers ------------------------------------------------------------------------------------------

    def similarity(self, a: Any, b: Any) -> Array:  # (n,d), (m,d) -> (n,m)
        """How alike each pair of vectors is, as the model was trained: by cosine, unless its settings say otherwise."""
        return similarity(_matrix(a, "a"), _matrix(b, "b"), self.similarity_fn_name)

    def semantic_search(
        self, queries: Any, corpus: Any, top_k: int = 10, *, batch_size: int = 32, kind: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """For each query the top_k most similar entries of the corpus, {"corpus_id", "score"}, best first.

        queries and corpus are texts, or vectors (n,d) that `encode` made. All pairs are compared: the result is exact.
        """
        checked_count(top_k, "top_k")
        kind = self.similarity_fn_name if kind is None else kind
        if kind not in SIMILARITIES:
            raise ValueError(f"kind is one of {', '.join(SIMILARITIES)}; got {shown(repr(kind), 60)}")
        vectors = []
        for given, encode in ((queries, self.encode_query), (corpus, self.encode_document)):
            given = [given] if isinstance(given, str) else given
            is_text = not isinstance(given, np.ndarray) and len(given) > 0 and isinstance(given[0], str)
            vectors.append(encode(given, batch_size=batch_size) if is_text else _matrix(given, "vectors"))
        return nearest(vectors[0], vectors[1], top_k, kind)


class _States(Pipeline[Options]):
    """What `reduce` makes of the hidden states of each row. They are computed together, as all pipelines do."""

    task = "sentence-embeddings"
    models = (AlbertModel,)
    needs = "a model without a head (AlbertModel)"
    options_class = Options

    def __init__(self, model: Any, tokenizer: Any, reduce: Callable[[Array], Array]) -> None:
        super().__init__(model, tokenizer)
        self._reduce = reduce

    def stream(self, rows: Iterable[Row], options: Options, size: int) -> Iterator[tuple[Row, Array]]:
        return self._stream(rows, options, size)

    def _prepare(self, item: Row, options: Options) -> Prepared:
        return Prepared([item], {name: item[name] for name in MODEL_INPUTS})

    def _forward(self, rows: list[Row]) -> list[Array]:
        return [self._reduce(states) for states in real_tokens(self._called(rows).last_hidden_state, rows)]

    def _answer(self, outputs: list[Array], note: Any, options: Options) -> tuple[Row, Array]:
        return note, outputs[0]


def _matrix(value: Any, name: str) -> Array:  # (d,) or (n,d) -> (n,d)
    x = np.asarray(value)
    if x.ndim == 1 and x.size:
        x = x[None]
    if x.ndim != 2 or x.dtype.kind != "f":
        raise ValueError(f"{name} must be vectors (n,d) of floats; got {x.dtype} of the shape {x.shape}")
    return x
