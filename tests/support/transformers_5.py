"""What transformers 5 writes and computes. Its python runs this file, which therefore imports nothing of the project.

    python transformers_5.py write FOLDER SPIECE_MODEL TOKENIZER_JSON   folders of tokenizers and models
    python transformers_5.py read FOLDER                                what it says of the folders that we saved there
    python transformers_5.py read-models FOLDER                         what it computes with the models that we saved there

Each leaves what it found in FOLDER/answer.json. TEXTS and INPUTS are what both sides know.
"""

import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path

TEXTS = [
    "Light (on) - it's \u00a35, or a-b.c. \u00c9 \u00e8 ``x'' \u201cy\u201d",
    "A [MASK] <mask> light, <PAD> [SEP] foo food Bar baz qux <ent> <e1> <img> x",
    "  two   spaces\tand\nlines \u3000 \u6f22 \u2460 \ufb01 \ufdfa e\u0301\u200b",
    "In 1999, 3,5",
    "",
]
INPUTS = {
    "input_ids": [[2, 14, 15, 4, 16, 17, 3, 0], [2, 20, 30, 3, 40, 50, 60, 3]],
    "attention_mask": [[1, 1, 1, 1, 1, 1, 1, 0], [1] * 8],
    "token_type_ids": [[0] * 8, [0, 0, 0, 0, 1, 1, 1, 1]],
}
HEADS = (
    "AlbertModel",
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertForSequenceClassification",
    "AlbertForMultipleChoice",
    "AlbertForTokenClassification",
    "AlbertForQuestionAnswering",
)
# other models than those of the heads: class, what its config says, arguments of save_pretrained
MODELS = {name: (name, {}, {}) for name in HEADS} | {
    "untied": ("AlbertForMaskedLM", {"tie_word_embeddings": False}, {}),
    "untied-pretraining": ("AlbertForPreTraining", {"tie_word_embeddings": False}, {}),
    "shards": ("AlbertForMaskedLM", {}, {"max_shard_size": "4KB"}),
}
# the settings of each tokenizer, and what is added to it
VARIANTS = {
    "plain": {},
    "added": {},
    "special": {},
    "list": {"extra_special_tokens": ["<ent>", "<e1>"]},
    "names": {"extra_special_tokens": {"img_token": "<img>"}},
    "changed": {"mask_token": "<mask>", "pad_token": "[PAD]"},
    "no-mask": {"mask_token": None},
    "cased": {"do_lower_case": False},
    "accents": {"keep_accents": True},
    "both": {"do_lower_case": False, "keep_accents": True},
    "no-prefix": {"add_prefix_space": False},
    "sides": {"padding_side": "left", "truncation_side": "left", "model_max_length": 77},
}


def says(tokenizer):
    """What a tokenizer of transformers makes of each text."""
    found = []
    for text in TEXTS:
        encoding = tokenizer(text, return_offsets_mapping=True)
        ids = encoding["input_ids"]
        decoded = [tokenizer.decode(ids, skip_special_tokens=skip) for skip in (False, True)]
        found.append({"ids": ids, "offsets": encoding["offset_mapping"], "decoded": decoded})
    return {"texts": found, "mask": tokenizer.mask_token, "pad": tokenizer.pad_token, "size": len(tokenizer)}


def write_tokenizers(folder, sources):
    import transformers
    from tokenizers import AddedToken

    expected = {}
    for source, path in sources.items():
        for variant, settings in VARIANTS.items():
            tokenizer = transformers.AlbertTokenizer.from_pretrained(path, **settings)
            if variant == "added":
                tokenizer.add_tokens(["foo", "Bar baz", AddedToken("qux", single_word=True)])
            elif variant == "special":
                tokenizer.add_special_tokens({"extra_special_tokens": ["<ent>", "<e1>"]})
            name = f"{source}-{variant}"
            tokenizer.save_pretrained(folder / name)
            expected[name] = says(transformers.AlbertTokenizer.from_pretrained(folder / name))
            if variant in ("plain", "added"):  # the class that knows no architecture
                other = transformers.TokenizersBackend.from_pretrained(folder / name)
                other.save_pretrained(folder / f"{name}-backend")
                expected[f"{name}-backend"] = says(
                    transformers.AutoTokenizer.from_pretrained(folder / f"{name}-backend")
                )
    return expected


def write_models(folder, tokenizer_folder, size):
    import torch
    import transformers

    expected = {}
    values = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    values |= {"vocab_size": size, "num_hidden_layers": 2, "max_position_embeddings": 64}
    for seed, (name, (kind, changes, saving)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        labels = 2 if kind in ("AlbertForQuestionAnswering", "AlbertForPreTraining") else 3
        model = getattr(transformers, kind)(transformers.AlbertConfig(**values, **changes, num_labels=labels))
        for parameter, x in model.named_parameters():
            if parameter in ("predictions.bias", "predictions.decoder.bias"):  # 0 when they are new
                torch.nn.init.normal_(x)
        model.save_pretrained(folder / name, **saving)
        transformers.AlbertTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder / name)
        expected[name] = computes(model, kind)
    return expected


def computes(model, kind):
    """The outputs of a model of transformers, in float64."""
    import torch

    inputs = {key: torch.tensor(value) for key, value in INPUTS.items()}
    if kind == "AlbertForMultipleChoice":
        inputs = {key: value[None] for key, value in inputs.items()}
    with torch.no_grad():
        out = model.double().eval()(**inputs)
    return {key: value.tolist() for key, value in out.items()}


def write(folder, spiece, tokenizer_json):
    folder = Path(folder)
    sources = {}
    for name, path, file in (("sp", spiece, "spiece.model"), ("tj", tokenizer_json, "tokenizer.json")):
        sources[name] = folder / "sources" / name
        sources[name].mkdir(parents=True)
        shutil.copy(path, sources[name] / file)
        config = {"tokenizer_class": "AlbertTokenizer", "model_max_length": 64}
        (sources[name] / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizers = write_tokenizers(folder / "tokenizers", sources)
    models = write_models(folder / "models", folder / "tokenizers" / "sp-added", tokenizers["sp-added"]["size"])
    return {"tokenizers": tokenizers, "models": models, "library": importlib.metadata.version("tokenizers")}


def read(folder):
    import transformers

    return {
        path.name: says(transformers.AutoTokenizer.from_pretrained(path)) for path in sorted(Path(folder).iterdir())
    }


def read_models(folder):
    import transformers

    found = {}
    for path in sorted(Path(folder).iterdir()):
        kind = MODELS[path.name][0]
        model, info = getattr(transformers, kind).from_pretrained(path, output_loading_info=True)
        found[path.name] = {"outputs": computes(model, kind), "complaints": [str(x) for x in info.values() if x]}
    return found


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    command, *arguments = sys.argv[1:]
    answer = {"write": write, "read": read, "read-models": read_models}[command](*arguments)
    Path(arguments[0], "answer.json").write_text(json.dumps(answer))
