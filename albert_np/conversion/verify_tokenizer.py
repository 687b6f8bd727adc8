"""Do the tokenizer of a folder and its config belong together?"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from albert_np.checkpoints import hub
from albert_np.config import AlbertConfig
from albert_np.conversion.findings import Findings, one_line
from albert_np.conversion.folders import TOKENIZER_FILES
from albert_np.files import listed
from albert_np.tokenization.files import FAST, GOOGLES, VOCAB, read_json_object
from albert_np.tokenization.tokenizer import AlbertTokenizer

VOCABULARIES = (*GOOGLES, *GOOGLES.values(), FAST)
NO_LIMIT = 10**9  # transformers writes 10³⁰, or that as a float, for "none"
FEW_CAPITALS = 0.002  # in a vocabulary of lower-case text


def check_tokenizer(
    name_or_path: str | os.PathLike, folder: Path, config: AlbertConfig, architecture: str, findings: Findings
) -> str:
    """Size of the vocabulary, special ids, lengths, case. Returns what the tokenizer is, or "" if there is none."""
    try:
        tokenizer = _load(name_or_path)
    except (ValueError, OSError) as error:
        return _report_unreadable(folder, error, findings)
    size = len(tokenizer)
    _check_size(size, config, findings)
    _check_special_ids(tokenizer, config, architecture, findings)
    _check_length(tokenizer, config, findings)
    _check_case(tokenizer, findings)
    _check_two_vocabularies(folder, tokenizer, findings)
    return f"{type(tokenizer).__name__}, {size:,} tokens"


def _load(name_or_path: str | os.PathLike) -> AlbertTokenizer:
    logger = logging.getLogger("albert_np")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what it would warn of, the checks below say
    try:
        return AlbertTokenizer.from_pretrained(name_or_path)
    finally:
        logger.setLevel(level)


def _report_unreadable(folder: Path, error: Exception, findings: Findings) -> str:
    """Adds the finding. Returns what the tokenizer is."""
    present = [name for name in TOKENIZER_FILES if (folder / name).exists() or (folder / hub.ASSETS / name).exists()]
    if not set(present) & set(VOCABULARIES):
        if present:
            findings.warning(
                "tokenizer",
                f"there is {listed(present)} and no vocabulary",
                "No text can be encoded with this folder: none of " + ", ".join(VOCABULARIES) + " is in it.",
                "Copy the vocabulary of the model that this one was trained from.",
            )
        else:
            findings.note(
                "tokenizer",
                "there is no tokenizer",
                "The model runs on ids. Texts need the vocabulary that it was trained with.",
            )
    elif "pip install" in str(error):
        findings.note(
            "tokenizer",
            f"the tokenizer was not checked: {one_line(str(error))}",
            "The folder may be whole: this machine lacks a library that reads its vocabulary.",
        )
        return "not checked"
    else:
        findings.error("tokenizer", one_line(str(error)), "The tokenizer cannot be loaded, and no text can be encoded.")
        return "cannot be read"
    return ""


def _check_size(size: int, config: AlbertConfig, findings: Findings) -> None:
    V = config.vocab_size
    if size > V:
        findings.error(
            "vocabulary",
            f"the tokenizer has {size:,} tokens, and the model's table {V:,} rows",
            "Some texts would get ids that the model does not have, and be refused.",
            "Take the tokenizer of this model, or resize_token_embeddings and train the new rows.",
        )
    elif size < V:
        findings.note(
            "vocabulary",
            f"the tokenizer has {size:,} tokens, and the model's table {V:,} rows",
            "The last rows are never used. If it is more than a few, the tokenizer may be another model's.",
        )


def _check_special_ids(tokenizer: AlbertTokenizer, config: AlbertConfig, architecture: str, findings: Findings) -> None:
    pad = tokenizer.pad_token_id
    if pad is not None and config.pad_token_id is not None and pad != config.pad_token_id % config.vocab_size:
        findings.warning(
            "special-ids",
            f"the tokenizer pads with {pad}, and pad_token_id of the config is {config.pad_token_id}",
            "Programs that make masks from pad_token_id would attend to padding, or hide a real token.",
            "Correct pad_token_id in config.json.",
        )
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    pairs = (("[CLS]", "bos_token_id", tokenizer.cls_token_id, [config.bos_token_id]),)
    for token, name, index, said in (*pairs, ("[SEP]", "eos_token_id", tokenizer.sep_token_id, ends)):
        if index is not None and said != [None] and index not in said:
            findings.note(
                "special-ids",
                f"{token} is {index} in the tokenizer, and {name} of the config is {said[0] if len(said) == 1 else said}",
                "ALBERT itself uses neither number of the config; a program that generates text might.",
            )
    if tokenizer.mask_token_id is None and architecture in ("AlbertForMaskedLM", "AlbertForPreTraining"):
        findings.warning(
            "special-ids", "the tokenizer has no mask token", "Masked tokens cannot be asked for in texts."
        )


def _check_length(tokenizer: AlbertTokenizer, config: AlbertConfig, findings: Findings) -> None:
    limit, P = tokenizer.model_max_length, config.max_position_embeddings
    if P < limit < NO_LIMIT:
        findings.warning(
            "length",
            f"model_max_length of the tokenizer is {limit:,}, and the model has {P:,} positions",
            "A text between the two is not cut, and then refused.",
            f"Write {P} into tokenizer_config.json.",
        )
    elif limit >= NO_LIMIT:
        findings.note(
            "length",
            "the tokenizer names no longest text",
            f"truncation=True cuts nothing without max_length={P}; the pipelines here take the model's own limit.",
            f'For other programs, write "model_max_length": {P} into tokenizer_config.json.',
        )


def _check_case(tokenizer: AlbertTokenizer, findings: Findings) -> None:
    lower = tokenizer.do_lower_case
    special = set(tokenizer.all_special_tokens)
    pieces = [piece for piece in tokenizer.get_vocab() if piece not in special and any(c.isalpha() for c in piece)]
    capitals = sum(piece != piece.lower() for piece in pieces)
    latin = sum(any(c.isascii() and c.isalpha() for c in piece) for piece in pieces)
    if latin < 100:  # a vocabulary of other letters says nothing
        return
    if lower and capitals > 0.05 * latin:
        findings.warning(
            "case",
            f"do_lower_case is true, and {capitals:,} of the vocabulary's pieces have capitals",
            "Texts are made lower case before they are cut into pieces, so that these pieces are never used.",
            "If the model was trained on texts as they are, write do_lower_case: false into tokenizer_config.json.",
        )
    elif not lower and capitals < FEW_CAPITALS * latin:
        findings.warning(
            "case",
            "do_lower_case is false, and the vocabulary has no capitals",
            "Every word with a capital becomes an unknown token, or is spelt letter by letter.",
            "If the model was trained on lower-case text, write do_lower_case: true into tokenizer_config.json.",
        )


def _check_two_vocabularies(folder: Path, tokenizer: AlbertTokenizer, findings: Findings) -> None:
    """spiece.model counts where tokenizer.json lies beside it: are they the same?"""
    if not ((folder / VOCAB).is_file() and (folder / FAST).is_file()):
        return
    try:
        model = read_json_object(folder / FAST).get("model")
    except (ValueError, OSError) as error:
        findings.warning(
            "two-vocabularies", one_line(str(error)), f"{VOCAB} counts here; other programs may read {FAST} alone."
        )
        return
    entries = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(one, list) and one and isinstance(one[0], str) for one in entries
    ):
        return
    theirs = [one[0] for one in entries]
    ours = tokenizer.convert_ids_to_tokens(list(range(min(tokenizer.vocab_size, len(theirs)))))
    differing = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(tokenizer.vocab_size - len(theirs))
    if differing:
        findings.warning(
            "two-vocabularies",
            f"{differing:,} tokens of {FAST} are others than in {VOCAB}",
            f"{VOCAB} counts here, and programs that read {FAST} alone make other ids of the same text.",
            "Remove the one that is not this model's.",
        )
