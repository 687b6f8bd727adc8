"""The numba backend under threads, forks and interrupts: the same bits, and nothing that waits for ever."""

import faulthandler
import multiprocessing
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import same_bits
from support.same_bits import (
    CONFIGS,
    answers,
    check_against_reference,
    in_threads,
    model,
    one,
    printed,
    python,
    sequence,
)

import albert_np
from albert_np import get_num_threads, num_threads, set_num_threads
from albert_np.kernels import forks
from albert_np.kernels.cpu import native, simd, threads

EIGHT = {"NUMBA_NUM_THREADS": "8"}
works_together = pytest.mark.skipif(simd.is_checked(), reason="a checked build works through a program alone")
WITH_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _nothing_hangs():
    """A deadlock in this process ends it, and says where it was."""
    faulthandler.dump_traceback_later(900, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test alone."""
    fresh = threads._Pool()
    monkeypatch.setattr(threads, "_pool", fresh)
    return fresh


@pytest.fixture(scope="module")
def expected():
    return one(threads=1)


# --- the same bits --------------------------------------------------------------------------------------------------------


@st.composite
def batches(draw):
    """A config, a sequence of it, neighbours on both sides, and how the batch is computed."""
    name = draw(st.sampled_from(list(CONFIGS)))
    longest = 300 if name == "more keys than a block" else 80
    rows = st.builds(sequence, st.integers(0, 3), st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 64, longest]))
    return (
        name,
        draw(rows),
        draw(st.lists(rows, max_size=3)),
        draw(st.lists(rows, max_size=3)),
        {
            "padding": draw(st.integers(0, 10)),
            "skip_padding": draw(st.booleans()),
        },
        draw(st.integers(1, 8)),
    )


@settings(deadline=None, max_examples=150)
@given(batches())
def test_a_sequence_has_the_same_bits_beside_any_neighbours_with_any_padding_on_any_threads(drawn):
    name, row, before, after, options, count = drawn
    with num_threads(1):
        alone = answers(model(name), [row])
    with num_threads(count):
        assert answers(model(name), [*before, row, *after], **options)[len(before)] == alone[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_models_of_these_tests_are_right(name):
    """Bits that are the same could be wrong."""
    check_against_reference(name)


def test_one_to_eight_threads_give_the_same_bits(expected):
    code = "from support.same_bits import *\nfor n in range(1, 9): print(one(n))"
    assert set(printed(code, **EIGHT)) == {expected}


def test_several_python_threads_at_once_get_the_same_bits(expected):
    code = "from support.same_bits import *\nfor _ in range(5): print(*in_threads(8, one))"
    assert set(printed(code, **EIGHT)) == {expected}


def test_the_first_call_may_come_from_several_python_threads(expected):
    """They load the kernels and pack the weights at the same time."""
    assert set(printed("from support.same_bits import *\nprint(*in_threads(8, one))", **EIGHT)) == {expected}


def test_the_number_of_threads_may_change_in_the_middle_of_a_call(expected):
    code = """
from support.same_bits import *
from albert_np import set_num_threads
done = threading.Event()
def change():
    while not done.is_set():
        for n in (8, 1, 2, 5):
            set_num_threads(n)
changing = threading.Thread(target=change)
changing.start()
for _ in range(100):
    print(answers(model(), ROWS, padding=3)[0])
done.set()
changing.join()
"""
    assert set(printed(code, **EIGHT)) == {expected}


@works_together
def test_a_program_runs_on_as_many_threads_as_it_was_written_for(monkeypatch):
    """Its scratch memory is for that many."""
    run, seen = threads.run, set()

    def write_down(library, table, count):
        seen.add(count)
        run(library, table, count)

    def later(program, real=same_bits.program.Program.run):
        with num_threads(7):
            real(program)

    monkeypatch.setattr(threads, "run", write_down)
    monkeypatch.setattr(same_bits.program.Program, "run", later)
    with num_threads(3):
        answers(model(), same_bits.ROWS)
    assert seen - {1} == {3}  # 1: too little to share


# --- forks and processes --------------------------------------------------------------------------------------------------


@WITH_FORK
def test_a_forked_child_gets_the_same_bits_after_its_parent_has_used_threads(expected):
    code = "from support.same_bits import *\nprint(one())\nfor _ in range(4): print(in_fork(one))\nprint(one())"
    assert set(printed(code, **EIGHT)) == {expected}


@WITH_FORK
def test_a_fork_while_other_threads_are_in_a_call_leaves_a_child_that_works(expected):
    code = """
from support.same_bits import *
done = threading.Event()
def work():
    while not done.is_set():
        assert one() == expected
expected = one()
working = [threading.Thread(target=work) for _ in range(3)]
for thread in working: thread.start()
for _ in range(15): print(in_fork(one))
done.set()
for thread in working: thread.join()
print(one())
"""
    assert set(printed(code, **EIGHT)) == {expected}


@WITH_FORK
def test_a_fork_while_another_thread_makes_its_first_call_leaves_a_child_that_works(expected):
    """Loading and packing are under way in the parent, and begin anew in the child."""
    code = """
from support.same_bits import *
for config in CONFIGS:
    starting = threading.Thread(target=one, args=(8, config))
    starting.start()
    print(in_fork(one))
    starting.join()
"""
    assert set(printed(code, **EIGHT)) == {expected}


@WITH_FORK
@pytest.mark.parametrize("name", ["albert_np.backends.cpu.ops", "albert_np.backends.cpu.engine", "llvmlite.binding"])
def test_a_fork_while_another_thread_imports_waits_for_it(name, expected):
    """The module's own lock would be held for ever in the child."""
    code = f"""
import sys
from support.same_bits import *
inside = threading.Event()
class Slowly:
    def find_spec(self, name, *_):
        if name == {name!r}:
            inside.set()
            threading.Event().wait(2)
sys.meta_path.insert(0, Slowly())
importing = threading.Thread(target=one)
importing.start()
assert inside.wait(60)
print(in_fork(one))
importing.join()
"""
    assert printed(code, **EIGHT) == [expected]


@WITH_FORK
def test_a_fork_that_waits_for_imports_waits_for_what_comes_behind_them_too(expected):
    """A fork that has begun runs no hook that is registered later: that of the kernels must be there before."""
    code = """
import os, sys, threading
import numpy as np
from albert_np import AlbertConfig, AlbertModel
inside = threading.Event()
class Seen:
    def find_spec(self, name, *_):
        if name == "albert_np.kernels.cpu.cache":
            inside.set()
config = AlbertConfig(vocab_size=60, embedding_size=12, hidden_size=24, num_attention_heads=3, intermediate_size=40,
                      num_hidden_layers=2, max_position_embeddings=40)
tensors = {name: np.asarray(x) for name, x in AlbertModel(config, backend="numpy").state_dict().items()}
def first():
    return AlbertModel(config, backend="numba", tensors=tensors)(np.arange(1, 9)[None]).pooler_output.tobytes().hex()
sys.meta_path.insert(0, Seen())
importing = threading.Thread(target=first)
importing.start()
assert inside.wait(60)
receive, send = os.pipe()
if os.fork() == 0:
    os.write(send, first().encode())
    os._exit(0)
os.close(send)
importing.join()
print(os.fdopen(receive).read() == first())
"""
    for _ in range(5):
        assert printed(code, timeout=60) == ["True"]


@WITH_FORK
def test_a_fork_while_another_thread_compiles_waits_for_it(expected):
    """Numba's lock would be held for ever in the child."""
    code = """
from support.same_bits import *
from numba.core.compiler_lock import global_compiler_lock
from albert_np.kernels.cpu import build, cache, native
native.library()
machine_code, arguments = cache.read()
native._libraries.clear()
cache.read = lambda kind: None
cache.write = lambda *_: None
inside = threading.Event()
def compile_kernels(progress, kind):
    with global_compiler_lock:
        inside.set()
        threading.Event().wait(2)
        return machine_code, arguments
build.compile_kernels = compile_kernels
compiling = threading.Thread(target=one)
compiling.start()
inside.wait()
def job():
    with global_compiler_lock:
        return one()
print(in_fork(job))
compiling.join()
"""
    assert printed(code, **EIGHT) == [expected]


def test_a_call_does_not_wait_while_another_thread_compiles_the_kernels_of_training(expected):
    held, done, found = threading.Event(), threading.Event(), []

    def compile_kernels():
        with forks.lock:
            held.set()
            done.wait(60)

    compiling = threading.Thread(target=compile_kernels)
    compiling.start()
    assert held.wait(60)
    same_bits.model.cache_clear()  # nor does a new model
    calling = threading.Thread(target=lambda: found.append(one()))
    calling.start()
    calling.join(50)
    assert found == [expected]
    done.set()
    compiling.join()


@WITH_FORK
def test_a_pre_fork_server_gets_the_same_bits_from_every_worker(expected):
    """The parent loads and calls; workers are forked and call from threads of their own, and one that died is replaced."""
    code = """
from support.same_bits import *
print(one())
def serve():
    return ' '.join([one(), *in_threads(3, one), one(threads=3)])
for _ in range(4): print(in_fork(serve))
"""
    found = printed(code, **EIGHT)
    assert len(found) == 21
    assert set(found) == {expected}


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_processes_of_every_start_method_get_the_same_bits(method, expected):
    """The model travels to them as an argument."""
    code = f"""
import multiprocessing
from support import same_bits
same_bits.one()
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    jobs = [pool.apply_async(same_bits.answers, (same_bits.model(), same_bits.ROWS)) for _ in range(4)]
    for job in jobs: print(job.get(200)[0])
"""
    assert set(printed(code, **EIGHT)) == {expected}


# --- interrupts, ends, failures -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="this system has no timers")
def test_an_interrupt_anywhere_in_a_call_leaves_everything_usable(expected):
    code = """
import random, signal
from support.same_bits import *
from albert_np.kernels.cpu import threads
def interrupt(*_):
    if armed:
        raise KeyboardInterrupt
one()
armed, interrupts, seconds = False, 0, random.Random(0)
signal.signal(signal.SIGALRM, interrupt)
for _ in range(500):
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds.uniform(1e-5, 4e-3))
        one()
        armed = False
    except KeyboardInterrupt:
        interrupts += 1
        armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert threads._pool.idle == [True]
    assert threads._pool.gate[0] == 0
assert interrupts > 100, interrupts
print(one())
"""
    assert printed(code, **EIGHT) == [expected]


def test_an_interrupt_at_any_call_inside_a_program_closes_it(pool, monkeypatch):
    """The interpreter looks for interrupts when a call returns; here each call is followed by one, one after the other."""
    real = native.library()

    class Library:
        kernels, help_out = real.kernels, real.help_out

        def __getattr__(self, name):
            def function(*arguments):
                nonlocal calls_left
                getattr(real, name)(*arguments)
                calls_left -= 1
                if calls_left == 0:
                    raise InterruptedError

            return function

    expected = one(threads=4)
    for calls in (1, 2, 3):  # open_gate, walk, close_gate
        calls_left = calls
        monkeypatch.setitem(native._libraries, "inference", Library())
        with num_threads(4), pytest.raises(InterruptedError):
            answers(model(), same_bits.ROWS)
        monkeypatch.setitem(native._libraries, "inference", real)
        assert (pool.idle, pool.gate[0]) == ([True], 0)
        assert one(threads=4) == expected


CALLS_BACK = """
from support.same_bits import *
from albert_np.kernels.cpu import native, threads
real = native.library()
class Library:
    kernels, help_out, open_gate, close_gate = real.kernels, real.help_out, real.open_gate, real.close_gate
    def walk(self, *arguments):
        real.walk(*arguments)
        handle()
def nothing(): pass
handle = nothing
expected = one()
native._libraries["inference"] = Library()
"""


@works_together
def test_a_signal_handler_may_call_a_model_in_the_middle_of_a_call(expected):
    """Signals are handled when the native code returns, the helpers still taken."""
    code = """
def inside():
    global handle
    handle = nothing
    print(one())
handle = inside
print(one())
"""
    assert printed(CALLS_BACK + code, **EIGHT) == [expected] * 2


@works_together
@WITH_FORK
def test_a_signal_handler_may_fork_in_the_middle_of_a_call_and_the_child_may_leave_it(expected):
    """Helpers that were inside the program at that moment will never come out of it in the child."""
    before_all_others = """
import os
hooks = []
os.register_at_fork(after_in_child=lambda: [hook() for hook in hooks])
"""
    code = """
def inside():
    threads._pool.gate[0] += 3  # helpers, in the child's copy of the counter: in the parent they may be counting just now
hooks.append(inside)
def fork():
    global handle
    handle = nothing
    receive, send = os.pipe()
    if os.fork() == 0:
        global child
        child = send
        raise KeyboardInterrupt
    os.close(send)
    print(os.read(receive, 100).decode())
handle = fork
try:
    print(one())
except KeyboardInterrupt:
    os.write(child, one().encode())
    os._exit(0)
"""
    assert printed(before_all_others + CALLS_BACK + code, **EIGHT) == [expected] * 2


def test_the_interpreter_may_end_while_threads_are_in_native_code():
    code = """
from support.same_bits import *
one()
def work():
    while True: one()
for _ in range(3): threading.Thread(target=work, daemon=True).start()
threading.Event().wait(0.3)
print("end")
"""
    for _ in range(4):
        out, err = python(code, **EIGHT)
        assert (out, err) == ("end\n", "")


@works_together
def test_a_call_goes_on_with_the_threads_there_are_where_the_system_has_no_more(pool, monkeypatch, expected):
    start, started = threading.Thread.start, []

    def refuse(thread):
        if len(started) == few:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    for few in (0, 2):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert one(threads=8) == expected
        assert pool.helpers == few
    monkeypatch.setattr(threading.Thread, "start", start)
    assert one(threads=8) == expected
    assert pool.helpers == 7


def test_a_helper_that_comes_too_late_touches_nothing():
    """Its program is gone, and another may be open: the addresses it was given lead nowhere."""
    library, gate = native.library(), np.zeros(1, np.int64)
    address = gate.ctypes.data
    library.help_out(0, 5, 0, address, 1, 1)
    library.open_gate(address, 2)
    library.help_out(0, 5, 0, address, 1, 1)
    assert gate[0] == 65536 * 2


def test_a_gate_may_be_closed_twice_or_without_having_been_open():
    library, gate = native.library(), np.zeros(1, np.int64)
    library.close_gate(gate.ctypes.data, 1)
    for number in (2, 3):
        library.open_gate(gate.ctypes.data, number)
        library.close_gate(gate.ctypes.data, number)
        library.close_gate(gate.ctypes.data, number)
    assert gate[0] == 0


@works_together
def test_jobs_that_nobody_came_for_do_not_pile_up(pool, monkeypatch, expected):
    monkeypatch.setattr(threads._Pool, "_help", lambda pool: None)  # helpers that the system holds back
    for count in (8, 2, 8):
        assert one(threads=count) == expected
        assert pool.jobs.qsize() == count - 1


@works_together
def test_helpers_are_started_when_they_are_wanted_and_only_once(pool):
    for count, there in ((1, 0), (3, 2), (2, 2), (6, 5)):
        one(threads=count)
        assert pool.helpers == there
    helping = [thread for thread in threading.enumerate() if thread.name == "albert_np"]
    assert len(helping) >= 5
    assert all(thread.daemon for thread in helping)


# --- how many -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _unset(monkeypatch):
    monkeypatch.setattr(threads, "_everywhere", None)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    threads._quota.cache_clear()
    yield
    threads._quota.cache_clear()


@pytest.mark.usefixtures("_unset")
def test_at_first_there_are_as_many_threads_as_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "none")
    assert get_num_threads() == 6
    for text, cores in (("max 100000\n", 6), ("250000 100000\n", 3), ("50000 100000\n", 1), ("odd", 6)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
        threads._quota.cache_clear()
        assert get_num_threads() == cores


@pytest.mark.usefixtures("_unset")
def test_numba_num_threads_is_respected(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", " 3 ")
    assert get_num_threads() == 3
    with num_threads(2):
        assert get_num_threads() == 2
    set_num_threads(5)
    assert get_num_threads() == 5


@pytest.mark.usefixtures("_unset")
@pytest.mark.parametrize("text", ["0", "-2", "257", "two", "2.5", "²"])
def test_a_numba_num_threads_that_is_no_number_of_threads_is_refused(monkeypatch, text):
    monkeypatch.setenv("NUMBA_NUM_THREADS", text)
    with pytest.raises(ValueError, match="NUMBA_NUM_THREADS takes a whole number of threads from 1 to 256; got"):
        model()([[2, 3]])


@pytest.mark.usefixtures("_unset")
@pytest.mark.parametrize("n", [0, -1, 257, 2.0, "2", True, None, np.float32(2)])
def test_what_is_no_number_of_threads_is_refused(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match="set_num_threads takes a whole number of threads from 1 to 256; got"):
        set_num_threads(n)
    with pytest.raises(ValueError, match="num_threads takes a whole number of threads"), num_threads(n):
        pass
    assert get_num_threads() == before


@pytest.mark.usefixtures("_unset")
def test_a_block_of_num_threads_counts_for_its_own_python_thread_and_ends_with_it():
    set_num_threads(np.int64(4))
    with num_threads(2):
        with num_threads(7):
            assert get_num_threads() == 7
        assert get_num_threads() == 2
        assert in_threads(2, get_num_threads) == [4, 4]
        set_num_threads(3)  # for everybody else
        assert get_num_threads() == 2
    assert get_num_threads() == 3
    with pytest.raises(ZeroDivisionError), num_threads(5):
        _ = 1 / 0
    assert get_num_threads() == 3


def test_the_functions_are_albert_nps_own_and_load_neither_numba_nor_llvmlite():
    assert albert_np.num_threads is threads.num_threads
    code = (
        "import sys, albert_np\n"
        "assert 'albert_np.kernels.cpu' not in sys.modules\n"
        "albert_np.set_num_threads(3)\n"
        "print(albert_np.get_num_threads(), {'numba', 'llvmlite'} & set(sys.modules))"
    )
    assert printed(code) == ["3", "set()"]


# --- registers, checks ----------------------------------------------------------------------------------------------------


def digests_at(level):
    """A digest a config, the same on any threads, of numbers that were compared with the reference."""
    code = f"""
from support.same_bits import *
from albert_np.kernels.cpu import simd
assert simd.chosen_level().name == {level!r}
for name in CONFIGS:
    check_against_reference(name)
    print(*{{one(n, name) for n in (1, 2, 8)}})
"""
    found = printed(code, ALBERT_NP_SIMD=level)
    assert len(found) == len(CONFIGS)
    return found


@pytest.mark.skipif("sse" not in simd.available(), reason="this CPU has no SSE")
def test_a_cpu_without_fma_gives_right_numbers_and_the_same_bits_on_any_threads():
    digests_at("sse")


@pytest.mark.slow  # each level is compiled
@pytest.mark.parametrize("levels", [("avx512", "avx2"), ("sse", "plain")])
def test_registers_of_any_width_give_the_same_bits_where_both_or_neither_have_fma(levels):
    lacking = set(levels) - set(simd.available())
    if lacking:
        pytest.skip(f"this CPU has no {' and no '.join(lacking)}")
    first, second = map(digests_at, levels)
    assert first == second


@pytest.mark.slow  # it is compiled too
def test_a_checked_build_passes_models_and_names_an_operand_that_is_too_short():
    code = """
from support.same_bits import *
for name in CONFIGS:
    check_against_reference(name)
print(one())
x, out = np.ones((4, 16), np.float32), np.zeros((4, 16), np.float32)
for short in ({"x": x[:3], "out": out}, {"x": x, "out": out[:3]}, {"x": x[:, :15], "out": out}):
    copy = program.Program()
    copy.add("copy_rows", 1, x_row=16, out_row=16, rows=4, H=16, **short)
    try:
        copy.run()
    except IndexError as error:
        print(str(error).split()[2])
"""
    digest, *verbs = printed(code, NUMBA_BOUNDSCHECK="1", timeout=560)
    assert digest == one()
    assert verbs == ["read", "wrote", "read"]
