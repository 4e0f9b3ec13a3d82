"""Compiled matrix products against float64: any order in memory, any share, every edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width, team
from shared import parts, seeds, singles

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.linear import matmul

sides = st.one_of(st.integers(1, 20), st.integers(30, 70))
orders = st.sampled_from(["C", "F"])


@contextmanager
def always(count: int = 1, depth: int = matmul.DEPTH) -> Iterator[None]:
    """Compile-and-run even the smallest product, shared among `count` threads."""
    bounds = {"MIN_JIT_SIZE": 1, "LEAST_ROWS": 1, "NARROWEST": 1, "DEPTH": depth}
    with team(count), pytest.MonkeyPatch.context() as patch:
        for name, value in bounds.items():
            patch.setattr(matmul, name, value)
        yield


def assert_product(found: Any, a: Any, b: Any, bias: Any = 0.0) -> None:
    """A float32 sum of k products is off by no more than k/2**24 of the sum of their sizes."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    bound = (a.shape[1] + 2) * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b) + np.abs(bias))
    assert (np.abs(found - (wide_a @ wide_b + bias)) <= bound).all()


@given(sides, sides, sides, orders, orders, parts, st.sampled_from([7, 32, 1024]), seeds)
def test_products_in_any_order_of_memory(
    n: int, k: int, m: int, left: Any, right: Any, count: int, depth: int, seed: int
) -> None:
    a, b = singles(seed, (n, k), (k, m))
    a, b = np.asarray(a, order=left), np.asarray(b, order=right)
    with always(count, depth):
        found = matmul.matmul(a, b)
    if found is None:  # a vector times columns that do not lie together
        assert n == 1
        assert not b.T.flags.c_contiguous
    else:
        assert_product(found, a, b)


@given(sides, sides, sides, st.booleans(), parts, seeds)
def test_linear_both_ways(n: int, k: int, m: int, shifted: bool, count: int, seed: int) -> None:
    x, w, g, bias = singles(seed, (n, k), (m, k), (n, m), (m,))
    with always(count):
        assert_product(
            matmul.linear(x, w, bias if shifted else None), x, w.T, bias if shifted else 0.0
        )
        gx, gw, gbias = matmul.linear_backward(g, x, w, (True, True, True))
    assert_product(gx, g, w)
    assert_product(gw, g.T, x)
    assert_product(gbias[None], np.ones((1, n), np.float32), g)


@pytest.mark.parametrize("shape", [(64, 2100, 70), (300, 70, 64), (9, 2000, 600)])
def test_large_products_do_not_depend_on_the_time(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    x, w, g = singles(3, (n, k), (m, k), (n, m))
    with always(2):
        first, second = (
            (matmul.linear(x, w), *matmul.linear_backward(g, x, w, (True, True, True)))
            for _ in range(2)
        )
    assert_product(first[0], x, w.T)
    assert_product(first[1], g, w)
    assert_product(first[2], g.T, x)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_that_nobody_needs_are_not_computed() -> None:
    x, w, g = singles(0, (20, 30), (40, 30), (20, 40))
    with always():
        assert matmul.linear_backward(g, None, w, (False, False, False)) == (None, None, None)
        assert matmul.linear_backward(g, None, w, (True, False, False))[1:] == (None, None)
        assert matmul.linear_backward(g, x, None, (False, True, False))[0] is None


def test_infinities_stay_in_their_rows() -> None:
    a, b = singles(0, (19, 33), (33, 37))
    a[18, 32], b[32, 36] = np.inf, np.nan
    with always(2), np.errstate(invalid="ignore"):
        for left, right in ((a, b), (np.asfortranarray(a), np.asfortranarray(b))):
            found = matmul.matmul(left, right)
            np.testing.assert_array_equal(np.isfinite(found), np.isfinite(a @ b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((400, 400)), np.ones((400, 400))),
        (np.ones((400, 400), np.float32), np.ones((400, 400))),
        (np.ones((400, 800), np.float32)[:, ::2], np.ones((400, 400), np.float32)),
        (np.ones((2, 400, 400), np.float32), np.ones((400, 400), np.float32)),
        (np.ones((400, 400), np.float32), np.ones(400, np.float32)),
        (np.ones((400, 0), np.float32), np.ones((0, 400), np.float32)),
        (np.ones((20, 20), np.float32), np.ones((20, 20), np.float32)),
        (np.ones((1, 4000), np.float32), np.ones((4000, 4000), np.float32)),
        (np.ones((1, 700), np.float32), np.ones((700, 700), np.float32).T),
        (np.ones((4000, 4000), np.float32), np.ones((4000, 1), np.float32)),
    ],
)
def test_what_numpy_does(a: Any, b: Any) -> None:
    assert matmul.matmul(a, b) is None


def test_a_column_times_a_row() -> None:
    column = np.float32([[2], [-0.0], [np.inf], [-3], [np.nan], [1e-30]])
    row = np.float32([[0, -0.0, 1, np.inf, -5, 1e30, 1e-30]])
    for a, b in ((column, row), (row.T, column.T), (np.ascontiguousarray(column.T).T, row[:, ::1])):
        with np.errstate(all="ignore"):
            found, expected = matmul._multiply(a, b), reference.matmul(a, b)
        assert found is not None
        np.testing.assert_array_equal(found, expected)
        assert not np.signbit(found[found == 0]).any()  # as where a sum begins with 0


def test_a_vector_times_rows_stays_in_its_rows() -> None:
    x, w, bias = singles(5, (1, 1000), (900, 1000), (900,))
    w[7, 3], w[8, 999], bias[9] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = x @ w.T + bias
        found = matmul.linear(x, w, bias)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    assert np.flatnonzero(~np.isfinite(found)).tolist() == [7, 8, 9]
    some = np.isfinite(expected)
    assert_product(found[:, some[0]], x, w[some[0]].T, bias[some[0]])


NARROW = """
import numpy as np
from test_jit_matmul import always, assert_product, matmul, singles
for n, k, m in ((37, 45, 61), (3, 9, 10), (7, 50, 90), (1, 45, 10)):
    x, w, g, bias = singles(0, (n, k), (m, k), (n, m), (m,))
    with always(2, 32):
        assert_product(matmul.linear(x, w, bias), x, w.T, bias)
        gx, gw, gbias = matmul.linear_backward(g, x, w, (True, True, True))
    assert_product(gx, g, w)
    assert_product(gw, g.T, x)
    assert_product(gbias[None], np.ones((1, n), np.float32), g)
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width_of_products(lanes: int) -> None:
    run_at_width(lanes, NARROW)
