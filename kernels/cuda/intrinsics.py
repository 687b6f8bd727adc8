"""What numba.cuda has no Python for, as intrinsics. simulator/intrinsics.py says the same in NumPy, for the simulator.

numba.cuda reads memory four bytes at a time, since all it knows of a pointer is that it is aligned to one number. A warp
then needs four times as many instructions to move a row as it could.
"""

from __future__ import annotations

import math
from functools import lru_cache

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from albert_np.kernels.cuda.target import device

F32, I32 = ir.FloatType(), ir.IntType(32)
FOUR = ir.VectorType(F32, 4)


def _vector_pointer(context, builder, p, ty, index, index_type):
    """The address of p[index] as that of four numbers. p is a pointer, or an array in shared memory."""
    base = p if isinstance(ty, types.CPointer) else context.make_array(ty)(context, builder, value=p).data
    index = context.cast(builder, index, index_type, types.uintp)
    return builder.bitcast(builder.gep(base, [index], inbounds=True), FOUR.as_pointer())


def _load(constant):
    @intrinsic
    def load4(typing_context, p, index):
        def codegen(context, builder, sig, args):
            loaded = builder.load(_vector_pointer(context, builder, args[0], sig.args[0], args[1], sig.args[1]))
            loaded.align = 16
            if constant:
                loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
            numbers = [builder.extract_element(loaded, I32(i)) for i in range(4)]
            return context.make_tuple(builder, sig.return_type, numbers)

        return types.UniTuple(types.float32, 4)(p, index), codegen

    return load4


load4 = _load(False)  # (p, i) -> p[i … i+3], of which p[i] stands at a multiple of 16 bytes: LDG.128, LDS.128
load4_constant = _load(True)  # the same, of numbers that nobody writes while the kernel runs: LDG.128.CONSTANT


@intrinsic
def store4(typing_context, p, index, a, b, c, d):
    """p[i … i+3] = a, b, c, d: STG.128, STS.128"""

    def codegen(context, builder, sig, args):
        pointer = _vector_pointer(context, builder, args[0], sig.args[0], args[1], sig.args[1])
        vector = ir.Constant(FOUR, ir.Undefined)
        for i, x in enumerate(args[2:]):
            vector = builder.insert_element(vector, x, I32(i))
        builder.store(vector, pointer).align = 16
        return context.get_dummy_value()

    f = types.float32
    return types.void(p, index, f, f, f, f), codegen


@intrinsic
def product(typing_context, x, y):
    """x·y, rounded: no compiler makes one multiply-add of it and what is added behind, which one kernel may and another not."""

    def codegen(context, builder, sig, args):
        function = ir.FunctionType(F32, [F32, F32])
        return builder.call(ir.InlineAsm(function, "mul.rn.f32 $0, $1, $2;", "=f,f,f"), args)

    return types.float32(types.float32, types.float32), codegen


@device
def take4(p, index, x, at):
    """x[at … at+3] = p[index … index+3], into registers."""
    v = load4(p, index)
    for e in range(4):
        x[at + e] = v[e]


@lru_cache
def add_outer(rows, columns):
    """sums[i, j] += x[i]·y[j], all in registers: what a matrix product spends its time on."""

    @device
    def add(sums, x, y):
        for i in range(rows):
            for j in range(columns):
                sums[i, j] += x[i] * y[j]

    return add


@device
def exp(x):
    return math.exp(x)


@device
def erfc(x):
    return math.erfc(x)


@device
def tanh(x):
    return math.tanh(x)


@device
def sqrt(x):
    return math.sqrt(x)
