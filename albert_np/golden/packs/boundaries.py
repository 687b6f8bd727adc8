"""What can be cut out of a recording: each of its ops, and some that other programs fuse. And which one a name means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from albert_np.activations import ACTIVATIONS, gelu, gelu_new
from albert_np.encoder import step as layer_step
from albert_np.files import shown
from albert_np.golden.graph import Step

PRODUCT = ".product"  # a linear step without its bias, which a fused bias reads


@dataclass(frozen=True)
class Boundary:
    """One op, or several that lie behind one another; the last one's value is the output."""

    name: str
    steps: tuple[Step, ...]

    @property
    def application(self) -> int | None:
        """Of the shared layer."""
        return self.steps[-1].application

    @property
    def short(self) -> str:
        """attention.query:3 for encoder.layer.3.attention.query."""
        a = self.application
        return self.name if a is None else f"{self.name.removeprefix(layer_step(a, ''))}:{a}"


def boundaries(steps: Iterable[Step]) -> list[Boundary]:
    """All of them, the single ops first."""
    steps = list(steps)
    return [*(Boundary(one.name, (one,)) for one in steps), *_fused({one.name: one for one in steps})]


def _fused(steps: dict[str, Step]) -> Iterator[Boundary]:
    """Attention as a whole; a linear step, or its bias alone, with the activation; a residual sum with its LayerNorm."""
    last = max(one.application for one in steps.values() if one.application is not None)
    for a in range(last + 1):

        def at(name: str, a: int = a) -> Step:
            return steps[layer_step(a, name)]

        yield Boundary(layer_step(a, "attention"), tuple(at(f"attention.{x}") for x in ("scores", "probs", "context")))
        ffn = at("ffn")
        yield Boundary(layer_step(a, "ffn+activation"), (ffn, at("activation")))
        bias = replace(ffn, op="add", inputs=(ffn.name + PRODUCT,), weights=ffn.weights[1:])
        yield Boundary(layer_step(a, "bias+activation"), (bias, at("activation")))
        yield Boundary(layer_step(a, "attention.residual+LayerNorm"), (at("attention.sum"), at("attention.LayerNorm")))
        yield Boundary(layer_step(a, "residual+LayerNorm"), (at("sum"), at("full_layer_layer_norm")))


def resolve(asked: str, steps: Iterable[Step], hidden_act: str) -> Boundary:
    """The boundary that "OP" or "OP:application" means.

    OP is a name of the trace, or its end: encoder.layer.3.attention.query, attention.query:3, gelu:7, pooler. A name that is
    whole within its layer comes before one that is an end: residual+LayerNorm:3 is the layer's second one.
    Raises ValueError for a name that means nothing, or several; it lists those that are near.
    """
    if not isinstance(asked, str) or not asked or not re.fullmatch(r"[^:]+(:\d{1,6})?", asked):
        raise ValueError(
            f"an op is named NAME or NAME:APPLICATION, as in attention.query:3; got {shown(repr(asked), 80)}"
        )
    name, _, number = asked.partition(":")
    wanted = int(number) if number else None
    every = boundaries(steps)
    found = [one for one in every if wanted is None or one.application == wanted]
    key = _without_alias(name, hidden_act, wanted)
    tiers = (
        [one for one in found if one.name == name],
        [one for one in found if one.short.partition(":")[0] == key],
        [one for one in found if one.name.endswith(f".{key}")],
    )
    matching = next(filter(None, tiers), [])
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ValueError(f"{shown(asked)} may be {_listed(matching)}: say which")
    last = max(one.application for one in every if one.application is not None)
    if wanted is not None and wanted > last:
        raise ValueError(f"{shown(asked)}: the layers are applied {last + 1} times here, 0 to {last}")
    raise ValueError(f"{shown(asked)} is no op of this recording; near it are {_listed(_near(key, every, wanted))}")


def _without_alias(name: str, hidden_act: str, wanted: int | None) -> str:
    aliases = {"softmax": "probs", "tanh": "pooler_activation"}
    if ACTIVATIONS[hidden_act] in (gelu, gelu_new):
        aliases["gelu"] = "activation"
    if hidden_act != "tanh" or wanted is not None:  # the pooler's has no application
        aliases[hidden_act] = "activation"
    return "".join(aliases.get(part, part) for part in re.split(r"([.+])", name))


def _near(key: str, every: list[Boundary], wanted: int | None) -> list[Boundary]:
    """The names that look most like it, in the application that was asked for, or else in the first."""
    here = {one.short.partition(":")[0]: one for one in every if one.application in (None, wanted or 0)}
    ends = {name.rpartition(".")[2]: one for name, one in here.items()} | here
    close = difflib.get_close_matches(key.removeprefix("encoder.layer."), ends, n=5, cutoff=0.3)
    return list({ends[name].name: ends[name] for name in close or ("attention", "activation")}.values())


def _listed(found: list[Boundary]) -> str:
    return ", ".join(one.short for one in found[:6]) + (f" … ({len(found)} in all)" if len(found) > 6 else "")
