"""The compiled half of checks.py: is this address inside an array of the program?"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.vector import I64


def _spans_variable(module):
    name = "albert_np_spans"
    if name not in module.globals:
        variable = ir.GlobalVariable(module, I64, name)
        variable.linkage = "linkonce_odr"
        variable.initializer = I64(0)
    return module.globals[name]


@intrinsic
def _get_spans(typing_context):
    return types.int64(), lambda context, builder, sig, args: builder.load(_spans_variable(builder.module))


@intrinsic
def _put_spans(typing_context, address):
    def codegen(context, builder, sig, args):
        builder.store(args[0], _spans_variable(builder.module))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def _number(typing_context, x, i):
    """x[i], unchecked."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], I64.as_pointer()), [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _note(typing_context, x, i, value):
    """x[i] = value, unchecked."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(builder.inttoptr(args[0], I64.as_pointer()), [args[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def set_spans(spans):
    _put_spans(spans)


def albert_np_check(address, size, writes):
    """Notes the first access that lies in no span. The spans are sorted: the last one that begins at or below is the one."""
    spans = _get_spans()
    low, high = 0, _number(spans, 0)
    while low < high:
        middle = (low + high) // 2
        if _number(spans, 4 + 2 * middle) <= address:
            low = middle + 1
        else:
            high = middle
    inside = low > 0 and address + size <= _number(spans, 4 + 2 * low - 1)
    if not inside and size > 0 and _number(spans, 2) == 0:
        _note(spans, 1, address)
        _note(spans, 2, size)
        _note(spans, 3, writes)


ENTRIES = (set_spans, albert_np_check)
