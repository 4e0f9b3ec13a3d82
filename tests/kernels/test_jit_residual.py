"""Kernels for residual blocks: sums that wait, and the gradients that meet before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import laid_out, randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width, team
from lazies import affine, select, total
from shared import parts, seeds
from test_jit_arithmetic import orders, pair

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.norm import batch_norm_backward as norm_backward
from tinygrad_cnn.kernels.jit.pointwise import elementwise, embed
from tinygrad_cnn.kernels.lazy import Lazy

images = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))


@given(images, orders, orders, parts, seeds, st.booleans())
def test_relu_of_a_sum(
    shape: tuple[int, ...], order: str, other: str, count: int, seed: int, inner: bool
) -> None:
    x, b = (np.where(abs(v) > 1e38, np.nan, v) for v in pair(shape, order, seed))  # no overflow
    b = laid_out(b, other)
    scale, shift = randoms(seed, shape[1:2], shape[1:2], dtype=np.float32)
    a = affine(laid_out(x, "nhwc"), scale, shift, inner)
    v = (1, -1, 1, 1)
    wide = x.astype(np.float64) * scale.reshape(v) + shift.reshape(v)
    with np.errstate(invalid="ignore", over="ignore"):
        wide = np.where(wide <= 0, 0, wide) if inner else wide
        both = (wide + b).astype(np.float32)
    with team(count):
        for summed in (total(a, b), total(b, a)):
            found = elementwise.relu(summed)
            np.testing.assert_allclose(found, np.where(both <= 0, 0, both), rtol=1e-4, atol=1e-5)
            assert not summed.is_realized
        np.testing.assert_allclose(summed.realize(), both, rtol=1e-4, atol=1e-5)
        made = elementwise.relu(summed)  # of what is there already
        np.testing.assert_allclose(made, np.where(both <= 0, 0, both), rtol=1e-4, atol=1e-5)


@given(images, orders, orders, parts, seeds)
def test_gradient_of_relu_where_two_meet(
    shape: tuple[int, ...], order: str, other: str, count: int, seed: int
) -> None:
    a, b = pair(shape, order, seed)
    (y, _) = pair(shape, other, seed + 1)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.relu_backward(a + b, y)
    with team(count):
        np.testing.assert_array_equal(elementwise.relu_backward(total(a, b), y), expected)
        np.testing.assert_array_equal(select(total(a, b), y).realize(), expected)


@given(images, orders, orders, parts, seeds, st.booleans(), st.booleans())
def test_sums_behind_two_gradients(
    shape: tuple[int, ...], order: str, other: str, count: int, seed: int, two: bool, early: bool
) -> None:
    a, b, x, y = (laid_out(v, order) for v in randoms(seed, *[shape] * 4, dtype=np.float32))
    y = laid_out(np.maximum(y, 0), other)
    weight, mean, invstd = randoms(seed + 1, *[shape[1:2]] * 3, dtype=np.float32)
    g = (a + b if two else a).astype(np.float64) * (y > 0)
    wide = [v.astype(np.float64) for v in (x, weight, mean, invstd)]
    expected = reference.batch_norm_backward(g, *wide)
    gated = select(total(a, b) if two else a, y)
    if early:
        gated.realize()
    with team(count):
        later, *rest = norm_backward.norm_gradient(gated, x, weight, mean, invstd)
        written, *same = norm_backward.batch_norm_backward(
            select(total(a, b) if two else a, y), x, weight, mean, invstd
        )
    assert isinstance(later, Lazy)
    assert gated.is_realized  # what it was made from is let go
    np.testing.assert_array_equal(gated.realize(), g.astype(np.float32))
    results = zip((later.realize(), *rest), (written, *same), expected, strict=True)
    for found, again, wanted in results:
        atol = 1e-4 * (1 + np.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
        np.testing.assert_allclose(again, wanted, rtol=0, atol=atol)


def cut(x: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Some part of x, as a view."""
    random = np.random.default_rng(seed)
    return x[tuple(slice(random.integers(0, 2), None, random.integers(1, 3)) for _ in x.shape)]


@given(images, st.booleans(), orders, parts, seeds)
def test_embed(shape: tuple[int, ...], whole: bool, order: str, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    (x,) = randoms(seed, shape, dtype=np.float32)
    x = laid_out(x, order)
    x = x if whole else cut(x, seed)
    start, step = random.integers(0, 3, 4), random.integers(1, 4, 4)
    if seed % 2:  # as in networks
        start[0], step[:2] = 0, 1
    after = random.integers(0, 3, 4) * (seed % 3 > 0)
    if seed % 2:
        after[0] = 0
    axes = list(zip(start, x.shape, step, after, strict=True))
    sides = [int(s + max(n - 1, 0) * e + 1 + a) for s, n, e, a in axes]
    places = [[s + i * e for i in range(n)] for s, n, e, _ in axes]
    expected = np.zeros(sides, np.float32)
    expected[np.ix_(*places)] = x
    where = tuple(map(int, start)), tuple(map(int, step))
    with team(count):
        found = embed.embed(x, tuple(sides), *where)
    if found is not None:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(kernels.embed(x, tuple(sides), *where), expected)
    np.testing.assert_array_equal(reference.embed(x, tuple(sides), *where), expected)


def test_embed_is_compiled_for_what_networks_do() -> None:
    x = laid_out(np.ones((2, 16, 8, 8), np.float32), "nhwc")
    found = embed.embed(x[:, :, ::2, ::2], (2, 20, 4, 4), (0, 3, 0, 0), (1, 1, 1, 1))
    assert found is not None
    assert found.sum() == 2 * 16 * 16
    assert found.strides[1] == 4
    found = embed.embed(x, (2, 16, 17, 16), (0, 0, 1, 0), (1, 1, 2, 2))
    assert found is not None
    assert found[:, :, 1::2, ::2].sum() == found.sum() == 2 * 16 * 64


NARROW = """
from hypothesis import settings
settings.register_profile("narrow", max_examples=10, derandomize=True, deadline=None, database=None)
settings.load_profile("narrow")
import test_jit_residual as t
for test in (t.test_relu_of_a_sum, t.test_sums_behind_two_gradients, t.test_embed):
    test()
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width_of_residual_sums(lanes: int) -> None:
    run_at_width(lanes, NARROW)
