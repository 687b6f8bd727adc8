"""The README.md of a pack: what the op is, which file is for what, and the command lines."""

from __future__ import annotations

import json
from collections.abc import Sequence

from albert_np.golden.packs.pack import Pack, dtype_of
from albert_np.ops import Array

IREE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64", "int64": "i64", "bool": "i8"}

TEXT = """# {name}

{ops}

| argument | what it is | shape | dtype |
|---|---|---|---|
{rows}
| expected | {output}, in float64 | {shape} | float64 |
| budget | what each element of a correct output may be off | {shape} | float64 |

The arguments are rounded to {dtype}. `expected` is what float64 makes of exactly these values, and `budget` is derived for
{dtype}, whatever order a program adds in; if products are added in a narrower type, it does not apply. An output passes if
`abs(output - expected) <= budget` for every element; NaN passes only where `expected` is NaN.

{formats}
{source}
"""

FORMATS = {
    "npz": """## npz: for NumPy

`np.load("npz/op.npz")` has the arguments, `expected` and `budget` by these names; `README.json` says all of the above.{bits}
""",
    "raw": """## raw: for compilers and devices

`raw/NAME.bin` is each array's little-endian bytes in C order, and `raw/manifest.json` has shapes and dtypes.{bits}
An IREE module of your own is given all arguments:

    iree-run-module --module=op.vmfb --function=op {every} --output=@output.npy

and judged by

    import numpy as np
    shape = {shape}
    expected, budget = (np.fromfile(f"raw/{{name}}.bin", "<f8").reshape(shape) for name in ("expected", "budget"))
    output = np.load("output.npy").astype(np.float64)
    print(((abs(output - expected) <= budget) | (np.isnan(output) & np.isnan(expected))).all())
""",
    "onnx": """## onnx: a folder of ONNX's backend tests

`onnx/model.onnx` holds the op in standard ops with its weights, `onnx/test_data_set_0` its inputs and its output in {dtype}.
Beside them are `expected_float64.npy` and `budget.npy`: a runner of such tests knows one tolerance only.
With IREE, and the inputs of the format raw (the weights are in the model):

    iree-import-onnx onnx/model.onnx -o op.mlir
    iree-compile op.mlir --iree-hal-target-backends=llvm-cpu -o op.vmfb
    iree-run-module --module=op.vmfb --function=op {inputs} --output=@output.npy
""",
    "c": """## c: for a bare C compiler

    cd c && cc -std=c99 -Wall check.c -o check -lm && ./check

`op.h` has the arrays, an example that is as plain as can be, and a main, which returns 0 or 1. Its first lines say how your
own function is checked.
""",
    "pytest": """## pytest: for Python

    cd pytest && GOLDEN_CANDIDATE=my_package.my_module:my_function pytest test_op.py

The function gets the arguments by name and returns one array.
""",
}


def readme(pack: Pack, formats: Sequence[str]) -> bytes:
    """The file's bytes."""
    rows = [
        f"| {one.name} | {one.source} | {one.value.shape} | {dtype_of(one.value, pack.dtype)} |"
        for one in pack.arguments
    ]
    bits = " bfloat16 is stored as uint16, its 16 bits." if pack.dtype == "bfloat16" else ""
    inputs = " ".join(_iree(one.name, one.value, pack.dtype) for one in pack.inputs)
    every = " ".join(_iree(one.name, one.value, pack.dtype) for one in pack.arguments)
    parts = [
        FORMATS[name].format(bits=bits, inputs=inputs, every=every, shape=pack.expected.shape, dtype=pack.dtype)
        for name in formats
    ]
    ops = [f"- `{one.op}`{_attributes(one.attributes)} gives `{one.name}` ({one.module})" for one in pack.steps]
    text = TEXT.format(
        name=pack.name,
        ops="\n".join(ops),
        rows="\n".join(rows),
        output=pack.steps[-1].name,
        shape=pack.expected.shape,
        dtype=pack.dtype,
        formats="\n".join(parts),
        source=f"Recorded by albert_np: {json.dumps(pack.about, ensure_ascii=False)}",
    )
    return text.encode()


def _attributes(attributes: object) -> str:
    said = ", ".join(f"{key} = {value}" for key, value in dict(attributes).items())  # type: ignore[call-overload]
    return f" with {said}" if said else ""


def _iree(name: str, x: Array, dtype: str) -> str:
    sizes = "".join(f"{n}x" for n in x.shape)
    return f"--input={sizes}{IREE[dtype_of(x, dtype)]}=@raw/{name}.bin"
