"""How a thread rounds: the register that says so, MXCSR of x86 or FPCR of ARM.

Results must not depend on what a caller has set there: libraries that were compiled with -ffast-math, torch.set_flush_denormal
and others make subnormal numbers zeros for a whole thread, and threads that it starts inherit that. So a program runs as the
C library starts a thread, and leaves the register as it was (walk.py). Products of bfloat16 alone flush, because AMX does.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from albert_np.kernels.cpu.vector import I8, I32, I64, vector_function

X86, ARM = (platform.machine().lower() in names for names in (("x86_64", "amd64"), ("aarch64", "arm64")))
USUAL = 0x1F80 if X86 else 0  # to nearest even, subnormal numbers, no traps, no flags
FLUSH = 0x8040 if X86 else 1 << 24  # subnormal inputs and results are zeros: DAZ and FTZ of MXCSR, FZ of FPCR


def _change(builder: Any, change: Callable[[Any], Any]) -> Any:
    """Sets the register to change(what it was), and gives what it was. On other CPUs it does nothing."""
    if X86:
        register = cgutils.alloca_once(builder, I32)
        pointer, kinds = builder.bitcast(register, I8.as_pointer()), [I8.as_pointer()]
        builder.call(vector_function(builder.module, "llvm.x86.sse.stmxcsr", ir.VoidType(), kinds), [pointer])
        before = builder.load(register)
        builder.store(change(before), register)
        builder.call(vector_function(builder.module, "llvm.x86.sse.ldmxcsr", ir.VoidType(), kinds), [pointer])
        return builder.zext(before, I64)
    if ARM:
        before = builder.call(vector_function(builder.module, "llvm.aarch64.get.fpcr", I64, []), [])
        after = builder.zext(change(builder.trunc(before, I32)), I64)
        builder.call(vector_function(builder.module, "llvm.aarch64.set.fpcr", ir.VoidType(), [I64]), [after])
        return before
    return I64(0)


@intrinsic
def round_as_usual(typing_context):
    """From now on, in this thread; gives what `restore` takes."""

    def codegen(context, builder, sig, args):
        return _change(builder, lambda now: I32(USUAL))

    return types.int64(), codegen


@intrinsic
def flush_subnormals(typing_context):
    """From now on, in this thread; gives what `restore` takes. Only blocks are called in between: LLVM moves no call."""

    def codegen(context, builder, sig, args):
        return _change(builder, lambda now: builder.or_(now, I32(FLUSH)))

    return types.int64(), codegen


@intrinsic
def restore(typing_context, before):
    def codegen(context, builder, sig, args):
        _change(builder, lambda now: builder.trunc(args[0], I32))
        return context.get_dummy_value()

    return types.void(types.int64), codegen
