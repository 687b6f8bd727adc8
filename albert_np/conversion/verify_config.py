"""What is odd about config.json by itself, and beside the albert_config.json of Google's archives."""

from __future__ import annotations

from pathlib import Path

from albert_np.checkpoints import hub
from albert_np.config import CONFIG_NAME, MAX_CONFIG_BYTES, AlbertConfig
from albert_np.config_google import GOOGLE_CONFIG_NAME, differing_groups, from_google
from albert_np.conversion.architecture import CLASSES, named_by
from albert_np.conversion.findings import Findings, one_line
from albert_np.files import listed, read_json, shown


def check_config(folder: Path, config: AlbertConfig, findings: Findings) -> None:
    """Names of classes, the activation, dropout, special ids, and a second config that disagrees."""
    names = config.architectures or []
    if not names:
        findings.note(
            "architectures",
            "the config names no class",
            "AutoModel and `albert-np predict` cannot tell what the model is for; the heads that are stored say it.",
        )
    elif named_by(config) is None:
        findings.warning(
            "architectures",
            f"the config names {listed(names)}, and ALBERT has {', '.join(CLASSES)}",
            "The class that counts is taken from the heads that are stored.",
            "Correct architectures in config.json.",
        )
    elif len(names) > 1:
        findings.note("architectures", f"the config names {listed(names)}", f"{named_by(config)} counts.")
    _check_activation(config, findings)
    _check_dropout(config, findings)
    _check_special_ids(config, findings)
    _check_groups(config, findings)
    _check_google(folder, config, findings)


def _check_special_ids(config: AlbertConfig, findings: Findings) -> None:
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        ids = getattr(config, name)
        given = ids if isinstance(ids, list) else [ids]
        outside = [str(i) for i in given if i is not None and not -config.vocab_size <= i < config.vocab_size]
        if outside:
            findings.warning(
                "special-ids",
                f"{name} is {listed(outside)}, outside the vocabulary of {config.vocab_size:,}",
                "The model itself uses no such id, and other programs may fail on it.",
                "Take the ids of the tokenizer.",
            )


def _check_groups(config: AlbertConfig, findings: Findings) -> None:
    L, G = config.num_hidden_layers, config.num_hidden_groups
    differing = differing_groups(L, G)
    if differing is not None:
        layer, googles, ours = differing
        findings.warning(
            "groups",
            f"with {L} layers in {G} groups, Google's program applies group {googles} in layer {layer}",
            f"transformers, and albert_np, apply group {ours} there: Google's own weights are another model.",
        )


def _check_activation(config: AlbertConfig, findings: Findings) -> None:
    if config.hidden_act not in ("gelu", "gelu_python"):
        return
    means = (
        "That is the formula with erf. Google's ALBERTs were trained with the formula with tanh, which Google's own config "
        'calls "gelu" and transformers "gelu_new", and early config.json files have the wrong word.'
    )
    do = 'If the weights descend from Google\'s, write "gelu_new" into config.json: outputs change by up to 1e-3.'
    report = findings.warning if _published(config) else findings.note
    report("hidden-act", f'hidden_act is "{config.hidden_act}"', means, do)


def _published(config: AlbertConfig) -> bool:
    """Whether the sizes are those of an English model that Google published."""
    sizes = {(768, 12, 12), (1024, 24, 16), (2048, 24, 16), (2048, 24, 32), (4096, 12, 64)}
    shape = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads)
    return config.vocab_size == 30_000 and config.embedding_size == 128 and shape in sizes


def _check_dropout(config: AlbertConfig, findings: Findings) -> None:
    hidden, attention = config.hidden_dropout_prob, config.attention_probs_dropout_prob
    if hidden or attention:
        findings.note(
            "dropout",
            f"dropout is {hidden:g} in the layers and {attention:g} in the attention",
            "Version 1 of the published models has 0.1, and version 2 was trained with 0, though some of its configs say 0.1. "
            "Only training uses these numbers.",
            "To go on training a version 2, set both to 0.",
        )


def _check_google(folder: Path, config: AlbertConfig, findings: Findings) -> None:
    path = hub.google_file(folder, GOOGLE_CONFIG_NAME)
    if path is None or not (folder / CONFIG_NAME).is_file():
        return
    try:
        values = from_google(read_json(path, MAX_CONFIG_BYTES))
        if not isinstance(values, dict):
            raise ValueError(f"{path} must hold one JSON object")
    except (ValueError, OSError) as error:
        findings.warning("two-configs", one_line(str(error)), "config.json counts, and this file cannot be read.")
        return
    differing = [
        f"{shown(name, 40)} ({shown(value, 40)}, and config.json says {shown(getattr(config, name), 40)})"
        for name, value in values.items()
        if name in AlbertConfig.__dataclass_fields__ and value != getattr(config, name)
    ]
    if differing:
        findings.warning(
            "two-configs",
            f"{path.name} has other values: {listed(differing)}",
            "config.json counts. Google's programs read the other one.",
            "Find out which one belongs to the weights, and correct or remove the other.",
        )
