"""Each op of the graph in C: as plain as it can be written, an example of a program that a pack can check.

`real` is float, or double in a pack of float64. <tgmath.h> gives exp, sqrt, tanh and erfc their types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from albert_np.activations import ACTIVATIONS, gelu, gelu_new, relu, silu
from albert_np.golden.graph import Step
from albert_np.golden.packs.pack import LARGEST
from albert_np.ops import MASK_MODES

Shape = tuple[int, ...]
POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")

FUNCTIONS = {
    "gather": """
static void gather(const int64_t *ids, const real *table, real *y, int n, int width) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < width; j++) y[i * width + j] = table[ids[i] * width + j];
}
""",
    "add": """
/* The second term repeats along the leading axes that it does not have. */
static void add(const real *a, const real *b, real *y, int n, int repeat) {
    for (int i = 0; i < n; i++) y[i] = a[i] + b[i % repeat];
}
""",
    "linear": """
/* y = x W^T + b; the rows of x are `stride` apart, those of W (out, in). */
static void linear(const real *x, const real *weight, const real *bias, real *y, int rows, int stride, int in, int out) {
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            real sum = 0;
            for (int i = 0; i < in; i++) sum += x[r * stride + i] * weight[o * in + i];
            y[r * out + o] = sum + bias[o];
        }
}
""",
    "mean": """
static void mean(const real *x, real *y, int rows, int width) {
    for (int r = 0; r < rows; r++) {
        real sum = 0;
        for (int i = 0; i < width; i++) sum += x[r * width + i];
        y[r] = sum / width;
    }
}
""",
    "variance": """
/* Biased, and in two passes: the mean first. */
static void variance(const real *x, real *y, int rows, int width) {
    for (int r = 0; r < rows; r++) {
        real sum = 0, squares = 0;
        for (int i = 0; i < width; i++) sum += x[r * width + i];
        for (int i = 0; i < width; i++) {
            real centred = x[r * width + i] - sum / width;
            squares += centred * centred;
        }
        y[r] = squares / width;
    }
}
""",
    "layer_norm": """
static void layer_norm(const real *x, const real *weight, const real *bias, real *y, int rows, int width, real eps) {
    for (int r = 0; r < rows; r++) {
        const real *row = x + r * width;
        real sum = 0, squares = 0;
        for (int i = 0; i < width; i++) sum += row[i];
        const real mean = sum / width;
        for (int i = 0; i < width; i++) squares += (row[i] - mean) * (row[i] - mean);
        const real deviation = sqrt(squares / width + eps);
        for (int i = 0; i < width; i++) y[r * width + i] = (row[i] - mean) / deviation * weight[i] + bias[i];
    }
}
""",
    "heads": """
/* (B,T,H) -> (B,N,T,D) */
static void heads(const real *x, real *y, int B, int T, int N, int D) {
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int t = 0; t < T; t++)
                for (int d = 0; d < D; d++) y[((b * N + n) * T + t) * D + d] = x[((b * T + t) * N + n) * D + d];
}
""",
    "scores": """
/* q k^T / sqrt(D); relative positions: 1 adds q a[i-j], 2 adds k a[i-j] as well. The table has 2P-1 rows. */
static void scores(const real *query, const real *key, const real *table, real *y, int B, int T, int N, int D, int P,
                   int relative) {
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int i = 0; i < T; i++)
                for (int j = 0; j < T; j++) {
                    const real *q = query + ((b * T + i) * N + n) * D, *k = key + ((b * T + j) * N + n) * D;
                    real sum = 0;
                    for (int d = 0; d < D; d++) sum += q[d] * k[d];
                    sum /= sqrt((real)D);
                    if (relative) {
                        const real *a = table + (i - j + P - 1) * D;
                        real more = 0;
                        for (int d = 0; d < D; d++) more += q[d] * a[d];
                        sum += more;
                        more = 0;
                        for (int d = 0; d < D; d++) more += k[d] * a[d];
                        if (relative == 2) sum += more;
                    }
                    y[((b * N + n) * T + i) * T + j] = sum;
                }
}
""",
    "masked_scores": """
/* allowed: (B,1,queries,T), where queries is 1 or T */
static void masked_scores(const real *scores, const unsigned char *allowed, real *y, int B, int N, int T, int queries,
                          real lowest) {
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int i = 0; i < T; i++)
                for (int j = 0; j < T; j++) {
                    const int at = ((b * N + n) * T + i) * T + j;
                    y[at] = allowed[(b * queries + i % queries) * T + j] ? scores[at] : lowest;
                }
}
""",
    "probs": """
/* Softmax over the allowed keys. Without any: 1/T each (mode 0), 0 (mode 1), NaN (mode 2). head_mask: one factor a head,
   or NULL */
static void probs(const real *scores, const unsigned char *allowed, const real *head_mask, real *y, int B, int N, int T,
                  int queries, int mode) {
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int i = 0; i < T; i++) {
                const unsigned char *may = allowed + (b * queries + i % queries) * T;
                const real *s = scores + ((b * N + n) * T + i) * T, factor = head_mask ? head_mask[n] : 1;
                real *p = y + ((b * N + n) * T + i) * T, sum = 0, largest = 0;
                int any = 0;
                for (int j = 0; j < T; j++)
                    if (may[j]) {
                        largest = any && largest > s[j] ? largest : s[j];
                        any = 1;
                    }
                for (int j = 0; j < T; j++) {
                    p[j] = !any ? 1 : may[j] ? exp(s[j] - largest) : 0;
                    sum += p[j];
                }
                for (int j = 0; j < T; j++) {
                    p[j] = any || mode == 0 ? p[j] / sum : mode == 1 ? 0 : NAN;
                    p[j] *= factor;
                }
            }
}
""",
    "context": """
/* (B,N,T,T), (B,T,H) -> (B,T,H) */
static void context(const real *probs, const real *value, real *y, int B, int T, int N, int D) {
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int i = 0; i < T; i++)
                for (int d = 0; d < D; d++) {
                    real sum = 0;
                    for (int j = 0; j < T; j++)
                        sum += probs[((b * N + n) * T + i) * T + j] * value[((b * T + j) * N + n) * D + d];
                    y[((b * T + i) * N + n) * D + d] = sum;
                }
}
""",
    "gelu_new": """
/* x (1 + tanh u)/2 = x/(1 + exp(-2u)), which keeps the digits of the left tail */
static void gelu_new(const real *x, real *y, int n) {
    for (int i = 0; i < n; i++) {
        const real u = (real)0.7978845608028654 * (x[i] + (real)0.044715 * x[i] * x[i] * x[i]);
        y[i] = x[i] / (1 + exp(-2 * u));
    }
}
""",
    "gelu": """
static void gelu(const real *x, real *y, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i] * (real)0.5 * erfc(x[i] * -(real)0.7071067811865476);
}
""",
    "relu": """
static void relu(const real *x, real *y, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}
""",
    "silu": """
static void silu(const real *x, real *y, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i] / (1 + exp(-x[i]));
}
""",
    "tanh": """
static void tanh_of(const real *x, real *y, int n) {
    for (int i = 0; i < n; i++) y[i] = tanh(x[i]);
}
""",
}


def function_of(step: Step) -> str:
    """The key of the step's function in FUNCTIONS."""
    if step.op != "activation":
        return step.op
    names = {gelu_new: "gelu_new", gelu: "gelu", relu: "relu", silu: "silu"}
    return names.get(ACTIVATIONS[step.attributes["name"]], "tanh")


def calls(step: Step, names: Sequence[str], shapes: Sequence[Shape], y: str, shape: Shape, dtype: str) -> list[str]:
    """The statements that compute one step from arrays of these names and shapes into y."""
    how, op, count = step.attributes, step.op, math.prod(shape)
    if op == "add":
        repeats = [math.prod(one) for one in shapes[1:]]
        firsts = [names[0]] + [y] * (len(repeats) - 1)
        return [f"add({a}, {b}, {y}, {count}, {n});" for a, b, n in zip(firsts, names[1:], repeats, strict=True)]
    sizes: Sequence[object]
    if op in ("activation", "tanh"):
        sizes = (count,)
    elif op == "gather":
        sizes = (math.prod(shapes[0]), shapes[1][-1])
    elif op == "linear":
        out, width = shapes[1]
        stride = math.prod(shapes[0][1:]) if how.get("first_token") else width
        sizes = (count // out, stride, width, out)
    elif op in ("mean", "variance", "layer_norm"):
        width = shapes[0][-1]
        sizes = (
            math.prod(shapes[0]) // width,
            width,
            *([f"(real){float(how['eps'])!r}"] if op == "layer_norm" else []),
        )
    elif op == "heads":
        B, N, T, D = shape
        sizes = (B, T, N, D)
    elif op == "scores":
        B, N, T, _ = shape
        relative = POSITION_TYPES.index(how["position_type"])
        names = names if relative else [*names, "NULL"]
        sizes = (B, T, N, shapes[0][2] // N, (shapes[2][0] + 1) // 2 if relative else 0, relative)
    elif op == "masked_scores":
        B, N, T, _ = shape
        sizes = (B, N, T, shapes[1][2], f"(real)-{LARGEST[dtype].hex()}")
    elif op == "probs":
        B, N, T, _ = shape
        names = names if len(names) == 3 else [*names, "NULL"]
        sizes = (B, N, T, shapes[1][2], MASK_MODES.index(how["mask_mode"]))
    else:
        B, N, T, _ = shapes[0]
        sizes = (B, T, N, shape[2] // N)
    function = "tanh_of" if function_of(step) == "tanh" else function_of(step)
    return [f"{function}({', '.join(map(str, (*names, y, *sizes)))});"]
