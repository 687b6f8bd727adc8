"""kernels/cuda/device.py and cache.py up to the driver, of which a fake stands here: what is compiled, kept, and launched."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support import unmeasured
from support.cuda.shipped import KERNELS

from albert_np.kernels.cuda import activations, attention, cache, compiled, device, layer_norm, matmul
from albert_np.kernels.cuda.kernel import Buffer, Kernel, OutOfMemoryError
from albert_np.kernels.cuda.target import cuda, u32

compiled.without_a_gpu()

KERNEL, GPU = activations.naive_gelu_new, (9, 0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", str(tmp_path / "kernels"))
    device._loaded.cache_clear()
    cache._warn.cache_clear()
    return tmp_path / "kernels"


@pytest.fixture
def compiling(monkeypatch):
    """The kernels that were compiled, in order; nothing really is."""
    names = []

    def compile_it(kernel):
        names.append(kernel.name)
        return f"mangled_{kernel.name}", b"\x7fELF " + b"\n\0" * 100 + str(len(names)).encode()

    monkeypatch.setattr(device, "_compile", compile_it)
    return names


# --- compiled once --------------------------------------------------------------------------------------------------------


def test_a_kernel_is_machine_code_for_this_gpu_and_its_name_in_there(monkeypatch):
    name, cubin = device.compiled(KERNEL)
    assert cubin.startswith(b"\x7fELF")
    assert f".text.{name}\0".encode() in cubin
    monkeypatch.setattr(device, "_compile", lambda kernel: pytest.fail("compiled again"))
    assert device.compiled(KERNEL) == (name, cubin)


def test_kernels_are_compiled_with_a_numpy_that_numba_cuda_does_not_know():
    """2.5 has no row_stack; that name is there while numba-cuda looks for it, and no longer."""
    code = (
        "import numba.np.arrayobj, numpy as np\n"
        "if hasattr(np, 'row_stack'):\n"
        "    del np.row_stack\n"
        "    np.__all__.remove('row_stack')\n"
        "from albert_np.kernels.cuda import activations, compiled, device\n"
        "compiled.without_a_gpu()\n"
        "print(len(device._compile(activations.naive_gelu_new)[1]), hasattr(np, 'row_stack'))"
    )
    child = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=unmeasured()
    )
    length, left = child.stdout.split()
    assert int(length) > 1000
    assert left == "False"


def test_a_kernel_is_compiled_once_and_found_from_then_on(folder, compiling):
    first = device.compiled(KERNEL)
    assert device.compiled(KERNEL) == first
    other = device.compiled(layer_norm.layer_norm(768))
    assert compiling == ["_naive_gelu_new", "layer_norm"]
    assert first != other
    assert {file.name for file in folder.iterdir()} == {
        cache.path(kernel, GPU).name for kernel in (KERNEL, layer_norm.layer_norm(768))
    }


DAMAGED = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-1],
    "a bit of the name": lambda content: content.replace(b"mangled", b"mangles"),
    "a bit of the code": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_compiled_again_and_replaced(damage, compiling):
    first = device.compiled(KERNEL)
    file = cache.path(KERNEL, GPU)
    file.write_bytes(DAMAGED[damage](file.read_bytes()))
    second = device.compiled(KERNEL)
    assert len(compiling) == 2
    assert first != second == device.compiled(KERNEL)
    assert len(compiling) == 2


def test_a_file_under_another_name_is_none(compiling):
    device.compiled(KERNEL)
    cache.path(KERNEL, GPU).rename(cache.path(KERNEL, (8, 0)))
    assert cache.read(KERNEL, (8, 0)) is None


def test_where_nothing_can_be_kept_one_warning_says_so(folder, compiling, recwarn):
    folder.write_text("not a folder")
    for kernel in (KERNEL, layer_norm.layer_norm(768)):
        device.compiled(kernel)
    (warning,) = recwarn
    assert str(warning.message).startswith(f"compiled kernels cannot be kept in {folder}")
    assert "point ALBERT_NP_CACHE_DIR at a folder that can be written; until then" in str(warning.message)
    assert len(compiling) == 2


def test_kernels_of_sources_that_were_edited_meanwhile_are_not_kept(folder, compiling, monkeypatch):
    monkeypatch.setattr(cache, "_SOURCES", b"as they were")
    device.compiled(KERNEL)
    assert not folder.exists()


def test_old_files_go(folder, compiling, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 2)
    for kernel in (KERNEL, layer_norm.layer_norm(768), layer_norm.layer_norm(130)):
        device.compiled(kernel)
    assert len(list(folder.glob("cuda-*.bin"))) == 2


# --- the key ----------------------------------------------------------------------------------------------------------------


def made(number, function, text="none"):
    """A kernel as the makers of kernels make them."""

    def kernel(x, out, n):
        i = u32(cuda.threadIdx.x)
        out[i] = function(x[i]) if text == "none" else x[i + u32(number)]

    return Kernel(kernel, "FFi", 32)


def path_of(*given, **changes):
    kernel = made(*(given or (3, activations._gelu)))
    return cache.path(Kernel(**({"function": kernel.function, "parameters": "FFi", "threads": 32} | changes)), GPU)


def test_what_decides_the_code_is_in_the_name_of_the_file(monkeypatch):
    before = path_of()
    assert path_of() == before  # another function, made the same way
    others = [
        path_of(4, activations._gelu),
        path_of(3, activations._relu),
        path_of(3, activations._gelu, "other"),
        path_of(3.0, activations._gelu),
        path_of(parameters="FFu"),
        path_of(threads=64),
        path_of(blocks=2),
        path_of(function=activations._naive_gelu_new),
        path_of(function=lambda x, out, n: None),
        path_of(function=lambda x, out, n: 1),
        path_of(function=lambda x, out, n: x + n),
        path_of(function=lambda x, out, n: x - n),
        cache.path(made(3, activations._gelu), (8, 0)),
    ]
    assert len({before, *others}) == 1 + len(others)
    for change in (
        lambda: monkeypatch.setattr(cache, "_SOURCES", b"other"),
        lambda: monkeypatch.setattr(cache, "version", lambda name: "0.0.1"),
        lambda: monkeypatch.setenv("NUMBA_CUDA_ENABLE_PYNVJITLINK", "x"),
    ):
        change()
        cache.compiler.cache_clear()
        assert path_of() != before
        monkeypatch.undo()
        cache.compiler.cache_clear()


def test_every_kernel_that_is_shipped_has_a_file_of_its_own_the_same_in_every_process():
    paths = [cache.path(caps.kernel, GPU).name for caps in KERNELS.values()]
    assert len(set(paths)) == len(paths)
    few = (matmul.matmul(matmul.SMALL, "gelu", True), attention.attention(64, "pairs", True))
    code = (
        "from albert_np.kernels.cuda import attention, cache, matmul\n"
        "for kernel in (matmul.matmul(matmul.SMALL, 'gelu', True), attention.attention(64, 'pairs', True)):\n"
        "    print(cache.path(kernel, (9, 0)).name)"
    )
    child = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured() | {"PYTHONHASHSEED": "7"},
    )
    assert child.stdout.split() == [cache.path(kernel, GPU).name for kernel in few]


def test_a_kernel_made_of_what_has_no_value_is_compiled_and_not_kept(folder, compiling):
    thing = SimpleNamespace(f=activations._gelu)
    kernel = Kernel(lambda x, out, n: thing, "FFi", 32)
    with pytest.raises(TypeError, match="not described by its value"):
        cache.path(kernel, GPU)
    assert device.compiled(kernel)[0] == "mangled_<lambda>"
    assert not folder.exists()


# --- launched ---------------------------------------------------------------------------------------------------------------


class Driver:
    """What device.py asks of cuda.core, written down."""

    def __init__(self, monkeypatch):
        self.calls, self.fails = [], None
        monkeypatch.setattr(device, "_core_stream", lambda: "stream")
        monkeypatch.setattr(device, "launch", self._launch)
        monkeypatch.setattr(device, "ObjectCode", SimpleNamespace(from_cubin=self._load))
        monkeypatch.setattr(device, "Device", lambda number: self)

    def _load(self, cubin, name):
        return SimpleNamespace(get_kernel=lambda mangled: SimpleNamespace(name=mangled, handle="the handle"))

    def _launch(self, stream, shape, kernel, *numbers):
        self.calls.append(
            ("launch", "graph" if stream is self else stream, shape.grid, shape.block, shape.shmem_size, numbers)
        )
        if self.fails == "launch":
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: no\nmore")

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, *given))
            if self.fails == name:
                raise RuntimeError(f"{name} fails")
            return self

        return call


@pytest.fixture
def driver(monkeypatch, compiling):
    return Driver(monkeypatch)


def test_a_launch_is_numbers_as_c_has_them(driver):
    kernel = Kernel(lambda a, b, c, d, e: None, "FBufi", (16, 4), shared=1000)
    memory = SimpleNamespace(address=2**40)
    step = device.prepare(
        kernel, (5, 2), Buffer(memory, 64, (3,), np.dtype(np.float32)), None, np.int64(2**32 - 1), 1.5, -7
    )
    step()
    step()
    assert driver.calls[0] == driver.calls[1]
    name, stream, grid, block, shared, numbers = driver.calls[0]
    assert (name, stream, grid, block, shared) == ("launch", "stream", (5, 2, 1), (16, 4, 1), 1000)
    assert numbers[:2] == (2**40 + 64, 0)
    assert [(type(x).__name__, x.value) for x in numbers[2:]] == [
        ("c_uint", 2**32 - 1),
        ("c_float", 1.5),
        ("c_int", -7),
    ]
    with pytest.raises(ValueError, match="argument"):
        device.prepare(kernel, (1,), None, None, 1, 1.5)


class Asked:
    """What device.py asks of the driver itself, by cuda.bindings."""

    CUresult = SimpleNamespace(CUDA_SUCCESS="fine")
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="most shared memory")
    CUdevice = int

    def __init__(self, monkeypatch):
        self.calls, self.answer = [], "fine"
        monkeypatch.setattr(device, "driver", self)
        monkeypatch.setattr(device, "_stream", lambda: 7)
        monkeypatch.setattr(device, "synchronize", lambda: self.calls.append(("wait",)))
        monkeypatch.setattr(cuda, "current_context", lambda: None)

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, *given))
            return (self.answer,)

        call.__name__ = name
        return call


@pytest.fixture
def asked(monkeypatch):
    return Asked(monkeypatch)


def test_more_shared_memory_than_every_kernel_may_take_is_asked_for(driver, asked):
    device.prepare(Kernel(lambda: None, "", 32, shared=49_152), (1,))
    assert asked.calls == []
    device.prepare(Kernel(lambda: 1, "", 32, shared=50_000), (1,))
    assert asked.calls == [("cuKernelSetAttribute", "most shared memory", 50_000, "the handle", 0)]


def test_a_copy_is_one_question_to_the_driver(asked):
    memory = object.__new__(device.Memory)
    memory.address = 2**40
    x = np.arange(6, dtype=np.int32)
    where = x.__array_interface__["data"][0]
    memory.write(256, x)
    memory.write(512, x[2:], wait=False)
    found = memory.read(64, (2, 3), np.float32)
    assert found.shape == (2, 3)
    assert found.dtype == np.float32
    memory.write(0, x[:0])
    assert memory.read(0, (0, 3), np.float32).shape == (0, 3)
    assert asked.calls == [
        ("cuMemcpyHtoDAsync", 2**40 + 256, where, 24, 7),
        ("wait",),
        ("cuMemcpyHtoDAsync", 2**40 + 512, where + 8, 16, 7),
        ("cuMemcpyDtoHAsync", found.__array_interface__["data"][0], 2**40 + 64, 24, 7),
        ("wait",),
    ]
    asked.answer = SimpleNamespace(name="CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="cuMemcpyHtoDAsync: the NVIDIA driver answers CUDA_ERROR_ILLEGAL_ADDRESS"):
        memory.write(0, x)


def test_a_kernel_is_loaded_once(driver, compiling):
    for _ in range(3):
        device.prepare(KERNEL, (1,), None, None, 1)()
    assert compiling == ["_naive_gelu_new"]


def test_launches_are_recorded_on_a_stream_of_the_graphs_own(driver):
    steps = [device.prepare(KERNEL, (i,), None, None, i) for i in (1, 2)]
    run = device.recorded(steps)
    names = [call[0] for call in driver.calls]
    assert names[:4] == ["set_current", "create_graph_builder", "begin_building", "launch"]
    assert names[4:] == ["launch", "end_building", "complete", "close", "upload"]
    assert ("begin_building", "relaxed") in driver.calls
    assert [call[1] for call in driver.calls if call[0] == "launch"] == ["graph", "graph"]
    assert driver.calls[-1] == ("upload", "stream")
    driver.calls.clear()
    run()
    run()
    assert [call[:2] for call in driver.calls] == [("launch", "stream")] * 2


@pytest.mark.parametrize(
    "fails", ["create_graph_builder", "begin_building", "launch", "end_building", "complete", "upload"]
)
def test_what_the_driver_has_against_a_graph_is_raised_and_nothing_stays_open(driver, fails):
    steps = [device.prepare(KERNEL, (1,), None, None, 1)]
    driver.fails = fails
    with pytest.raises(RuntimeError):
        device.recorded(steps)
    assert fails == "create_graph_builder" or ("close",) in driver.calls


# --- what there may be too little of ----------------------------------------------------------------------------------------


class DriverError(Exception):
    def __init__(self, code, says):
        super().__init__(says)
        self.code = code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DriverError(2, "[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"), OutOfMemoryError),
        (MemoryError("CUDA_ERROR_OUT_OF_MEMORY"), OutOfMemoryError),
        (DriverError(700, "CUDA_ERROR_ILLEGAL_ADDRESS"), DriverError),
    ],
)
def test_memory_that_is_not_to_be_had(monkeypatch, error, expected):
    def refuse(*_):
        raise error

    monkeypatch.setattr(cuda, "device_array", refuse)
    with pytest.raises(expected) as raised:
        device.Memory(123_456)
    if expected is OutOfMemoryError:
        assert str(raised.value) == "123,456 bytes of GPU memory are not to be had"
        assert raised.value.nbytes == 123_456


@pytest.mark.parametrize(
    ("error", "available", "gpus", "says"),
    [
        (
            RuntimeError("Error at driver init:\nno library"),
            False,
            [],
            "no NVIDIA driver answers (Error at driver init:)",
        ),
        (None, False, [], "numba-cuda finds no NVVM, the compiler of its kernels"),
        (None, True, [], "the driver finds no NVIDIA GPU"),
        (None, True, ["one"], ""),
    ],
)
def test_each_thing_that_can_be_missing(monkeypatch, error, available, gpus, says):
    monkeypatch.setattr(cuda, "is_available", lambda: available)
    monkeypatch.setattr(cuda, "cuda_error", lambda: error)
    monkeypatch.setattr(cuda, "gpus", gpus)
    assert device.missing() == says
