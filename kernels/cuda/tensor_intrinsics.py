"""Tensor cores, and copies that pass the registers by: PTX that numba.cuda has no Python for.

simulator/tensor_intrinsics.py says the same in NumPy, for the simulator. All of it needs compute capability 8.0.

A tensor core multiplies 16 × K numbers by K × 8, for a whole warp at once, and adds 16 × 8 sums. Operands are words of 32 bits,
two bfloat16 or one tf32, which is a float32 whose last 13 bits nobody reads: so a row's 16 bytes are the same four words to all
instructions here, whatever numbers they hold. With g = lane / 4 and t = lane % 4, a lane has (PTX ISA, section "mma"):

    A, row by row         a0 row g, word t      a1 row g + 8, word t     a2 row g, word t + 4     a3 row g + 8, word t + 4
    B, column by column   b0 column g, word t   b1 column g, word t + 4
    sums                  c0, c1 row g, columns 2t and 2t + 1            c2, c3 row g + 8, the same columns

and load_matrices brings four 8 × 4 of such words to where they belong.
"""

from __future__ import annotations

from functools import lru_cache

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

F32, I16, I32, I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()
SHARED, GLOBAL = 3, 1  # address spaces
f32, u32 = types.float32, types.uint32


def _ptx(builder, code, constraints, returned, arguments, memory=False):
    """One instruction. memory: it reads or writes some, so it stays where it is among others that do."""
    kind = returned[0] if len(returned) == 1 else ir.LiteralStructType(returned) if returned else ir.VoidType()
    constraints = f"{constraints},~{{memory}}".lstrip(",") if memory else constraints
    function = ir.FunctionType(kind, [x.type for x in arguments])
    assembler = ir.InlineAsm(function, code, constraints, side_effect=memory)
    return builder.call(assembler, arguments, attrs=("convergent",))


def _address(context, builder, p, ty, index, index_type, space):
    """Where p[index] lies, as shared memory's 32 bits or global memory's 64. p is a pointer, or an array in shared memory."""
    base = p if isinstance(ty, types.CPointer) else context.make_array(ty)(context, builder, value=p).data
    at = builder.gep(base, [context.cast(builder, index, index_type, types.uintp)], inbounds=True)
    at = builder.addrspacecast(builder.bitcast(at, BYTES), ir.IntType(8).as_pointer(space))
    return builder.ptrtoint(at, I32 if space == SHARED else I64)


def _copy(builder, context, sig, args, form, nbytes, *size):
    target = _address(context, builder, args[0], sig.args[0], args[1], sig.args[1], SHARED)
    source = _address(context, builder, args[2], sig.args[2], args[3], sig.args[3], GLOBAL)
    code = f"cp.async.{form}.shared.global [$0], [$1], {nbytes}{', $2' * len(size)};"
    _ptx(builder, code, "r,l" + ",r" * len(size), [], [target, source, *size], memory=True)
    return context.get_dummy_value()


@intrinsic
def copy_async(typing_context, tile, to, p, index):
    """16 bytes from p[index …] to tile[to …], both at multiples of 16: LDGSTS.128.

    They are there once this thread has waited for them, and for others after a barrier behind that.
    """

    def codegen(context, builder, sig, args):
        return _copy(builder, context, sig, args, "cg", 16)

    return types.void(tile, to, p, index), codegen


def _copy_some(form, whole):
    @intrinsic
    def copy(typing_context, tile, to, p, index, nbytes):
        def codegen(context, builder, sig, args):
            return _copy(builder, context, sig, args, form, whole, args[4])

        return types.void(tile, to, p, index, u32), codegen

    return copy


copy_async_part = _copy_some("cg", 16)  # the same, of which the first nbytes are read; behind them zeros arrive
copy_async_word = _copy_some("ca", 4)  # 4 bytes, of which none or all are read


def _alone(code):
    @intrinsic
    def instruction(typing_context):
        def codegen(context, builder, sig, args):
            _ptx(builder, code, "", [], [], memory=True)
            return context.get_dummy_value()

        return types.void(), codegen

    return instruction


commit_copies = _alone("cp.async.commit_group;")  # the copies since the last time are a group


@lru_cache
def wait_for_copies(groups):
    """Waits until all this thread's groups but the last few have arrived."""
    return _alone(f"cp.async.wait_group {groups};")


def _load_matrices(form):
    @intrinsic
    def load_matrices(typing_context, tile, index):
        def codegen(context, builder, sig, args):
            at = _address(context, builder, args[0], sig.args[0], args[1], sig.args[1], SHARED)
            code = f"ldmatrix.sync.aligned.m8n8.x4{form}.shared.b16 {{$0,$1,$2,$3}}, [$4];"
            found = _ptx(builder, code, "=r,=r,=r,=r,r", [I32] * 4, [at], memory=True)
            return context.make_tuple(builder, sig.return_type, [builder.extract_value(found, i) for i in range(4)])

        return types.UniTuple(u32, 4)(tile, index), codegen

    return load_matrices


# (tile, i): four matrices of 8 rows of 16 bytes; row r of matrix m begins at what lane 8m + r says is tile[i]: LDSM.x4.
# Lane 4g + t gets word t of row g of each.
load_matrices = _load_matrices("")
load_matrices_turned = _load_matrices(".trans")  # numbers of 16 bits: rows 2t and 2t + 1 of column g instead


def _mma(shape, kind):
    @intrinsic
    def mma(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        def codegen(context, builder, sig, args):
            code = (
                f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, "
            )
            code += "{$10,$11,$12,$13};"
            found = _ptx(builder, code, "=f,=f,=f,=f,r,r,r,r,r,r,0,1,2,3", [F32] * 4, list(args))
            return context.make_tuple(builder, sig.return_type, [builder.extract_value(found, i) for i in range(4)])

        return types.UniTuple(f32, 4)(*[u32] * 6, *[f32] * 4), codegen

    return mma


mma_bfloat16 = _mma("m16n8k16", "bf16")  # (a0, a1, a2, a3, b0, b1, c0, c1, c2, c3) -> the four new sums: HMMA.16816
mma_tf32 = _mma("m16n8k8", "tf32")  # HMMA.1688


def _word(builder, low, high):
    """Two float32 as bfloat16, each to the nearest and halves to even."""
    return _ptx(builder, "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", [I32], [low, high])


@intrinsic
def bfloat16_pair(typing_context, low, high):
    """Two float32 as one word: F2FP.BF16."""

    def codegen(context, builder, sig, args):
        return _word(builder, *args)

    return u32(f32, f32), codegen


def _store_rounded(count):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.uintp)
        at = builder.gep(args[0], [index], inbounds=True)
        numbers = args[2:] if count > 1 else (args[2], ir.Constant(F32, 0))
        words = [_word(builder, *numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
        if count == 1:
            builder.store(builder.trunc(words[0], I16), at)
        else:
            vector = ir.Constant(ir.VectorType(I32, len(words)), ir.Undefined)
            for i, word in enumerate(words):
                vector = builder.insert_element(vector, word, I32(i))
            builder.store(vector, builder.bitcast(at, vector.type.as_pointer())).align = 2 * count
        return context.get_dummy_value()

    return codegen


@intrinsic
def store_rounded(typing_context, p, index, a):
    """p[index] = a as bfloat16; p points to their 16 bits."""
    return types.void(p, index, f32), _store_rounded(1)


@intrinsic
def store2_rounded(typing_context, p, index, a, b):
    """p[index] and the next, in 4 bytes at a multiple of them."""
    return types.void(p, index, f32, f32), _store_rounded(2)


@intrinsic
def store4_rounded(typing_context, p, index, a, b, c, d):
    """p[index … index + 3], in 8 bytes at a multiple of them: STG.64."""
    return types.void(p, index, f32, f32, f32, f32), _store_rounded(4)


@intrinsic
def to_tf32(typing_context, x):
    """A float32 as the nearest tf32, halves away from zero. Its last 13 bits may be anything."""

    def codegen(context, builder, sig, args):
        return _ptx(builder, "cvt.rna.tf32.f32 $0, $1;", "=r,f", [I32], args)

    return u32(f32), codegen


@intrinsic
def as_float(typing_context, word):
    """The float32 that these 32 bits are."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], F32)

    return f32(u32), codegen


@intrinsic
def exp2(typing_context, x):
    """2ˣ within 2 units in the last place: MUFU.EX2 alone."""

    def codegen(context, builder, sig, args):
        return _ptx(builder, "ex2.approx.ftz.f32 $0, $1;", "=f,f", [F32], args)

    return f32(f32), codegen


@intrinsic
def reciprocal(typing_context, x):
    """1/x within one unit in the last place: MUFU.RCP alone."""

    def codegen(context, builder, sig, args):
        return _ptx(builder, "rcp.approx.ftz.f32 $0, $1;", "=f,f", [F32], args)

    return f32(f32), codegen
