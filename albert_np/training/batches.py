"""Batches of examples that are held in memory, in a new order in each epoch. They can start from any place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed
from albert_np.files import shown
from albert_np.ops import Array


class Batches:
    """An iterator over collate(examples of a batch). It can say where it is, and continue from there.

    The order depends only on the seed and the epoch (shuffle=False: as given). The last batch of an epoch may be smaller.
    With epochs=None it never ends. After its end it gives nothing more, until rewind() starts it again.

        Batches(data.examples, lambda some: classification_batch(some, tokenizer, max_length=128), batch_size=32, epochs=3)
    """

    def __init__(
        self,
        examples: Sequence[Any],
        collate: Callable[[list[Any]], dict[str, Array]],
        *,
        batch_size: int,
        seed: int = 0,
        epochs: int | None = None,
        shuffle: bool = True,
    ) -> None:
        if not len(examples):
            raise ValueError("there are no examples to make batches of")
        for name, value in (("batch_size", batch_size), ("epochs", epochs)):
            if (type(value) is not int or value < 1) and not (name == "epochs" and value is None):
                raise ValueError(f"{name} must be a whole number of at least 1; got {shown(repr(value), 80)}")
        check_seed(seed)
        self.examples, self.collate, self.batch_size = examples, collate, batch_size
        self.seed, self.epochs, self.shuffle = int(seed), epochs, shuffle
        self.rewind()

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def rewind(self) -> None:
        """Goes back to the first batch of the first epoch."""
        self._epoch, self._next = 0, 0
        self._order: Array | None = None  # numbers of the examples, in the epoch's order

    def state(self) -> dict[str, Any]:
        """The place after the last batch, ready for JSON."""
        return {
            "examples": len(self.examples),
            "seed": self.seed,
            "shuffle": self.shuffle,
            "epoch": self._epoch,
            "next": self._next,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state() of the same examples and seed; ValueError for any other. The batch size may differ."""
        ours = self.state()
        if not isinstance(state, Mapping) or set(state) != set(ours):
            raise ValueError(f"this is not a state of batches: {shown(repr(state), 200)}")
        for name in ("examples", "seed", "shuffle"):
            if state[name] != ours[name]:
                raise ValueError(
                    f"this state belongs to other data: {name} was {state[name]!r:.60} and is {ours[name]}"
                )
        if any(type(state[name]) is not int or state[name] < 0 for name in ("epoch", "next")):
            raise ValueError(f"a state's numbers are whole and not negative; got {shown(repr(state), 200)}")
        if state["next"] >= len(self.examples):
            raise ValueError(f"a state at example {state['next']} of {len(self.examples)}")
        self._epoch, self._next, self._order = state["epoch"], state["next"], None

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self

    def __next__(self) -> dict[str, Array]:
        if self.epochs is not None and self._epoch >= self.epochs:
            raise StopIteration
        n = len(self.examples)
        if self._order is None:
            rng = np.random.default_rng([self.seed, self._epoch])
            self._order = rng.permutation(n) if self.shuffle else np.arange(n)
        chosen = self._order[self._next : self._next + self.batch_size]
        batch = self.collate([self.examples[i] for i in chosen])
        self._next += len(chosen)
        if self._next == n:
            self._epoch, self._next, self._order = self._epoch + 1, 0, None
        return batch
