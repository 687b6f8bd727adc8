"""A tokenizer's folder in the form that transformers 5 saves it: tokenizer.json and tokenizer_config.json, no spiece.model.

What the real one writes is compared in test_transformers_5.py.
"""

import json
from pathlib import Path

from albert_np.tokenization.spiece import CONTROL, USER_DEFINED, load_spiece
from albert_np.tokenization.tokenizer_json import build_tokenizer_json

NAMED = {
    "bos": "[CLS]",
    "eos": "[SEP]",
    "unk": "<unk>",
    "sep": "[SEP]",
    "pad": "<pad>",
    "cls": "[CLS]",
    "mask": "[MASK]",
}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


def content_of(spiece, *, do_lower_case=True, keep_accents=False):
    """The tokenizer.json that transformers 5 makes of a spiece.model: each user-defined piece is an added token."""
    named = {f"{name}_token": token for name, token in NAMED.items()}
    content = build_tokenizer_json(spiece, named, do_lower_case=do_lower_case, keep_accents=keep_accents)
    special = {CONTROL: True, USER_DEFINED: False}
    content["added_tokens"] = [
        {"id": i, "content": piece, **FLAGS, "special": special.get(kind, True)}
        for i, (piece, kind) in enumerate(zip(spiece.pieces, spiece.types, strict=True))
        if kind in special or i == spiece.unk_id
    ]
    return content


def write_folder(folder, vocabulary, *, change=lambda content: None, do_lower_case=True, keep_accents=False, **config):
    """Writes the two files into a folder, with a change of tokenizer.json and more settings; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    spiece = load_spiece(vocabulary)
    content = content_of(spiece, do_lower_case=do_lower_case, keep_accents=keep_accents)
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False, indent=2))
    kinds = zip(spiece.pieces, spiece.types, strict=True)
    settings = {
        "add_prefix_space": True,
        "backend": "tokenizers",
        "do_lower_case": do_lower_case,
        "extra_special_tokens": [piece for piece, kind in kinds if kind in (CONTROL, USER_DEFINED)],
        "is_local": True,
        "keep_accents": keep_accents,
        "local_files_only": False,
        "model_max_length": 128,
        "tokenizer_class": "AlbertTokenizer",
        "trim_offsets": True,
        "unk_id": spiece.unk_id,
        **{f"{name}_token": token for name, token in NAMED.items()},
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
