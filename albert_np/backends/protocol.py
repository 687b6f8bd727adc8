"""What a model asks of an engine, and what choose.py asks of a module that makes engines.

An engine is given weights, a config, a batch and a head, but never the model. A trace shows what a plain call runs: engines
have taps, not a second path. An engine refuses what it cannot do, and says what to choose instead.

An engine runs the head too, and not the encoder alone: on a GPU both belong to one call, under one lock and in one pool of
memory, and the logits are all that comes down. What is asked before an engine exists, its dtypes and why it cannot run,
is asked of its room.
"""

from __future__ import annotations

from typing import Any, Protocol

from albert_np.config import AlbertConfig
from albert_np.inputs import Inputs
from albert_np.ops import Array
from albert_np.outputs import ModelOutput
from albert_np.run import Head, Ops, Wanted, WantedGradients, Weights


class Engine(Protocol):
    """Runs one model. Inputs have been checked before; engines rely on their shapes, ranges and dtypes."""

    @property
    def ops(self) -> Ops:
        """The table of ops that heads run on."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Where answers may lie: "numpy", and "device" where they can stay in its memory."""

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        """Runs the encoder and the head, with the hidden states, attentions and trace that are wanted.

        Raises ValueError for what this engine cannot do, and if memory does not suffice.
        """

    def loss_and_gradients(
        self, batch: Inputs, head: Head, wanted: WantedGradients
    ) -> tuple[Any, dict[str, list[Array]]]:
        """The loss, and the gradients with respect to each parameter: one array for each use, the last use first.

        Raises ValueError if the head gives no loss, and if this engine computes no gradients.
        """

    def forget_weights(self, w: Weights) -> None:
        """Forgets everything that was made from the weights, since they change. From now on they are `w`."""


class Room(Protocol):
    """A module or package of backends/ that makes engines. Importing it imports no optional library."""

    NAME: str
    DTYPES: tuple[str, ...]  # what its engines compute in

    def missing(self, dtype: str) -> str:
        """Why its engines cannot run here and what to do about it, or ""."""

    def make(self, w: Weights, config: AlbertConfig, dtype: str) -> Engine:
        """An engine for a model with these weights, in one of DTYPES."""
