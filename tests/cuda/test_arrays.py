"""Arrays on the GPU, and how other libraries come by them: DLPack, which is read here as C would read it."""

import ctypes
import gc

import numpy as np
import pytest
from support.backends import CUDA_TESTS

from albert_np.backends.cuda import dlpack
from albert_np.backends.cuda.arrays import DeviceArray, Pool
from albert_np.kernels.cuda import device

SIMULATED = CUDA_TESTS == "simulator"
pythonapi = ctypes.pythonapi
# of their own, so that nobody else's are changed
set_name = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", pythonapi))
get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", pythonapi))
FORMS = {"legacy": (None, b"dltensor"), "versioned": ((1, 0), b"dltensor_versioned")}
if not dlpack.NUMPY_HAS_VERSIONS:
    FORMS["versioned"] = ((1, 0), b"dltensor")  # older than it might be, which the protocol allows


def lent(x, pool=None):
    """x on the GPU, in a block of its own."""
    pool = Pool() if pool is None else pool
    block = pool.take(x.nbytes + 256)
    block.memory.write(256, x)
    return DeviceArray(block, 256, x.shape)


def taken(capsule):
    """What a library does that takes a capsule: it is told nothing of it again, and calls the deleter when it is done."""
    name = get_name(capsule)
    found = dlpack.structure(capsule)
    assert (
        set_name(capsule, {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}[name]) == 0
    )
    return found


def give_up(found):
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(found.deleter)(ctypes.addressof(found))


def numbers(tensor):
    """As that library sees them, through the structure alone."""
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = None if not tensor.strides else tuple(4 * n for n in tensor.strides[: tensor.ndim])
    assert (tensor.dtype_code, tensor.dtype_bits, tensor.dtype_lanes) == (2, 32, 1)
    interface = {"shape": shape, "strides": strides, "typestr": "<f4", "version": 3}
    address = (tensor.data or 0) + tensor.byte_offset
    if SIMULATED or tensor.device_type == dlpack.CPU:
        array = np.asarray(type("Seen", (), {"__array_interface__": interface | {"data": (address, True)}}))
        return array.copy()
    from numba import cuda

    seen = type("Seen", (), {"__cuda_array_interface__": interface | {"data": (address, True)}})
    return cuda.as_cuda_array(seen).copy_to_host()


VIEWS = {
    "whole": lambda x: x,
    "rows": lambda x: x[1:],
    "a column": lambda x: x[..., 2],
    "steps": lambda x: x[:, ::2, 1:],
    "one number": lambda x: x[1, 2, 3],
    "none": lambda x: x[:0],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_capsule_says_where_the_numbers_lie(form, view):
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    kept = VIEWS[view](lent(x))
    version, name = FORMS[form]
    capsule = kept.__dlpack__(max_version=version)
    assert get_name(capsule) == name
    found = taken(capsule)
    tensor = found.tensor
    assert (tensor.device_type, tensor.device_id) == kept.__dlpack_device__() == (2, 0)
    assert tensor.ndim == kept.ndim
    assert tensor.byte_offset == 0  # some readers pass over it
    if kept.size:
        assert tensor.data == kept.block.memory.address + kept.offset
    if isinstance(found, dlpack.Versioned):
        assert (found.major, found.minor, found.flags) == (1, 0, 0)
    assert np.array_equal(numbers(tensor), VIEWS[view](x))
    give_up(found)


@pytest.mark.parametrize("form", FORMS)
def test_memory_is_held_until_the_deleter_is_called(form):
    pool, x = Pool(), np.arange(5, dtype=np.float32)
    kept = lent(x, pool)
    memory = kept.block.memory
    first, second = (taken(kept.__dlpack__(max_version=FORMS[form][0])) for _ in range(2))
    del kept
    gc.collect()
    assert pool._free == []
    give_up(first)
    assert pool._free == []
    assert np.array_equal(numbers(second.tensor), x)
    give_up(second)
    assert pool._free == [memory]


@pytest.mark.parametrize("form", FORMS)
def test_a_capsule_that_nobody_takes_holds_nothing_back(form):
    pool = Pool()
    kept = lent(np.zeros(3, np.float32), pool)
    memory = kept.block.memory
    capsule = kept.__dlpack__(max_version=FORMS[form][0])
    del kept
    assert pool._free == []
    del capsule
    assert pool._free == [memory]
    with pytest.raises(TypeError, match="has no len"):  # it goes while an error is under way, and does not hide it
        len(lent(np.zeros(3, np.float32), pool).__dlpack__(max_version=FORMS[form][0]))
    assert pool._free == [memory]


def test_what_is_taken_and_given_up_a_thousand_times_leaves_nothing_behind():
    pool = Pool()
    kept = lent(np.ones(3, np.float32), pool)
    before = None
    for i in range(1000):
        give_up(taken(kept.__dlpack__(max_version=FORMS["versioned"][0])))
        kept.__dlpack__()
        if i == 10:
            gc.collect()
            before = len(gc.get_objects())
    gc.collect()
    assert len(gc.get_objects()) < before + 100
    assert pool._free == []


@pytest.mark.parametrize("way", ["dlpack", "interface"])
def test_memory_that_was_lent_waits_for_others_before_it_is_used_again(way, monkeypatch):
    """A library lets go of an array when its kernels are launched, not when they are done."""
    calls = []
    monkeypatch.setattr(device, "synchronize_all", lambda: calls.append(1))
    pool = Pool()
    for lends in (True, False):
        kept = lent(np.zeros(3, np.float32), pool)
        memory = kept.block.memory
        if lends:
            give_up(taken(kept.__dlpack__())) if way == "dlpack" else kept.__cuda_array_interface__
        del kept
        assert pool._free == [memory]
        assert calls == []
        block = pool.take(200)
        assert block.memory is memory
        assert calls == [1] * lends
        calls.clear()
        del block


def test_a_copy_on_the_gpu_is_another_ones_memory():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    kept = lent(x)
    found = taken(kept[:, 1:].__dlpack__(max_version=(1, 0), copy=True))
    assert tuple(found.tensor.shape[:2]) == (2, 2)
    assert found.tensor.data != kept[:, 1:].__cuda_array_interface__["data"][0]
    assert not isinstance(found, dlpack.Versioned) or found.flags == dlpack.COPIED
    kept.block.memory.write(kept.offset, np.zeros_like(x))
    assert np.array_equal(numbers(found.tensor), x[:, 1:])
    give_up(found)


def test_the_cpu_gets_a_copy():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    kept = lent(x)
    for version in (None, (1, 0), (1, 3)):
        found = taken(kept[:, 1:].__dlpack__(dl_device=(1, 0), max_version=version))
        assert (found.tensor.device_type, found.tensor.device_id) == (1, 0)
        assert not isinstance(found, dlpack.Versioned) or found.flags == dlpack.COPIED
        assert np.array_equal(numbers(found.tensor), x[:, 1:])
        give_up(found)
    if dlpack.NUMPY_HAS_VERSIONS:
        assert np.array_equal(np.from_dlpack(kept, device="cpu"), x)
    with pytest.raises(BufferError, match="without a copy"):
        kept.__dlpack__(dl_device=(1, 0), copy=False)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"dl_device": (2, 1)}, BufferError, r"lie on device \(2, 0\), and can be had there or on the CPU"),
        ({"dl_device": (10, 0)}, BufferError, "can be had there"),
        ({"dl_device": "cuda"}, TypeError, r"dl_device must be None or a tuple \(device type, number\); got 'cuda'"),
        ({"dl_device": (2,)}, TypeError, "dl_device must be"),
        ({"dl_device": (2, "0")}, TypeError, "dl_device must be"),
        ({"max_version": 1}, TypeError, "max_version must be None or a tuple"),
        ({"max_version": (1, None)}, TypeError, "max_version must be"),
        ({"stream": 0}, ValueError, "stream must be None, -1, 1"),
        ({"stream": -2}, ValueError, "stream must be"),
        ({"stream": "1"}, TypeError, "stream must be None or an integer; got '1'"),
        ({"stream": 1.0}, TypeError, "stream must be"),
    ],
)
def test_arguments_that_cannot_be_are_refused(given, error, says):
    kept = lent(np.zeros(3, np.float32))
    with pytest.raises(error, match=says):
        kept.__dlpack__(**given)


@pytest.mark.parametrize("stream", [None, -1, 1, 2, 2**40, np.int64(1)])
def test_streams_of_every_kind_are_taken(stream):
    """Nothing is left to wait for, on any."""
    give_up(taken(lent(np.zeros(3, np.float32)).__dlpack__(stream=stream)))


@pytest.mark.parametrize("version", [(0, 8), (1, 0), (1, 7), (2, 0)])
def test_the_version_is_one_that_the_other_side_reads(version):
    found = taken(lent(np.zeros(3, np.float32)).__dlpack__(max_version=version))
    assert isinstance(found, dlpack.Versioned) == (version[0] >= 1 and dlpack.NUMPY_HAS_VERSIONS)
    give_up(found)


def test_nothing_is_read_backwards():
    kept = lent(np.zeros((3, 2), np.float32))
    with pytest.raises(IndexError, match="not read backwards"):
        kept[::-1]
