"""Threads share the result where the gradient of the filters has few pixels to add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import laid_out, randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from tinygrad_cnn.kernels import ConvSpec, reference
from tinygrad_cnn.kernels.conv_spec import conv2d_windows
from tinygrad_cnn.kernels.jit.conv.few_pixels import correlate_few_pixels, units_of
from tinygrad_cnn.kernels.jit.load.images import planar_source

AROUND = ((1, 1), (1, 1))
# Images, filters, and how they meet:
CASES: list[tuple[Any, Any, ConvSpec]] = [
    ((1, 24, 5, 6), (40, 24, 3, 3), ConvSpec(padding=AROUND)),
    ((1, 21, 9, 7), (70, 21, 3, 3), ConvSpec((3, 2), padding=AROUND)),  # unused lanes and rows
    ((2, 3, 6, 6), (200, 3, 5, 4), ConvSpec()),  # columns merged
    ((1, 4, 9, 9), (130, 4, 3, 3), ConvSpec(dilation=(2, 2))),
    ((1, 64, 4, 4), (96, 64, 1, 1), ConvSpec()),
    ((3, 32, 3, 3), (66, 16, 3, 2), ConvSpec(padding=AROUND, groups=2)),
    ((1, 33, 18, 20), (40, 33, 7, 7), ConvSpec(padding=((3, 3), (3, 3)))),  # two jobs
    ((5, 31, 8, 8), (128, 31, 7, 7), ConvSpec(padding=((3, 3), (3, 3)))),  # images of two jobs
]


def found(case: Any, layout: str, parts: int) -> tuple[Any, Any, Any, Any]:
    """Return images, gradients, and the gradients of the filters and of the bias."""
    x_shape, w_shape, spec = case
    windows = conv2d_windows(x_shape, w_shape, spec)
    x, g = randoms(1, x_shape, (x_shape[0], w_shape[0], *windows.size), dtype="float32")
    n, c, h, w = x_shape
    units = units_of((n, h, w, c), w_shape[0], windows, 1)
    assert units is not None
    sources = [planar_source(laid_out(a, layout)) for a in (x, g)]
    return x, g, *correlate_few_pixels(*sources, windows, units, parts, bias=True)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_reference_and_the_same_on_any_number_of_threads(case: Any, layout: str) -> None:
    x, g, gw, gbias = found(case, layout, 1)
    true = reference.conv2d_weight(
        g.astype(np.float64), x.astype(np.float64), kernel_size=case[1][2:], spec=case[2]
    )
    assert gw.shape == case[1]
    np.testing.assert_allclose(gw, true, rtol=0, atol=1e-5 * (1 + np.abs(true).max()))
    np.testing.assert_allclose(gbias, g.sum((0, 2, 3), dtype=np.float64), rtol=0, atol=1e-4)
    for parts in (2, 3):
        _, _, again, bias_again = found(case, layout, parts)
        np.testing.assert_array_equal(again, gw)
        np.testing.assert_array_equal(bias_again, gbias)


@pytest.mark.parametrize(
    ("x", "w", "parts"),
    [
        ((64, 32, 16, 16), (32, 32, 3, 3), 2),  # many pixels
        ((1, 8, 32, 32), (8, 8, 3, 3), 2),  # few filters
        ((1, 2, 8, 8), (96, 2, 5, 5), 2),  # three units for two threads
    ],
)
def test_pixels_are_shared_where_that_is_better(x: Any, w: Any, parts: int) -> None:
    n, c, h, wide = x
    assert units_of((n, h, wide, c), w[0], conv2d_windows(x, w, ConvSpec()), parts) is None


def test_a_nan_stays_in_its_channel_and_in_its_filter() -> None:
    x, g = randoms(0, (1, 24, 5, 5), (1, 40, 5, 5), dtype="float32")
    x[0, 3, 2, 2] = g[0, 33, 2, 2] = np.nan
    windows = conv2d_windows((1, 24, 5, 5), (40, 24, 3, 3), ConvSpec(padding=AROUND))
    units = units_of((1, 5, 5, 24), 40, windows, 1)
    assert units is not None
    gw, _ = correlate_few_pixels(planar_source(x), planar_source(g), windows, units, 2)
    lost = np.zeros((40, 24), bool)
    lost[33] = lost[:, 3] = True
    np.testing.assert_array_equal(np.isnan(gw).all((2, 3)), lost)
    assert np.isfinite(gw[~lost]).all()
