"""The loop in which threads work through a program: claim a tile, compute it, count it, and go on when all are counted.

A program is a table of steps; a step is the address of a kernel, a number of tiles and the kernel's arguments (program.py).
Every thread that comes walks the whole table. Tiles are claimed one at a time from a counter, so a thread that the system
has set aside costs at most the tile it holds, and a thread that comes late, or never, is missed by nobody. Which thread
computes a tile changes no bit of it: no sum is ever split between tiles.

How the caller and its helpers meet; threads.run writes the left column:

    caller, worker 0                                 helper, worker 1, 2, …
    ────────────────                                 ──────────────────────
    open_gate: the program's number in front
    a job for each helper into the queue  ─────────► help_out: the number still in front? gate + 1, else return
    walk, step by step:                              the same walk, from the first step on:
        tile = claimed++, until it is ≥ tiles            a step that is over has nothing left to claim
            compute the tile, done++
        wait until done = tiles                          wait until done = tiles
    close_gate: the number away from the front       gate − 1
        wait until the gate is 0  ◄──────────────────
    the table and the counters may go

- Nobody starts a step before all tiles of the last one are computed: all wait for `done`, not for `claimed`.
- A helper touches the program only between its two changes of the gate. After close_gate none is inside, and none gets in.
- Every operation on a counter is sequentially consistent: who has read `done` sees what the tiles wrote that it counts.
- `claimed` may run past `tiles`, by one for each worker; it is read before it is raised, so that late helpers cost nothing.

What was tried: fixed shares (tile i to thread i mod n) lose up to a half on a machine where another process wants a core;
a parallel region for each operation (OpenMP) costs little, but does not survive fork, nor a second Python thread.
"""

from __future__ import annotations

import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.control import restore, round_as_usual
from albert_np.kernels.cpu.layout import ARGUMENTS, COUNTERS, KERNEL, STEP, TILES
from albert_np.kernels.cpu.vector import I32, I64, at_int, get_int, helper

SPINS = 2000  # rounds of waiting (some 50 µs) before the thread offers its core to others


@intrinsic
def _fetch_add(typing_context, address, amount):
    """Adds to a counter that all threads see; gives what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _read(typing_context, address):
    """A counter as it is now."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _give_way(typing_context):
    """Lets another thread of the system have this core."""

    def codegen(context, builder, sig, args):
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        function = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(I32, []), name)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _call(typing_context, kernel, arguments, tile, worker):
    """Runs the kernel at an address on one tile."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [I64, I64, I64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def _compare_and_swap(typing_context, address, old, new):
    """Writes new where old still stands; did it?"""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.extract_value(builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@helper
def _wait_for(counter, tiles):
    spins = 0
    while _read(counter) < tiles:
        spins += 1
        if spins > SPINS:
            _give_way()


@helper
def _walk(program, steps, counters, worker):
    """Claims tiles of each step until there are none, and waits until the others have computed theirs."""
    before = round_as_usual()
    for s in range(steps):
        step = at_int(program, STEP * s)
        claimed = at_int(counters, COUNTERS * s)
        done = at_int(claimed, COUNTERS // 2)
        kernel, tiles = get_int(step, KERNEL), get_int(step, TILES)
        tile = _fetch_add(claimed, 1) if _read(claimed) < tiles else tiles
        while tile < tiles:
            _call(kernel, at_int(step, ARGUMENTS), tile, worker)
            _fetch_add(done, 1)
            tile = _fetch_add(claimed, 1)
        _wait_for(done, tiles)
    restore(before)


def walk(program, steps, counters, worker):  # (steps, STEP) int64, (steps, COUNTERS) int64, zero at first
    """Runs every step of a program, together with whoever else walks it."""
    _walk(program, steps, counters, worker)


# A gate is one number that outlives every program: 65536 times the number of the program that is open, plus how many helpers
# are inside. A helper that wakes too late finds another number there, and touches nothing.
FRONT = 65536


def open_gate(gate, number):
    """Lets helpers into the program of that number. Nobody is inside."""
    _fetch_add(gate, FRONT * number)


def close_gate(gate, number):
    """Lets nobody in any more, and waits until the last one is out: then the program's memory may go."""
    spins = 0
    if _read(gate) // FRONT == number:
        _fetch_add(gate, -FRONT * number)
    while _read(gate) != 0:
        spins += 1
        if spins > SPINS:
            _give_way()


def help_out(program, steps, counters, gate, number, worker):
    """Walks the program of that number, if it is still open."""
    entered = False
    while not entered:
        now = _read(gate)
        if now // FRONT != number:
            return
        entered = _compare_and_swap(gate, now, now + 1)
    _walk(program, steps, counters, worker)
    _fetch_add(gate, -1)


ENTRIES = (walk, help_out, open_gate, close_gate)
