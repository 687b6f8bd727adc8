"""Hooks on the modules of a torch model, and an eye on the functions between them: what capture_torch looks with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from albert_np.encoder import step
from albert_np.golden.capturing import module_names
from albert_np.golden.capturing.module_names import PROBS, SCORES, Applications
from albert_np.ops import Array

PRODUCTS = ("matmul", "__matmul__", "bmm", "einsum", "baddbmm")
MASKED = ("add", "__add__", "__radd__", "add_", "__iadd__", "where", "masked_fill", "masked_fill_", "sub", "__sub__")
_QUERY, _VALUE = "query", "value"


def array(x: torch.Tensor) -> Array:
    """A copy in NumPy. bfloat16 becomes float32, which is exact."""
    x = x.detach()
    if x.dtype == torch.bfloat16:
        x = x.float()
    return np.ascontiguousarray(x.to("cpu", copy=True).resolve_neg().numpy())


class Watch(TorchFunctionMode):
    """Collects the tensors of a forward under our names.

    Scores and probabilities belong to no module. From the time that the query exists until attention.dense is called, every
    function is looked at: what is computed from query and key, what from the value, and where the two are multiplied.
    """

    def __init__(self, places: Collection[str]) -> None:
        super().__init__()
        self.found: dict[str, Array] = {}
        self._places = places
        self._applications = Applications()
        self._calls: set[str] = set()  # the names that are found
        self._forget()

    def _forget(self) -> None:
        """Attention is over."""
        self._made: dict[int, tuple[str, torch.Tensor, tuple[Any, ...]]] = {}  # id -> function, tensor, what it is from
        self._of: dict[int, set[str]] = {}  # id -> which of query (or key) and value it is computed from
        self._open: int | None = None
        self._batch = 1

    def _keep(self, name: str, x: Any, application: int | None) -> None:
        if not isinstance(x, torch.Tensor):
            return
        if (
            application is not None and name in self._calls
        ):  # config.chunk_size_feed_forward: some of the tokens at a time
            self.found[name] = np.concatenate([self.found[name], array(x)], axis=1)
        elif application is not None or name not in self.found:
            self.found[name] = array(x)
        self._calls.add(name)

    def before(self, place: str, in_layer: bool, x: Any) -> None:
        """A module is called."""
        application = self._applications.enter(place) if in_layer else None
        name = module_names.entering(place, application, self._places)
        if name is not None:
            self._keep(name, x, application)
        if place == "attention.dense":
            self._forget()

    def after(self, place: str, in_layer: bool, x: Any) -> None:
        """A module has given its result."""
        application = self._applications.number if in_layer else None
        self._keep(module_names.output(place, application), x, application)
        if in_layer and place in ("attention.query", "attention.key", "attention.value"):
            self._open, self._batch = application, x.shape[0]
            self._note(x, place, (), {_VALUE if place == "attention.value" else _QUERY})

    def _note(self, x: torch.Tensor, function: str, inputs: tuple[Any, ...], of: set[str]) -> None:
        self._made[id(x)] = (function, x, inputs)  # the tensor too: its id is its own only as long as it lives
        self._of[id(x)] = self._of.get(id(x), set()) | of

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function, and notes what its result is computed from."""
        kwargs = kwargs or {}
        if self._open is None:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        given = tuple(_tensors([*args, *kwargs.values()]))
        inputs = tuple((x, self._of.get(id(x), set())) for x in given)
        in_place = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
        if in_place and any(of for _, of in inputs):  # what it was before must not be lost
            inputs = tuple((x.detach().clone(), of) for x, of in inputs)
        if name == "softmax" and inputs:
            self._scores(inputs[0][0], self._made.get(id(given[0])))
        if name in PRODUCTS:
            self._probs(inputs)
        out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor):
            self._note(out, name, inputs, set().union(*(of for _, of in inputs)))
        return out

    def _scores(self, x: torch.Tensor, made: tuple[str, torch.Tensor, tuple[Any, ...]] | None) -> None:
        """What softmax reads; or what it was before the mask, which is computed from no query, was put on it."""
        if made is not None and made[0] in MASKED:
            own = [y for y, of in made[2] if of and y.shape == x.shape]
            others = [y for y, of in made[2] if not of]
            if len(own) == 1 and (others or made[0].startswith("masked_fill")):
                x = own[0]
        self._attention(SCORES, x)

    def _probs(self, inputs: tuple[tuple[torch.Tensor, set[str]], ...]) -> None:
        """The factor of the value: what is computed from the query alone."""
        if any(of == {_VALUE} for _, of in inputs):
            for x, of in inputs:
                if of == {_QUERY}:
                    self._attention(PROBS, x)

    def _attention(self, name: str, x: torch.Tensor) -> None:
        assert self._open is not None
        kept = array(x)
        if kept.ndim == 3:  # heads and sequences in one axis, for bmm
            kept = kept.reshape(self._batch, -1, *kept.shape[1:])
        self.found[step(self._open, name)] = kept


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)


@contextmanager
def watched(model: torch.nn.Module) -> Iterator[Watch]:
    """A watch over all modules whose names ALBERT has. Its hooks are gone behind the block, whatever happens in it.

    Raises ValueError if no module has such a name.
    """
    places: dict[torch.nn.Module, set[tuple[str, bool]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        known = module_names.known(path)
        if known is not None:
            places.setdefault(module, set()).add(known)
    # one activation may serve the layers and a head: then it does not say where it is, and what it feeds does
    one = {module: next(iter(found)) for module, found in places.items() if len(found) == 1}
    names = {place for place, _ in one.values()}
    if not names & set(module_names.LAYER_OUTPUTS):
        raise ValueError(
            f"no module of {type(model).__name__} has a name that ALBERT has, such as "
            "encoder.albert_layer_groups.0.albert_layers.0.ffn: give the modules those names, or write the tensors yourself"
        )
    watch = Watch(names)
    handles = []
    try:
        for module, (place, in_layer) in one.items():
            handles.append(module.register_forward_pre_hook(_before(watch, place, in_layer), with_kwargs=True))
            handles.append(module.register_forward_hook(_after(watch, place, in_layer)))
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def _before(watch: Watch, place: str, in_layer: bool) -> Callable[..., None]:
    return lambda module, args, kwargs: watch.before(place, in_layer, _first(args, kwargs))


def _after(watch: Watch, place: str, in_layer: bool) -> Callable[..., None]:
    return lambda module, args, out: watch.after(place, in_layer, out)
