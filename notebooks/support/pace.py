"""How long a notebook runs: as long as it takes, or shorter where every change of the project runs them all."""

from __future__ import annotations

import os
from typing import TypeVar

Amount = TypeVar("Amount", int, float)
SHORT = os.environ.get("ALBERT_NP_NOTEBOOKS") == "short"  # what tests/test_notebooks.py sets


def shorter(full: Amount, short: Amount) -> Amount:
    """The first amount (of steps, of rounds), or the second one where ALBERT_NP_NOTEBOOKS=short."""
    return short if SHORT else full
