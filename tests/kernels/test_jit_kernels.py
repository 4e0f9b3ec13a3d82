"""Compiled kernels against NumPy's in float64: any geometry, every thread count, hard numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import LAYOUTS, is_channels_last, laid_out

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import team
from shared import TWOS, assert_close, kernel_set, layouts, parts, poolings, seeds, singles, wide

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.load import mesh, resample, taps
from tinygrad_cnn.kernels.jit.load.images import images_like
from tinygrad_cnn.kernels.jit.norm import batch_norm as norm
from tinygrad_cnn.kernels.jit.norm import batch_norm_backward, group_norm, layer_norm
from tinygrad_cnn.kernels.jit.pointwise import elementwise, sums
from tinygrad_cnn.kernels.jit.pool import adaptive_max, avg_pool, max_pool

EPS = 1e-3


channels = st.sampled_from([1, 2, 3, 7, 16, 33, 260])
images = st.tuples(st.integers(1, 4), channels, st.integers(1, 9), st.integers(1, 40))
pixels = st.one_of(images, st.tuples(st.integers(1, 40), channels))


@given(pixels, st.booleans(), st.booleans(), parts, seeds)
def test_batch_norm_both_ways(
    shape: Any, scaled: bool, shifted: bool, count: int, seed: int
) -> None:
    x, g, weight, bias = singles(seed, shape, shape, shape[1:2], shape[1:2])
    x = x * 3 + 5
    w, b = weight if scaled else None, bias if shifted else None
    with team(count):
        found = norm.batch_norm(laid_out(x, "nhwc"), w, b, eps=EPS)
    expected = reference.batch_norm(*wide(x, w, b), eps=EPS)
    assert_close(found, expected, 2e-4 if np.prod(shape) == shape[1] else 2e-5)
    if x.ndim == 4:
        assert is_channels_last(found[0])
    mean, invstd = (a.astype(np.float32) for a in expected[1:3])
    with team(count):
        found = norm.batch_norm_backward(laid_out(g, "nchw"), laid_out(x, "nhwc"), w, mean, invstd)
    expected = reference.batch_norm_backward(*wide(g, x, w, mean, invstd))
    assert_close(found, expected, 2e-4)


@given(
    st.tuples(st.integers(1, 4), channels, st.integers(1, 70)),
    st.sampled_from(["nchw", "nhwc"]),
    st.booleans(),
    st.booleans(),
    parts,
    seeds,
)
def test_norms_of_signals_and_volumes(
    shape: Any, order: str, volumes: bool, scaled: bool, count: int, seed: int
) -> None:
    n, c, size = shape
    four = (n, c, 2 * size, 3)
    x, g, weight, bias = singles(seed, four, four, (c,), (c,))
    final = (n, c, 2, size, 3) if volumes else (n, c, 6 * size)
    x, g = (laid_out(a, order).reshape(final) for a in (x * 3 + 5, g))
    w, b = (weight, bias) if scaled else (None, None)
    groups = 1 if c % 2 else 2
    with team(count):
        y = norm.batch_norm(x, w, b, eps=EPS)
        scaled_x = norm.channel_affine(x, weight, bias)
        grouped = group_norm.group_norm(x, w, b, groups=groups, eps=EPS)
    expected = reference.batch_norm(*wide(x, w, b), eps=EPS)
    expected_groups = reference.group_norm(*wide(x, w, b), groups=groups, eps=EPS)
    assert_close(y, expected, 2e-5)
    assert_close(scaled_x, reference.channel_affine(*wide(x, weight, bias)))
    assert_close(grouped, expected_groups, 2e-5)
    stats = [a.astype(np.float32) for a in expected[1:3]]
    group_stats = [a.astype(np.float32) for a in expected_groups[1:3]]
    with team(count):
        found = batch_norm_backward.batch_norm_backward(g, x, w, *stats)
        found_groups = group_norm.group_norm_backward(g, x, w, *group_stats, groups=groups)
    assert_close(found, reference.batch_norm_backward(*wide(g, x, w, *stats)), 2e-4)
    args = wide(g, x, w, *group_stats)
    assert_close(found_groups, reference.group_norm_backward(*args, groups=groups), 2e-4)


@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("c", [3, 64])
def test_statistics_of_many_numbers_far_from_zero(c: int, offset: float) -> None:
    (x,) = singles(1, (20, c, 61, 67))
    x = laid_out(x + np.float32(offset), "nhwc")
    with team(2):
        y, mean, invstd, var = norm.batch_norm(x, None, None, eps=EPS)
    plain = x.astype(np.float64)
    np.testing.assert_allclose(mean, plain.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, plain.var((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(invstd, 1 / np.sqrt(plain.var((0, 2, 3)) + EPS), rtol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3), dtype=np.float64), 1, atol=2e-3)
    with team(2):
        total = sums.sum(x, (0, 2, 3))
    np.testing.assert_allclose(total, plain.sum((0, 2, 3)), rtol=1e-6, atol=1e-3)


@given(images, layouts, parts, seeds)
def test_images_in_any_order_become_channels_last(
    shape: Any, layout: str, count: int, seed: int
) -> None:
    (x,) = singles(seed, shape)
    with team(count):
        found = images_like(laid_out(x, layout))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, x.transpose(0, 2, 3, 1))


@given(pixels, parts, seeds)
def test_channel_affine(shape: Any, count: int, seed: int) -> None:
    x, scale, shift = singles(seed, shape, shape[1:2], shape[1:2])
    with team(count):
        y = norm.channel_affine(laid_out(x, "nhwc"), scale, shift)
    assert_close(y, reference.channel_affine(*wide(x, scale, shift)))


@given(st.data(), st.lists(st.integers(1, 40), min_size=2, max_size=3), st.booleans(), parts, seeds)
def test_layer_norm_both_ways(
    data: st.DataObject, lengths: list[int], scaled: bool, count: int, seed: int
) -> None:
    shape = tuple(lengths)
    ndim = data.draw(st.integers(1, len(shape)))
    inner = shape[len(shape) - ndim :]
    x, g, weight, bias = singles(seed, shape, shape, inner, inner)
    w, b = (weight, bias) if scaled else (None, None)
    layout = data.draw(layouts)
    x = x + 3
    with team(count):
        found = layer_norm.layer_norm(laid_out(x, layout), w, b, ndim=ndim, eps=EPS)
    expected = reference.layer_norm(*wide(x, w, b), ndim=ndim, eps=EPS)
    assert_close(found, expected, 1e-4)
    mean, invstd = (a.astype(np.float32) for a in expected[1:])
    with team(count):
        found = layer_norm.layer_norm_backward(
            laid_out(g, layout), laid_out(x, layout), w, mean, invstd, ndim=ndim
        )
    expected = reference.layer_norm_backward(*wide(g, x, w, mean, invstd), ndim=ndim)
    assert_close(found, expected, 2e-3 if np.prod(inner) < 3 else 2e-4)


def test_layer_norm_of_long_rows() -> None:
    x, g, w = singles(0, (70, 5000), (70, 5000), (5000,))
    with team(2):
        y, mean, invstd = layer_norm.layer_norm(x, w, w, ndim=1, eps=EPS)
        found = layer_norm.layer_norm_backward(g, x, w, mean, invstd, ndim=1)
    assert_close((y, mean, invstd), reference.layer_norm(*wide(x, w, w), ndim=1, eps=EPS))
    expected = reference.layer_norm_backward(*wide(g, x, w, mean, invstd), ndim=1)
    assert_close(found, expected, 5e-5)


@given(pixels, st.sampled_from(["nchw", "nhwc"]), layouts, parts, seeds)
def test_relu_both_ways(shape: Any, layout: str, other: str, count: int, seed: int) -> None:
    x, g = singles(seed, shape, shape)
    kinks = np.array([0, -0.0, np.nan, np.inf, -np.inf], np.float32)
    x.reshape(-1)[: min(5, x.size)] = kinks[: min(5, x.size)]
    g.reshape(-1)[-1] = np.inf
    with team(count):
        y = elementwise.relu(laid_out(x, layout))
        gx = elementwise.relu_backward(laid_out(g, other), laid_out(x, layout))
    np.testing.assert_array_equal(y, reference.relu(x))
    assert not np.signbit(y[y == 0]).any()
    np.testing.assert_array_equal(gx, reference.relu_backward(g, x))
    assert y.strides == laid_out(x, layout).strides or 1 in shape


windows = poolings(st.integers(1, 3), st.sampled_from([1, 3, 17]), 6)
cases = st.one_of(windows, st.just(((2, 5, 6, 7), TWOS)))


def hard_numbers(kind: str, shape: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    values = {
        "ties": [0, 1, 2],
        "infinite": [-np.inf, -np.inf, np.inf, 0],
        "nan": [np.nan, -np.inf, 1, 2],
    }.get(kind)
    x = rng.standard_normal(shape) if values is None else rng.choice(values, shape)
    return x.astype(np.float32)


@given(cases, st.sampled_from(["distinct", "ties", "infinite", "nan"]), parts, seeds)
def test_max_pool_and_its_relatives(case: Any, kind: str, count: int, seed: int) -> None:
    shape, options = case
    x = hard_numbers(kind, shape, seed)
    given_x = laid_out(x, "nhwc")
    with team(count):
        y, index = max_pool.max_pool2d(given_x, **options)
    expected, places = reference.max_pool2d(x, **options)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, places)
    assert index.dtype == places.dtype
    assert is_channels_last(y)
    assert is_channels_last(index)
    g = hard_numbers("distinct" if kind == "distinct" else "infinite", y.shape, seed + 1)
    with np.errstate(invalid="ignore"), team(count):
        gathered = max_pool.max_pool2d_gather(given_x, laid_out(places, "nchw"), **options)
        np.testing.assert_array_equal(gathered, reference.max_pool2d_gather(x, places, **options))
        gx = max_pool.max_pool2d_scatter(laid_out(g, "nchw"), index, size=shape[2:], **options)
        expected = reference.max_pool2d_scatter(g, places, size=shape[2:], **options)
    np.testing.assert_allclose(gx, expected, rtol=1e-6, atol=1e-6)


def test_max_pool_of_a_window_with_more_places_than_a_byte() -> None:
    (x,) = singles(0, (2, 3, 20, 20))
    options: Any = {**TWOS, "kernel_size": (17, 17), "stride": (3, 3)}
    y, index = max_pool.max_pool2d(laid_out(x, "nhwc"), **options)
    expected, places = reference.max_pool2d(x, **options)
    assert index.dtype == places.dtype == np.int32
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, places)


@given(windows, st.booleans(), st.sampled_from([None, 3, -2]), parts, seeds)
def test_avg_pool_both_ways(
    case: Any, include_pad: bool, override: int | None, count: int, seed: int
) -> None:
    shape, options = case
    if options["dilation"] != (1, 1):
        options = {**options, "stride": (1, 1)}
    del (options := dict(options))["dilation"]
    options |= {"count_include_pad": include_pad, "divisor_override": override}
    (x,) = singles(seed, shape)
    expected = reference.avg_pool2d(*wide(x), **options)
    (g,) = singles(seed + 1, expected.shape)
    with team(count):
        assert_close(avg_pool.avg_pool2d(laid_out(x, "nhwc"), **options), expected)
        gx = avg_pool.avg_pool2d_input(laid_out(g, "nchw"), size=shape[2:], **options)
    assert_close(gx, reference.avg_pool2d_input(*wide(g), size=shape[2:], **options))


@given(images, st.tuples(st.integers(1, 9), st.integers(1, 9)), parts, seeds)
def test_adaptive_avg_pool_both_ways(shape: Any, out: Any, count: int, seed: int) -> None:
    x, g = singles(seed, shape, (*shape[:2], *out))
    with team(count):
        y = avg_pool.adaptive_avg_pool2d(laid_out(x, "nhwc"), output_size=out)
        gx = avg_pool.adaptive_avg_pool2d_input(laid_out(g, "nchw"), size=shape[2:])
    assert_close(y, reference.adaptive_avg_pool2d(*wide(x), output_size=out))
    assert_close(gx, reference.adaptive_avg_pool2d_input(*wide(g), size=shape[2:]))


def run_all() -> list[Any]:
    x, g = (laid_out(a, "nhwc") for a in singles(0, (9, 16, 31, 20), (9, 16, 31, 20)))
    (weight,) = singles(1, (16,))
    options = {**TWOS, "kernel_size": (3, 3), "padding": (1, 1)}
    z, mean, invstd, var = norm.batch_norm(x, weight, weight, eps=EPS)
    p, index = max_pool.max_pool2d(x, **options)
    rows = np.ascontiguousarray(x).reshape(-1, 20)
    _, centre, factor = layer_norm.layer_norm(rows, None, None, ndim=1, eps=EPS)
    return [
        z, mean, invstd, var, p, index,
        *norm.batch_norm_backward(g, x, weight, mean, invstd),
        sums.sum(g, (0, 2, 3)), norm.channel_affine(x, weight, weight),
        max_pool.max_pool2d_scatter(p, index, size=(31, 20), **options),
        *layer_norm.layer_norm_backward(rows + 1, rows, None, centre, factor, ndim=1),
        avg_pool.adaptive_avg_pool2d(x, output_size=(2, 3)),
    ]  # fmt: skip


def test_a_thread_count_has_one_result() -> None:
    with team(1):
        alone = run_all()
    with team(3):
        together, again = run_all(), run_all()
    for one, three, repeated in zip(alone, together, again, strict=True):
        np.testing.assert_array_equal(three, repeated)  # bit for bit
        np.testing.assert_allclose(three, one, rtol=0, atol=1e-5 * (1 + np.abs(one).max()))


def test_read_only_arrays_need_no_kernels_of_their_own() -> None:
    x = np.ones((2, 3, 4, 5), np.float32)
    norm.channel_affine(x, x[0, :, 0, 0], x[0, :, 0, 0])
    for layout in LAYOUTS:
        given_x = laid_out(x, layout)
        assert not given_x.flags.writeable
        norm.channel_affine(given_x, given_x[0, :, 0, 0], given_x[0, :, 0, 0])
    assert len(norm._channel_affine.launches) == 1


def test_what_no_compiled_kernel_does_is_declined() -> None:
    x, g = singles(0, (2, 3, 4, 5), (2, 3, 4, 5))
    one = np.ones(3, np.float32)
    assert sums.sum(x[..., ::2], (0,)) is None  # numbers apart
    assert norm.batch_norm(x.astype(np.float64), None, None, eps=EPS) is None
    last = laid_out(x, "nhwc")
    assert norm.batch_norm(last, one.astype(np.float64), None, eps=EPS) is None
    assert norm.batch_norm(last, one[:2], None, eps=EPS) is None
    assert norm.batch_norm_backward(g[:1], last, one, one, one) is None
    assert sums.sum(x[:0], (0,)) is None
    assert elementwise.relu(x[:, :, ::2]) is None
    assert elementwise.relu(x[..., None]) is not None
    unaligned = np.zeros(49, np.uint8)[1:].view(np.float32)
    assert elementwise.relu(unaligned) is None
    assert images_like(unaligned.reshape(1, 1, 3, 4)).flags.aligned
    assert max_pool.max_pool2d(x[:0], **TWOS) is None
    assert avg_pool.adaptive_avg_pool2d(x.astype(np.float64), output_size=(1, 1)) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_public_kernels_take_every_layout(layout: str) -> None:
    x, g, w = singles(0, (3, 4, 6, 5), (3, 4, 6, 5), (4,))
    given_x, given_g = laid_out(x, layout), laid_out(g, layout)
    with kernel_set("jit"):
        y, mean, invstd, _ = kernels.batch_norm(given_x, w, w, eps=EPS)
        gx, _, _ = kernels.batch_norm_backward(given_g, given_x, w, mean, invstd)
        p, index = kernels.max_pool2d(given_x, **TWOS)
        r = kernels.relu_backward(given_g, kernels.relu(given_x))
    assert_close(y, reference.batch_norm(*wide(x, w, w), eps=EPS)[0], 1e-4)
    expected = reference.batch_norm_backward(*wide(g, x, w, mean, invstd))[0]
    assert_close(gx, expected, 1e-4)
    expected, places = reference.max_pool2d(x, **TWOS)
    np.testing.assert_array_equal(p, expected)
    np.testing.assert_array_equal(index, places)
    np.testing.assert_array_equal(r, np.where(x > 0, g, 0))


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 20)),
    layouts,
    st.integers(0, 3),
    st.integers(1, 9),
    st.integers(1, 4),
    parts,
    seeds,
)
def test_resample(
    shape: Any, order: str, dim: int, rows: int, terms: int, count: int, seed: int
) -> None:
    (x,) = singles(seed, shape)
    x.reshape(-1)[0] = np.inf  # which a weight of 0 does not read
    x = laid_out(x, order)
    generator = np.random.default_rng(seed)
    index = generator.integers(0, shape[dim], (rows, terms))
    weight = generator.standard_normal((rows, terms)) * generator.integers(0, 2, (rows, terms))
    with team(count):
        found = resample.resample(x, index, weight, dim)
    with np.errstate(invalid="ignore"):
        assert_close(found, reference.resample(wide(x)[0], index, weight, dim))


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 20)),
    layouts,
    st.integers(1, 3),
    st.sampled_from(["any", "border", "twice"]),
    parts,
    seeds,
)
def test_mesh(shape: Any, order: str, axes: int, kind: str, count: int, seed: int) -> None:
    generator, size = np.random.default_rng(seed), shape[4 - axes :]
    make = {
        "any": lambda n: generator.integers(0, n, generator.integers(1, 40)),
        "border": lambda n: np.clip(np.arange(-2, n + 3), 0, n - 1),
        "twice": lambda n: np.arange(2 * n) // 2,
    }
    places = tuple(make[kind](n) for n in size)
    x, g = singles(seed, shape, (*shape[: 4 - axes], *map(len, places)))
    with team(1):
        alone = mesh.add_mesh(laid_out(g, order), places, size)
    with team(count):
        found = mesh.take_mesh(laid_out(x, order), places)
        added = mesh.add_mesh(laid_out(g, order), places, size)
    np.testing.assert_array_equal(found, reference.take_mesh(x, places))
    np.testing.assert_array_equal(added, alone)  # bit for bit
    assert_close(added, reference.add_mesh(wide(g)[0], places, size))


def test_mesh_leaves_long_sums_to_the_reference() -> None:
    (g,) = singles(0, (3, 100))
    assert mesh.add_mesh(g, (np.zeros(100, np.int64),), (2,)) is None
    assert mesh.take_mesh(g[:0], (np.zeros(100, np.int64),)) is None


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 40)),
    st.integers(1, 9),
    st.integers(1, 300),
    parts,
    seeds,
)
def test_taps(shape: Any, each: int, points: int, count: int, seed: int) -> None:
    n, c, m = shape
    x, g, weight = singles(seed, shape, (n, c, points), (n, each, points))
    index = np.random.default_rng(seed).integers(-1, m, (n, each, points))
    found = []
    for threads in (1, count):
        with team(threads):
            found.append(
                (
                    taps.sample_taps(x, index, weight),
                    taps.spread_taps(g, index, weight, m),
                    taps.weigh_taps(g, x, index),
                )
            )
    wide_x, wide_g, wide_w = wide(x, g, weight)
    expected = (
        reference.sample_taps(wide_x, index, wide_w),
        reference.spread_taps(wide_g, index, wide_w, m),
        reference.weigh_taps(wide_g, wide_x, index),
    )
    for alone, together, right in zip(*found, expected, strict=True):
        np.testing.assert_array_equal(alone, together)  # bit for bit
        assert_close(alone, right)


def test_taps_outside_read_nothing() -> None:
    x, weight = np.full((1, 5, 3), np.inf, np.float32), np.ones((1, 5, 7), np.float32)
    assert not np.any(taps.sample_taps(x, np.full((1, 5, 7), -1), weight))
    assert taps.sample_taps(x[:0], np.zeros((0, 5, 7), np.int64), weight[:0]) is None


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 14)), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.2]),
    parts,
    seeds,
)
def test_adaptive_max_index(sides: Any, lost: float, count: int, seed: int) -> None:
    space, size = zip(*sides, strict=True)
    generator = np.random.default_rng(seed)
    x = generator.integers(-2, 3, (2, 3, *space)).astype(np.float32)  # with equal maxima
    x[generator.random(x.shape) < lost] = np.nan
    with team(count):
        found = adaptive_max.adaptive_max_index(x, size)
    np.testing.assert_array_equal(found, reference.adaptive_max_index(x, size))
