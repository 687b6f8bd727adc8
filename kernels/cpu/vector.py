"""Sixteen float32 numbers as one value, in Numba: what every kernel but the GEMM's inner loop is written with.

The vector is 16 wide on every CPU. LLVM cuts it to what the CPU has (one register with AVX-512, two with AVX2, four with SSE
or NEON), so a row is always added in the same sixteen partial sums and then in the same tree: the width of the registers
changes the speed and not the bits. No fast-math flag is set anywhere; NaN and infinity behave as IEEE says.

Memory is an address (int64, in bytes) and an index (in elements). `load(x, i)` reads x[i] … x[i + 15].
In a checked build (NUMBA_BOUNDSCHECK=1) every access is compared with the operands of its step first; see checks.py.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import njit, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from albert_np.kernels.cpu.layout import BFLOAT16, FLOAT32, INT64
from albert_np.kernels.cpu.simd import LANES, chosen_level, is_checked

# what every kernel and helper is compiled with: no Python objects, no exceptions, IEEE division
FLAGS = {"error_model": "numpy", "nogil": True, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
helper = njit(**FLAGS)  # a function that kernels call

F32, F64, I8, I16, I32, I64 = ir.FloatType(), ir.DoubleType(), *map(ir.IntType, (8, 16, 32, 64))
BYTES = {F32: FLOAT32.bytes, F64: 8, I64: INT64.bytes, I32: 4, I16: BFLOAT16.bytes, I8: 1}  # of a number in memory
V = ir.VectorType(F32, LANES)
VI = ir.VectorType(I32, LANES)
VB = ir.VectorType(ir.IntType(1), LANES)


class _Vector(types.Type):
    def __init__(self, name: str) -> None:
        super().__init__(name=name)


f32x16 = _Vector("f32x16")
bool16 = _Vector("bool16")  # what a comparison gives, for select


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, V if kind == f32x16 else VB)


def _is_number(kind):
    return isinstance(kind, (types.Float, types.Integer))


def splatted(builder, value, lanes=LANES, element=F32):
    """A scalar in every lane."""
    one = ir.VectorType(element, lanes)
    first = builder.insert_element(ir.Constant(one, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(one, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    )


def _as_vector(context, builder, value, kind):
    """A vector as it is; a number, rounded to float32, in every lane."""
    return value if kind == f32x16 else splatted(builder, context.cast(builder, value, kind, types.float32))


def vector_function(module, name, result, arguments):
    """An LLVM intrinsic by name: llvmlite's declare_intrinsic does not know vector types."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def multiply_add(builder, a, b, c):
    """a·b + c, rounded once where the CPU can; without FMA twice (the libm call would be a hundred times slower)."""
    if not chosen_level().fma:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "llvm.fma.f32"
    return builder.call(vector_function(builder.module, name, a.type, [a.type] * 3), [a, b, c])


# --- arithmetic and comparison by operators: x * y + 0.5, x < 0 ---------------------------------------------------------


def _operator(symbol, emit, result):
    @infer_global(symbol)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if f32x16 in args and all(a == f32x16 or _is_number(a) for a in args):
                return signature(result, *args)
            return None

    def lower(context, builder, sig, args):
        return emit(builder, *(_as_vector(context, builder, *both) for both in zip(args, sig.args, strict=True)))

    for kinds in ((f32x16, f32x16), (f32x16, types.Float), (types.Float, f32x16)):
        lower_builtin(symbol, *kinds)(lower)


_operator(operator.add, lambda builder, a, b: builder.fadd(a, b), f32x16)
_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b), f32x16)
_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b), f32x16)
_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b), f32x16)
_operator(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), bool16)  # NaN: false
_operator(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), bool16)


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args, kws):
        return signature(f32x16, f32x16) if args == (f32x16,) else None


@lower_builtin(operator.neg, f32x16)
def _negative(context, builder, sig, args):
    return builder.fneg(args[0])


# --- functions ------------------------------------------------------------------------------------------------------------


@intrinsic
def fma(typing_context, a, b, c):
    """a·b + c in each lane."""

    def codegen(context, builder, sig, args):
        return multiply_add(
            builder, *(_as_vector(context, builder, *both) for both in zip(args, sig.args, strict=True))
        )

    return f32x16(a, b, c), codegen


@intrinsic
def splat(typing_context, x):
    """A number, rounded to float32, in every lane."""

    def codegen(context, builder, sig, args):
        return _as_vector(context, builder, args[0], sig.args[0])

    return f32x16(x), codegen


@intrinsic
def select(typing_context, where, a, b):
    """a where the comparison held, else b."""

    def codegen(context, builder, sig, args):
        a, b = (_as_vector(context, builder, *both) for both in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], a, b)

    return f32x16(bool16, a, b), codegen


@intrinsic
def sqrt(typing_context, x):
    def codegen(context, builder, sig, args):
        return builder.call(vector_function(builder.module, "llvm.sqrt.v16f32", V, [V]), args)

    return f32x16(f32x16), codegen


@intrinsic
def absolute(typing_context, x):
    def codegen(context, builder, sig, args):
        return builder.call(vector_function(builder.module, "llvm.fabs.v16f32", V, [V]), args)

    return f32x16(f32x16), codegen


@intrinsic
def copysign(typing_context, size, sign):
    """|size| with the sign bits of the other."""

    def codegen(context, builder, sig, args):
        return builder.call(vector_function(builder.module, "llvm.copysign.v16f32", V, [V, V]), args)

    return f32x16(f32x16, f32x16), codegen


def _halved(builder, x, combine):
    """Sixteen lanes to one number in a tree: 8 + 8, 4 + 4, 2 + 2, 1 + 1. The same tree whatever the registers."""
    width = LANES
    while width > 1:
        width //= 2
        low, high = (ir.Constant(ir.VectorType(I32, width), list(range(i, i + width))) for i in (0, width))
        x = combine(builder.shuffle_vector(x, x, low), builder.shuffle_vector(x, x, high))
    return builder.extract_element(x, I32(0))


@intrinsic
def sum_of(typing_context, x):
    """The sum of the sixteen lanes."""

    def codegen(context, builder, sig, args):
        return _halved(builder, args[0], builder.fadd)

    return types.float32(f32x16), codegen


@intrinsic
def largest_of(typing_context, x):
    """The largest of the sixteen lanes."""

    def codegen(context, builder, sig, args):
        return _halved(builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(f32x16), codegen


# --- memory ---------------------------------------------------------------------------------------------------------------


def element_pointer(builder, address, index, element, count, writes=False):
    """A pointer to element `index` behind an address; in a checked build, checked first for `count` elements."""
    pointer = builder.gep(builder.inttoptr(address, element.as_pointer()), [index])
    if is_checked():
        size = BYTES[element]
        at = builder.add(address, builder.mul(index, I64(size)))
        check = vector_function(builder.module, "albert_np_check", ir.VoidType(), [I64, I64, I64])
        builder.call(check, [at, builder.mul(count, I64(size)), I64(int(writes))])
    return pointer


def _accessor(kind, element, value_type):
    @intrinsic
    def get(typing_context, x, i):
        """x[i]"""

        def codegen(context, builder, sig, args):
            loaded = builder.load(element_pointer(builder, *args, element, I64(1)))
            return loaded if element == value_type else builder.zext(loaded, value_type)

        return kind(types.int64, types.int64), codegen

    @intrinsic
    def put(typing_context, x, i, value):
        """x[i] = value"""

        def codegen(context, builder, sig, args):
            value = args[2] if element == value_type else builder.trunc(args[2], element)
            builder.store(value, element_pointer(builder, args[0], args[1], element, I64(1), writes=True))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), codegen

    return get, put


def place_of(element):
    """Where element i behind an address lies, for elements of a kind (layout.py)."""

    @intrinsic
    def place(typing_context, x, i):
        """x + bytes·i"""

        def codegen(context, builder, sig, args):
            return builder.add(args[0], builder.mul(args[1], I64(element.bytes)))

        return types.int64(types.int64, types.int64), codegen

    return place


at, at_int = place_of(FLOAT32), place_of(INT64)

get, put = _accessor(types.float32, F32, F32)
get_int, put_int = _accessor(types.int64, I64, I64)
get_byte, _ = _accessor(types.int64, I8, I64)  # a NumPy bool, as 0 or 1


@intrinsic
def load(typing_context, x, i):
    """x[i] … x[i + 15]"""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(builder, *args, F32, I64(LANES))
        value = builder.load(builder.bitcast(pointer, V.as_pointer()))
        value.align = 4
        return value

    return f32x16(types.int64, types.int64), codegen


@intrinsic
def store(typing_context, x, i, value):
    """x[i] … x[i + 15] = value"""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(builder, args[0], args[1], F32, I64(LANES), writes=True)
        builder.store(args[2], builder.bitcast(pointer, V.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), codegen


def _first_lanes(builder, n):
    """The mask of the lanes below n."""
    numbers = ir.Constant(VI, list(range(LANES)))
    return builder.icmp_signed("<", numbers, splatted(builder, builder.trunc(n, I32), element=I32))


@intrinsic
def first_lanes(typing_context, x, n):
    """x in the lanes below n, and zero in the others."""

    def codegen(context, builder, sig, args):
        return builder.select(_first_lanes(builder, args[1]), args[0], ir.Constant(V, [0.0] * LANES))

    return f32x16(f32x16, types.int64), codegen


def _branch_on_whole(builder, n, whole, masked):
    """Masks are slow, above all to store by (AMD): only what is not a whole vector takes that way."""
    with builder.if_else(builder.icmp_signed(">=", n, I64(LANES))) as (then, otherwise):
        with then:
            x, then_block = whole(), builder.block
        with otherwise:
            y, otherwise_block = masked(), builder.block
    if x is None:
        return None
    phi = builder.phi(x.type)
    phi.add_incoming(x, then_block)
    phi.add_incoming(y, otherwise_block)
    return phi


@intrinsic
def load_some(typing_context, x, i, n, filler):
    """The first n of sixteen, and the filler in the other lanes, whose memory is not touched. For n ≥ 16 all of them."""

    def codegen(context, builder, sig, args):
        x, i, n, filler = args

        def whole():
            value = builder.load(builder.bitcast(element_pointer(builder, x, i, F32, I64(LANES)), V.as_pointer()))
            value.align = 4
            return value

        def masked():
            pointer = builder.bitcast(element_pointer(builder, x, i, F32, n), V.as_pointer())
            name = "llvm.masked.load.v16f32.p0"
            function = vector_function(builder.module, name, V, [V.as_pointer(), I32, VB, V])
            other = splatted(builder, context.cast(builder, filler, sig.args[3], types.float32))
            return builder.call(function, [pointer, I32(4), _first_lanes(builder, n), other])

        return _branch_on_whole(builder, n, whole, masked)

    return f32x16(types.int64, types.int64, types.int64, filler), codegen


@intrinsic
def store_some(typing_context, x, i, n, value):
    """Writes the first n lanes; for n ≥ 16 all of them."""

    def codegen(context, builder, sig, args):
        x, i, n, value = args

        def whole():
            pointer = builder.bitcast(element_pointer(builder, x, i, F32, I64(LANES), writes=True), V.as_pointer())
            builder.store(value, pointer).align = 4

        def masked():
            pointer = builder.bitcast(element_pointer(builder, x, i, F32, n, writes=True), V.as_pointer())
            name = "llvm.masked.store.v16f32.p0"
            function = vector_function(builder.module, name, ir.VoidType(), [V, V.as_pointer(), I32, VB])
            builder.call(function, [value, pointer, I32(4), _first_lanes(builder, n)])

        _branch_on_whole(builder, n, whole, masked)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, f32x16), codegen


def interleaved(builder, rows):
    """Sixteen vectors as a square, turned over: four rounds of interleaving its halves."""
    low, high = (
        ir.Constant(VI, [i + 16 * second for i in half for second in (0, 1)]) for half in (range(8), range(8, 16))
    )
    for _ in range(4):
        rows = [builder.shuffle_vector(rows[i], rows[i + 8], half) for i in range(8) for half in (low, high)]
    return rows


@intrinsic
def transpose(typing_context, x, x_row, out, out_row):
    """out[i·out_row + j] = x[j·x_row + i], for 16 rows and 16 columns."""

    def codegen(context, builder, sig, args):
        x, x_row, out, out_row = args
        rows = []
        for j in range(LANES):
            pointer = element_pointer(builder, x, builder.mul(x_row, I64(j)), F32, I64(LANES))
            rows.append(builder.load(builder.bitcast(pointer, V.as_pointer())))
            rows[-1].align = 4
        for i, row in enumerate(interleaved(builder, rows)):
            pointer = element_pointer(builder, out, builder.mul(out_row, I64(i)), F32, I64(LANES), writes=True)
            builder.store(row, builder.bitcast(pointer, V.as_pointer())).align = 4
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i), codegen
