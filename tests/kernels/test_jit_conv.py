"""The compiled convolutions agree with NumPy's in float64, whatever the geometry."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import is_channels_last, laid_out, randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width
from shared import algorithm, convolutions, layouts, pads, pytorch, seeds, wide

from tinygrad_cnn.kernels import ConvSpec, reference, threads
from tinygrad_cnn.kernels.conv_spec import conv2d_windows
from tinygrad_cnn.kernels.jit.compile.vector import TILE
from tinygrad_cnn.kernels.jit.conv import conv, pack
from tinygrad_cnn.kernels.jit.conv.choose import choose
from tinygrad_cnn.kernels.jit.load import images

PLAIN = ConvSpec()


def three(
    x: Any, w: Any, b: Any, spec: Any, layout: str = "nchw", seed: int = 1
) -> tuple[Any, Any, Any]:
    """Compute all three directions, compare them with the reference in float64, return them."""
    g_shape = reference.conv2d(x[:1], w, spec=spec).shape
    (g,) = randoms(seed, (x.shape[0], *g_shape[1:]), dtype="float32")
    given = [laid_out(a, layout) for a in (x, w, g)]
    shift = None if b is None else laid_out(b, "sliced")
    y = conv.conv2d(given[0], given[1], shift, spec=spec)
    gx = conv.conv2d_input(given[2], given[1], size=x.shape[2:], spec=spec)
    gw = conv.conv2d_weight(given[2], given[0], kernel_size=w.shape[2:], spec=spec)
    xs, ws, gs, bs = wide(x, w, g, b)
    expected = (
        reference.conv2d(xs, ws, bs, spec=spec),
        reference.conv2d_input(gs, ws, size=x.shape[2:], spec=spec),
        reference.conv2d_weight(gs, xs, kernel_size=w.shape[2:], spec=spec),
    )
    for ours, true in zip((y, gx, gw), expected, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == true.shape
        atol = 3e-5 * (1 + np.abs(true).max(initial=0))
        np.testing.assert_allclose(ours, true, rtol=0, atol=atol)
        assert ours.flags.writeable
        assert not any(np.may_share_memory(ours, a) for a in given)
    for image in (y, gx):  # plane by plane if there are few channels
        assert is_channels_last(image) or (image.flags.c_contiguous and image.shape[1] < TILE.lanes)
    for before, after in zip((x, w, g), given, strict=True):
        np.testing.assert_array_equal(before, after)
    return y, gx, gw


cases = partial(
    convolutions, st.integers(1, 4), st.sampled_from([1, 1, 1, 2, 3]), st.integers(1, 19),
    st.integers(1, 35), 9,
)  # fmt: skip


@given(cases(), st.booleans(), layouts, seeds)
def test_direct(case: Any, bias: bool, layout: str, seed: int) -> None:
    x_shape, w_shape, spec = case
    x, w, b = randoms(seed, x_shape, w_shape, w_shape[:1], dtype="float32")
    with algorithm("direct"):
        three(x, w, b if bias else None, spec, layout)


@given(
    st.integers(1, 5),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(3, 13), st.integers(3, 13)),
    st.tuples(pads, pads),
    st.booleans(),
    layouts,
    seeds,
)
def test_winograd(
    n: int, channels: Any, size: Any, padding: Any, bias: bool, layout: str, seed: int
) -> None:
    (c, f) = channels
    x, w, b = randoms(seed, (n, c, *size), (f, c, 3, 3), (f,), dtype="float32")
    with algorithm("winograd"):
        three(x, w, b if bias else None, PLAIN._replace(padding=padding), layout)


@given(cases(), st.booleans(), layouts, st.integers(1, 40), st.sampled_from([1, 1, 2, 4, 5]), seeds)
def test_depthwise(
    case: Any, bias: bool, layout: str, channels: int, times: int, seed: int
) -> None:  # fmt: skip
    """Also with several filters for each channel."""
    x_shape, w_shape, spec = case
    f = channels * times
    x, w, b = randoms(
        seed, (x_shape[0], channels, *x_shape[2:]), (f, 1, *w_shape[2:]), (f,), dtype="float32"
    )
    three(x, w, b if bias else None, spec._replace(groups=channels), layout)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_gradients_of_the_bias_come_with_those_of_depthwise_filters(
    times: int, layout: str
) -> None:  # fmt: skip
    x, g = randoms(0, (4, 18, 7, 6), (4, 18 * times, 7, 6), dtype="float32")
    around: Any = {
        "spec": ConvSpec(padding=((1, 1), (1, 1)), groups=18), "kernel_size": (3, 3)
    }  # fmt: skip
    gw, gbias = conv.conv2d_weight(laid_out(g, layout), laid_out(x, layout), bias=True, **around)
    expected = reference.conv2d_weight(g.astype(np.float64), x.astype(np.float64), **around)
    np.testing.assert_allclose(gw, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(gbias, g.sum((0, 2, 3), dtype=np.float64), rtol=0, atol=1e-4)


def test_images_that_lie_plane_by_plane_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*args: Any) -> Any:
        raise AssertionError("a whole array has changed its order")

    monkeypatch.setattr(images, "run", copied)
    x, w = randoms(0, (3, 24, 16, 16), (32, 24, 3, 3), dtype="float32")
    for name in ("direct", "winograd"):
        with algorithm(name):
            three(x, w, None, PLAIN._replace(padding=((1, 1), (1, 1))))
    three(x, w[:24, :1], None, PLAIN._replace(groups=24))
    with pytest.raises(AssertionError, match="changed its order"):
        conv.conv2d_input(x, w[:24], size=(34, 34), spec=ConvSpec((2, 2)))


@pytest.mark.parametrize("threads_used", [1, 2, 3])
@pytest.mark.parametrize(
    ("x", "w", "change"),
    [
        ((9, 3, 32, 32), (6, 3, 5, 5), {}),
        ((9, 6, 14, 14), (16, 6, 5, 5), {}),
        ((2, 16, 150, 40), (33, 16, 3, 3), {"padding": ((1, 0), (2, 1))}),
        ((70, 32, 4, 4), (64, 32, 3, 3), {"padding": ((1, 1), (1, 1))}),
        ((300, 24, 1, 1), (40, 24, 1, 1), {}),
        ((5, 64, 16, 16), (32, 64, 1, 1), {"stride": (2, 2)}),
        ((33, 16, 6, 6), (16, 4, 3, 3), {"groups": 4, "stride": (2, 1)}),
        ((20, 48, 17, 18), (48, 1, 3, 3), {"groups": 48, "padding": ((1, 1), (1, 1))}),
        ((1, 20, 90, 300), (7, 20, 7, 1), {"dilation": (3, 1)}),
        ((1, 80, 8, 8), (96, 80, 3, 3), {"padding": ((1, 1), (1, 1))}),
        ((1, 64, 8, 8), (128, 64, 3, 3), {"padding": ((1, 1), (1, 1))}),  # by filters
        ((1, 3, 60, 60), (6, 3, 5, 5), {"stride": (2, 2)}),
        ((9, 33, 17, 16), (66, 1, 3, 3), {"groups": 33, "stride": (2, 2)}),
    ],
)
def test_many_jobs(x: Any, w: Any, change: Any, threads_used: int) -> None:
    """Bands of an image and groups of images meet without a seam, and in the same way each time."""
    images, filters, b = randoms(0, x, w, w[:1], dtype="float32")
    spec = PLAIN._replace(**change)
    former = threads.get_num_threads()
    threads.set_num_threads(threads_used)
    try:
        first = three(images, filters, b, spec)
        with algorithm("direct"):
            three(images, filters, b, spec)
        again = three(images, filters, b, spec)
    finally:
        threads.set_num_threads(former)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("channels", [4, 16])
def test_direct_convolution_keeps_a_nan_in_its_windows(channels: int, value: float) -> None:
    x, w = randoms(0, (1, channels, 12, 12), (16, channels, 3, 3), dtype="float32")
    x[0, 3, 6, 6] = value
    with algorithm("direct"):
        y = conv.conv2d(x, w, spec=PLAIN)
    reached = np.zeros((10, 10), bool)
    reached[4:7, 4:7] = True
    np.testing.assert_array_equal(~np.isfinite(y[0]).all(0), reached)


@pytest.mark.parametrize("shape", [(20, 9, 3, 3), (5, 33, 5, 5), (17, 4, 1, 3), (17, 4, 3, 1)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("step", [1, -1, 2])
def test_filters_are_packed_however_they_lie(
    shape: tuple[int, ...], turned: bool, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (w,) = randoms(3, shape, dtype="float32")
    grouped = w[None, ..., ::step, ::step].transpose(
        *((0, 3, 4, 1, 2) if turned else (0, 3, 4, 2, 1))
    )
    slots, _ = pack.slots_of(grouped.shape[1:3], [(slice(None, None, -1), slice(0, 1))])
    groups, *rows, columns = grouped.shape

    def packed(order: Any) -> Any:
        found = np.empty(pack.packed_shape(groups, math.prod(rows), columns), np.float32)
        pack.pack(grouped, found, order)
        return found

    found = [packed(order) for order in (None, slots)]
    monkeypatch.setattr(pack, "_order", lambda w, plain: pack.ANYHOW)
    expected = [packed(order) for order in (None, slots)]
    np.testing.assert_array_equal(found, expected)


def test_an_image_that_no_window_reads_has_no_gradient() -> None:
    x, w = randoms(0, (1, 2, 3, 1), (3, 2, 1, 1), dtype="float32")
    _, gx, _ = three(x, w, None, ConvSpec((1, 2), padding=((0, 0), (1, 0))))
    assert not gx.any()


def test_a_broadcast_gradient_is_read_as_it_is() -> None:
    g = np.broadcast_to(np.float32(2), (2, 3, 4, 4))
    x, w = randoms(0, (2, 2, 5, 5), (3, 2, 2, 2), dtype="float32")
    np.testing.assert_array_equal(
        conv.conv2d_weight(g, x, kernel_size=(2, 2), spec=PLAIN),
        conv.conv2d_weight(g.copy(), x, kernel_size=(2, 2), spec=PLAIN),
    )
    np.testing.assert_array_equal(
        conv.conv2d_input(g, w, size=(5, 5), spec=PLAIN),
        conv.conv2d_input(g.copy(), w, size=(5, 5), spec=PLAIN),
    )


def test_other_dtypes_and_empty_arrays_are_left_to_numpy() -> None:
    x, w = randoms(0, (2, 2, 5, 5), (3, 2, 2, 2))
    single = w.astype(np.float32)
    assert conv.conv2d(x, w, spec=PLAIN) is None
    assert conv.conv2d(x, single, spec=PLAIN) is None
    assert conv.conv2d(x[:0].astype(np.float32), single, spec=PLAIN) is None
    g = np.ones((2, 3, 4, 4))
    assert conv.conv2d_input(g, single, size=(5, 5), spec=PLAIN) is None
    assert conv.conv2d_weight(g, x, kernel_size=(2, 2), spec=PLAIN) is None


@pytest.mark.parametrize(
    ("direction", "x", "w", "spec", "algorithm", "reason"),
    [
        ("forward", (64, 32, 32, 32), (32, 32, 3, 3), PLAIN, "winograd", "36 products"),
        ("forward", (64, 32, 32, 32), (32, 32, 3, 3), ConvSpec((2, 2)), "direct", "any geometry"),
        ("forward", (64, 32, 32, 32), (32, 1, 3, 3), ConvSpec(groups=32), "depthwise", "a filter"),
        ("forward", (64, 8, 32, 32), (1, 8, 5, 5), ConvSpec((2, 2)), "narrow", "outputs with 1"),
        ("weight", (64, 32, 32, 32), (64, 1, 3, 3), ConvSpec(groups=32), "several", "2 filters"),
        ("weight", (64, 64, 32, 32), (1, 64, 1, 1), PLAIN._replace(stride=(2, 2)), "narrow", "64"),
        ("forward", (64, 3, 32, 32), (3, 3, 5, 5), PLAIN, "planar", "vectors of pixels"),
    ],
)
def test_a_choice_says_why(
    direction: Any, x: Any, w: Any, spec: ConvSpec, algorithm: str, reason: str
) -> None:
    found = choose(direction, x, w[0], conv2d_windows(x, w, spec), 2, "auto")
    assert found.algorithm == algorithm
    assert reason in found.reason
    assert choose(direction, x, w[0], conv2d_windows(x, w, spec), 2, "auto") is found


NARROW = """
import numpy as np
from test_jit_conv import PLAIN, algorithm, randoms, three
from tinygrad_cnn.kernels.jit.compile.vector import TILE
for c, f in ((3, 6), (16, 33), (13, 20)):
    for name in ("direct", "winograd"):
        x, w, b = randoms(0, (5, c, 11, 9), (f, c, 3, 3), (f,), dtype="float32")
        with algorithm(name):
            three(x, w, b, PLAIN._replace(padding=((1, 1), (2, 0))))
x, w, b = randoms(0, (5, 21, 11, 9), (21, 1, 3, 3), (21,), dtype="float32")
three(x, w, b, PLAIN._replace(groups=21, stride=(2, 1)))
x, w, b = randoms(0, (5, 21, 11, 9), (42, 1, 3, 3), (42,), dtype="float32")
three(x, w, b, PLAIN._replace(groups=21, padding=((1, 1), (1, 1))))
x, w = randoms(0, (3, 37, 5, 7), (45, 37, 1, 1), dtype="float32")
three(x, w, None, PLAIN)
x, w = randoms(0, (1, 37, 5, 7), (45, 37, 3, 3), dtype="float32")  # few pixels
three(x, w, None, PLAIN)
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width(lanes: int) -> None:
    run_at_width(lanes, NARROW)


@given(case=cases(), seed=seeds)
@settings(max_examples=20)
def test_agrees_with_pytorch(case: Any, seed: int) -> None:
    torch = pytorch()
    x_shape, w_shape, spec = case
    x, w, b = randoms(seed, x_shape, w_shape, w_shape[:1])
    (top, bottom), (left, right) = spec.padding
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    others = (spec.stride, 0, spec.dilation, spec.groups)
    true = torch.nn.functional.conv2d(padded, torch.from_numpy(w), torch.from_numpy(b), *others)
    y = conv.conv2d(*(a.astype(np.float32) for a in (x, w, b)), spec=spec)
    atol = 3e-5 * (1 + float(true.abs().max()))
    np.testing.assert_allclose(y, true.numpy(), rtol=0, atol=atol)
