"""Sentence similarity: how alike one text is to others, by their embeddings. transformers has no such pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from albert_np.files import listed, shown
from albert_np.pipelines.sentence_encoder import SentenceEncoder


class SentenceSimilarityPipeline:
    """How alike texts are, as a SentenceEncoder sees them."""

    task = "sentence-similarity"

    def __init__(self, encoder: SentenceEncoder) -> None:
        if not isinstance(encoder, SentenceEncoder):
            raise ValueError(f"sentence-similarity needs a SentenceEncoder; got {type(encoder).__name__}")
        self.encoder = encoder

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.encoder!r})"

    def __call__(self, source_sentence: str | Mapping[str, Any] | Iterable[Any], sentences: Any = None) -> Any:
        """The similarity of a text to each of `sentences`: a list of floats, in their order.

        One input is a text and the sentences, or {"source_sentence", "sentences"}; several are an iterable of such dicts.
        """
        if sentences is not None or isinstance(source_sentence, str):
            return self._one({"source_sentence": source_sentence, "sentences": sentences})
        if isinstance(source_sentence, Mapping):
            return self._one(source_sentence)
        if isinstance(source_sentence, (list, tuple)):
            return [self._one(item) for item in source_sentence]
        return (self._one(item) for item in source_sentence)

    def _one(self, item: Any) -> list[float]:
        if not isinstance(item, Mapping) or not {"source_sentence", "sentences"} <= set(item):
            got = listed(sorted(map(str, item))) if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(f'an input is {{"source_sentence": text, "sentences": [text, …]}}; got {got}')
        source, others = item["source_sentence"], item["sentences"]
        if (
            not isinstance(others, (list, tuple))
            or not others
            or not all(isinstance(x, str) for x in (source, *others))
        ):
            raise ValueError(
                f"a text is compared with a list of at least one text; got {shown(repr(source), 40)}, {shown(repr(others), 40)}"
            )
        vectors = self.encoder.encode([source, *others])
        return self.encoder.similarity(vectors[:1], vectors[1:])[0].tolist()
