"""Modules of transformers' ALBERT -> the tensors of our trace that go into them and come out of them.

Whoever runs the model hears of its modules in order: hooks do as they are called (torch_modules.py), a graph as its nodes
come (onnx_modules.py). The weights of a layer are used many times, so that its module does not say which application it is;
the order does: an application ends with its full_layer_layer_norm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from albert_np.encoder import step
from albert_np.golden.graph import Step

NORM = "full_layer_layer_norm"  # the end of an application
# a module of a layer -> what comes out of it, and what goes into it; behind "encoder.layer.{a}."
LAYER_OUTPUTS = {
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.dense": "attention.dense",
    "attention.LayerNorm": "attention.LayerNorm",
    "ffn": "ffn",
    "activation": "activation",
    "ffn_output": "ffn_output",
    NORM: NORM,
}
LAYER_INPUTS = {
    "attention.dense": "attention.context",
    "attention.LayerNorm": "attention.sum",
    "ffn_output": "activation",  # also where the activation is a function and no module
    NORM: "sum",
}
OUTPUTS = {
    name: name
    for name in (
        "embeddings.word_embeddings",
        "embeddings.token_type_embeddings",
        "embeddings.position_embeddings",
        "embeddings.LayerNorm",
        "encoder.embedding_hidden_mapping_in",
        "pooler",
        "pooler_activation",
        "predictions.dense",
        "predictions.activation",
        "predictions.LayerNorm",
        "predictions.decoder",
        "sop_classifier.classifier",
        "classifier",
        "qa_outputs",
    )
}
INPUTS = {
    "embeddings.LayerNorm": "embeddings.sum",
    "predictions.LayerNorm": "predictions.activation",
}
POOLED = ("classifier", "sop_classifier.classifier")  # what they read is pooler_activation, if the model has a pooler
SCORES, PROBS = "attention.scores", "attention.probs"  # no modules: they are found among what runs between modules


def known(path: str) -> tuple[str, bool] | None:
    """A module's path -> its place in ALBERT, and whether that is in a layer; None for all others.

    What the path begins with (albert., model., module. …) does not matter.
    """
    parts = path.split(".")
    for i in range(len(parts)):
        inside = parts[i:]
        if inside[:2] == ["encoder", "albert_layer_groups"] and inside[3:4] == ["albert_layers"]:
            place = ".".join(inside[5:])
            if place in LAYER_OUTPUTS:
                return place, True
        if ".".join(inside) in OUTPUTS:
            return ".".join(inside), False
    return None


class Applications:
    """Which application of a shared layer runs, from the order of the modules that it is made of."""

    def __init__(self) -> None:
        self.number = 0
        self._ending = False

    def enter(self, place: str) -> int:
        """The application that this module of a layer belongs to."""
        if self._ending and place != NORM:
            self.number, self._ending = self.number + 1, False
        self._ending |= place == NORM
        return self.number


def output(place: str, application: int | None) -> str:
    """The tensor that comes out of a module."""
    return OUTPUTS[place] if application is None else step(application, LAYER_OUTPUTS[place])


def entering(place: str, application: int | None, places: Collection[str]) -> str | None:
    """The tensor that goes into a module, where the trace has it and none of the model's modules, places, gives it out."""
    table = INPUTS if application is None else LAYER_INPUTS
    inside = "pooler_activation" if place in POOLED and "pooler" in places else table.get(place)
    if inside is None or inside in places:
        return None
    return inside if application is None else step(application, inside)


def absent(names: Iterable[str], steps: Iterable[Step]) -> list[str]:
    """The tensors that a complete candidate has, and these names lack."""
    have = set(names)
    return [one.name for one in steps if not one.optional and one.name not in have]
