"""From pieces to text. Source: transformers 4.57.6 tokenization_utils.py (_decode) and tokenization_albert.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from albert_np.tokenization.vocabulary import Vocabulary

Join = Callable[[list[str]], str]  # SentencePiece's own decoding of pieces without special tokens among them


def pieces_to_text(tokens: Iterable[str], vocab: Vocabulary, join: Join) -> str:
    """The text of tokens. Special tokens are written as they are; the first of a run of them comes after a space."""
    out: list[str] = []
    current: list[str] = []
    after_special = False
    for token in tokens:
        if token not in vocab.special_set:
            current.append(token)
            after_special = False
            continue
        # the space comes before the pieces, not between them and the special token: so it is in 4.57.6
        out += ["" if after_special else " ", join(current), token]
        current = []
        after_special = True
    return "".join([*out, join(current)]).strip()


def ids_to_text(ids: Iterable[int], vocab: Vocabulary, join: Join, *, skip_special: bool, spaces: bool) -> str:
    """The text of ids. With `spaces`, added tokens that are not special have spaces around them, as texts of their own."""
    apart = {token for token in vocab.added_ids if token not in vocab.special_set}
    # so do additional special tokens with an id beyond the pieces
    apart |= {str(token) for token in vocab.additional if vocab.id_of(str(token)) >= len(vocab.pieces)}
    texts: list[str] = []
    current: list[str] = []

    def flush() -> None:
        # an empty text makes no separator, except at the very end
        if current and (text := pieces_to_text(current, vocab, join)):
            texts.append(text)
        current.clear()

    for token in map(vocab.token_of, ids):
        if skip_special and token in vocab.special_set:
            continue
        if token in apart:
            flush()
            texts.append(token)
        else:
            current.append(token)
    if current:
        texts.append(pieces_to_text(current, vocab, join))
    return (" " if spaces else "").join(texts)


def clean_up_tokenization(text: str) -> str:
    """Removes the space before English punctuation and contractions. Source: PreTrainedTokenizerBase."""
    for old, new in (
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ):
        text = text.replace(old, new)
    return text
