"""The kernel of attention back, with all that training asks of it: masks, dropout, head masks, relative positions.

Against ops.attention_backward in float64: every sum is within its worst case, and in the mean of the cases
as the float32 rule has it. Bits depend on neither threads nor padding.
"""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from support import unmeasured
from support.backends import NUMBA, runnable

from albert_np import num_threads, ops
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import MODEL_DRAWS, assert_float32_rule_in_the_mean, gamma
from albert_np.kernels.cpu import operands, program, steps
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.layout import QUERIES

P = 0.2  # of dropout
KINDS = ["absolute", "relative_key", "relative_key_query"]
MODES = ["uniform", "zeros", "nan"]
MASKS = {
    "none": lambda rng, B, T: np.ones((B, T), bool),
    "padding": lambda rng, B, T: np.arange(T) < np.maximum(1, T - 2 * np.arange(B))[:, None],
    "keys": lambda rng, B, T: (rng.random((B, T)) < 0.6) & (np.arange(B) < B - 1)[:, None],  # the last sees nothing
    "pairs": lambda rng, B, T: rng.random((B, T, T)) < (0.2 if T < 5 else 0.6),
}


@pytest.fixture(scope="module", autouse=True)
def numba():
    return runnable(NUMBA)


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    monkeypatch.setattr(program, "WORTH_SHARING", 0)


class Case:
    """Operands in float32, and what was computed from them."""

    def __init__(self, shape, mask="none", kind="absolute", mode="uniform", heads=False, drops=False, seed=0):
        self.shape, self.kind, self.mode = shape, kind, mode
        B, N, T, D = shape
        rng = np.random.default_rng(seed)
        self.q, self.k, self.v, self.d_context = (
            rng.standard_normal((B, T, N * D)).astype(np.float32) for _ in range(4)
        )
        self.table = (0.5 * rng.standard_normal((2 * (T + 3) - 1, D))).astype(np.float32)
        self.mask = MASKS[mask](rng, B, T)
        self.head_mask = np.append(rng.random(N - 1), 0.5).astype(np.float32) if heads else None
        self.drops, self.seed = drops, seed

    def operands(self, dtype):
        return [x.astype(dtype) for x in (self.q, self.k, self.v, self.d_context, self.table)]

    def reference(self, q, k, v, d_context, table):
        """From ops, in the arithmetic of the operands: dq, dk, dv and the table's gradient."""
        N = self.shape[1]
        allowed = self.mask[:, None, None] if self.mask.ndim == 2 else self.mask[:, None]
        how = ops.Attending(
            allowed,
            N,
            mask_mode=self.mode,
            head_mask=None if self.head_mask is None else self.head_mask.astype(q.dtype),
            position_type=self.kind,
            distance_table=table,
            dropout_probability=P if self.drops else None,
        )
        scores = ops.attention(q, k, v, how, self.rng())[1]
        return ops.attention_backward(d_context, q, k, v, scores, how, self.rng())

    def truth(self):
        return self.reference(*self.operands(np.float64))

    def rng(self):
        return np.random.default_rng(self.seed + 100)

    def factors(self):
        B, N, T, _ = self.shape
        return ops.dropout(np.ones((B, N, T, T), np.float32), P, self.rng()) if self.drops else None

    def kernels(self, threads=1, who=None, rows=None, again=1):
        """The same from the kernels. who: the sequences, where they are not all columns; rows: which of B·T they are."""
        B, N, T, D = self.shape
        H = N * D
        who = who or operands.sequences(self.mask)
        rows = np.arange(B * T) if rows is None else rows
        q, k, v, d_context = (self.rows_of(x, rows) for x in (self.q, self.k, self.v, self.d_context))
        room = [operands.rows_of(len(rows) + T, H) for _ in range(3)]
        for x in room:
            x[:] = np.nan
        found = [x[: len(rows)] for x in room]
        relative = {}
        if self.kind != "absolute":
            distances = operands.Distances(operands.pack(self.table.T), self.kind == "relative_key_query")
            relative = {"distances": distances, "table": self.table, "d_table": operands.distance_sums(T, D)}
        with num_threads(threads):
            task = program.Program("training")
            for time in range(again):
                steps.add_attention_backward(
                    task,
                    Buffers(),
                    d_context,
                    (q, k, v),
                    tuple(found),
                    who,
                    N,
                    T,
                    D=D,
                    mode=ops.MASK_MODES.index(self.mode),
                    head_mask=self.head_mask,
                    dropout=self.factors(),
                    **relative,
                    add=time > 0,
                )
            task.run()
        assert all(np.isnan(x[len(rows) :]).all() for x in room), "a row behind the last one was written"
        dq, dk, dv = (np.zeros((B * T, H), np.float32) for _ in range(3))
        for whole, some in zip((dq, dk, dv), found, strict=True):
            whole[rows] = some[:, :H]
        d_table = operands.table_gradient(relative["d_table"], len(self.table), D) if relative else None
        return *(x.reshape(B, T, H) for x in (dq, dk, dv)), d_table

    def rows_of(self, x, rows):
        out = operands.rows_of(len(rows), x.shape[-1])
        out[:] = np.nan
        out[:, : x.shape[-1]] = x.reshape(-1, x.shape[-1])[rows]
        return out

    def limits(self):
        """How far off dq, dk, dv and the table's gradient may be, number by number: the worst case of every rounding.

        A score's error stands in the exponent of its probability, and in the sum that this is divided by.
        """
        B, N, T, D = self.shape
        heads = [ops.split_heads(x.astype(np.float64), N) for x in (self.q, self.k, self.v, self.d_context)]
        q, k, v, dc = heads
        aq, ak, av, adc = map(np.abs, heads)
        where = ops.distances(T, len(self.table), None)
        a = np.abs(self.table[where].astype(np.float64)) * (self.kind != "absolute")
        both = self.kind == "relative_key_query"
        scale = D**-0.5
        scores = ops.attention_scores(q, k, self.table.astype(np.float64), None, self.kind)
        sizes = scale * aq @ ak.swapaxes(-1, -2) + np.einsum("bnid,ijd->bnij", aq, a)
        if both:
            sizes += np.einsum("bnjd,ijd->bnij", ak, a)
        allowed = self.mask[:, None, None] if self.mask.ndim == 2 else self.mask[:, None]
        p = ops.masked_softmax(scores, allowed, self.mode)
        seen = np.where(allowed | ~allowed.any(axis=-1, keepdims=True), sizes, 0)
        off = 2 * gamma(D + 8, np.float32) * seen.max(axis=-1, keepdims=True) + gamma(T + 12, np.float32)
        f = np.ones_like(p) if self.head_mask is None else np.ones_like(p) * self.head_mask[:, None, None]
        if self.drops:
            f = f * self.factors()
        dp, sizes = f * (dc @ v.swapaxes(-1, -2)), f * (adc @ av.swapaxes(-1, -2))
        off_dp = gamma(D + 6, np.float32) * sizes
        mean = (p * dp).sum(axis=-1, keepdims=True)
        off_mean = (p * (off_dp + (off + gamma(T, np.float32)) * np.abs(dp))).sum(axis=-1, keepdims=True)
        ds = p * np.abs(dp - mean)
        off_ds = p * (off_dp + off_mean) + (off + gamma(6, np.float32)) * ds + gamma(4, np.float32) * p * np.abs(mean)
        of_q, of_k = (off_ds + gamma(n, np.float32) * ds for n in (T + D + 20, 2 * T + 20))
        dq = scale * of_q @ ak + np.einsum("bnij,ijd->bnid", of_q, a)
        dk = scale * of_k.swapaxes(-1, -2) @ aq
        dv = (p * f * (off + gamma(T + 8, np.float32))).swapaxes(-1, -2) @ adc
        by_pair = np.einsum("bnij,bnid->ijd", off_ds + gamma(T + B * N + 20, np.float32) * ds, aq)
        if both:
            dk += np.einsum("bnij,ijd->bnjd", of_k, a)
            by_pair += np.einsum("bnij,bnjd->ijd", off_ds + gamma(T + B * N + 20, np.float32) * ds, ak)
        d_table = ops.embedding_backward(by_pair, where, len(self.table))
        return *(1.01 * ops.merge_heads(x) for x in (dq, dk, dv)), 1.01 * d_table  # errors times errors are less


NAMES = ("dq", "dk", "dv", "d_table")
SHAPES = [
    (1, 1, 1, 1),
    (2, 2, 3, 5),
    (3, 2, 17, 8),
    (2, 3, 33, 20),
    (2, 1, QUERIES + 1, 64),
    (1, 1, 101, 70),
    (1, 1, 7, 260),
]
OPTIONS = list(itertools.product(MASKS, [False, True], [False, True]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_gradient_is_within_its_worst_case(shape, kind):
    cases = {name: {} for name in NAMES}
    for number, (mask, heads, drops) in enumerate(OPTIONS):
        case = Case(shape, mask, kind, MODES[number % 2], heads, drops, seed=number)
        found = case.kernels(threads=2)
        drawn = zip(*draws(case.reference, *case.operands(np.float32), count=MODEL_DRAWS), strict=True)
        for name, x, usual, exact, limit in zip(NAMES, found, drawn, case.truth(), case.limits(), strict=True):
            if exact is None:
                assert x is None
                continue
            assert x.dtype == np.float32
            assert np.all(np.abs(x - exact) <= limit), f"{name}, {mask}, head_mask {heads}, dropout {drops}"
            if exact.size > 200 and np.abs(exact).max() > 0:
                cases[name][mask, heads, drops] = x, usual, exact
    for name, some in cases.items():
        if len(some) == len(OPTIONS):
            assert_float32_rule_in_the_mean(name, some)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["keys", "pairs"])
@pytest.mark.parametrize("mode", MODES)
def test_queries_with_nothing_to_see(mode, mask, kind):
    case = Case((3, 2, 4, 5), mask, kind, mode, heads=True, drops=True)
    assert not case.mask.any(axis=-1).all()
    found, truth = case.kernels(), case.truth()
    for name, x, exact, limit in zip(NAMES, found, truth, case.limits(), strict=True):
        if exact is not None:
            assert np.array_equal(np.isnan(x), np.isnan(exact)), name
            there = ~np.isnan(exact)
            assert np.all(np.abs(x - exact)[there] <= limit[there]), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 5, 3), (3, 4, 2 * QUERIES + 5, 20)], ids=str)
def test_the_same_bits_on_any_threads(shape, kind):
    case = Case(shape, "padding", kind, heads=True, drops=True)
    first = case.kernels(threads=1)
    for threads in (2, 3, 8):
        assert same_bits(case.kernels(threads=threads), first)


def same_bits(some, others):
    return all(x is y is None or np.array_equal(x, y) for x, y in zip(some, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_bit_whether_or_not_it_is_a_row(kind):
    T = QUERIES + 7
    alone = Case((1, 2, T, 20), "none", kind, heads=True)
    expected = alone.kernels()
    mask = np.arange(T + 90) < T
    wide = Case((1, 2, T + 90, 20), "none", kind, heads=True)
    wide.mask, wide.head_mask = mask[None], alone.head_mask
    for name in ("q", "k", "v", "d_context"):  # no gradient comes from padding, but numbers are there
        getattr(wide, name)[:, :T] = getattr(alone, name)
    wide.d_context[:, T:] = 0
    middle = len(wide.table) // 2 - len(alone.table) // 2
    wide.table[middle : middle + len(alone.table)] = alone.table
    whole = wide.kernels()
    skipped = wide.kernels(who=operands.real_sequences(wide.mask), rows=np.flatnonzero(wide.mask))
    for found in (whole, skipped):
        assert same_bits([x[:, :T] for x in found[:3]], expected[:3])
        if kind != "absolute":
            assert np.array_equal(found[3][middle : middle + len(alone.table)], expected[3])
            assert not found[3][:middle].any()


def test_holes_in_a_sequence_keep_the_distances_of_what_is_left():
    case = Case((2, 2, 20, 5), "keys", "relative_key_query")
    case.mask[-1, ::3] = True
    case.d_context[~case.mask] = 0
    found = case.kernels(who=operands.real_sequences(case.mask), rows=np.flatnonzero(case.mask))
    for x, exact, limit in zip(found, case.truth(), case.limits(), strict=True):
        assert np.all(np.abs(x - exact) <= limit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [0, 1, 2])
def test_a_sequence_without_a_row_changes_nothing(nothing, kind):
    case = Case((3, 2, 20, 5), "none", kind)
    case.mask = np.ones((3, 20), bool)
    case.mask[nothing] = False
    case.d_context[nothing] = 0
    found = case.kernels(threads=8, who=operands.real_sequences(case.mask), rows=np.flatnonzero(case.mask))
    for x, exact, limit in zip(found, case.truth(), case.limits(), strict=True):
        if exact is not None:
            assert np.all(np.abs(x - exact) <= limit)


def test_the_tables_gradient_is_added_to_what_is_there():
    case = Case((2, 2, 9, 5), kind="relative_key")
    once, twice = case.kernels()[3], case.kernels(again=2)[3]
    assert np.abs(once).max() > 0
    assert np.array_equal(twice, once + once)


def test_a_table_that_is_just_long_enough():
    case = Case((1, 1, 20, 4), kind="relative_key_query")
    case.table = case.table[3:-3]
    assert len(case.table) == 2 * 20 - 1
    for x, exact, limit in zip(case.kernels(), case.truth(), case.limits(), strict=True):
        assert np.all(np.abs(x - exact) <= limit)


# --- dropout of rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 17), (9, 64), (130, 100)])
def test_dropout_of_rows(rows, columns, residual, in_place):
    rng = np.random.default_rng(rows)
    x, beside = (rng.standard_normal((rows, columns)).astype(np.float32) for _ in range(2))
    factors = ops.dropout(np.ones_like(x), P, rng)
    given = operands.rows_of(rows, columns)
    given[:] = np.nan
    given[:, :columns] = x
    out = given if in_place else np.full((rows, columns + 3), 7, np.float32)
    task = program.Program("training")
    steps.add_dropout(task, given, factors, out, rows, columns, beside if residual else None)
    task.run()
    truth = x.astype(np.float64) * factors + (beside if residual else 0)
    limit = gamma(2, np.float32) * (np.abs(x * factors) + (np.abs(beside) if residual else 0))
    assert np.all(np.abs(out[:, :columns] - truth) <= limit)
    assert in_place or np.all(out[:, columns:] == 7)


# --- checked builds -------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # its kernels are compiled anew
def test_a_checked_build_finds_every_address_in_an_operand():
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", __file__]
    child = subprocess.run(
        tests, env=unmeasured() | {"NUMBA_BOUNDSCHECK": "1"}, capture_output=True, text=True, timeout=560, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
