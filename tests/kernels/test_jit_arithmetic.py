"""Compiled sums and products against NumPy's, bit by bit, and the operations that use them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import laid_out, randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import team
from lazies import affine
from shared import kernel_set, parts, seeds

import tinygrad_cnn as tg
from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.pointwise import activations, elementwise

SPECIAL = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 3e38])

shapes = st.one_of(
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 700)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
orders = st.sampled_from(["nchw", "nhwc"])


def pair(shape: tuple[int, ...], order: str, seed: int) -> list[Any]:
    """Two arrays in one order of memory, with hard numbers here and there."""
    generator = np.random.default_rng(seed)
    found = []
    for x in randoms(seed, shape, shape, dtype=np.float32):
        where = generator.random(shape) < 0.2
        x[where] = generator.choice(SPECIAL, int(where.sum()))
        found.append(laid_out(x, order) if x.ndim == 4 else x)
    return found


@given(shapes, orders, parts, seeds, st.sampled_from([0.01, -0.5, 0.0]))
def test_every_bit_is_numpys(
    shape: tuple[int, ...], order: str, count: int, seed: int, slope: float
) -> None:
    a, b = pair(shape, order, seed)
    with np.errstate(all="ignore"):
        expected = [
            a + b, a * b, reference.leaky_relu(a, slope),
            reference.leaky_relu_backward(a, b, slope),
        ]  # fmt: skip
    total = a.copy(order="K")
    with team(count):
        found = [
            elementwise.add(a, b), elementwise.mul(a, b), elementwise.leaky_relu(a, slope),
            elementwise.leaky_relu_backward(a, b, slope),
        ]  # fmt: skip
        if elementwise.add_(total, b) is None:  # an axis of one has any stride
            assert 1 in shape
            with np.errstate(all="ignore"):
                total = reference.add_(total, b)
    for x, true in zip([*found, total], [*expected, expected[0]], strict=True):
        assert x.dtype == np.float32
        assert x.strides == a.strides or x.size == 1 or 1 in x.shape
        np.testing.assert_array_equal(x, true)
        number = ~np.isnan(true)
        np.testing.assert_array_equal(np.signbit(x[number]), np.signbit(true[number]))


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(1, 9), st.integers(1, 9)),
    st.booleans(), parts, seeds,
)  # fmt: skip
def test_a_sum_with_what_is_not_computed_yet(
    shape: tuple[int, ...], relu: bool, count: int, seed: int
) -> None:
    x, b, scale, shift = randoms(seed, shape, shape, shape[1:2], shape[1:2], dtype=np.float32)
    x, b = laid_out(x, "nhwc"), laid_out(b, "nhwc")
    moved = affine(x, scale, shift, relu)
    with team(count):
        found, turned = elementwise.add(moved, b), elementwise.add(b, moved)
    wide = [v.astype(np.float64) for v in (x, scale[:, None, None], shift[:, None, None], b)]
    exact = wide[0] * wide[1] + wide[2]
    expected = (np.maximum(exact, 0) if relu else exact) + wide[3]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found, turned)
    assert not moved.is_realized
    twice = elementwise.add(moved, affine(x, scale, shift, relu))
    np.testing.assert_allclose(twice, 2 * (expected - wide[3]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones(4), np.ones(4)),
        (np.ones(4, np.float32), np.ones(4)),
        (np.ones((2, 4), np.float32), np.ones(4, np.float32)),
        (np.ones((4, 4), np.float32).T, np.ones((4, 4), np.float32)),
        (np.ones(8, np.float32)[::2], np.ones(4, np.float32)),
        (np.ones(0, np.float32), np.ones(0, np.float32)),
    ],
)
def test_sums_that_numpy_does(a: Any, b: Any) -> None:
    for function in (elementwise.add, elementwise.add_, elementwise.mul):
        assert function(a, b) is None


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 4, 5), (3, 7, 1, 1), (1, 2, 1, 3)])
@pytest.mark.parametrize("orders", [("nchw", "nhwc"), ("nhwc", "nchw")])
def test_of_two_orders_channels_last_wins(shape: Any, orders: tuple[str, str]) -> None:
    a, b = (
        laid_out(x, o)
        for x, o in zip(randoms(0, shape, shape, dtype=np.float32), orders, strict=True)
    )
    found = elementwise.add(a, b)
    assert found.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(found, a + b)
    total = a.copy(order="K")
    if elementwise.add_(total, b) is not None:
        np.testing.assert_array_equal(total, a + b)


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_borders_and_places_keep_the_order_of_memory(order: str) -> None:
    (x,) = randoms(0, (2, 3, 6, 4), dtype=np.float32)
    t = tg.from_numpy(laid_out(x, order)).requires_grad_()
    width = ((0, 1), (2, 1), (1, 0), (0, 0))
    y = tg.pad(t[:, :, ::2, 1:], (0, 0, 1, 0, 2, 1, 0, 1), value=7.0)
    assert (y._array.strides[1] == 4) == (order == "nhwc")
    expected = np.pad(x[:, :, ::2, 1:], width, constant_values=7.0)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert y.array.flags.c_contiguous  # as soon as somebody else has it
    (y * y).sum().backward()
    expected = np.zeros_like(x)
    expected[:, :, ::2, 1:] = 2 * x[:, :, ::2, 1:]
    np.testing.assert_array_equal(t.grad.numpy(), expected)


def test_a_sum_is_not_added_to_what_must_not_be_written() -> None:
    a = np.ones(4, np.float32)
    a.flags.writeable = False
    assert elementwise.add_(a, a) is None


@pytest.mark.parametrize("relu", [False, True])
def test_a_residual_block_has_the_values_and_gradients_of_numpys(relu: bool) -> None:
    tg.manual_seed(0)
    conv = tg.nn.Conv2d(3, 16, 3, padding=1, bias=False)
    norm = tg.nn.BatchNorm2d(16)
    x = tg.randn(4, 3, 24, 24)

    def results() -> list[Any]:
        leaf = tg.randn(4, 16, 24, 24, generator=tg.Generator(1)).requires_grad_()
        y = norm(conv(x))
        shortcut = leaf * leaf + leaf
        out = tg.relu((y.relu() if relu else y) + shortcut)
        (out * out).sum().backward()
        parts = [out.detach(), leaf.grad, *(p.grad for p in (*conv.parameters(), norm.weight))]
        found = [p.numpy().astype(np.float64) for p in parts]
        for p in (*conv.parameters(), *norm.parameters()):
            p.grad = None
        return found

    with kernel_set("jit"):
        found = results()
    with kernel_set("reference"):
        expected = results()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * (1 + np.abs(b).max()))


PARAMETERS = {"elu": (1.3, 0.9, 0.8, 0.72), "softplus": (2.0, 20.0), "hardtanh": (-1.0, 0.5)}
ALL_SIZES = np.float32([*SPECIAL, -3e38, 104, -104, 88.8, -88.8, 20, -20, 3, -3, -1, 0.5, 1e-4])


@pytest.mark.parametrize("name", activations.FORMS)
@given(shapes, orders, parts, seeds)
def test_activations_and_their_gradients(
    name: str, shape: tuple[int, ...], order: str, count: int, seed: int
) -> None:
    x, g = pair(shape, order, seed)
    x, g = (
        x * np.where(np.abs(x) < 9, np.float32(4), np.float32(1)),
        np.where(np.abs(g) < 9, g, np.float32(1)),
    )
    some = x.reshape(-1)[: ALL_SIZES.size]
    some[:] = ALL_SIZES[: some.size]
    x, g = (laid_out(a, order) if a.ndim == 4 else a for a in (x, g))
    numbers = PARAMETERS.get(name, ())
    with np.errstate(all="ignore"):
        y = reference.activate(x, name, numbers)
        known = y if name in ("sigmoid", "tanh") else x
        expected = y, reference.activate_backward(g, known, name, numbers)
    with team(count):
        found = [
            activations.activate(x, name, numbers),
            activations.activate_backward(g, known, name, numbers),
        ]
    for a, b in zip(found, expected, strict=True):
        assert a is not None
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-6)
