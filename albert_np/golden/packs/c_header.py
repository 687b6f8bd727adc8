"""A pack as one C99 header: the arrays in hexadecimal, which loses no bit, a plain example, and a main that checks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from albert_np.golden.packs.c_ops import FUNCTIONS, calls, function_of
from albert_np.golden.packs.pack import Pack
from albert_np.ops import Array

MAX_VALUES = 250_000  # of a header, which is some 5 MB then; larger arrays lie beside it in files
TYPES = {"int64": "int64_t", "bool": "unsigned char", "float64": "real"}

HEAD = """/* {name}: one op with its inputs, weights, expected output and error budget, written by albert-np golden extract.

   Compile and run the example:    cc -std=c99 -Wall check.c -o check -lm && ./check
   Check your own function: define it, then GOLDEN_CANDIDATE as its name, and include this header.

       {prototype}

   Arrays lie in C order:
{shapes}
   {real}
   main returns 0 if every element is within its budget, else 1. NaN fails, except where NaN is expected. With GOLDEN_NO_MAIN
   there is no main; call golden_check(output).{files} */
#ifndef ALBERT_NP_GOLDEN_PACK
#define ALBERT_NP_GOLDEN_PACK
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tgmath.h>

typedef {type} real;
enum {{ GOLDEN_COUNT = {count} }};
"""

CHECK = """
/* 0 if every element is within its budget, else 1; it says which is the worst. */
static int golden_check(const real *output) {
    long wrong = 0, worst = 0;
    double most = 0;
    for (long i = 0; i < GOLDEN_COUNT; i++) {
        const double want = golden_expected[i], got = output[i], off = fabs(got - want);
        const int right = isnan(want) ? isnan(got) : got == want || off <= golden_budget[i];
        const double share = right ? (off > 0 ? off / golden_budget[i] : 0) : isnan(off) ? HUGE_VAL : off / golden_budget[i];
        wrong += !right;
        if (share > most) most = share, worst = i;
    }
    printf("%s: %ld of %ld elements are outside their budget\\n", wrong ? "FAIL" : "pass", wrong, (long)GOLDEN_COUNT);
    printf("nearest to its limit, or farthest beyond, is element %ld: got %.9g, expected %.9g, allowed +-%.3g (%.3g of it)\\n",
           worst, (double)output[worst], golden_expected[worst], golden_budget[worst], most);
    return wrong != 0;
}
"""

READ = """
/* The arrays are too large for a header: golden_read fills them from files in the folder that the program is given. */
static void *golden_load(const char *folder, const char *file, size_t size, size_t count) {
    char path[4096];
    const uint16_t little = 1;
    void *data = malloc(size * count);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *stream = fopen(path, "rb");
    if (!data || !stream || !*(const unsigned char *)&little || fread(data, size, count, stream) != count) {
        fprintf(stderr, "%s cannot be read here: give the folder of the .bin files, on a little-endian machine\\n", path);
        exit(2);
    }
    fclose(stream);
    return data;
}
"""

MAIN = """
#ifndef GOLDEN_NO_MAIN
int main(int argc, char **argv) {{
    real *output = malloc(GOLDEN_COUNT * sizeof *output);
    if (!output) return 2;
    for (long i = 0; i < GOLDEN_COUNT; i++) output[i] = NAN; /* what is not written fails */
    {read}
    GOLDEN_CANDIDATE({arguments}, output);
    const int result = golden_check(output);
    free(output);
    return result;
}}
#endif
#endif
"""


def c_header(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """The files of the format: name and contents."""
    data = {f"golden_{one.name}": one.value for one in pack.arguments}
    data |= {"golden_expected": pack.expected, "golden_budget": pack.budget}
    size = sum(x.size for x in data.values())
    apart = size > MAX_VALUES
    text = [_head(pack, size if apart else 0)]
    for name, x in data.items():
        kind = "double" if name in ("golden_expected", "golden_budget") else TYPES[x.dtype.name]
        if apart:
            text.append(f"static const {kind} *{name};\n")
            yield f"{name}.bin", _bytes(x, "double" if pack.dtype == "float64" else kind)
        else:
            text.append(_array(name, x, kind, pack.dtype))
    if apart:
        lines = [
            f'    {name} = golden_load(folder, "{name}.bin", sizeof *{name}, {x.size});' for name, x in data.items()
        ]
        text += [READ, "static void golden_read(const char *folder) {\n", "\n".join(lines), "\n}\n"]
    text += [_example(pack), CHECK]
    read = 'golden_read(argc > 1 ? argv[1] : ".");' if apart else "(void)argc, (void)argv;"
    arguments = ", ".join(f"golden_{one.name}" for one in pack.arguments)
    text.append(MAIN.format(read=read, arguments=arguments))
    yield "op.h", "".join(text).encode()
    yield "check.c", b'#include "op.h"\n'


def _head(pack: Pack, apart: int) -> str:
    shapes = [f"     {one.name}: {one.value.shape}, {one.source}" for one in pack.arguments]
    shapes.append(f"     output: {pack.expected.shape}, {pack.steps[-1].name}")
    narrow = f"; the values are all {pack.dtype}'s" if pack.dtype in ("float16", "bfloat16") else ""
    kind = "double" if pack.dtype == "float64" else "float"
    return HEAD.format(
        name=pack.name,
        prototype=f"void my_function({_parameters(pack)}, real *output);",
        shapes="\n".join(shapes),
        real=f"real is {kind}{narrow}.",
        type=kind,
        count=pack.expected.size,
        files=f"\n   The {apart:,} values are too many for a header: ./check FOLDER reads them from .bin files."
        if apart
        else "",
    )


def _parameters(pack: Pack) -> str:
    return ", ".join(f"const {TYPES[one.value.dtype.name]} *{one.name}" for one in pack.arguments)


def _array(name: str, x: Array, kind: str, dtype: str) -> str:
    if kind in ("real", "double"):
        ending = "" if kind == "double" or dtype == "float64" else "f"
        values = [_hexadecimal(value, ending) for value in x.ravel().tolist()]
    else:
        values = [str(int(value)) for value in x.ravel().tolist()]
    lines = [", ".join(values[i : i + 6]) for i in range(0, len(values), 6)]
    return f"static const {kind} {name}[{x.size}] = {{\n" + ",\n".join(lines) + "};\n"


def _hexadecimal(value: float, ending: str) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return value.hex() + ending


def _bytes(x: Array, kind: str) -> bytes:
    dtype = {"real": "<f4", "double": "<f8", "int64_t": "<i8", "unsigned char": "u1"}
    with np.errstate(under="ignore"):
        return x.astype(dtype[kind if x.dtype == np.float64 else TYPES[x.dtype.name]]).tobytes()


def _example(pack: Pack) -> str:
    """The ops one after the other, with arrays between them."""
    names = {one.source: one.name for one in pack.arguments}
    shapes = {one.source: one.value.shape for one in pack.arguments} | {key: x.shape for key, x in pack.values.items()}
    body: list[str] = []
    for i, one in enumerate(pack.steps):
        last = one is pack.steps[-1]
        y = names[one.name] = "output" if last else f"step_{i}"
        if not last:
            body.append(f"static real {y}[{math.prod(shapes[one.name])}];")
        sources = (*one.inputs, *one.weights)
        body += calls(one, [names[x] for x in sources], [shapes[x] for x in sources], y, shapes[one.name], pack.dtype)
    functions = "".join(FUNCTIONS[name] for name in dict.fromkeys(function_of(one) for one in pack.steps))
    text = f"{functions}\nstatic void golden_example({_parameters(pack)}, real *output) {{\n"
    text += "".join(f"    {line}\n" for line in body) + "}\n"
    return f"\n#ifndef GOLDEN_CANDIDATE\n#define GOLDEN_CANDIDATE golden_example\n{text}#endif\n"
