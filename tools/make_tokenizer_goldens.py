"""Make tests/goldens/tokenizer_tiny.json and tokenizer_real.json: what three independent tokenizers do to hard texts.

    python tools/make_tokenizer_goldens.py --google path/to/google-research/albert/tokenization.py [--real folder]

hf_slow  transformers 4.57.6, AlbertTokenizer over SentencePiece
hf_fast  the `tokenizers` library over a tokenizer.json (for the real vocabulary, the folder's own)
google   preprocess_text and encode_pieces of the file given with --google, over sentencepiece

The real vocabulary is not this project's to publish: of it only ids are written, never pieces or the vocabulary itself.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"

# each text is here for a reason: the name says it
TEXTS = {
    "plain": "Plants create energy through photosynthesis.",
    "digit_comma": "In 1999, it rained 1,234.5 mm; on 9, 9,9 and x9, days.",
    "odd_digits_and_comma": "\u2460, \u00b2, \u0663, \uff11\uff0c \U0001d7d8,",
    "quotes": "``quoted'' and '' `` ` ' \"",
    "accents": "\u00c9t\u00e9 na\u00efve Z\u00fcrich e\u0301 q\u0323\u0307",
    "sigma": "\u039f\u0394\u039f\u03a3 a\U0001d6ba \u03a3",
    "case": "STRASSE \u1e9e \u00df \u0130stanbul \u0131 \u01c4",
    "compatibility": "\ufb01ne \uff21\uff22 \u2126 \u212b \u00bd \u2026 \ufdfa",
    "spaces": "  a\tb\r\nc\n\n d\u3000e\u2003f\xa0g\u200bh  ",
    "newline": "This\n\nis\na\ntest.",
    "controls": "a\x00b\x01c\x7fd\xade\ufefff\ufffdg",
    "mask": "The capital of[MASK] is  [MASK]. [mask] [MASK",
    "special_in_text": "[CLS] a [SEP] <pad><unk> <PAD> b",
    "metaspace": "\u2581a \u2581 b\u2581c",
    "punctuation": "A\n'll !!to?'d''d of, can't (don't) - \u2013 \u00a35 \u20ac4",
    "scripts": "\u6f22\u5b57 \ud55c\uad6d \u0926\u0947\u0935 \u0642\u064c \u1112\u1161\u11ab",
    "emoji": "\U0001f600 \U0001f469\u200d\u2764\u200d\U0001f468 \U0001f1e9\U0001f1ea",
    "unassigned": "a\u0378\ue000\U0010ffff b",
    "long_word": "supercalifragilisticexpialidocious" * 3,
    "empty": "",
    "only_spaces": " \t\n ",
}


def google_functions(path):
    """preprocess_text and encode_pieces of Google's file; TensorFlow, which they do not use, need not be there."""
    stubs = [
        name
        for name in ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1", "tensorflow_hub")
        if name not in sys.modules
    ]
    sys.modules.update({name: types.ModuleType(name) for name in stubs})
    spec = importlib.util.spec_from_file_location("google_tokenization", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in stubs:  # transformers would take them for the real thing
        del sys.modules[name]
    return module.preprocess_text, module.encode_pieces


def google_pieces(functions, processor, text):
    preprocess_text, encode_pieces = functions
    pieces = encode_pieces(processor, preprocess_text(text, lower=True))
    return [piece.decode() if isinstance(piece, bytes) else piece for piece in pieces]


def goldens(folder, functions, fast_json, with_pieces):
    import sentencepiece
    import tokenizers
    import transformers

    slow = transformers.AlbertTokenizer.from_pretrained(folder)
    fast = tokenizers.Tokenizer.from_str(fast_json)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    out = {}
    for name, text in TEXTS.items():
        ids = slow(text)["input_ids"]
        encoding = fast.encode(text)
        pieces = google_pieces(functions, processor, text)
        entry = {
            "text": text,
            "hf_slow": {"ids": ids, "decoded": slow.decode(ids)},
            "hf_fast": {
                "ids": encoding.ids,
                "offsets": encoding.offsets,
                "decoded": fast.decode(encoding.ids, skip_special_tokens=False),
            },
            "google": {"ids": [2, *map(processor.piece_to_id, pieces), 3]},
        }
        if with_pieces:
            entry["hf_slow"]["pieces"] = slow.tokenize(text)
            entry["hf_fast"]["pieces"] = encoding.tokens[1:-1]
            entry["google"]["pieces"] = pieces
        out[name] = entry
    return out


def write(path, cases, vocabulary):
    packages = ("transformers", "tokenizers", "sentencepiece")
    provenance = {
        "made_by": "tools/make_tokenizer_goldens.py",
        "vocabulary": vocabulary,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "google": "google-research/albert tokenization.py, preprocess_text(lower=True) and encode_pieces, Python 3",
    }
    lines = [f"    {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
    head = json.dumps(provenance, indent=2)
    path.write_text(
        '{\n  "provenance": ' + head.replace("\n", "\n  ") + ',\n  "cases": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    )
    print(f"{path}: {len(cases)} texts, {path.stat().st_size:,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--google", type=Path, required=True, help="tokenization.py of google-research/albert")
    parser.add_argument("--real", type=Path, help="a folder with ALBERT v2's spiece.model and tokenizer.json")
    arguments = parser.parse_args()
    functions = google_functions(arguments.google)
    from albert_np import AlbertTokenizerFast

    tiny = ROOT / "tests" / "tiny_model"
    built = json.dumps(AlbertTokenizerFast.from_pretrained(tiny).to_json())
    write(GOLDENS / "tokenizer_tiny.json", goldens(tiny, functions, built, True), "tests/tiny_model/spiece.model")
    if arguments.real:
        text = (arguments.real / "tokenizer.json").read_text(encoding="utf-8")
        cases = goldens(arguments.real, functions, text, False)
        write(GOLDENS / "tokenizer_real.json", cases, "ALBERT v2, sha256 fefb02b6…; ids only")


if __name__ == "__main__":
    main()
