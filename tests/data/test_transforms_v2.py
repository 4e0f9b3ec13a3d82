"""transforms.v2: samples of any structure, one draw for each, and what Pillow and SciPy compute."""

import colorsys
import functools

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

import tinygrad_cnn as tg
from tinygrad_cnn import data
from tinygrad_cnn.data.keyed import SampleRandom, keys
from tinygrad_cnn.data.transforms import v2
from tinygrad_cnn.data.transforms.v2 import functional as f

RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (4, 3, 20, 24), dtype=np.uint8)
FLOATS = RNG.random((4, 3, 20, 24), np.float32)
PICTURE = Image.fromarray(BYTES[0].transpose(1, 2, 0))


def array_of(image):
    if isinstance(image, tg.Tensor):
        return image.numpy()
    return np.asarray(image).transpose(2, 0, 1) if isinstance(image, Image.Image) else image


ALWAYS = {
    "CenterCrop": v2.CenterCrop((18, 30)),
    "Pad": v2.Pad((1, 2, 3, 4), fill=0.0, padding_mode="reflect"),
    "Resize": v2.Resize((10, 12)),
    "Grayscale": v2.Grayscale(3),
    "Horizontal": v2.RandomHorizontalFlip(1.0),
    "Vertical": v2.RandomVerticalFlip(1.0),
}
DRAWN = {
    "RandomCrop": v2.RandomCrop(18, padding=2),
    "RandomCrop wider": v2.RandomCrop((30, 18), pad_if_needed=True, fill=1),
    "RandomResizedCrop": v2.RandomResizedCrop(8),
    "Flip": v2.RandomHorizontalFlip(),
    "ColorJitter": v2.ColorJitter(0.4, (0.5, 1.5), 0.4, 0.2),
    "Erasing": v2.RandomErasing(0.7, value=(1, 0, 1)),
    "Erasing random": v2.RandomErasing(0.7, value="random"),
    "Rotation": v2.RandomRotation(40, interpolation="bilinear"),
    "Affine": v2.RandomAffine(20, (0.2, 0.1), (0.7, 1.3), (-5, 5, -3, 3)),
    "Blur": v2.GaussianBlur((5, 3)),
    "RandomGrayscale": v2.RandomGrayscale(0.5),
    "Invert": v2.RandomInvert(),
    "Apply": v2.RandomApply([v2.RandomInvert(1.0), v2.RandomHorizontalFlip()]),
    "Choice": v2.RandomChoice([v2.RandomAffine(30), v2.RandomInvert(), v2.Identity()]),
    "Order": v2.RandomOrder([v2.ColorJitter(brightness=0.5), v2.RandomInvert(1.0)]),
    "RandAugment": v2.RandAugment(3, 20),
    "TrivialAugmentWide": v2.TrivialAugmentWide(),
    "AugMix": v2.AugMix(),
    "Compose": v2.Compose([v2.RandomCrop(16), v2.RandomErasing(), v2.RandomAffine(9)]),
}


# ---- samples, batches, random numbers -------------------------------------------------------


@pytest.mark.parametrize("name", [*ALWAYS, *DRAWN])
@pytest.mark.parametrize("batch", [BYTES, FLOATS], ids=["bytes", "floats"])
def test_all_kinds_of_images_are_taken(name, batch):
    transform = {**ALWAYS, **DRAWN}[name]
    before = batch.copy()
    many = transform(batch, np.random.default_rng(1))
    tg.manual_seed(3)
    tensor, label = transform(tg.tensor(batch[0]), 7)
    tg.manual_seed(3)
    several = transform({"x": tg.tensor(batch), "y": (1, "a")})
    assert (many.dtype, tensor.dtype, several["x"].dtype) == (batch.dtype,) * 3
    assert many.shape[1:] == tensor.shape == several["x"].shape[1:]
    assert (label, several["y"]) == (7, (1, "a"))
    if "random" not in name:  # one draw for all of a call
        np.testing.assert_array_equal(several["x"][0].numpy(), tensor.numpy())
    np.testing.assert_array_equal(batch, before)
    assert type(transform).__name__ in repr(transform)
    if batch is BYTES and name != "Resize":  # Pillow has its own way of resizing
        tg.manual_seed(3)
        picture = transform(PICTURE)
        assert picture.mode == "RGB"
        if name not in ("Grayscale", "RandomResizedCrop"):
            np.testing.assert_array_equal(array_of(picture), tensor.numpy())


@pytest.mark.parametrize("name", DRAWN)
def test_an_image_has_its_own_draw_whatever_is_beside_it(name):
    transform, index = DRAWN[name], np.arange(4)
    same = BYTES[:1].repeat(4, axis=0)
    whole = transform(same, SampleRandom(keys(9, 1, index)))
    assert any((whole[0] != other).any() for other in whole[1:])
    if name != "Order":  # adjusts one number a time, which rounds alike
        for part in ([2], [1, 3]):
            alone = transform(same[part], SampleRandom(keys(9, 1, index[part])))
            np.testing.assert_array_equal(alone, whole[part])


def test_what_is_an_image():
    flip = v2.RandomHorizontalFlip(1.0)
    first, second = tg.arange(3.0).reshape(1, 1, 3), tg.arange(3.0).reshape(1, 1, 3)
    labels = tg.tensor([1, 2, 3])
    label, image, other = flip(labels, first, second)
    assert label is labels
    assert image.flatten().tolist() == [2, 1, 0]
    assert other is second  # as in torchvision: only the first tensor
    picture, mask, tensor = flip((PICTURE, [PICTURE], first))
    assert tensor is first
    np.testing.assert_array_equal(array_of(picture), BYTES[0, ..., ::-1])
    np.testing.assert_array_equal(array_of(mask[0]), BYTES[0, ..., ::-1])
    assert flip({"a": 1, "b": None}) == {"a": 1, "b": None}
    assert flip(np.arange(3)).tolist() == [0, 1, 2]


def test_a_probability_of_zero_changes_nothing():
    for kind in (v2.RandomHorizontalFlip, v2.RandomInvert, v2.RandomErasing, v2.RandomGrayscale):
        np.testing.assert_array_equal(kind(0.0)(BYTES, np.random.default_rng(0)), BYTES)
        assert kind(0.0)(PICTURE) is PICTURE


class Pictures(data.Dataset):
    def __init__(self, transform=None):
        self.transform = transform

    def __len__(self):
        return 12

    def __getitem__(self, index):
        sample = Image.fromarray(np.roll(BYTES[0], index).transpose(1, 2, 0)), index
        return sample if self.transform is None else self.transform(sample)


@pytest.mark.parametrize("workers", [{"num_workers": 2}, {"multiprocessing_context": "fork"}])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_samples_are_the_same_whoever_reads(workers):
    augment = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(8),
            v2.TrivialAugmentWide(),
            v2.ToDtype(tg.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    mix = v2.CutMix(num_classes=12)
    make = functools.partial(data.DataLoader, Pictures(augment), 5, True, transform=mix)
    alone, together = make(), make(**{"num_workers": 2, **workers})
    for (x, y), (x2, y2) in zip(alone.epoch(3), together.epoch(3), strict=True):
        np.testing.assert_array_equal(x.numpy(), x2.numpy())
        np.testing.assert_array_equal(y.numpy(), y2.numpy())
        assert (x.dtype, y.shape) == (tg.float32, (len(x), 12))


# ---- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "off"),
    [
        (f.horizontal_flip, ImageOps.mirror, 0),
        (f.vertical_flip, ImageOps.flip, 0),
        (f.invert, ImageOps.invert, 0),
        (functools.partial(f.posterize, bits=3), lambda i: ImageOps.posterize(i, 3), 0),
        (functools.partial(f.solarize, threshold=100), lambda i: ImageOps.solarize(i, 100), 0),
        (f.equalize, ImageOps.equalize, 0),
        (f.autocontrast, ImageOps.autocontrast, 1),
        (
            functools.partial(f.adjust_brightness, brightness_factor=1.4),
            lambda i: ImageEnhance.Brightness(i).enhance(1.4),
            1,
        ),
        (
            functools.partial(f.adjust_contrast, contrast_factor=0.3),
            lambda i: ImageEnhance.Contrast(i).enhance(0.3),
            1,
        ),
        (
            functools.partial(f.adjust_saturation, saturation_factor=1.8),
            lambda i: ImageEnhance.Color(i).enhance(1.8),
            2,
        ),
        (
            functools.partial(f.adjust_sharpness, sharpness_factor=2.0),
            lambda i: ImageEnhance.Sharpness(i).enhance(2.0),
            1,
        ),
        (functools.partial(f.rotate, angle=180), lambda i: i.rotate(180), 0),
        (
            functools.partial(f.rotate, angle=90, expand=True),
            lambda i: i.rotate(90, expand=True),
            0,
        ),
        (
            functools.partial(f.crop, top=-2, left=3, height=9, width=30),
            lambda i: i.crop((3, -2, 33, 7)),
            0,
        ),
        (
            functools.partial(f.resized_crop, top=2, left=3, height=9, width=12, size=(5, 6)),
            lambda i: i.crop((3, 2, 15, 11)).resize((6, 5), Image.Resampling.BILINEAR),
            1,
        ),
    ],
    ids=lambda case: getattr(case, "__name__", None) or getattr(case, "func", case),
)
def test_pillow_agrees(ours, theirs, off):
    picture = Image.fromarray((BYTES[0] // 2 + 30).transpose(1, 2, 0))
    expected = array_of(theirs(picture)).astype(int)
    tensor = f.to_image(picture)
    for image in (picture, tensor):
        got = array_of(ours(image))
        assert np.abs(got - expected).max() <= off


def test_hues_are_those_of_colorsys():
    out = f.adjust_hue(tg.tensor(FLOATS[0], dtype=tg.float64), 0.3).numpy()
    for y, x in ((0, 0), (3, 7), (19, 23)):
        h, s, v = colorsys.rgb_to_hsv(*FLOATS[0, :, y, x].astype(float))
        np.testing.assert_allclose(
            out[:, y, x], colorsys.hsv_to_rgb((h + 0.3) % 1, s, v), atol=1e-9
        )
    grey = tg.full((3, 2, 2), 77, dtype=tg.uint8)
    assert f.adjust_hue(grey, -0.5).tolist() == grey.tolist()
    np.testing.assert_allclose(f.adjust_gamma(FLOATS, 2.0), FLOATS**2, rtol=1e-6)


@pytest.mark.parametrize("center", [None, (4.0, 15.0)])
def test_affine_maps_are_scipys(center):
    image = FLOATS[0].astype(np.float64)
    angle, move, scale, shear = 25.0, (2.0, -3.0), 1.2, (8.0, -5.0)
    got = f.affine(tg.tensor(image), angle, move, scale, shear, "bilinear", 0.5, center).numpy()
    # By hand, in (x, y) from the upper left corner: turn @ shear y @ shear x, then the move.
    turn, sx, sy = np.deg2rad([angle, *shear])
    forward = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    forward = forward @ [[1, 0], [-np.tan(sy), 1]] @ [[1, -np.tan(sx)], [0, 1]]
    middle = np.array([12.0, 10.0] if center is None else center) - 0.5
    back = np.linalg.inv(forward)
    offset = middle - back @ (middle + move)
    for plane, expected in zip(got, image, strict=True):
        swapped = ndimage.affine_transform(
            expected, back[::-1, ::-1], offset[::-1], order=1, mode="grid-constant", cval=0.5
        )
        np.testing.assert_allclose(plane, swapped, atol=1e-9)


def test_turns_are_counter_clockwise_and_expand_shows_all():
    image = tg.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    assert f.rotate(image, 90, expand=True).tolist() == [[[3, 6], [2, 5], [1, 4]]]
    assert f.rotate(image, 45, expand=True).shape == (1, 4, 5)
    with pytest.raises(ValueError, match="rotate: `expand` is True for angles of several images"):
        v2.RandomRotation(9, expand=True)(BYTES, np.random.default_rng(0))


def test_blurs_are_scipys():
    image = FLOATS[0].astype(np.float64)
    got = f.gaussian_blur(tg.tensor(image), [5, 7], [1.5, 0.8]).numpy()
    expected = ndimage.gaussian_filter1d(image, 1.5, axis=2, radius=2, mode="mirror")
    expected = ndimage.gaussian_filter1d(expected, 0.8, axis=1, radius=3, mode="mirror")
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_rectangles_are_painted():
    out = f.erase(tg.tensor(FLOATS), 2, 3, 4, 5, tg.tensor([1.0, 2.0, 3.0])).numpy()
    expected = FLOATS.copy()
    expected[:, :, 2:6, 3:8] = np.array([1, 2, 3])[:, None, None]
    np.testing.assert_array_equal(out, expected)
    patch = RNG.random((3, 4, 5), np.float32)
    got = f.erase(FLOATS, 2, 3, 4, 5, patch)
    np.testing.assert_array_equal(got[:, :, 2:6, 3:8], np.broadcast_to(patch, (4, 3, 4, 5)))
    areas = [
        (v2.RandomErasing(1.0, (0.2, 0.3), (0.5, 2))(np.ones((1, 1, 40, 40)), rng) == 0).mean()
        for rng in map(np.random.default_rng, range(50))
    ]
    assert all(0.17 <= area <= 0.33 for area in areas)


def test_windows_have_the_area_and_the_proportions_that_are_asked_for():
    crop = v2.RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    params = crop.make_params(np.random.default_rng(0), 500, (3, 60, 80))
    area = params["height"] * params["width"] / 4800
    assert 0.19 < area.min() < area.max() < 0.51
    assert area.std() > 0.05
    ratio = params["width"] / params["height"]
    assert 0.47 < ratio.min() < 0.7 < 1.5 < ratio.max() < 2.1
    assert (params["top"] + params["height"] <= 60).all()
    assert (params["left"] + params["width"] <= 80).all()
    narrow = crop.make_params(np.random.default_rng(0), 3, (3, 100, 2))  # nothing fits
    assert (narrow["width"], narrow["height"]) == (pytest.approx(2), pytest.approx(4))
    assert narrow["top"].tolist() == [48] * 3


def test_dtypes_and_kinds():
    image, label = v2.ToImage()(PICTURE, 3)
    np.testing.assert_array_equal(image.numpy(), BYTES[0])
    assert label == 3
    floats = v2.ToDtype(tg.float32, scale=True)(image)
    np.testing.assert_allclose(floats.numpy(), BYTES[0] / 255, rtol=1e-6)
    assert v2.ToDtype(tg.int64)(image).tolist() == BYTES[0].tolist()
    deep = tg.tensor([[[0, 2**31 - 1]]], dtype=tg.int32)
    assert v2.ToDtype(tg.float32, scale=True)(deep).tolist() == [[[0, 1]]]
    assert v2.ToTensor()(PICTURE).tolist() == floats.tolist()
    for back in (v2.ToPILImage()(image), f.to_pil_image(floats)):
        np.testing.assert_array_equal(array_of(back), BYTES[0])
    assert v2.Lambda(lambda number: -number, int)((image, 3))[1] == -3
    assert f.get_dimensions(PICTURE) == [3, 20, 24]
    assert f.get_size(image) == [20, 24]
    batch = v2.ToDtype(tg.float32, scale=True)(BYTES, np.random.default_rng(0))
    np.testing.assert_allclose(batch, BYTES / 255, rtol=1e-6)


def test_choices_and_orders():
    def note(name):
        return v2.Lambda(lambda value: value + name, str)

    tg.manual_seed(0)
    seen = {v2.RandomOrder([note("a"), note("b"), note("c")])("") for _ in range(100)}
    assert seen == {"abc", "acb", "bac", "bca", "cab", "cba"}
    choice = v2.RandomChoice([note("a"), note("b"), note("c")], p=[3, 1, 0])
    counts = [choice("") for _ in range(400)]
    assert 270 < counts.count("a") < 330
    assert counts.count("a") + counts.count("b") == 400
    some = [v2.RandomApply([note("a"), note("b")], 0.25)("") for _ in range(400)]
    assert set(some) == {"", "ab"}
    assert 70 < some.count("ab") < 130


def test_recipes_of_no_strength_keep_colours_and_places():
    # Without strength, what is left is to stretch, to equalise and to invert pure white.
    gradient = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, axis=0)
    weak = v2.RandAugment(magnitude=0)
    for seed in range(30):
        tg.manual_seed(seed)
        out = weak(tg.tensor(gradient)).numpy()
        assert (out[:, :-1] == gradient[:, :-1]).all()
    strong = v2.RandAugment(num_ops=1, magnitude=30)
    tg.manual_seed(0)
    different = {strong(tg.tensor(gradient)).numpy().tobytes() for _ in range(200)}
    assert len(different) > 12  # all operations, some with two signs


def test_mixing_weighs_images_and_labels_alike():
    labels = np.array([0, 1, 2, 3])
    rng = np.random.default_rng(1)
    images = np.ones((4, 1, 32, 32)) * labels[:, None, None, None]
    for kind in (v2.MixUp, v2.CutMix):
        mixed, soft = kind(alpha=1.0, num_classes=4)(images, rng, labels)
        share = soft[1, 1]
        assert 0 < share < 1
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft @ labels, rtol=1e-6)
        np.testing.assert_allclose(soft, share * np.eye(4) + (1 - share) * np.eye(4)[[3, 0, 1, 2]])
        again, rows = kind(alpha=1.0)(tg.tensor(images), tg.tensor(soft))
        assert (again.shape, rows.shape) == ((4, 1, 32, 32), (4, 4))
    assert set(np.unique(mixed[1])) == {0.0, 1.0}  # a part of the one before it
    both = v2.Compose([v2.RandomInvert(1.0), v2.CutMix(num_classes=4)])
    loader = data.DataLoader(data.TensorDataset(FLOATS, labels), 4, transform=both)
    (inverted, rows) = next(iter(loader))
    assert (inverted.shape, rows.shape) == (FLOATS.shape, (4, 4))
    assert np.isclose(inverted.numpy()[0, 0, 0, 0], 1 - FLOATS[[0, 3], 0, 0, 0]).any()
    alike = v2.Compose([v2.RandomInvert(1.0), v2.MixUp(num_classes=4)])(
        tg.tensor(FLOATS), tg.tensor(labels)
    )
    assert [tuple(x.shape) for x in alike] == [FLOATS.shape, (4, 4)]
    with pytest.raises(ValueError, match="MixUp: `num_classes` is None"):
        v2.MixUp()(tg.tensor(images), tg.tensor(labels))
    with pytest.raises(TypeError, match=r"CutMix: expected two Tensors, .* got Tensor, int"):
        v2.CutMix(num_classes=4)(tg.tensor(images), 3)


# ---- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: v2.RandomHorizontalFlip(1.5), "RandomHorizontalFlip: `p` is 1.5"),
        (lambda: v2.RandomInvert("a"), "RandomInvert: `p` is 'a'"),
        (lambda: v2.Compose([]), r"Compose: `transforms` is \[\]"),
        (lambda: v2.RandomApply([3]), r"RandomApply: `transforms\[0\]` is a int"),
        (lambda: v2.RandomChoice([len], p=[1, 2]), r"RandomChoice: `p` is \[1, 2\]"),
        (lambda: v2.Lambda(3), "Lambda: `lambd` is a int"),
        (lambda: v2.ToDtype({}), "ToDtype: `dtype` is a dict"),
        (lambda: v2.ToDtype(tg.float32)(PICTURE), r"ToDtype: the image is a PIL image"),
        (lambda: v2.Normalize([0.5], [0.5])(PICTURE), "Normalize: the image is a PIL image"),
        (lambda: f.normalize(tg.tensor(BYTES), [0], [1]), "normalize: `image` is uint8"),
        (lambda: f.normalize(tg.tensor(FLOATS), [0, 0], [1]), "normalize: `mean` has 2 numbers"),
        (lambda: f.normalize(tg.tensor(FLOATS), [0], [0]), r"normalize: `std` is \[0\]"),
        (lambda: f.normalize(FLOATS, [0], [1], True), "normalize: `inplace` is True"),
        (lambda: v2.RandomCrop(30)(PICTURE), r"RandomCrop: `size` \(30, 30\) is larger than"),
        (lambda: v2.RandomResizedCrop(8, scale=(2, 1)), r"RandomResizedCrop: `scale` is \(2, 1\)"),
        (lambda: v2.RandomRotation(-1), "RandomRotation: `degrees` is -1"),
        (lambda: v2.RandomAffine(0, translate=(2, 0)), r"RandomAffine: `translate` is \(2, 0\)"),
        (lambda: v2.RandomErasing(scale=(0, 2)), r"RandomErasing: `scale` is \(0, 2\)"),
        (lambda: v2.RandomErasing(value="x"), "RandomErasing: `value` is 'x'"),
        (lambda: v2.RandomErasing(1, value=(1, 2))(PICTURE), "RandomErasing: `value` has 2"),
        (lambda: v2.GaussianBlur(4), "GaussianBlur: `kernel_size` is 4"),
        (lambda: f.gaussian_blur(FLOATS, 2), "gaussian_blur: `kernel_size` is 2"),
        (lambda: f.gaussian_blur(FLOATS, 41), "gaussian_blur: `kernel_size` 41 is too large"),
        (lambda: f.gaussian_blur(FLOATS, 3, 0), "gaussian_blur: `sigma` is 0"),
        (lambda: v2.ColorJitter(-1), "ColorJitter: `brightness` is -1"),
        (lambda: v2.ColorJitter(hue=0.6), "ColorJitter: `hue` is"),
        (lambda: f.adjust_hue(FLOATS, 0.7), "adjust_hue: `hue_factor` is 0.7"),
        (lambda: f.adjust_gamma(FLOATS, -1), "adjust_gamma: `gamma` is -1"),
        (lambda: f.adjust_contrast(FLOATS[:, :2], 1), "adjust_contrast: `image` has 2 channels"),
        (lambda: f.rotate(FLOATS, 3, "bicubic"), "rotate: `interpolation` is 'bicubic'"),
        (lambda: f.rotate(FLOATS, 3, fill=[1, 2]), "rotate: `fill` has 2 numbers"),
        (lambda: f.erase(FLOATS, 0, 0, 1, 1, 0, True), "erase: `inplace` is True"),
        (lambda: f.invert(tg.ones(3)), r"invert: `image` has shape \(3,\)"),
        (lambda: f.invert("a"), "invert: `image` is a str"),
        (lambda: f.to_pil_image(tg.ones(7, 2, 2)), "to_pil_image: `image` has shape"),
        (lambda: v2.RandomPosterize(9), "RandomPosterize: `bits` is 9"),
        (lambda: v2.RandomAdjustSharpness(-1), "RandomAdjustSharpness: `sharpness_factor` is -1"),
        (lambda: v2.RandAugment(0), "RandAugment: `num_ops` is 0"),
        (lambda: v2.RandAugment(magnitude=31), "RandAugment: `magnitude` is 31"),
        (lambda: v2.TrivialAugmentWide(1), "TrivialAugmentWide: `num_magnitude_bins` is 1"),
        (lambda: v2.AugMix(severity=0), "AugMix: `severity` is 0"),
        (lambda: v2.AugMix(mixture_width=0), "AugMix: `mixture_width` is 0"),
        (lambda: v2.AugMix(chain_depth=0), "AugMix: `chain_depth` is 0"),
        (lambda: v2.AugMix(alpha=0), "AugMix: `alpha` is 0"),
        (lambda: v2.MixUp(alpha=0), "MixUp: `alpha` is 0"),
        (lambda: v2.CutMix(num_classes=0), "CutMix: `num_classes` is 0"),
        (
            lambda: v2.RandomApply([v2.CenterCrop(3)])(BYTES, np.random.default_rng(0)),
            r"RandomApply: some images of the batch became uint8 \(3, 3, 3\)",
        ),
        (
            lambda: v2.Compose([v2.MixUp(num_classes=2)])(BYTES, np.random.default_rng(0)),
            "Compose: a transform changes the labels too",
        ),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
