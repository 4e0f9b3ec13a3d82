"""Image files, folders of them, and transforms of single images."""

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import tinygrad_cnn as tg
from tinygrad_cnn.data import (
    CenterCrop,
    ColorJitter,
    Compose,
    ConvertImageDtype,
    DataLoader,
    Grayscale,
    ImageFolder,
    Lambda,
    Normalize,
    Pad,
    PILToTensor,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    Resize,
    Subset,
    ToFloat,
    ToTensor,
    read_image,
)

RNG = np.random.default_rng(0)


def picture(h=9, w=12, mode="RGB"):
    c = len(Image.new(mode, (1, 1)).getbands())
    values = RNG.integers(0, 256, (h, w, c)).astype(np.uint8)
    return Image.fromarray(values[:, :, 0] if c == 1 else values, mode=None).convert(mode)


@pytest.fixture
def pets(tmp_path):
    for name, count in (("dog", 3), ("cat", 4), (".hidden", 1)):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(count):
            place = tmp_path / name / ("deeper" if i == 2 else "") / f"{i}.png"
            picture(20 + i, 24).save(place)
    (tmp_path / "cat/notes.txt").write_text("none")
    return tmp_path


def saved(path, array):
    Image.fromarray(array).save(path)
    return np.asarray(read_image(path))


def test_grayscale_of_many_bits_is_scaled_by_its_own_range(tmp_path):
    ramp = np.arange(0, 65536, 4369, dtype=np.uint16).reshape(4, 4)
    bright = (ramp.astype(np.int64) // 257).astype(np.uint8)
    read = saved(tmp_path / "a.png", ramp)
    assert read.shape == (4, 4, 3)
    np.testing.assert_array_equal(read[..., 1], bright)
    np.testing.assert_array_equal(saved(tmp_path / "a.tif", ramp)[..., 0], bright)
    unit = (ramp / 65535).astype(np.float32)
    np.testing.assert_array_equal(saved(tmp_path / "b.tif", unit)[..., 0], bright)
    dim = unit / 2  # within [0, 1]: as it is
    assert saved(tmp_path / "c.tif", dim).max() == 128
    np.testing.assert_array_equal(saved(tmp_path / "d.tif", unit * 700 - 100)[..., 2], bright)
    np.testing.assert_array_equal(
        saved(tmp_path / "e.tif", ramp.astype(np.int32) * 9)[..., 2], bright
    )
    assert saved(tmp_path / "f.tif", np.full((2, 2), 7, np.float32)).max() == 0
    with pytest.raises(ValueError, match=r"g.tif cannot be read .* not finite"):
        saved(tmp_path / "g.tif", np.array([[np.nan, 1]], np.float32))


def test_transparency_and_the_camera_s_position(tmp_path):
    Image.new("RGBA", (2, 3), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(4, 9).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (4, 9)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "F"])
def test_images_are_converted_some_rows_at_a_time(tmp_path, monkeypatch, mode):
    image, options = picture(23, 5, "RGBA"), {}
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 65536, (23, 5)).astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(RNG.standard_normal((23, 5)).astype(np.float32))
    elif mode == "P":
        image, options = image.convert("RGB").convert("P"), {"transparency": 3}
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    image.save(path, **options)
    whole = np.asarray(read_image(path))
    monkeypatch.setattr("tinygrad_cnn.data.folder._ROWS", 4)
    monkeypatch.setattr("tinygrad_cnn.data.folder._LARGE", 1)
    np.testing.assert_array_equal(read_image(path), whole)


def test_many_bits_take_few_copies_of_a_large_image(tmp_path):
    ramp = np.arange(1 << 22).reshape(2048, 2048).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    tracemalloc.start()
    try:
        read_image(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 9 * ramp.size
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is no file"):
        read_image(tmp_path / "a.png")


def test_files_that_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(ValueError, match=r"a\.eps is not an image in one of the formats BMP, GIF"):
        read_image(tmp_path / "a.eps")
    picture(20, 20).save(tmp_path / "large.png")
    for limit in (150, 300):  # Pillow's error, and its warning
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=f"image of more than {limit} pixels"):
            read_image(tmp_path / "large.png")


def test_image_folder_has_torchvision_s_names(pets):
    data = ImageFolder(str(pets))
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    assert data.targets == [0] * 4 + [1] * 3
    assert data.imgs is data.samples
    assert [path.removeprefix(str(pets)) for path, _ in data.samples[:4]] == [
        "/cat/0.png",
        "/cat/1.png",
        "/cat/3.png",
        "/cat/deeper/2.png",
    ]
    image, label = data[6]
    assert (image.size, image.mode, label) == ((24, 22), "RGB", 1)
    odd = ImageFolder(pets, target_transform=lambda t: -t, is_valid_file=lambda p: "1." in p)
    assert [label for _, label in odd] == [0, -1]
    assert ImageFolder(pets, loader=len, is_valid_file=lambda p: True)[0][0] == len(
        data.samples[0][0]
    )
    with pytest.raises(FileNotFoundError, match="class dog"):
        ImageFolder(pets, is_valid_file=lambda p: p.endswith("txt"))
    assert len(ImageFolder(pets, is_valid_file=lambda p: p.endswith("txt"), allow_empty=True)) == 1
    with pytest.raises(FileNotFoundError, match="has no folders in it"):
        ImageFolder(pets / "cat/deeper")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolder(pets / "nowhere")


def test_batches_of_single_images_do_not_depend_on_workers(pets):
    augment = Compose(
        [
            Resize(18),
            RandomCrop(16, padding=2),
            RandomHorizontalFlip(),
            ColorJitter(0.3),
            ToTensor(),
        ]
    )
    data = ImageFolder(pets, augment)
    loaders = [DataLoader(data, 3, shuffle=True, num_workers=n) for n in (0, 3)]
    plain, threaded = ([x for x, _ in loader.epoch(5)] for loader in loaders)
    assert [x.shape for x in plain] == [(3, 3, 16, 16), (3, 3, 16, 16), (1, 3, 16, 16)]
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(plain, threaded, strict=True))
    other = [x for x, _ in loaders[0].epoch(6)]
    assert not np.array_equal(plain[0].numpy(), other[0].numpy())
    part = next(DataLoader(Subset(data, range(7)), 7).epoch(5))[0]
    order = loaders[0]._index_batches(5)
    np.testing.assert_array_equal(part.numpy()[next(order)], plain[0].numpy())
    tg.manual_seed(3)
    first = augment(data.loader(data.samples[0][0]))
    tg.manual_seed(3)
    assert (augment(data.loader(data.samples[0][0])) == first).all().item()


@pytest.mark.parametrize(
    "transform",
    [Resize(7), Resize((5, 4)), CenterCrop(6), CenterCrop((20, 5)), Pad((1, 2, 3, 0), 7),
     Pad(2, padding_mode="reflect"), Grayscale(), Grayscale(3), RandomCrop(4, pad_if_needed=True),
     RandomHorizontalFlip(1.0), RandomRotation(0)],
    ids=repr,
)  # fmt: skip
def test_pil_images_tensors_and_batches_mean_the_same(transform):
    image = picture()
    tg.manual_seed(0)
    done = transform(image)
    tg.manual_seed(0)
    tensor = transform(PILToTensor()(image))
    batch = transform(PILToTensor()(image).numpy()[None], tg.Generator(0).numpy)
    ours = PILToTensor()(done).numpy()
    assert isinstance(done, Image.Image)
    np.testing.assert_allclose(tensor.numpy().astype(int), ours.astype(int), atol=1)
    np.testing.assert_allclose(batch[0].astype(int), ours.astype(int), atol=1)


def test_sizes_are_torchvision_s():
    image = picture(50, 73)
    assert Resize(32)(image).size == (46, 32)
    assert Resize(32, max_size=40)(image).size == (40, 27)
    assert Resize([10, 20], interpolation="nearest")(image).size == (20, 10)
    crop = np.asarray(CenterCrop((3, 4))(image))
    np.testing.assert_array_equal(crop, np.asarray(image)[24:27, 34:38])
    wide = np.asarray(CenterCrop((2, 76))(image))
    assert (wide[:, :1] == 0).all()
    assert (wide[:, 74:] == 0).all()
    assert Pad([1, 2])(image).size == (75, 54)
    floats = Resize((25, 36))(ToTensor()(image)).numpy()  # smoothed, not sampled
    np.testing.assert_allclose(floats.mean(), np.asarray(image).mean() / 255, atol=0.01)
    assert floats.std() < 0.7 * np.asarray(image).std() / 255


def test_tensors_of_images():
    image = picture()
    tensor = ToTensor()(image)
    assert (tensor.shape, tensor.dtype) == ((3, 9, 12), np.float32)
    np.testing.assert_array_equal(
        tensor.numpy(), np.asarray(image).transpose(2, 0, 1) / np.float32(255)
    )
    np.testing.assert_array_equal(
        PILToTensor()(image).numpy(), np.asarray(image).transpose(2, 0, 1)
    )
    deep = Image.fromarray(np.array([[0, 40000]], np.uint16))
    assert ToTensor()(deep).tolist() == [[[0, 40000]]]
    assert ToTensor()(Image.fromarray(np.array([[0.5]], np.float32))).tolist() == [[[0.5]]]
    assert ToTensor()(Image.new("1", (1, 1), 1)).tolist() == [[[1.0]]]
    scaled = Normalize([0.5] * 3, [0.25] * 3)(tensor).numpy()
    np.testing.assert_allclose(scaled, (tensor.numpy() - 0.5) / 0.25, atol=1e-6)
    assert Lambda(lambda x: x + 1)(tensor).shape == tensor.shape
    for dtype, largest in ((tg.uint8, 255), (tg.int16, 32767)):
        there = ConvertImageDtype(dtype)(tg.tensor([[[0.0, 1.0]]]))
        assert there.tolist() == [[[0, largest]]]
        assert ConvertImageDtype(tg.float32)(there).tolist() == [[[0.0, 1.0]]]
    assert ConvertImageDtype(tg.int16)(tg.tensor([[[255]]], dtype=tg.uint8)).item() == 255 << 7


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Normalize([0.5] * 3, [1] * 3)(picture()), "Normalize: .*ToTensor"),
        (lambda: ToFloat()(picture()), "ToFloat: .*PIL image"),
        (lambda: RandomCrop(20)(picture()), "RandomCrop: `size` .* larger than images of 9x12"),
        (lambda: RandomCrop(4, 0, "edge"), "RandomCrop: `pad_if_needed` is 'edge'"),
        (lambda: RandomHorizontalFlip()(picture().convert("P")), "RandomHorizontalFlip: .*'P'"),
        (lambda: RandomHorizontalFlip()("image"), "RandomHorizontalFlip: `images` is a str"),
        (lambda: ToTensor()("image"), "ToTensor: `image` is str"),
        (lambda: Resize(0), "Resize: `size`"),
        (lambda: Resize(8, "cubic"), "Resize: `interpolation` is 'cubic'"),
        (lambda: Resize(8, max_size=8), "Resize: `max_size` is 8"),
        (lambda: Pad((1, 2, 3)), "Pad: `padding` must be 1, 2 or 4"),
        (lambda: Grayscale(2), "Grayscale: `num_output_channels` is 2"),
        (lambda: Lambda(3), "Lambda: `lambd` is a int"),
        (lambda: ConvertImageDtype("bool"), "ConvertImageDtype: `dtype` is bool"),
        (lambda: ImageFolder(".", transform=3), "ImageFolder: `transform` is a int"),
    ],
)
def test_mistakes_name_the_argument(act, message):
    with pytest.raises((TypeError, ValueError), match=message):
        act()


def test_a_loader_of_pil_images_says_what_to_do(pets):
    with pytest.raises(TypeError, match="transform=ToTensor"):
        next(iter(DataLoader(ImageFolder(pets), 2)))
