"""What float32 loses, without computing in it: the reference in float64, each of whose results is off by a random rounding.

The error of a float32 program depends on the order in which its libraries add, so one run of one library says little: it
may be lucky. Monte Carlo arithmetic (Parker 1997) asks for the distribution instead. The code of the reference runs as it
stands, on arrays that add to every result an error of the size that a rounding has there, drawn anew in each run. Such a run
is a *draw*: as wrong as a float32 program that rounds at random. No BLAS takes part in its errors, so they are the same on
every CPU.

- A sum, product, quotient or root is off by up to half a unit in float32's last place, either way. It is exact where the
  result is one of the operands (x + 0, x·1).
- exp and tanh are off by up to one unit, and log by two: the kernels' are, and NumPy's reach 2.5 and 3.8 at their worst.
- A sum of K products is a chain of fused multiply-adds, and each step rounds the partial sum that it leaves. Where the order
  is random, the square of S_k, the sum of the first k terms, is on average k/K·Q + k(k−1)/(K(K−1))·(S² − Q): Q is the sum of
  the squared terms, and S the whole sum. Each step is off by ROUNDING·u·|S_k| in the root mean square, independently of the
  others (Higham and Mary 2019). So the variance of the error is (ROUNDING·u)² times the sum of these squares over all steps,
  which `steps` gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np import ops
from albert_np.golden.tolerances import DRAWS, MODEL_DRAWS, UNIT
from albert_np.ops import Array

UNIT_FLOAT32 = UNIT[np.dtype(np.float32)]

# A rounding of y is uniform in ± half a unit of its last place, which lies between u|y|/2 and u|y|. Over a factor of two in y,
# of which no place is likelier, its root mean square is u|y|·√(mean of 1/m² over 1 ≤ m < 2, which is 3/(8·ln 2), over 3).
ROUNDING = math.sqrt(3 / (8 * math.log(2)) / 3)  # 0.425

BLOCK = 256  # products in a row: the longest chain of a good matrix product, whose blocks are added to one another
LANES = 8  # sums side by side of a good reduction

# what is rounded, and how many half units it may be off
HALF_UNITS = dict.fromkeys((np.add, np.subtract, np.multiply, np.divide, np.square, np.sqrt), 1)
HALF_UNITS |= {np.exp: 2, np.tanh: 2, np.log: 4, np.log1p: 4}


def steps(K: int, n: int) -> tuple[float, float]:
    """(α, β): the squares of all partial sums of K terms add up to α·Q + β·S² on average, in blocks of n terms.

    Within the blocks Σ k/K is (n + 1)/2, and Σ k(k − 1)/(K(K − 1)) is (n² − 1)/(3(K − 1)), over all K/n of them. Then m blocks
    are added: the j-th sum has j/m of the terms, and the first one costs nothing.
    """
    n = min(n, K)
    m = math.ceil(K / n)
    first = (n + 1) / 2 + (m + 1) / 2 - 1 / m
    second = (n * n - 1) / (3 * max(K - 1, 1)) + (m + 1) * (2 * m + 1) / (6 * m) - 1 / m**2
    return first - second, second


class Drawn(np.ndarray):
    """A float64 array whose arithmetic is off by random roundings. rng: where they come from; unit: the unit roundoff."""

    rng: np.random.Generator
    unit: float

    def __array_finalize__(self, source: Any) -> None:
        self.rng, self.unit = getattr(source, "rng", None), getattr(source, "unit", UNIT_FLOAT32)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, Drawn) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if result is None:  # of ufunc.at, which changes its first argument
            return None
        if np.asarray(result).dtype == np.float64:
            source = next(x for x in (*inputs, *(out or ())) if isinstance(x, Drawn))
            result = np.asarray(result) + source._error(ufunc, method, plain, result, options)
            result = drawn(result, source.rng, source.unit)
        if out is None:
            return result
        out[0][...] = result
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is not np.einsum:
            result = super().__array_function__(function, types, args, options)
            moved = isinstance(result, np.ndarray) and result.dtype == np.float64  # np.where gives a plain array
            return drawn(result, self.rng, self.unit) if moved else result
        terms, *factors = args
        given, _, left = terms.partition("->")
        sizes: dict[str, int] = {}
        for letters, x in zip(given.split(","), factors, strict=True):
            sizes |= dict(zip(letters, x.shape, strict=True))
        K = math.prod(size for letter, size in sizes.items() if letter not in left)
        plain = [np.asarray(x) for x in factors]
        result = np.einsum(terms, *plain)
        squares = np.einsum(terms, *(x * x for x in plain))
        return drawn(result + self._of_sum(result, squares, *steps(K, BLOCK)), self.rng, self.unit)

    def _error(self, ufunc: Any, method: str, inputs: list[Any], result: Any, options: dict[str, Any]) -> Any:
        if ufunc is np.matmul:
            a, b = inputs
            return self._of_sum(result, (a * a) @ (b * b), *steps(a.shape[-1], BLOCK))
        if ufunc is np.add and method == "reduce":
            (x,) = inputs
            K = x.size // max(np.size(result), 1)
            squares = np.add.reduce(x * x, **options)
            first, second = steps(K, math.ceil(K / LANES))
            return self._of_sum(result, squares, first - 1 / max(K, 1), second)  # the first term of all is not rounded
        if method != "__call__" or ufunc not in HALF_UNITS:
            return 0.0
        half_units = HALF_UNITS[ufunc]
        error = np.ldexp(self._uniform(np.shape(result)) * (self.unit * half_units / 2), np.frexp(result)[1])
        error *= result != 0
        if half_units == 1:
            for x in inputs:
                error *= result != x
        return error

    def _of_sum(self, result: Any, squares: Any, first: float, second: float) -> Any:
        variance = np.maximum(first * squares + second * (result * result), 0)
        return (ROUNDING * self.unit * math.sqrt(3)) * np.sqrt(variance) * self._uniform(np.shape(result))

    def _uniform(self, shape: tuple[int, ...]) -> Any:
        """Between −1 and 1, of root mean square √⅓."""
        return 2 * self.rng.random(shape, np.float32).astype(np.float64) - 1


def drawn(x: Any, rng: np.random.Generator, unit: float = UNIT_FLOAT32) -> Drawn:
    """x in float64. From here on, each of its operations is off by a random rounding."""
    view = np.asarray(x, np.float64).view(Drawn)
    view.rng, view.unit = rng, unit
    return view


class DrawnOps:
    """A table of ops whose results are off by random roundings. A model runs on it in one draw."""

    def __init__(self, seed: int, unit: float = UNIT_FLOAT32) -> None:
        self._rng, self._unit = np.random.default_rng(seed), unit

    def __getattr__(self, name: str) -> Any:
        function = getattr(ops, name)
        if not callable(function):
            return function
        return lambda *args, **options: function(
            *map(self._arithmetic, args), **{key: self._arithmetic(x) for key, x in options.items()}
        )

    def _arithmetic(self, x: Any) -> Any:
        floats = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        return drawn(x, self._rng, self._unit) if floats else x


def draws(
    function: Callable[..., Any], *arrays: Array, count: int = DRAWS, unit: float = UNIT_FLOAT32, seed: int = 0
) -> list[Any]:
    """The results of function(*arrays), computed this many times in arithmetic that is off by random roundings of that unit."""
    generators = [np.random.default_rng([seed, i]) for i in range(count)]
    return [function(*(drawn(x, rng, unit) for x in arrays)) for rng in generators]


def model_draws(
    model: Any, run: Callable[[Any], Any], *, count: int = MODEL_DRAWS, table: Callable[[int], Any] = DrawnOps
) -> list[Any]:
    """The results of run(model), computed this many times in arithmetic that is off by random roundings.

    model: one of backend "numpy" in float64. table: a function from a seed to the table of ops that the model runs on.
    """
    if model.backend != "numpy" or model.dtype != np.float64:
        raise ValueError(f"draws are of backend 'numpy' in float64; got {model.backend!r} in {model.dtype}")
    engine, found = model._engine, []
    own = engine.ops
    try:
        for seed in range(count):
            engine.ops = table(seed)
            found.append(run(model))
    finally:
        engine.ops = own
    return found
