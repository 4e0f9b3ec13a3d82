"""Kernels for few channels, which work plane by plane, agree with NumPy's in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import laid_out, max_pool2d_loops, randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width, team
from lazies import affine, norm_gradient, select, true, unpooled
from shared import pads, pairs, parts, seeds
from test_jit_conv import PLAIN
from test_jit_fused import GRADIENTS, INPUTS, an_input, near, three

from tinygrad_cnn.kernels import ConvSpec, reference
from tinygrad_cnn.kernels.conv_spec import conv2d_windows
from tinygrad_cnn.kernels.jit.compile.vector import TILE
from tinygrad_cnn.kernels.jit.conv import choose, conv
from tinygrad_cnn.kernels.jit.load import images
from tinygrad_cnn.kernels.jit.norm import batch_norm_backward as norm_backward
from tinygrad_cnn.kernels.jit.norm import planar as norm_planes
from tinygrad_cnn.kernels.jit.pool import max_pool
from tinygrad_cnn.kernels.lazy import Lazy

FEW = st.integers(1, TILE.lanes - 1)


@contextmanager
def always() -> Iterator[None]:
    """Plane by plane wherever it is possible."""
    former, choose.BETTER = choose.BETTER, 1e9
    choose.choose.cache_clear()
    try:
        yield
    finally:
        choose.BETTER = former
        choose.choose.cache_clear()


def refused(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("another kernel has computed it")


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], ConvSpec]:
    """Shapes of x and w with few channels on both sides, and spec, of stride 1."""
    kernel, dilation, padding = draw(pairs), draw(pairs), draw(st.tuples(pads, pads))
    size = [
        draw(st.integers(max(1, (k - 1) * d + 1 - sum(p)), max(1, (k - 1) * d + 1 - sum(p)) + 20))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    c, f = draw(FEW), draw(FEW)
    x, w = (draw(st.integers(3, 4)), c, *size), (f, c, *kernel)
    return x, w, PLAIN._replace(padding=padding, dilation=dilation)


@given(cases(), st.sampled_from(INPUTS), st.sampled_from(GRADIENTS), st.booleans(), parts, seeds)
def test_convolutions(
    case: Any, kind: str, gradient: str, bias: bool, count: int, seed: int
) -> None:
    x_shape, w_shape, spec = case
    w, b = randoms(seed, w_shape, w_shape[:1], dtype="float32")
    with always(), team(count):
        x = an_input(kind, x_shape, seed)
        y = conv.conv2d(x, w, b, spec=spec)
        assert y.flags.c_contiguous
        three(x, w, b if bias else None, gradient, spec, seed)
        if kind == "plain":
            x = laid_out(x, "nchw")
            np.testing.assert_array_equal(conv.conv2d(x, w, b, spec=spec), y)


def behind_pooling(shape: tuple[int, ...], masked: bool, seed: int) -> Lazy:
    """The gradient of normalisation, ReLU if `masked`, and pooling of 2 x 2 pixels."""
    half = (*shape[:2], shape[2] // 2, shape[3] // 2)
    x, g = randoms(seed, shape, half, dtype="float32")
    index = np.random.default_rng(seed).integers(0, 4, half).astype(np.uint8)
    a, b, d, e, f = randoms(seed + 1, *[shape[1:2]] * 5, dtype="float32")
    inner: Any = unpooled(g, index, shape[2:], (2, 2))
    return norm_gradient(select(inner, affine(x, e, f, True)) if masked else inner, x, a, b, d)


@given(
    st.tuples(st.integers(1, 4), FEW, st.integers(1, 9), st.integers(1, 40)),
    FEW, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(pads, pads),
    st.booleans(), parts, seeds,
)  # fmt: skip
def test_gradients_behind_pooling(
    sides: Any, c: int, kernel: Any, padding: Any, masked: bool, count: int, seed: int
) -> None:
    n, f, h, wide = sides
    g = behind_pooling((n, f, 2 * h, 2 * wide), masked, seed)
    assert images.planes_of(g).kind == images.SCATTERED
    size = [2 * s - sum(p) + k - 1 for s, p, k in zip((h, wide), padding, kernel, strict=True)]
    if min(size) < 1:
        return
    x, w = randoms(seed, (n, c, *size), (f, c, *kernel), dtype="float32")
    spec = PLAIN._replace(padding=padding)
    wanted = true(g)
    with always(), team(count):
        gw, gbias = conv.conv2d_weight(g, x, kernel_size=kernel, bias=True, spec=spec)
        gx = conv.conv2d_input(g, w, size=tuple(size), spec=spec)
    near(gw, reference.conv2d_weight(wanted, x.astype("d"), kernel_size=kernel, spec=spec))
    near(gbias, wanted.sum((0, 2, 3)))
    near(gx, reference.conv2d_input(wanted, w.astype("d"), size=tuple(size), spec=spec))


@given(
    st.tuples(st.integers(1, 4), FEW, st.integers(1, 9), st.integers(1, 40)), st.booleans(), parts,
    seeds,
)  # fmt: skip
def test_sums_of_a_normalisation(sides: Any, masked: bool, count: int, seed: int) -> None:
    n, c, h, wide = sides
    g, moved = (
        part.expr[1] for part in behind_pooling((n, c, 2 * h, 2 * wide), masked, seed).expr[1:]
    )
    x = moved.realize()
    weight, mean, invstd = randoms(seed, *[(c,)] * 3, dtype="float32")
    args = [a.astype("d") for a in (x, weight, mean, invstd)]
    expected = reference.batch_norm_backward(true(g), *args)
    with team(count):
        gx, gweight, gbias = norm_backward.norm_gradient(g, x, weight, mean, invstd)
        again = norm_backward.norm_gradient(g, x, weight, mean, invstd)
    near(gweight, expected[1])
    near(gbias, expected[2])
    near(gx.realize(), expected[0])
    np.testing.assert_array_equal(again[1], gweight)


def test_few_channels_are_added_up_by_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    (x,) = randoms(0, (3, 2, 8, 8), dtype="float32")
    g = behind_pooling(x.shape, False, 0).expr[1].expr[1]
    monkeypatch.setattr(norm_backward, "_add_up", refused)
    norm_backward.norm_gradient(g, x, None, *np.ones((2, 2), np.float32))


@pytest.mark.parametrize("lazy", [True, False])
@given(
    st.tuples(st.integers(1, 3), st.integers(2, TILE.lanes - 1), st.integers(1, 4),
              st.integers(1, 40)),
    st.booleans(), seeds,
)  # fmt: skip
def test_max_pooling(lazy: bool, sides: Any, relu: bool, seed: int) -> None:
    n, c, h, wide = sides
    x, scale, shift = randoms(seed, (n, c, 2 * h, 2 * wide), (c,), (c,), dtype="float32")
    rng = np.random.default_rng(seed)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[rng.random(x.shape) < 0.3] = 1  # equal maxima
    scale = np.abs(scale) + 1  # else infinities of both signs meet
    window: dict[str, Any] = {
        "kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1),
        "ceil_mode": False,
    }  # fmt: skip
    given: Any = affine(x, scale, shift, relu) if lazy else x
    assert norm_planes.max_pool_planes(given, h, wide) is not None
    y, index = max_pool.max_pool2d(given, **window)
    inner = x
    if lazy:
        wide_x = x.astype("d") * scale.astype("d")[:, None, None] + shift[:, None, None]
        inner = wide_x.astype(np.float32)  # one rounding, as of a multiply-add
        inner = np.where(inner <= 0, np.float32(0), inner) if relu else inner
    true_y, true_index, _ = max_pool2d_loops(inner, **window)
    np.testing.assert_allclose(y, true_y, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(index, true_index)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("f", [16, 33])
def test_filters_of_few_channels_get_their_gradients_by_planes(
    f: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many the filters, if everything lies so."""
    monkeypatch.setattr(choose, "BETTER_WEIGHT", 1e9)
    choose.choose.cache_clear()
    monkeypatch.setattr(conv.direct, "correlate_weight", refused)
    monkeypatch.setattr(conv.narrow, "correlate_few_weight", refused)
    x, g = randoms(0, (4, 3, 32, 32), (4, f, 32, 32), dtype="float32")
    around: Any = {"spec": ConvSpec(padding=((1, 1), (1, 1))), "kernel_size": (3, 3)}
    with team(count):
        gw, gbias = conv.conv2d_weight(g, x, bias=True, **around)
    expected = reference.conv2d_weight(g.astype(np.float64), x.astype(np.float64), **around)
    np.testing.assert_allclose(gw, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(gbias, g.sum((0, 2, 3), dtype=np.float64), rtol=0, atol=1e-3)
    with pytest.raises(AssertionError, match="another kernel"):
        conv.conv2d_weight(g.transpose(0, 1, 3, 2), x, **around)


def test_large_images_and_too_few_for_the_threads_are_left_to_others() -> None:
    def which(n: int, size: int, threads: int = 2) -> str:
        windows = conv2d_windows((n, 3, size, size), (3, 3, 5, 5), PLAIN)
        return choose.choose("forward", (n, 3, size, size), 3, windows, threads, "auto").algorithm

    assert which(8, 32) == which(1, 32) == "planar"
    assert which(1, 32, threads=4) == which(8, 1000) == "narrow"


WIDTHS = """
import numpy as np
from test_jit_planes import always, behind_pooling, near, true
from test_jit_fused import three
from test_jit_conv import PLAIN
from oracles import randoms
from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.conv import conv
from tinygrad_cnn.kernels.jit.norm import batch_norm_backward as norm_backward
from tinygrad_cnn.kernels.jit.pool import max_pool
x, w, b = randoms(0, (5, 3, 12, 14), (3, 3, 3, 3), (3,), dtype="float32")
with always():
    three(x, w, b, "plain", PLAIN._replace(padding=((1, 1), (2, 0))))
    g = behind_pooling((5, 3, 10, 12), True, 1)
    gw = conv.conv2d_weight(g, x, kernel_size=(3, 3), spec=PLAIN)
    near(gw, reference.conv2d_weight(true(g), x.astype("d"), kernel_size=(3, 3), spec=PLAIN))
one = np.ones(3, np.float32)
g, x2 = g.expr[1].expr[1], g.expr[2].expr[1].realize()
found = norm_backward.norm_gradient(g, x2, one, one, one)
near(found[1], reference.batch_norm_backward(true(g), x2.astype("d"), one, one, one)[1])
window = dict(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil_mode=False)
for ours, theirs in zip(max_pool.max_pool2d(x, **window), reference.max_pool2d(x, **window)):
    np.testing.assert_array_equal(ours, theirs)
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width(lanes: int) -> None:
    run_at_width(lanes, WIDTHS)
