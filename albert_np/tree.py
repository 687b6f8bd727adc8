"""The parameters of a model as parts inside parts, along the names in a checkpoint: to be looked at, never to be changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from albert_np import inputs
from albert_np.ops import Array
from albert_np.quantized import floats_of


class Part:
    """All parameters whose names begin alike: `model.embeddings`, `model.embeddings.word_embeddings` …

    A longer name is an attribute, and a number is a place: `model.encoder.albert_layer_groups[0]`. Where a name ends, there is
    the model's own array, in a view that is read-only.
    """

    def __init__(self, path: str, arrays: Mapping[str, Array]) -> None:
        self.__dict__.update(_path=path, _arrays=dict(arrays))

    def _at(self, name: str) -> Any:
        """The part or array of that name, or None."""
        if name in self._arrays:
            view = floats_of(self._arrays[name]).view()
            view.flags.writeable = False
            return view
        below = {rest: x for full, x in self._arrays.items() if (rest := full.removeprefix(f"{name}.")) != full}
        return Part(f"{self._path}.{name}".lstrip("."), below) if below else None

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name.partition(".")[0] for name in self._arrays))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copying and printing ask for, perhaps before there are arrays
            raise AttributeError(name)
        if (found := self._at(name)) is None:
            raise AttributeError(f"{self._path} has no {name!r}; it has {self._listed()}")
        return found

    def __call__(self, ids: Any) -> Array:  # (…) int -> (…,E)
        """The rows of a table of embeddings, for `inputs_embeds`. Raises ValueError for ids that it does not have, and for any
        other part: only models compute."""
        if not self._path.endswith("_embeddings"):
            raise ValueError(f"{self._path} is a part to be looked at, and computes nothing: call the model itself")
        (table,) = self.parameters()
        rows = inputs.integers("ids", ids)
        inputs.in_range("ids", rows, len(table), f"{self._path} has {len(table)} rows", "id")
        return table[rows]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{self._path}.{name} is not set here: model.parameters_to_change() gives arrays to change"
        )

    def __getitem__(self, place: int) -> Any:
        if not isinstance(place, int) or not -len(self) <= place < len(self):
            raise IndexError(f"{self._path} has {len(self)} numbered parts; it has no [{place!r}]")
        return self._at(str(place % len(self)))

    def __len__(self) -> int:
        return sum(name.isdecimal() for name in self._names())

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __bool__(self) -> bool:
        return True

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._names() if not name.isdecimal())]

    def _listed(self) -> str:
        return ", ".join(f"[{name}]" if name.isdecimal() else name for name in self._names())

    def __repr__(self) -> str:
        """One line for each array: its name and shape."""
        width = max(map(len, self._arrays))
        lines = [f"  {name:<{width}}  {x.shape}" for name, x in self._arrays.items()]
        return "\n".join([f"{self._path}: {self.num_parameters():,} parameters", *lines])

    def num_parameters(self) -> int:
        """How many numbers the arrays of this part hold."""
        return sum(x.size for x in self._arrays.values())

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Each array, read-only, under its name inside this part."""
        for name in self._arrays:
            yield name, self._at(name)

    def parameters(self) -> Iterator[Array]:
        """Each array, read-only."""
        for _, x in self.named_parameters():
            yield x

    def named_children(self) -> Iterator[tuple[str, Part]]:
        """The parts right below this one, by name."""
        for name in self._names():
            if isinstance(part := self._at(name), Part):
                yield name, part

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Part]]:
        """This part and all parts below it, by their names inside this part."""
        yield prefix, self
        for name, part in self.named_children():
            yield from part.named_modules(f"{prefix}.{name}".lstrip("."))
