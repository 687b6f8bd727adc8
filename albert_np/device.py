"""Where a model computes, by the names that PyTorch has for it."""

from __future__ import annotations

from typing import Any

import numpy as np


class Device(str):
    """A str, "cpu" or "cuda:0", with the `type` and `index` of a torch.device."""

    @property
    def type(self) -> str:
        """Which kind of device: "cpu" or "cuda"."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """The number of the GPU."""
        number = self.partition(":")[2]
        return int(number) if number else None


def device_of(value: Any) -> Device:
    """What somebody means by "cpu", "cuda", "cuda:0", 0 (the first GPU), -1 (the CPU) or a torch.device.

    Raises ValueError for any other device, and for a second GPU.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        name = "cpu" if value == -1 else f"cuda:{value}"
    elif isinstance(kind := getattr(value, "type", None), str):  # a torch.device, or one of these
        index = getattr(value, "index", None)
        name = kind if index is None else f"{kind}:{index}"
    else:
        name = value
    if name in ("cpu", "cpu:0"):
        return Device("cpu")
    if name in ("cuda", "cuda:0"):
        return Device("cuda:0")
    if isinstance(name, str) and name[:5] == "cuda:" and name[5:].isdecimal():
        raise ValueError(
            f"device {name} is another than the first GPU: set CUDA_VISIBLE_DEVICES={name[5:]} and use cuda:0"
        )
    raise ValueError(f"device must be 'cpu', 'cuda', 0 (the GPU) or -1 (the CPU); got {value!r:.80}")
