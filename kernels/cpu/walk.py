"""The loop in which threads work through a program: claim a tile, compute it, count it, and go on when all are counted.

A program is a table of steps; a step is the address of a kernel, a number of tiles and the kernel's arguments (program.py).
Every thread that comes walks the whole table. Tiles are claimed one at a time from a counter, so a thread that the system
has set aside costs at most the tile it holds, and a thread that comes late, or never, is missed by nobody. Which thread
computes a tile changes no bit of it: no sum is ever split between tiles.

What was tried: fixed shares (tile i to thread i mod n) lose up to a half on a machine where another process wants a core;
a parallel region for each operation (OpenMP) costs little, but does not survive fork, nor a second Python thread.
"""

from __future__ import annotations

import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.layout import ARGUMENTS, COUNTERS, STEP
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
    for s in range(steps):
        step = at_int(program, STEP * s)
        claimed = at_int(counters, COUNTERS * s)
        done = at_int(claimed, COUNTERS // 2)
        kernel, tiles = get_int(step, 0), get_int(step, 1)
        tile = _fetch_add(claimed, 1) if _read(claimed) < tiles else tiles
        while tile < tiles:
            _call(kernel, at_int(step, ARGUMENTS), tile, worker)
            _fetch_add(done, 1)
            tile = _fetch_add(claimed, 1)
        _wait_for(done, tiles)


def walk(program, steps, counters, worker):  # (steps, STEP) int64, (steps, COUNTERS) int64, zero at first
    """Runs every step of a program, together with whoever else walks it."""
    _walk(program, steps, counters, worker)


# A gate is one number that outlives every program: 65536 times the number of the program that is open, plus how many helpers
# are inside. A helper that wakes too late finds another number there, and touches nothing.


def open_gate(gate, number):
    _fetch_add(gate, 65536 * number)


def close_gate(gate, number):
    """Lets nobody in any more, and waits until the last one is out: then the program's memory may go."""
    spins = 0
    if _read(gate) // 65536 == number:
        _fetch_add(gate, -65536 * number)
    while _read(gate) != 0:
        spins += 1
        if spins > SPINS:
            _give_way()


def help_out(program, steps, counters, gate, number, worker):
    """Walks the program of that number, if it is still open."""
    entered = False
    while not entered:
        now = _read(gate)
        if now // 65536 != number:
            return
        entered = _compare_and_swap(gate, now, now + 1)
    _walk(program, steps, counters, worker)
    _fetch_add(gate, -1)


ENTRIES = (walk, help_out, open_gate, close_gate)
