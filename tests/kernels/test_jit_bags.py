"""Compiled sums of rows against NumPy's: often named rows, long bags, one result on any threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import assert_close, parts, seeds, singles, wide

pytest.importorskip("numba")

from compiled import team

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.pointwise import bags


@given(
    st.integers(1, 9), st.sampled_from([1, 7, 40]), st.lists(st.integers(0, 300), min_size=1,
    max_size=5), st.booleans(), parts, seeds,
)  # fmt: skip
def test_bags_both_ways(
    rows: int, width: int, sizes: list[int], scaled: bool, count: int, seed: int
) -> None:
    starts = np.cumsum([0, *sizes])
    total = int(starts[-1])
    weight, g, factors = singles(seed, (rows, width), (len(sizes), width), (total,))
    named = np.random.default_rng(seed).integers(0, rows, total)
    times = factors if scaled else None
    if not total:
        assert bags.bag_sum(weight, named, starts, times) is None
        return
    with team(count):
        y = bags.bag_sum(weight, named, starts, times)
        gw = bags.bag_sum_backward(g, named, starts, times, rows)
    exact = None if times is None else wide(times)[0]
    assert_close(y, reference.bag_sum(wide(weight)[0], named, starts, exact), 1e-4)
    expected = reference.bag_sum_backward(wide(g)[0], named, starts, exact, rows)
    assert_close(gw, expected, 1e-4)


def test_error_does_not_grow_with_the_count() -> None:
    n = 1 << 18
    tenth, named = np.full((1, 20), 0.1, np.float32), np.zeros(n, np.int64)
    exact = n * np.float64(np.float32(0.1))
    for count in (1, 2):
        with team(count):
            y = bags.bag_sum(tenth, named, np.array([0, n]), None)
            gw = bags.bag_sum_backward(tenth, named, np.array([0, n]), None, 1)
        np.testing.assert_allclose(y, exact, rtol=1e-6)
        np.testing.assert_allclose(gw, exact, rtol=1e-6)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    weight, g = singles(0, (50, 70), (30, 70))
    named = np.random.default_rng(0).integers(0, 50, 900)
    starts = np.arange(31) * 30
    found = []
    for count in (1, 2, 3):
        with team(count):
            y = bags.bag_sum(weight, named, starts, None)
            found.append((y, bags.bag_sum_backward(g, named, starts, None, 50)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        np.testing.assert_array_equal(found[0][1], other[1])


def test_what_is_left_to_the_reference() -> None:
    weight, starts = np.ones((3, 2), np.float32), np.array([0, 2])
    for named in ([0, 3], [0, -1]):
        assert bags.bag_sum(weight, np.array(named), starts, None) is None
    assert bags.bag_sum(weight, np.array([0, 1]), starts, np.ones(2)) is None
