"""Vocabularies of every type that SentencePiece trains, from the text beside the tests' own."""

import io

import sentencepiece

from support import TINY_MODEL

# what SentencePiece is told, by the name of the vocabulary
TYPES = {
    "bpe": {"model_type": "bpe", "vocab_size": 600},
    "char": {"model_type": "char", "vocab_size": 100, "hard_vocab_limit": False},
    "word": {"model_type": "word", "vocab_size": 300},
    "unigram with bytes": {"model_type": "unigram", "vocab_size": 600, "byte_fallback": True},
    "bpe with bytes": {"model_type": "bpe", "vocab_size": 700, "byte_fallback": True},
    "char with bytes": {"model_type": "char", "vocab_size": 340, "hard_vocab_limit": False, "byte_fallback": True},
    "word with bytes": {"model_type": "word", "vocab_size": 600, "byte_fallback": True},
}


def trained(name: str) -> bytes:
    """The bytes of a spiece.model, with ALBERT's special tokens and user-defined pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((TINY_MODEL / "text.txt").read_text().splitlines()),
        model_writer=model,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        user_defined_symbols=["(", ")", '"', "-", ".", "\u2013", "\u00a3", "\u20ac"],
        num_threads=1,
        minloglevel=2,
        **TYPES[name],
    )
    return model.getvalue()
