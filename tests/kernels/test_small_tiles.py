"""Winograd's algorithm with tiles of 2 x 2 outputs, by which kept filters of few pixels go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import laid_out

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width, team
from lazies import true
from shared import kernel_set, layouts, pads, parts, seeds, singles
from test_jit_fused import INPUTS, an_input, near

import tinygrad_cnn as tg
from tinygrad_cnn.kernels import ConvSpec, reference
from tinygrad_cnn.kernels.conv_spec import Windows, conv2d_windows
from tinygrad_cnn.kernels.jit.conv import choose, conv, winograd
from tinygrad_cnn.kernels.reference.conv import supports_winograd

SAME = ConvSpec(padding=((1, 1), (1, 1)))


def tile(n: int, c: int, f: int, windows: Windows, wanted: Any, kept: bool) -> int:
    return 2 if kept and supports_winograd(windows, c, f, "winograd") else 0


@contextmanager
def small_tiles(count: int = 2) -> Iterator[None]:
    """Filters that may be kept go this way, and no others, on so many threads."""
    correlate, asked = winograd.correlate_winograd, []

    def spy(*args: Any, **options: Any) -> Any:
        asked.append(args[6])
        return correlate(*args, **options)

    with pytest.MonkeyPatch.context() as patch, team(count):
        patch.setattr(winograd, "correlate_winograd", spy)
        patch.setattr(choose, "_tile", tile)
        forget()
        yield
    forget()
    assert set(asked) == {2}


def forget() -> None:
    choose.choose.cache_clear()
    conv._forward_plan.cache_clear()


def three_calls(x: Any, w: Any, b: Any, spec: ConvSpec) -> Any:
    """Compute with filters that are not kept yet, with those that are kept now, and with those."""
    y, *others = (conv.conv2d(x, w, b, keep=True, spec=spec) for _ in range(3))
    for other in others:
        assert other.tobytes() == y.tobytes()
    bias = None if b is None else b.astype(np.float64)
    near(y, reference.conv2d(true(x), w.astype(np.float64), bias, spec=spec))
    return y


@given(
    st.integers(1, 5),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(3, 13), st.integers(3, 13)),
    st.tuples(pads, pads),
    st.booleans(),
    layouts,
    parts,
    seeds,
)
def test_agrees_with_the_definition(
    n: int, channels: Any, size: Any, padding: Any, bias: bool, layout: str, count: int, seed: int
) -> None:
    c, f = channels
    x, w, b = singles(seed, (n, c, *size), (f, c, 3, 3), (f,))
    with small_tiles(count):
        three_calls(laid_out(x, layout), w, b if bias else None, ConvSpec(padding=padding))


@given(st.integers(1, 3), st.integers(1, 40), st.integers(3, 9), st.sampled_from(INPUTS), seeds)
def test_of_lazy_images(n: int, c: int, side: int, kind: str, seed: int) -> None:
    w, b = singles(seed, (20, c, 3, 3), (20,))
    with small_tiles():
        three_calls(an_input(kind, (n, c, side, side + 1), seed), w, b, SAME)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("x", "f"), [((70, 32, 4, 4), 64), ((2, 17, 9, 300), 33), ((1, 130, 20, 8), 200)]
)
def test_many_jobs(x: Any, f: int, count: int) -> None:
    """Strips and jobs meet without a seam, and threads share jobs or filters."""
    images, w, b = singles(0, x, (f, x[1], 3, 3), (f,))
    with small_tiles(count):
        three_calls(images, w, b, SAME)


@pytest.mark.parametrize("value", [1e6, -1e18, 1e38, np.inf, np.nan])
@pytest.mark.parametrize("place", [(0, 0), (3, 4), (8, 8), (8, 0)])
def test_numbers_that_are_far_apart_are_computed_directly(value: float, place: Any) -> None:
    x, w = singles(1, (2, 16, 9, 9), (16, 16, 3, 3))
    x[0, 5, *place] = value
    with np.errstate(all="ignore"):
        expected = reference.conv2d(x.astype(np.float64), w.astype(np.float64), spec=SAME)
        expected = expected.astype(np.float32)
    with small_tiles():
        y = conv.conv2d(x, w, keep=True, spec=SAME)
    sees = np.zeros(y.shape, bool)
    row, column = place
    sees[0, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    np.testing.assert_allclose(y[~sees], expected[~sees], rtol=0, atol=1e-4)
    atol = abs(value) * 1e-6 if np.isfinite(value) else 0
    np.testing.assert_allclose(y[sees], expected[sees], rtol=1e-5, atol=atol)


@pytest.mark.parametrize("value", [1e6, 1e38, np.inf, np.nan])
def test_filters_that_are_far_apart_are_computed_directly(value: float) -> None:
    x, w = singles(2, (1, 16, 8, 8), (16, 16, 3, 3))
    w[3, 4, 1, 1] = value
    with np.errstate(all="ignore"):
        expected = reference.conv2d(x.astype(np.float64), w.astype(np.float64), spec=SAME)
    with small_tiles():
        y = conv.conv2d(x, w, keep=True, spec=SAME)
    np.testing.assert_allclose(y[:, 3], expected[:, 3].astype(np.float32), rtol=1e-4)
    others = np.arange(16) != 3
    np.testing.assert_allclose(y[:, others], expected[:, others], rtol=0, atol=1e-4)


def test_the_error_is_that_of_a_direct_convolution() -> None:
    x, w = singles(3, (1, 128, 8, 8), (128, 128, 3, 3))
    exact = reference.conv2d(x.astype(np.float64), w.astype(np.float64), spec=SAME)
    with small_tiles():
        y = conv.conv2d(x, w, keep=True, spec=SAME)
    direct = conv.conv2d(x, w, spec=SAME)
    assert abs(y - exact).max() < 2 * abs(direct - exact).max()


def test_compiled_functions_go_this_way_too() -> None:
    tg.manual_seed(0)
    net = tg.nn.Conv2d(32, 64, 3, padding=1).eval()
    x = tg.randn(1, 32, 8, 8)
    with small_tiles(), tg.no_grad(), kernel_set("jit"):
        usual = [net(x).numpy().tobytes() for _ in range(3)]
        compiled = tg.compile(net)
        assert {compiled(x).numpy().tobytes() for _ in range(4)} == set(usual)


def test_they_are_chosen_for_few_pixels_whose_filters_are_kept() -> None:
    def found(side: int, *, kept: bool, n: int = 1) -> tuple[str, int]:
        x = (n, 128, side, side)
        windows = conv2d_windows(x, (128, 128, 3, 3), SAME)
        choice = choose.choose("forward", x, 128, windows, 2, "auto", kept=kept)
        return choice.algorithm, choice.block

    assert found(8, kept=True) == ("winograd", 2)
    assert found(8, kept=False)[0] == "direct"
    assert found(32, kept=True, n=64) == ("winograd", 4)


NARROW = """
from test_small_tiles import *
for c, f in ((3, 6), (16, 33), (13, 20)):
    x, w, b = singles(0, (2, c, 11, 9), (f, c, 3, 3), (f,))
    with small_tiles():
        three_calls(x, w, b, ConvSpec(padding=((1, 1), (2, 0))))
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width(lanes: int) -> None:
    run_at_width(lanes, NARROW)
