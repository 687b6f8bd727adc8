"""Which of the seven classes a checkpoint belongs to: the config names it, or else the heads that are stored show it."""

from __future__ import annotations

from collections.abc import Mapping

from albert_np import model
from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.names import PARTS
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown

CLASSES: dict[str, type[AlbertPreTrainedModel]] = {
    kind.__name__: kind
    for kind in (
        model.AlbertModel,
        model.AlbertForPreTraining,
        model.AlbertForMaskedLM,
        model.AlbertForSequenceClassification,
        model.AlbertForMultipleChoice,
        model.AlbertForTokenClassification,
        model.AlbertForQuestionAnswering,
    )
}


def plain_name(name: str) -> str:
    """The name of the class without TF or Flax in front. ValueError if ALBERT has no such class."""
    plain = str(name).removeprefix("TF").removeprefix("Flax")
    if plain not in CLASSES:
        raise ValueError(f"ALBERT has the classes {', '.join(CLASSES)}; got {shown(name, 60)}")
    return plain


def named_by(config: AlbertConfig) -> str | None:
    """The class that config.json names first, without TF or Flax in front; None if it names none that ALBERT has."""
    for name in config.architectures or []:
        plain = name.removeprefix("TF").removeprefix("Flax")
        if plain in CLASSES:
            return plain
    return None


def by_heads(found: Mapping[str, Tensor]) -> list[str]:
    """The classes whose heads these tensors (by their names in names.py) are; several where the names do not decide."""

    def has(part: str) -> bool:
        return any(name in found for name in PARTS[part])

    fitting = []
    if has("predictions"):
        fitting.append("AlbertForPreTraining" if has("sop_classifier") else "AlbertForMaskedLM")
    elif has("sop_classifier"):
        fitting.append("AlbertForPreTraining")
    if has("qa_outputs"):
        fitting.append("AlbertForQuestionAnswering")
    if "classifier.weight" in found:
        if not has("pooler"):
            fitting.append("AlbertForTokenClassification")
        elif found["classifier.weight"].shape[:1] == (1,):  # a number for each text, or for each choice
            fitting += ["AlbertForSequenceClassification", "AlbertForMultipleChoice"]
        else:
            fitting.append("AlbertForSequenceClassification")
    return fitting or ["AlbertModel"]


def choose(found: Mapping[str, Tensor], config: AlbertConfig, source: str, given: str | None = None) -> str:
    """The class: the one that is given, or the config's, or that of the heads. ValueError where the heads do not decide."""
    if given is not None:
        return plain_name(given)
    named = named_by(config)
    if named is not None:
        return named
    fitting = by_heads(found)
    if len(fitting) > 1:
        raise ValueError(
            f"{source}: its heads could be those of {listed(fitting)}, and the config names none of them: say which, with "
            "architecture= or --class"
        )
    return fitting[0]


def parts_of(name: str, found: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The heads of the class whose tensors a file has. A base model may have been saved without a pooler."""
    if name == "AlbertModel":
        return ("pooler",) if any(tensor in found for tensor in PARTS["pooler"]) else ()
    return CLASSES[name].parts
