"""Memory lent to other libraries through DLPack, the exchange of arrays without a copy.

NumPy builds the capsule: of an array that lies where ours does and whose numbers it never touches. So who holds the memory, how
long, and what becomes of a capsule that nobody takes, is NumPy's compiled code, which also knows what to do with an error under
way or an interpreter that is going. Only the device, and whether it is a copy, are written into the structure afterwards.
"""

from __future__ import annotations

import ctypes
import operator
from types import SimpleNamespace
from typing import Any

import numpy as np

CPU, CUDA = 1, 2  # device types
COPIED = 2  # a flag of versioned capsules
NUMPY_HAS_VERSIONS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


class Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype_code", ctypes.c_uint8),
        ("dtype_bits", ctypes.c_uint8),
        ("dtype_lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),  # numbers, not bytes; NULL: the last axis first, without gaps
        ("byte_offset", ctypes.c_uint64),
    )


class Managed(ctypes.Structure):
    """What a capsule "dltensor" points to."""

    _fields_ = (("tensor", Tensor), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class Versioned(ctypes.Structure):
    """What a capsule "dltensor_versioned" points to."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


STRUCTURES: dict[bytes, Any] = {b"dltensor": Managed, b"dltensor_versioned": Versioned}
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def structure(capsule: Any) -> Managed | Versioned:
    """What a capsule points to, to read and to write."""
    name = next(name for name in STRUCTURES if _is_valid(capsule, name))
    return STRUCTURES[name].from_address(_pointer(capsule, name))


def placeholder(
    owner: Any, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    """An array at that address, never to be read, which holds the owner."""
    interface = {"data": (address, False), "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3}
    return np.asarray(SimpleNamespace(__array_interface__=interface, owner=owner))


def capsule(x: np.ndarray, device: tuple[int, int], *, max_version: Any = None, copied: bool = False) -> Any:
    """A capsule that holds x, which lies on that device. max_version: the newest that the other side reads; None is 0."""
    versioned = NUMPY_HAS_VERSIONS and max_version is not None and max_version[0] >= 1
    made = x.__dlpack__(max_version=(1, 0)) if versioned else x.__dlpack__()
    found = structure(made)
    found.tensor.device_type, found.tensor.device_id = device
    if copied and isinstance(found, Versioned):
        found.flags |= COPIED
    return made


def check_version(max_version: Any) -> None:
    if max_version is not None and not _is_pair(max_version):
        raise TypeError(f"max_version must be None or a tuple (major, minor); got {max_version!r}")


def check_stream(stream: Any) -> None:
    """As the array API has it for CUDA: 1 and 2 are the default streams, and 0 could be either."""
    if stream is None:
        return
    try:
        number = operator.index(stream)
    except TypeError:
        raise TypeError(f"stream must be None or an integer; got {stream!r}") from None
    if number == 0 or number < -1:
        raise ValueError(
            f"stream must be None, -1, 1 (the legacy default), 2 (a default for each thread) or a handle; got {stream!r}"
        )


def asked_device(dl_device: Any, own: tuple[int, int]) -> tuple[int, int]:
    """Where the numbers are wanted: where they are, or on the CPU. Raises BufferError for any other device."""
    if dl_device is None:
        return own
    if not _is_pair(dl_device):
        raise TypeError(f"dl_device must be None or a tuple (device type, number); got {dl_device!r}")
    device = (int(dl_device[0]), int(dl_device[1]))
    if device not in (own, (CPU, 0)):
        raise BufferError(f"the numbers lie on device {own}, and can be had there or on the CPU, (1, 0); got {device}")
    return device


def _is_pair(x: Any) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and all(isinstance(n, (int, np.integer)) for n in x)
