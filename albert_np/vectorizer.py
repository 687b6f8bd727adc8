"""AlbertVectorizer: sentence embeddings as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from albert_np.ops import Array
from albert_np.pipelines.sentence_encoder import SentenceEncoder

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError as error:
    raise ImportError('AlbertVectorizer needs scikit-learn: pip install "albert-np[sklearn]"') from error


class AlbertVectorizer(TransformerMixin, BaseEstimator):
    """Texts to their sentence embeddings (n,d), for pipelines of scikit-learn. Nothing is learnt: fit only loads the model.

    The parameters are those of SentenceEncoder.from_pretrained and of its encode. The model is loaded when it is first used,
    and it is not pickled: a copy loads it again, by its name.
    """

    def __init__(
        self,
        model: str = "demo",
        *,
        pooling: str | tuple[str, ...] | None = None,
        max_seq_length: int | None = None,
        normalize_embeddings: bool = False,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        backend: str = "auto",
        dtype: Any = "float32",
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.max_seq_length = max_seq_length
        self.normalize_embeddings = normalize_embeddings
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.backend = backend
        self.dtype = dtype

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Loads the model. X is looked at only for what is no text."""
        _texts(X)
        self._encoder()
        return self

    def transform(self, X: Iterable[str]) -> Array:
        """The embeddings of texts: (n,d). Raises ValueError for what is no text."""
        encoder = self._encoder()
        return encoder.encode(
            _texts(X),
            batch_size=self.batch_size,
            normalize_embeddings=self.normalize_embeddings,
            show_progress_bar=self.show_progress_bar,
        )

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """albertvectorizer0, albertvectorizer1 …: a name for each entry of a vector, as an array of objects."""
        width = self._encoder().get_sentence_embedding_dimension()
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(width)], dtype=object)

    def _encoder(self) -> SentenceEncoder:
        """The encoder of the present parameters."""
        wanted = (self.model, self.pooling, self.max_seq_length, self.backend, str(self.dtype))
        if self.__dict__.get("_loaded", (None,))[0] != wanted:
            encoder = SentenceEncoder.from_pretrained(
                self.model,
                pooling=self.pooling,
                max_seq_length=self.max_seq_length,
                backend=self.backend,
                dtype=self.dtype,
            )
            self._loaded = wanted, encoder
        return self._loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_loaded"}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.requires_fit = False
        return tags


def _texts(X: Any) -> list[str]:
    """The texts of a list, an array, a Series or another iterable. Raises ValueError, as scikit-learn's vectorizers do."""
    if isinstance(X, str):
        raise ValueError("Iterable over raw text documents expected, string object received.")
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(f"texts are a list or one column; got an array of the shape {X.shape}")
    if not isinstance(X, Iterable):
        raise ValueError(f"texts are a list or one column; got {type(X).__name__}")
    texts = list(X)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"text {position} is a {type(text).__name__}: missing values must be filled, with '' perhaps"
            )
    return texts
