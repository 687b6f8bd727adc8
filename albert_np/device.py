"""Where a model computes, by the names that PyTorch has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.files import listed


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
        name = value if isinstance(value, str) else ""  # an array cannot be compared with a text
    if name in ("cpu", "cpu:0"):
        return Device("cpu")
    if name in ("cuda", "cuda:0"):
        return Device("cuda:0")
    if name[:5] == "cuda:" and name[5:].isdecimal():
        raise ValueError(
            f"device {name} is another than the first GPU: set CUDA_VISIBLE_DEVICES={name[5:]} and use cuda:0"
        )
    raise ValueError(f"device must be 'cpu', 'cuda', 0 (the GPU) or -1 (the CPU); got {value!r:.80}")


def place_of(device: Any, device_map: Any) -> Device | None:
    """The one device that both mean; None if neither says anything. device_map: a place, or one for each module.

    "auto" says nothing. Raises ValueError for two places, and for what is none.
    """
    mapped = device_map.values() if isinstance(device_map, Mapping) else [device_map]
    named = [value for value in mapped if not isinstance(value, str) or value != "auto"]
    places = {device_of(device)} if device is not None else set()
    try:
        places |= {device_of(value) for value in named if value is not None}
    except ValueError as error:
        raise ValueError(f"device_map: {error}") from None
    if len(places) > 1:
        raise ValueError(f"a model computes in one place; device and device_map name {listed(sorted(places))}")
    return next(iter(places), None)


def backend_on(backend: Any, place: Device | None) -> Any:
    """The backend for a place, where none is named. Raises ValueError if the named one computes elsewhere."""
    if backend in (None, "auto"):
        return "cuda" if place == "cuda:0" else "auto"
    if place is not None and (backend == "cuda") != (place == "cuda:0"):
        raise ValueError(f"backend={backend!r:.80} does not compute on {place}: leave out one of the two")
    return backend
