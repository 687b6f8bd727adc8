"""Whether a process may use AMX tiles: every answer of the system, and who has the permission afterwards."""

import errno
import types

import pytest
from support import needs
from support.same_bits import in_fork, in_threads, python

needs.module("llvmlite", "numba")

from albert_np.kernels.cpu import cache, native, simd, tiles, units  # noqa: E402

needs_tiles = pytest.mark.skipif(bool(tiles.why_not()), reason=f"no AMX tiles here: {tiles.why_not()}")
FEATURES = frozenset({"avx512f", "avx512bw", *simd.EXTENSIONS["amx"][1]})


class System:
    """Answers arch_prctl: with an error for one of the two questions, or with what is granted."""

    def __init__(self, granted=1 << tiles.TILES, asking=0, getting=0):
        self.granted, self.errors = granted, {tiles.ASK_PERMISSION: asking, tiles.GET_PERMISSION: getting}
        self.calls = []

    def syscall(self, number, question, place):
        assert number == 158
        self.calls.append(question)
        if question == tiles.GET_PERMISSION:
            place._obj.value = self.granted
        else:
            assert place == 18
        return -1 if self.errors[question] else 0

    def getauxval(self, kind):
        assert kind == 51
        return 11632


@pytest.fixture
def ask(monkeypatch):
    """Asks a system of this kind, as a process that has not asked yet, on a CPU with these features."""

    def asked(system, features=FEATURES, machine="x86_64", name="linux"):
        monkeypatch.setattr(tiles, "_answer", None)
        monkeypatch.delenv("ALBERT_NP_TILES", raising=False)
        monkeypatch.setattr(simd, "host", lambda: ("sapphirerapids", features))
        monkeypatch.setattr(tiles, "platform", types.SimpleNamespace(machine=lambda: machine))
        monkeypatch.setattr(tiles, "sys", types.SimpleNamespace(platform=name, maxsize=2**63 - 1))
        monkeypatch.setattr(tiles.ctypes, "CDLL", lambda name, use_errno: system)
        monkeypatch.setattr(tiles.ctypes, "get_errno", lambda: max(system.errors.values()))
        return tiles.why_not()

    return asked


def test_tiles_are_asked_for_and_then_looked_for(ask):
    system = System()
    assert ask(system) == ""
    assert system.calls == [tiles.ASK_PERMISSION, tiles.GET_PERMISSION]


def test_the_answer_is_given_once_for_a_process(ask):
    system = System()
    ask(system)
    assert [*in_threads(4, tiles.why_not), in_fork(tiles.why_not), tiles.why_not()] == [""] * 6
    system.errors[tiles.ASK_PERMISSION] = errno.ENOSPC
    assert tiles.why_not() == ""
    assert len(system.calls) == 2


def test_threads_that_come_together_ask_once(ask, monkeypatch):
    system = System()
    ask(system)
    monkeypatch.setattr(tiles, "_answer", None)
    assert in_threads(8, tiles.why_not) == [""] * 8
    assert len(system.calls) == 4


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, ["ENOSPC", "sigaltstack", "11632 bytes", "Load the model before"]),
        (errno.EINVAL, ["EINVAL", "Linux 5.16 or later"]),
        (errno.EOPNOTSUPP, ["switched off"]),
        (errno.EPERM, ["container or sandbox", "EPERM"]),
        (errno.ENOSYS, ["container or sandbox", "ENOSYS"]),
        (errno.EIO, ["refuses the tiles", "EIO"]),
    ],
)
def test_a_refusal_says_what_it_means(ask, error, words):
    system = System(asking=error)
    answer = ask(system)
    for word in words:
        assert word in answer
    assert system.calls == [tiles.ASK_PERMISSION]


def test_a_system_that_agrees_and_grants_nothing_is_not_believed(ask):
    assert "grants no tiles" in ask(System(granted=(1 << tiles.TILES) - 1))
    assert "EINVAL" in ask(System(getting=errno.EINVAL))


@pytest.mark.parametrize("hidden", sorted(simd.EXTENSIONS["amx"][1]))
def test_a_feature_that_is_hidden_is_named_and_nothing_is_asked(ask, hidden):
    system = System()
    assert hidden in ask(system, features=FEATURES - {hidden})
    assert system.calls == []


@pytest.mark.parametrize(("machine", "name"), [("aarch64", "linux"), ("AMD64", "win32"), ("x86_64", "darwin")])
def test_other_systems_are_not_asked(ask, machine, name):
    system = System()
    assert "x86-64 Linux only" in ask(system, machine=machine, name=name)
    assert system.calls == []


@pytest.fixture
def with_amx(monkeypatch):
    """A CPU that has everything."""
    monkeypatch.setattr(
        simd, "available", lambda: ("amx", "avx512bf16", "avx512vnni", "avx512", "avx2", "sse", "plain")
    )
    monkeypatch.setattr(simd, "host", lambda: ("sapphirerapids", FEATURES))
    monkeypatch.setattr(simd, "chosen_level", lambda: simd.LEVELS["avx512"])
    monkeypatch.delenv("ALBERT_NP_SIMD", raising=False)


def test_both_types_get_tiles_where_they_are_granted(with_amx, monkeypatch):
    monkeypatch.setattr(tiles, "_answer", "")
    assert (units.bfloat16(), units.int8(), units.why_no_tiles()) == (("tiles", "amx"), ("tiles", "amx"), "")
    monkeypatch.setattr(tiles, "_answer", "the system refuses the tiles")
    assert (units.bfloat16(), units.int8()) == (("floats", "avx512"), ("fours", "avx512vnni"))
    assert units.why_no_tiles() == "the system refuses the tiles"


def test_kernels_with_tiles_and_without_are_kept_in_different_files(with_amx, monkeypatch):
    monkeypatch.setattr(cache, "key", lambda: "of one CPU")  # a function that remembers its answer
    found = []
    for answer in ("", "the system refuses the tiles"):
        monkeypatch.setattr(tiles, "_answer", answer)
        found.append({kind: cache.path(kind) for kind in native.KERNELS})
    differ = {kind for kind in native.KERNELS if found[0][kind] != found[1][kind]}
    assert differ == set(native.KERNELS) - {"inference", "training"}


def test_who_may_not_use_tiles_does_not_ask_for_them(with_amx, monkeypatch):
    monkeypatch.setattr(tiles, "why_not", lambda: pytest.fail("asked"))
    for rung, unit in (("avx512bf16", "pairs"), ("avx512", "floats")):
        monkeypatch.setenv("ALBERT_NP_SIMD", rung)
        assert units.bfloat16() == (unit, rung)
        assert units.int8()[0] != "tiles"
        assert units.why_no_tiles() == f"ALBERT_NP_SIMD={rung} does not allow them"


def test_a_rung_that_is_not_here_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.setattr(simd, "available", lambda: ("avx2", "sse", "plain"))
    monkeypatch.setenv("ALBERT_NP_SIMD", "amx")
    with pytest.raises(ValueError, match="amx is not on this CPU: choose one of avx2, sse, plain, or unset it"):
        simd.allowed()


# --- on a machine that has them -------------------------------------------------------------------------------------------

GRANTED = """
import ctypes
from albert_np.kernels.cpu import tiles, units

def granted():
    mask = ctypes.c_uint64()
    ctypes.CDLL(None).syscall(tiles.ARCH_PRCTL, tiles.GET_PERMISSION, ctypes.byref(mask))
    return mask.value >> tiles.TILES & 1
"""


@needs_tiles
def test_a_process_has_tiles_from_its_first_question_on_and_so_have_its_children():
    python(
        GRANTED
        + """
import multiprocessing, os
assert not granted()
assert units.bfloat16() == ("tiles", "amx") and granted()
child = os.fork()
if child == 0:
    os._exit(0 if granted() and tiles.why_not() == "" else 1)
assert os.waitpid(child, 0)[1] == 0
with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.apply(tiles.why_not) == ""
"""
    )


@needs_tiles
def test_a_small_stack_for_signals_is_the_reason_that_is_given():
    python(
        GRANTED
        + """
class Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))
memory = ctypes.create_string_buffer(8192)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 8192)), None) == 0
assert "sigaltstack" in tiles.why_not()
assert units.bfloat16()[0] != "tiles"
"""
    )
