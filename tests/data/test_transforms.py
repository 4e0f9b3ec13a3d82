"""Batch transforms against loops over single images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tinygrad_cnn.data import (
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    ToFloat,
)

DTYPES = (np.uint8, np.float32)
ALL = [
    RandomHorizontalFlip(),
    RandomShift(0.3),
    RandomCrop((5, 4), padding=2, padding_mode="edge"),
    RandomRotation(40),
    ToFloat(),
    Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.1]),
    Compose([RandomHorizontalFlip(), RandomShift(0.2), ToFloat()]),
]


def make_images(seed, n=6, c=3, h=7, w=6, dtype=np.uint8):
    """Random images whose memory is not in any convenient order."""
    values = np.random.default_rng(seed).integers(0, 256, (n, h, w, 2 * c)).astype(np.uint8)
    images = values[..., ::2].transpose(0, 3, 1, 2)
    return images if dtype == np.uint8 else images.astype(dtype) / dtype(255)


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_transforms_keep_their_input_and_dtype_and_are_channels_last(transform, dtype):
    images = make_images(0, dtype=dtype)
    before = images.copy()
    images.flags.writeable = False
    out = transform(images, np.random.default_rng(3))
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(out, images)
    floats = isinstance(transform, ToFloat | Normalize | Compose)
    assert out.dtype == (np.float32 if floats else dtype)
    assert out.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(out, transform(before, np.random.default_rng(3)))
    contiguous = np.ascontiguousarray(before)
    np.testing.assert_array_equal(out, transform(contiguous, np.random.default_rng(3)))


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_transforms_accept_an_empty_batch(transform):
    out = transform(make_images(0, n=0), np.random.default_rng(0))
    assert out.shape[:2] == (0, 3)


@pytest.mark.parametrize("transform", ALL[:-1], ids=repr)
def test_transforms_refuse_other_shapes_and_dtypes(transform):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"must be \(n, c, h, w\), got shape \(3, 7, 6\)"):
        transform(make_images(0)[0], rng)
    with pytest.raises(TypeError, match="uint8 or floating, got int64"):
        transform(make_images(0).astype(np.int64), rng)


@given(seed=st.integers(0, 2**32), p=st.sampled_from([0.0, 0.5, 1.0]), c=st.integers(1, 4))
@pytest.mark.parametrize("dtype", [*DTYPES, np.float64])
def test_flip_mirrors_whole_images_only(dtype, seed, p, c):
    images = make_images(seed, n=40, c=c, h=3, w=5, dtype=dtype)
    out = RandomHorizontalFlip(p)(images, np.random.default_rng(seed))
    flipped = [np.array_equal(o, i[..., ::-1]) for o, i in zip(out, images, strict=True)]
    same = [np.array_equal(o, i) for o, i in zip(out, images, strict=True)]
    assert all(a or b for a, b in zip(flipped, same, strict=True))
    assert sum(same) == 40 if p == 0 else sum(flipped) == 40 if p == 1 else 5 < sum(same) < 35


@given(
    seed=st.integers(0, 2**32),
    padding=st.integers(0, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 6)),
    mode=st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_crop_is_a_window_of_the_padded_image(dtype, seed, padding, size, mode):
    images = make_images(seed, dtype=dtype)
    crop = RandomCrop(size, padding, padding_mode=mode)
    out = crop(images, np.random.default_rng(seed))
    assert out.shape == (6, 3, *size)
    for cut, image in zip(out, images, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
        places = np.ndindex(7 + 2 * padding - size[0] + 1, 6 + 2 * padding - size[1] + 1)
        found = [padded[:, y : y + size[0], x : x + size[1]] for y, x in places]
        assert any(np.array_equal(cut, window) for window in found)


def test_crop_reaches_every_place_evenly():
    image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    out = RandomCrop(2)(image.repeat(9000, axis=0), np.random.default_rng(0))
    corners, counts = np.unique(out[:, 0, 0, 0], return_counts=True)
    assert corners.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert counts.min() > 850
    assert counts.max() < 1150


@given(seed=st.integers(0, 2**32), fraction=st.floats(0, 0.45))
def test_shift_moves_by_whole_pixels_within_the_fraction(seed, fraction):
    images = make_images(seed, h=9, w=7)
    out = RandomShift(fraction, "constant")(images, np.random.default_rng(seed))
    top, left = int(fraction * 9), int(fraction * 7)
    for moved, image in zip(out, images, strict=True):
        places = [(y, x) for y in range(-top, top + 1) for x in range(-left, left + 1)]
        shifted = [ndimage.shift(image, (0, y, x), order=0) for y, x in places]
        assert any(np.array_equal(moved, s) for s in shifted)


@given(seed=st.integers(0, 2**32), h=st.integers(2, 12), w=st.integers(2, 12))
@pytest.mark.parametrize("degrees", [0, 15, 180])
def test_rotation_agrees_with_ndimage_rotate_image_by_image(degrees, seed, h, w):
    images = make_images(seed, n=3, h=h, w=w, dtype=np.float32)
    out = RandomRotation(degrees)(images, np.random.default_rng(seed))
    angles = np.random.default_rng(seed).uniform(-degrees, degrees, 3)
    for turned, image, angle in zip(out, images, angles, strict=True):
        expected = ndimage.rotate(image, angle, axes=(1, 2), reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(turned, expected, atol=2e-5)


@given(
    seed=st.integers(0, 2**32),
    c=st.integers(1, 4),
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    degrees=st.sampled_from([0, 5, 30, 180]),
)
def test_rotation_of_bytes_rounds_the_rotation_of_floats(seed, c, h, w, degrees):
    images = make_images(seed, c=c, h=h, w=w)
    out = RandomRotation(degrees)(images, np.random.default_rng(seed))
    exact = RandomRotation(degrees)(images.astype(np.float64), np.random.default_rng(seed))
    assert np.abs(out - exact).max() <= 0.6
    if degrees == 0:
        np.testing.assert_array_equal(out, images)


@given(seed=st.integers(0, 2**32))
def test_normalize_is_mean_and_deviation_of_values_in_0_to_1(seed):
    images = make_images(seed)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.1]
    expected = (images / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    out = Normalize(mean, std)(images)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    np.testing.assert_allclose(Normalize(mean, std)(ToFloat()(images)), expected, atol=2e-6)
    np.testing.assert_array_equal(ToFloat()(images), images.astype(np.float32) / np.float32(255))


def test_compose_passes_the_same_generator_on():
    images = make_images(5)
    flip, crop = RandomHorizontalFlip(), RandomCrop(4)
    rng = np.random.default_rng(9)
    expected = crop(flip(images, rng), rng)
    out = Compose([flip, crop])(images, np.random.default_rng(9))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomHorizontalFlip(1.5), "`p` must be between 0 and 1, got 1.5"),
        (lambda: RandomShift(1.0), "`fraction` must be in"),
        (lambda: RandomShift(0.1, "wrap"), "`padding_mode` 'wrap' is not one of constant, edge"),
        (lambda: RandomCrop(0), "`size` must be a positive integer or a pair, got 0"),
        (
            lambda: RandomCrop(4, padding=-1),
            "1, 2 or 4 numbers that are not negative, got -1",
        ),
        (lambda: RandomRotation(-1), "`degrees` must be finite and >= 0, got -1"),
        (lambda: RandomRotation(float("nan")), "`degrees` must be finite and >= 0, got nan"),
        (lambda: Normalize([0.1], [0.1, 0.2]), "`mean` has 1 channels but `std` has 2"),
        (lambda: Normalize([0.1], [0.0]), "`std` must be finite and positive"),
        (lambda: Normalize([0.1], [0.1])(make_images(0)), "1 channels but images have 3"),
        (lambda: RandomCrop(9)(make_images(0), np.random.default_rng(0)), "larger than images"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_compose_refuses_what_is_not_callable():
    with pytest.raises(TypeError, match=r"`transforms\[1\]` is a int, not callable"):
        Compose([ToFloat(), 3])


def test_reprs_can_be_read_back():
    for transform in ALL:
        assert repr(eval(repr(transform))) == repr(transform)
