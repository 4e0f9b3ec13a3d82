"""Colour jitter, cutout and mixup against loops over single images."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.data import ColorJitter, Compose, Cutout, Mixup, RandomHorizontalFlip
from tinygrad_cnn.data.transforms import apply

ALL = [ColorJitter(0.4, 0.3, 0.5, 0.1), ColorJitter(), Cutout(3), Cutout(4, [0.1, 0.5, 0.9])]


def make_images(seed, n=6, c=3, h=7, w=6, dtype=np.uint8):
    values = np.random.default_rng(seed).integers(0, 256, (n, h, w, 2 * c)).astype(np.uint8)
    images = values[..., ::2].transpose(0, 3, 1, 2)
    return images if dtype == np.uint8 else images.astype(dtype) / dtype(255)


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_they_keep_their_input_and_dtype_and_are_channels_last(transform, dtype):
    images = make_images(0, dtype=dtype)
    before = images.copy()
    images.flags.writeable = False
    out = transform(images, np.random.default_rng(3))
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(out, images)
    assert out.dtype == dtype
    assert out.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(out, transform(before, np.random.default_rng(3)))
    assert transform(make_images(0, n=0), np.random.default_rng(0)).shape == (0, 3, 7, 6)
    assert repr(eval(repr(transform))) == repr(transform)


@given(
    seed=st.integers(0, 2**32),
    strengths=st.tuples(*[st.sampled_from([0.0, 0.3, 1.5])] * 3),
)
def test_jitter_is_brightness_then_contrast_then_saturation(seed, strengths):
    images = make_images(seed, dtype=np.float64)
    out = ColorJitter(*strengths)(images, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    b, c, s = (np.maximum(rng.uniform(1 - x, 1 + x, 6), 0) for x in strengths)
    for i, image in enumerate(images):
        x = image * b[i]
        grey = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
        x = c[i] * x + (1 - c[i]) * grey.mean()
        grey = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
        x = s[i] * x + (1 - s[i]) * grey
        np.testing.assert_allclose(out[i], x.clip(0, 1), atol=1e-12)


def test_hue_turns_colours_and_leaves_greys():
    grey = np.full((5, 3, 2, 2), 0.4)
    rng = np.random.default_rng
    np.testing.assert_allclose(ColorJitter(hue=0.5)(grey, rng(0)), grey, atol=1e-12)
    red = np.zeros((200, 3, 1, 1))
    red[:] = np.reshape([0.6, 0.4, 0.4], (3, 1, 1))
    out = ColorJitter(hue=0.25)(red, rng(1))[:, :, 0, 0]
    angles = rng(1)
    for _ in range(3):
        angles.uniform(1, 1, (200, 1, 1))
    turns = angles.uniform(-0.25, 0.25, (200, 1, 1)).ravel()
    hues = np.array([colorsys.rgb_to_hsv(*color)[0] for color in out])
    away = np.abs((hues - turns + 0.5) % 1 - 0.5)  # the hexagon of HSV against the true circle
    assert away.max() < 0.02
    np.testing.assert_allclose(out.sum(axis=1), 1.4)


def test_jitter_of_bytes_rounds_and_of_one_channel_needs_no_colour():
    images = make_images(1)
    jitter = ColorJitter(0.2, 0.2, 0.2, 0.1)
    exact = jitter(images / 255, np.random.default_rng(2)) * 255
    assert np.abs(jitter(images, np.random.default_rng(2)) - exact).max() < 0.51
    assert ColorJitter(0.2, 0.2)(make_images(0, c=1), np.random.default_rng(0)).shape[1] == 1
    with pytest.raises(ValueError, match="need images with 3 channels, got 1"):
        ColorJitter(saturation=0.1)(make_images(0, c=1), np.random.default_rng(0))


@given(seed=st.integers(0, 2**32), size=st.integers(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_cutout_paints_one_square_per_image(dtype, seed, size):
    images = make_images(seed, n=4, dtype=dtype)
    out = Cutout(size, [0.2, 0.4, 1.0])(images, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, 7, 4), rng.integers(0, 6, 4)
    fill = np.array([0.2, 0.4, 1.0]) * (255 if dtype == np.uint8 else 1)
    for image, painted, y, x in zip(images, out, rows, columns, strict=True):
        expected = image.copy()
        top, left = y - size // 2, x - size // 2
        square = np.s_[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
        expected[square] = fill[:, None, None].astype(dtype)
        np.testing.assert_array_equal(painted, expected)


@given(seed=st.integers(0, 2**32), alpha=st.sampled_from([0.1, 1.0, 4.0]))
def test_mixup_blends_images_and_labels_alike(seed, alpha):
    images, labels = make_images(seed, dtype=np.float64), np.array([0, 1, 2, 3, 4, 5])
    mixed, soft = Mixup(alpha, classes=6)(images, np.random.default_rng(seed), labels)
    assert soft.dtype == np.float32
    # Every label is its own class: the soft labels say what the images must be.
    expected = np.einsum("ij,jchw->ichw", soft.astype(np.float64), images)
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(soft, axis=1) <= 2).all()
    assert (soft.argmax(axis=1) == labels).all()
    rounded, _ = Mixup(alpha, 6)(
        np.rint(images * 255).astype(np.uint8), np.random.default_rng(seed), labels
    )
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - expected * 255).max() < 0.51


def test_mixup_composes_with_transforms_and_itself():
    images, labels = make_images(0), np.array([0, 1, 2, 0, 1, 2])
    flip, mix = RandomHorizontalFlip(), Mixup(0.4, classes=3)
    both = Compose([flip, Compose([mix]), mix])
    assert both.changes_labels
    out, soft = both(images, np.random.default_rng(1), labels)
    rng = np.random.default_rng(1)
    expected = flip(images, rng), labels
    for _ in range(2):
        expected = apply(mix, expected[0], rng, expected[1])
    np.testing.assert_array_equal(out, expected[0])
    np.testing.assert_array_equal(soft, expected[1])
    with pytest.raises(TypeError, match="changes the labels too, but none are given"):
        both(images, rng)
    assert not Compose([flip]).changes_labels


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColorJitter(-1), "`brightness` must be finite and >= 0, got -1"),
        (lambda: ColorJitter(contrast=float("nan")), "`contrast` must be finite"),
        (lambda: ColorJitter(hue=0.6), "`hue` must be between 0 and 0.5, got 0.6"),
        (lambda: Cutout(0), "`size` must be a positive integer, got 0"),
        (lambda: Cutout(2, [0, 1])(make_images(0), np.random.default_rng(0)), "or 3 numbers"),
        (lambda: Mixup(0, 10), "`alpha` must be finite and positive, got 0"),
        (lambda: Mixup(1, 0), "`classes` must be a positive integer, got 0"),
        (
            lambda: Mixup(1, 3)(make_images(0), np.random.default_rng(0), np.arange(6)),
            "`labels` has 3, expected 0 to 2",
        ),
        (
            lambda: Mixup(1, 3)(make_images(0), np.random.default_rng(0), np.ones(6)),
            r"must be class numbers \(n,\), got float64",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
