"""Kernels as Python functions -> one object file of machine code. This is where Numba is imported; a warm start never is.

Numba compiles each kernel to LLVM's intermediate language; the modules are linked, and LLVM writes one object for the chosen
registers. Beside the kernel `name` stands a function that a program can call: it unpacks a row of int64 arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from llvmlite import binding, ir
from numba import njit, types

from albert_np.kernels.cpu import activations, attention, embeddings, gemm, layer_norm
from albert_np.kernels.cpu import walk as walking
from albert_np.kernels.cpu.layout import ARGUMENTS, STEP
from albert_np.kernels.cpu.native import has_emulated_tiles
from albert_np.kernels.cpu.simd import is_checked, target
from albert_np.kernels.cpu.vector import FLAGS

I64 = ir.IntType(64)


def kernels(kind: str = "inference") -> tuple[list[Callable], list[ir.Module]]:
    """Every kernel that programs of a kind call, in the order of native.KERNELS; and the blocks that these call."""
    if kind == "bfloat16":
        from albert_np.kernels.cpu.bfloat16 import attention as attention16
        from albert_np.kernels.cpu.bfloat16 import product, rows, unit

        functions: list[Callable] = [
            *gemm.KERNELS,
            *embeddings.KERNELS,
            *product.KERNELS,
            *attention16.KERNELS,
            *rows.KERNELS,
        ]
        return functions, [gemm.blocks(), unit.blocks()]
    if kind == "bfloat16_training":
        from albert_np.kernels.cpu.bfloat16 import product, rows, training, unit

        return [*product.KERNELS, *rows.KERNELS, *training.KERNELS], [unit.blocks()]
    if kind == "int8":
        from albert_np.kernels.cpu.int8 import product as product8
        from albert_np.kernels.cpu.int8 import rows as rows8
        from albert_np.kernels.cpu.int8 import unit as unit8

        return [*rows8.KERNELS, *product8.KERNELS], [unit8.blocks()]
    modules: list[Any] = [gemm, attention, layer_norm, embeddings, activations]
    if kind == "training":
        from albert_np.kernels.cpu import attention_backward, dropout, gemm_training, layer_norm_backward, sums

        modules += [gemm_training, layer_norm_backward, attention_backward, sums, dropout]
    return [kernel for module in modules for kernel in module.KERNELS], [gemm.blocks()]


def _entries(kind: str) -> list[Callable]:
    """What Python calls; and, where these are wanted, what looks addresses up and what does the work of tiles."""
    entries: list[Callable] = [*walking.ENTRIES]
    if is_checked():
        from albert_np.kernels.cpu import checked

        entries += checked.ENTRIES
    if has_emulated_tiles(kind):
        from albert_np.kernels.cpu import tile_emulation

        entries += tile_emulation.ENTRIES
    return entries


def compile_kernels(
    progress: Callable[[str], None] = lambda name: None, kind: str = "inference"
) -> tuple[bytes, dict[str, list[str]]]:
    """The object file, and the names of each kernel's arguments."""
    called, blocks = kernels(kind)
    # Numba wants every name resolved when it has compiled a kernel; nobody runs that before all is linked
    for name in ["albert_np_check", *(function.name for module in blocks for function in module.functions)]:
        binding.add_symbol(name, 1)
    linked, arguments = binding.parse_assembly(str(ir.Module("linked"))), {}
    for module in blocks:
        linked.link_in(binding.parse_assembly(str(module)))
    for function in [*called, *_entries(kind)]:
        progress(function.__name__)
        text, names = _llvm(function)
        arguments[function.__name__] = names
        linked.link_in(binding.parse_assembly(text))
    cpu, features = target()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )
    return machine.emit_object(linked), arguments


def _llvm(function: Callable) -> tuple[str, list[str]]:
    """Optimised LLVM text of a kernel and of its entry."""
    hints = get_type_hints(function)
    parameters = {name: hints.get(name, int) for name in inspect.signature(function).parameters}
    signature = types.void(*map(_numba_type, parameters.values()))
    dispatcher = njit(signature, **FLAGS)(function)
    text = dispatcher.inspect_llvm(dispatcher.signatures[0])
    symbol = dispatcher.overloads[dispatcher.signatures[0]].fndesc.llvm_func_name
    entry = _program_entry if "tile" in parameters else _plain_entry
    flat = [pair for name, hint in parameters.items() for pair in _numbers(name, hint)]
    assert ARGUMENTS + len(flat) <= STEP, f"{function.__name__} takes more than a step has room for"
    module = binding.parse_assembly(text)
    module.link_in(binding.parse_assembly(str(entry(function.__name__, symbol, [kind for _, kind in flat]))))
    return str(module), [name for name, _ in flat]


def _numba_type(hint: Any) -> types.Type:
    """A kernel's parameter: float is float32, a NamedTuple is its fields in order, all else is an int64."""
    if hasattr(hint, "_fields"):
        return types.NamedTuple([_numba_type(field) for field in get_type_hints(hint).values()], hint)
    return types.float32 if hint is float else types.int64


def _numbers(name: str, hint: Any) -> Iterator[tuple[str, types.Type]]:
    """The numbers that Numba makes of a parameter, each with the name that a program gives it by."""
    if hasattr(hint, "_fields"):
        for field, kind in get_type_hints(hint).items():
            yield from _numbers(field, kind)
    else:
        yield name, _numba_type(hint)


def _declared(module: ir.Module, symbol: str, kinds: list[Any]) -> ir.Function:
    """A compiled function as Numba lays it out: where the result goes, where an exception would go, the arguments."""
    pointer = ir.IntType(8).as_pointer().as_pointer()
    llvm_kinds = [ir.FloatType() if kind == types.float32 else I64 for kind in kinds]
    return ir.Function(module, ir.FunctionType(ir.IntType(32), [pointer, pointer, *llvm_kinds]), symbol)


def _call(builder: ir.IRBuilder, function: ir.Function, values: list[Any]) -> None:
    pointer = ir.IntType(8).as_pointer()
    nowhere = [builder.alloca(pointer), builder.alloca(pointer)]
    builder.call(function, [*nowhere, *values])
    builder.ret_void()


def _plain_entry(name: str, symbol: str, kinds: list[Any]) -> ir.Module:
    """void name(int64, …), to be called from Python."""
    module = ir.Module(name)
    compiled = _declared(module, symbol, kinds)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * len(kinds)), name)
    builder = ir.IRBuilder(function.append_basic_block())
    _call(builder, compiled, list(function.args))
    return module


def _program_entry(name: str, symbol: str, kinds: list[Any]) -> ir.Module:
    """void name(row of arguments, tile, worker), to be called by walk."""
    module = ir.Module(name)
    compiled = _declared(module, symbol, kinds)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 3), name)
    builder = ir.IRBuilder(function.append_basic_block())
    row, tile, worker = function.args
    row = builder.inttoptr(row, I64.as_pointer())
    values = []
    for i, kind in enumerate(kinds[:-2]):
        value = builder.load(builder.gep(row, [I64(i)]))
        if kind == types.float32:
            value = builder.bitcast(builder.trunc(value, ir.IntType(32)), ir.FloatType())
        values.append(value)
    _call(builder, compiled, [*values, tile, worker])
    return module
