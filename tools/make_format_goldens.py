"""Makes tests/goldens/formats: tiny ALBERTs as other frameworks save them, each with what that framework computes.

Every folder holds the files that the framework wrote, and expected.npz: the arguments of one call (`in_…`) and its results
(`out_…`), in float32. Weights are drawn in the framework itself, so nothing here knows how names correspond, but for
google-research's checkpoints: TensorFlow's Saver writes them under Google's names, which stand below, and transformers'
own converter (`load_tf_weights_in_albert`) reads them back for the results.

These versions install together on Python 3.11: tensorflow and tf_keras 2.15.1, jax and jaxlib 0.4.13, flax 0.7.0, torch 2.13.0,
transformers 4.57.6, h5py 3.16.0, msgpack 1.2.4, numpy 1.26.4. Run it by path, with the package on PYTHONPATH:

    TF_USE_LEGACY_KERAS=1 python tools/make_format_goldens.py            # rewrites tests/goldens/formats
    TF_USE_LEGACY_KERAS=1 python tools/make_format_goldens.py --out DIR  # writes elsewhere, to compare
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZES: dict[str, Any] = {
    "vocab_size": 43,
    "embedding_size": 6,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_hidden_layers": 3,
    "max_position_embeddings": 12,
    "num_labels": 3,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0,
    "attention_probs_dropout_prob": 0,
}
TWO_LABELS = {"num_labels": 2}  # TensorFlow and PyTorch give the sentence-order head as many logits as there are labels
GROUPS = {"num_hidden_groups": 2, "inner_group_num": 2, "num_hidden_layers": 4}
# folder -> (who writes it, class, changes to SIZES, how it is saved)
FOLDERS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "h5_model": ("tensorflow", "AlbertModel", GROUPS, {}),
    "h5_pretraining": ("tensorflow", "AlbertForPreTraining", TWO_LABELS, {}),
    "h5_masked_lm_sharded": ("tensorflow", "AlbertForMaskedLM", {"hidden_act": "gelu"}, {"max_shard_size": "2KB"}),
    "h5_sequence": ("tensorflow", "AlbertForSequenceClassification", {"hidden_act": "relu"}, {}),
    "h5_choice": ("tensorflow", "AlbertForMultipleChoice", {}, {}),
    "h5_tokens": ("tensorflow", "AlbertForTokenClassification", {}, {"safe_serialization": True}),
    "h5_question": ("tensorflow", "AlbertForQuestionAnswering", TWO_LABELS | {"inner_group_num": 2}, {}),
    "flax_model": ("flax", "AlbertModel", {}, {}),
    "flax_pretraining": ("flax", "AlbertForPreTraining", TWO_LABELS, {}),
    "flax_masked_lm": ("flax", "AlbertForMaskedLM", {"tie_word_embeddings": False}, {}),
    "flax_sequence_sharded": ("flax", "AlbertForSequenceClassification", GROUPS, {"max_shard_size": "2KB"}),
    "flax_choice": ("flax", "AlbertForMultipleChoice", {}, {"dtype": "float16"}),
    "flax_tokens": ("flax", "AlbertForTokenClassification", {}, {"dtype": "bfloat16"}),
    "flax_question": ("flax", "AlbertForQuestionAnswering", TWO_LABELS, {"safe_serialization": True}),
    "bin_model": ("torch", "AlbertModel", GROUPS, {"dtype": "float16"}),
    "bin_pretraining_legacy": ("torch", "AlbertForPreTraining", TWO_LABELS, {"legacy": True}),
    "bin_masked_lm_sharded": ("torch", "AlbertForMaskedLM", {}, {"max_shard_size": "2KB"}),
    "bin_sequence": ("torch", "AlbertForSequenceClassification", {}, {"dtype": "bfloat16"}),
    "bin_choice": ("torch", "AlbertForMultipleChoice", {}, {}),
    "bin_tokens": ("torch", "AlbertForTokenClassification", {}, {"legacy": True, "dtype": "float16"}),
    "bin_question": ("torch", "AlbertForQuestionAnswering", TWO_LABELS, {"dtype": "float64"}),
    "google_pretraining": (
        "google",
        "AlbertForPreTraining",
        TWO_LABELS,
        {"slots": ("adam_m", "adam_v"), "config": "albert"},
    ),
    "google_groups_sliced": (
        "google",
        "AlbertForPreTraining",
        GROUPS | TWO_LABELS,
        {"slices": 3, "slots": ("lamb_m",)},
    ),
    "google_saved_model": ("google", "AlbertForPreTraining", TWO_LABELS, {"module": True, "config": "assets"}),
    "google_classifier": ("google", "AlbertForSequenceClassification", {}, {"head": True}),
}
LAYER = "bert/encoder/transformer/group_{}/inner_group_{}/"
# google-research/albert's name, in the notation of a layer's above -> transformers' in PyTorch, and whether it is the transpose
GOOGLE = {
    "bert/embeddings/word_embeddings": ("albert.embeddings.word_embeddings.weight", False),
    "bert/embeddings/token_type_embeddings": ("albert.embeddings.token_type_embeddings.weight", False),
    "bert/embeddings/position_embeddings": ("albert.embeddings.position_embeddings.weight", False),
    "bert/embeddings/LayerNorm/gamma": ("albert.embeddings.LayerNorm.weight", False),
    "bert/embeddings/LayerNorm/beta": ("albert.embeddings.LayerNorm.bias", False),
    "bert/encoder/embedding_hidden_mapping_in/kernel": ("albert.encoder.embedding_hidden_mapping_in.weight", True),
    "bert/encoder/embedding_hidden_mapping_in/bias": ("albert.encoder.embedding_hidden_mapping_in.bias", False),
    "bert/pooler/dense/kernel": ("albert.pooler.weight", True),
    "bert/pooler/dense/bias": ("albert.pooler.bias", False),
    "cls/predictions/transform/dense/kernel": ("predictions.dense.weight", True),
    "cls/predictions/transform/dense/bias": ("predictions.dense.bias", False),
    "cls/predictions/transform/LayerNorm/gamma": ("predictions.LayerNorm.weight", False),
    "cls/predictions/transform/LayerNorm/beta": ("predictions.LayerNorm.bias", False),
    "cls/predictions/output_bias": ("predictions.bias", False),
    "cls/seq_relationship/output_weights": ("sop_classifier.classifier.weight", False),
    "cls/seq_relationship/output_bias": ("sop_classifier.classifier.bias", False),
    "output_weights": ("classifier.weight", False),
    "output_bias": ("classifier.bias", False),
}
GOOGLE_LAYER = {
    "attention_1/self/query/kernel": ("attention.query.weight", True),
    "attention_1/self/query/bias": ("attention.query.bias", False),
    "attention_1/self/key/kernel": ("attention.key.weight", True),
    "attention_1/self/key/bias": ("attention.key.bias", False),
    "attention_1/self/value/kernel": ("attention.value.weight", True),
    "attention_1/self/value/bias": ("attention.value.bias", False),
    "attention_1/output/dense/kernel": ("attention.dense.weight", True),
    "attention_1/output/dense/bias": ("attention.dense.bias", False),
    "LayerNorm/gamma": ("attention.LayerNorm.weight", False),
    "LayerNorm/beta": ("attention.LayerNorm.bias", False),
    "ffn_1/intermediate/dense/kernel": ("ffn.weight", True),
    "ffn_1/intermediate/dense/bias": ("ffn.bias", False),
    "ffn_1/intermediate/output/dense/kernel": ("ffn_output.weight", True),
    "ffn_1/intermediate/output/dense/bias": ("ffn_output.bias", False),
    "LayerNorm_1/gamma": ("full_layer_layer_norm.weight", False),
    "LayerNorm_1/beta": ("full_layer_layer_norm.bias", False),
}


def drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values of a trained model's size: a LayerNorm's weight is near 1, and no bias is zero."""
    z = rng.standard_normal(shape)
    if len(shape) == 1:
        scales = name.lower().endswith(("gamma:0", "scale", "norm.weight", "gamma"))
        return (0.9 + 0.2 * z if scales else 0.4 * z).astype(np.float32)
    return (0.5 * z).astype(np.float32)


def call(config: Any, kind: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    B, T = 2, 7
    shape = (B, 3, T) if kind == "AlbertForMultipleChoice" else (B, T)
    mask = (np.arange(T) < rng.integers(3, T + 1, shape[:-1])[..., None]).astype(np.int64)
    return {
        "input_ids": rng.integers(1, config.vocab_size, shape) * mask,
        "attention_mask": mask,
        "token_type_ids": np.broadcast_to(np.arange(T) >= 4, shape).astype(np.int64) * mask,
    }


def results(out: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in out.items() if hasattr(value, "shape")}


# --- each framework: writes the folder, and computes ---------------------------------------------------------------------


def tensorflow(
    folder: Path, kind: str, config: Any, rng: np.random.Generator, batch: dict, how: dict
) -> dict[str, np.ndarray]:
    import transformers

    model = getattr(transformers, f"TF{kind}")(config)
    model(batch)
    for variable in model.weights:
        variable.assign(drawn(variable.name, tuple(variable.shape), rng))
    model.save_pretrained(folder, **{"safe_serialization": False} | how)
    return results(model(batch))


def flax(
    folder: Path, kind: str, config: Any, rng: np.random.Generator, batch: dict, how: dict
) -> dict[str, np.ndarray]:
    import jax
    import jax.numpy as jnp
    import transformers

    model = getattr(transformers, f"Flax{kind}")(config, seed=0)
    dtype = how.get("dtype", "float32")
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.asarray(drawn(path[-1].key, x.shape, rng), dtype),
        jax.tree_util.tree_map(np.asarray, model.params),
    )
    saving = {name: value for name, value in how.items() if name != "dtype"}
    model.save_pretrained(folder, params=params, **saving)
    return results(model(**batch, params=model.to_fp32(params)))


def torch(
    folder: Path, kind: str, config: Any, rng: np.random.Generator, batch: dict, how: dict
) -> dict[str, np.ndarray]:
    import torch
    import transformers

    model = getattr(transformers, kind)(config).eval()
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(drawn(name, tuple(parameter.shape), rng))
    model.tie_weights()
    model = model.to(getattr(torch, how.get("dtype", "float32")))
    saving = {name: value for name, value in how.items() if name == "max_shard_size"}
    model.save_pretrained(folder, safe_serialization=False, **saving)
    if how.get("legacy"):
        torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with torch.no_grad():
        given = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in batch.items()}
        return {name: x.numpy() for name, x in model.float()(**given).items()}


def google(
    folder: Path, kind: str, config: Any, rng: np.random.Generator, batch: dict, how: dict
) -> dict[str, np.ndarray]:
    import tensorflow as tf
    import torch
    import transformers
    from transformers.models.albert.modeling_albert import load_tf_weights_in_albert

    v1 = tf.compat.v1
    model = getattr(transformers, kind)(config).eval()
    shapes = {name: tuple(x.shape) for name, x in model.named_parameters()}
    checkpoint = folder / ("variables/variables" if how.get("module") else "model.ckpt-best")
    checkpoint.parent.mkdir(parents=True)
    with tf.Graph().as_default(), v1.Session() as session:
        for name, (theirs, transposed) in google_names(config):
            if theirs not in shapes:
                continue
            shape = shapes[theirs][::-1] if transposed else shapes[theirs]
            parts = (
                v1.fixed_size_partitioner(how["slices"]) if how.get("slices") and "word_embeddings" in name else None
            )
            name = f"module/{name}" if how.get("module") else name
            v1.get_variable(name, shape=shape, initializer=placed(drawn(name, shape, rng)), partitioner=parts)
            for slot in how.get("slots", ()):
                v1.get_variable(f"{name}/{slot}", shape=shape, initializer=v1.zeros_initializer())
        v1.train.get_or_create_global_step()
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(checkpoint), write_meta_graph=False, write_state=False)
    whole = folder
    if how.get("slices"):  # transformers' converter reads no slices: the same values once more, in one piece
        whole = folder.with_name(folder.name + "-whole")
        reader = tf.train.load_checkpoint(str(checkpoint))
        with tf.Graph().as_default(), v1.Session() as session:
            for name in reader.get_variable_to_shape_map():
                if not name.endswith(how["slots"]) and name != "global_step":
                    v1.get_variable(name, initializer=reader.get_tensor(name))
            session.run(v1.global_variables_initializer())
            whole.mkdir()
            v1.train.Saver().save(session, str(whole / checkpoint.name), write_meta_graph=False, write_state=False)
    load_tf_weights_in_albert(model, config, str(whole / checkpoint.relative_to(folder)))
    if whole != folder:
        shutil.rmtree(whole)
    config.architectures = [kind]
    config.save_pretrained(folder)
    if how.get("config"):
        as_google(folder, config, how["config"])
    if how.get("module"):
        (folder / "saved_model.pb").write_bytes(b"")
    with torch.no_grad():
        return {
            name: x.numpy() for name, x in model(**{name: torch.from_numpy(x) for name, x in batch.items()}).items()
        }


def placed(value: np.ndarray) -> Callable[..., Any]:
    """An initializer of TensorFlow that gives each slice of a partitioned variable its own part of the value."""
    import tensorflow as tf

    def initializer(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        start = partition_info.var_offset if partition_info else [0] * len(shape)
        return tf.constant(value[tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))], dtype)

    return initializer


def google_names(config: Any) -> Iterator[tuple[str, tuple[str, bool]]]:
    yield from GOOGLE.items()
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            ours = f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}."
            for name, (theirs, transposed) in GOOGLE_LAYER.items():
                yield LAYER.format(group, inner) + name, (ours + theirs, transposed)


def as_google(folder: Path, config: Any, where: str) -> None:
    """config.json becomes albert_config.json as in Google's archives, whose "gelu" is the formula with tanh."""
    values = {name: getattr(config, name) for name in SIZES if name != "num_labels"}
    values |= {
        "hidden_act": "gelu",
        "net_structure_type": 0,
        "gap_size": 0,
        "num_memory_blocks": 0,
        "down_scale_factor": 1,
    }
    values |= {name: getattr(config, name) for name in ("num_hidden_groups", "inner_group_num", "type_vocab_size")}
    target = folder / ("assets/albert_config.json" if where == "assets" else "albert_config.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(values, indent=2) + "\n")
    (folder / "config.json").unlink()


WRITERS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "tensorflow": tensorflow,
    "flax": flax,
    "torch": torch,
    "google": google,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "goldens" / "formats")
    parser.add_argument("--only", default="", help="the beginning of folder names")
    args = parser.parse_args()
    import transformers

    for name, (framework, kind, changes, how) in FOLDERS.items():
        if not name.startswith(args.only):
            continue
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        config = transformers.AlbertConfig(**SIZES | changes)
        batch = call(config, kind, rng)
        out = WRITERS[framework](folder, kind, config, rng, batch, how)
        saved = {f"in_{key}": x for key, x in batch.items()} | {f"out_{key}": np.float32(x) for key, x in out.items()}
        np.savez_compressed(folder / "expected.npz", **saved)
        print(name, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), sorted(out))
    manifest = {name: {"writer": writer, "class": kind} for name, (writer, kind, _, _) in FOLDERS.items()}
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
