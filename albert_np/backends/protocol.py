"""What a model asks of an engine, and what choose.py asks of a room of engines.

An engine is given weights, a config, a batch and a head, and never the model. What a trace shows is what a plain call runs:
engines have taps, not another path. What an engine cannot do it refuses, with what to choose instead.
"""

from __future__ import annotations

from typing import Any, Protocol

from albert_np.config import AlbertConfig
from albert_np.inputs import Inputs
from albert_np.ops import Array
from albert_np.outputs import ModelOutput
from albert_np.run import Head, Ops, Wanted, WantedGradients, Weights


class Engine(Protocol):
    """Runs one model. Inputs are checked before; later code assumes shapes, ranges and dtypes."""

    @property
    def ops(self) -> Ops:
        """The table of ops that heads run on."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Where answers may lie: "numpy", and "device" where they can stay in its memory."""

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        """The encoder and the head, with the hidden states, attentions and trace that are wanted.

        Raises ValueError for what this engine cannot do, and where memory does not suffice.
        """

    def loss_and_gradients(
        self, batch: Inputs, head: Head, wanted: WantedGradients
    ) -> tuple[Any, dict[str, list[Array]]]:
        """The loss, and the gradients with respect to each parameter: one array a use, the last use first.

        Raises ValueError where the head gives no loss, and where this engine computes no gradients.
        """

    def forget_weights(self, w: Weights) -> None:
        """What was made of the weights is void, since they change; from now on they are `w`."""


class Room(Protocol):
    """A module or package of backends/ that makes engines. Importing it imports nothing that may be missing."""

    NAME: str
    DTYPES: tuple[str, ...]  # what its engines compute in

    def missing(self, dtype: str) -> str:
        """Why its engines cannot run here and what to do, or nothing."""

    def make(self, w: Weights, config: AlbertConfig, dtype: str) -> Engine:
        """One for a model with these weights, in one of DTYPES."""
