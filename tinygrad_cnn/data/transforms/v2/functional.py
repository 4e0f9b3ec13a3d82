"""What the transforms do, with torchvision's names: functions of one image or of several.

An image is a PIL image, a `Tensor` (…, c, h, w), or an array (n, c, h, w), of bytes or of floats in
[0, 1]; the result is of the same kind and dtype. Numbers such as angles and factors may be arrays
(n,), one for each image. Of bytes, results are computed in float32.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from tinygrad_cnn.data.single import CenterCrop, ConvertImageDtype, Pad, PILToTensor, Resize
from tinygrad_cnn.data.single import Grayscale as _Grayscale
from tinygrad_cnn.data.transforms import (
    Images,
    channels_last,
    check_images,
    is_pil,
    pil_of,
    pixels_of,
)
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Numbers = float | Array
Fill = float | Sequence[float] | None
_F = TypeVar("_F", bound=Callable[..., Any])

_LUMA: Final = np.array([0.2989, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
_PART: Final = 1 << 20  # numbers of images sampled together: what is computed for them is in cache


class InterpolationMode(enum.Enum):
    """How numbers between pixels are found; their values, which are words, are taken as well."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def planes(name: str, image: Any) -> tuple[Images, Callable[[Images], Any]]:
    """Images (n, c, h, w), and what makes of such the kind that ``image`` is."""
    if is_pil(image):
        array = pixels_of(name, image).transpose(2, 0, 1)[None]  # (1, c, h, w)

        def picture(out: Images) -> Any:
            mode = (
                image.mode if out.shape[1] == array.shape[1] else {1: "L", 3: "RGB"}[out.shape[1]]
            )
            return pil_of(out[0].transpose(1, 2, 0), mode)

        return array, picture
    if isinstance(image, Tensor):
        if image.ndim < 3:
            raise ShapeError(f"{name}: `image` has shape {image.shape}, expected (…, c, h, w)")
        lead = image.shape[:-3]
        array = image._array.reshape(math.prod(lead), *image.shape[-3:])
        check_images(name, array)
        return array, lambda out: from_numpy(
            np.ascontiguousarray(out.reshape(*lead, *out.shape[1:]))
        )
    if isinstance(image, np.ndarray):
        check_images(name, image)
        return image, lambda out: out
    raise DtypeError(
        f"{name}: `image` is a {type(image).__name__}, expected a PIL image, a Tensor (…, c, h, w) "
        "or an array (n, c, h, w)"
    )


def _of_images(call: _F) -> _F:
    """``call(images (n, c, h, w), …)`` for an image of any kind."""

    @functools.wraps(call)
    def taken(image: Any, *args: Any, **kwargs: Any) -> Any:
        array, back = planes(call.__name__, image)
        return back(call(array, *args, **kwargs))

    return taken  # type: ignore[return-value]


def _each(value: Any, images: Images) -> Array:
    """A number for all images or one for each, as (n, 1, 1, 1) or (1, 1, 1, 1)."""
    work = np.float64 if images.dtype == np.float64 else np.float32
    out: Array = np.asarray(value, work).reshape(-1, 1, 1, 1)
    return out


def _work(images: Images) -> Images:
    return images.astype(np.float32) if images.dtype in (np.uint8, np.float16) else images


def _top(images: Images) -> float:
    """White."""
    return 255.0 if images.dtype == np.uint8 else 1.0


def _like(out: Images, images: Images) -> Images:
    """``out`` in the range and the dtype of ``images``; bytes are cut, as in torchvision."""
    return out.clip(0, _top(images)).astype(images.dtype, copy=False)


def _blend(images: Images, other: Images, ratio: Any) -> Images:
    share = _each(ratio, images)
    return _like(share * _work(images) + (1 - share) * other, images)


def _grey(images: Images) -> Images:
    """Luma (n, 1, h, w), of bytes rounded down."""
    grey = _work(images)
    if images.shape[1] == 3:
        grey = np.einsum("nchw,c->nhw", grey, _LUMA.astype(grey.dtype))[:, None]
    return np.floor(grey) if images.dtype == np.uint8 else grey


def _check_colours(name: str, images: Images) -> None:
    if images.shape[1] not in (1, 3):
        raise ShapeError(f"{name}: `image` has {images.shape[1]} channels, expected 1 or 3")


# ---- kinds and dtypes -----------------------------------------------------------------------


def to_image(image: Any) -> Tensor:
    """A PIL image or an array (h, w, c) as a Tensor (c, h, w) of the same values.

    >>> to_image(np.zeros((4, 6, 3), np.uint8)).shape
    Size([3, 4, 6])
    """
    return image if isinstance(image, Tensor) else PILToTensor()(image)


pil_to_tensor = to_image


def to_pil_image(image: Any, mode: str | None = None) -> Any:
    """A Tensor (c, h, w), or an array (h, w, c), as a PIL image; floats are times 255."""
    if is_pil(image):
        return image
    tensor = to_image(image)
    array = (tensor[None] if tensor.ndim == 2 else tensor)._array
    if array.dtype.kind == "f":
        array = array * 255
    known = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    if array.ndim != 3 or len(array) not in known:
        raise ShapeError(f"to_pil_image: `image` has shape {tensor.shape}, expected (1–4, h, w)")
    return pil_of(array.astype(np.uint8).transpose(1, 2, 0), mode or known[len(array)])


def to_dtype(image: Tensor, dtype: DTypeLike = np.float32, scale: bool = False) -> Tensor:
    """``image`` with the dtype; with ``scale``, from the range of one type to that of the other.

    >>> import tinygrad_cnn as tg
    >>> to_dtype(tg.tensor([[[255, 51]]], dtype=tg.uint8), tg.float32, scale=True)
    tensor([[[1.0000, 0.2000]]])
    """
    return ConvertImageDtype(dtype)(image) if scale else image.to(dtype_of(dtype))


@_of_images
def normalize(
    image: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Any:
    """``(image - mean) / std`` by channel, of floats.

    >>> import tinygrad_cnn as tg
    >>> normalize(tg.ones(2, 1, 1), mean=[0.5, 0], std=[0.25, 2]).flatten()
    tensor([2.0000, 0.5000])
    """
    if image.dtype.kind != "f":
        raise DtypeError(
            f"normalize: `image` is {image.dtype}, expected floats: "
            "ToDtype(tg.float32, scale=True) first"
        )
    if inplace:
        raise ArgumentError("normalize: `inplace` is True, expected False: images are not changed")
    values = np.array(mean, image.dtype), np.array(std, image.dtype)
    for name, given in zip(("mean", "std"), values, strict=True):
        if given.size not in (1, image.shape[1]):
            raise ShapeError(
                f"normalize: `{name}` has {given.size} numbers, expected one for each of the "
                f"{image.shape[1]} channels"
            )
    if (values[1] == 0).any():
        raise ArgumentError(f"normalize: `std` is {std}, expected no 0")
    first, second = (value.reshape(-1, 1, 1) for value in values)
    return (image - first) / second


def get_dimensions(image: Any) -> list[int]:
    """Channels, height and width."""
    return list(planes("get_dimensions", image)[0].shape[1:])


def get_size(image: Any) -> list[int]:
    """Height and width."""
    return get_dimensions(image)[1:]


# ---- places ---------------------------------------------------------------------------------


@_of_images
def horizontal_flip(image: Any) -> Any:
    """Mirrored left to right."""
    return image[..., ::-1]


@_of_images
def vertical_flip(image: Any) -> Any:
    """Upside down."""
    return image[..., ::-1, :]


hflip, vflip = horizontal_flip, vertical_flip


def pad(
    image: Any,
    padding: int | Sequence[int],
    fill: float | Sequence[float] | None = 0,
    padding_mode: str = "constant",
) -> Any:
    """Wider and higher: on every side, by (left and right, top and bottom), or by all four (left,
    top, right, bottom).
    """
    array, back = planes("pad", image)
    return back(Pad(padding, 0 if fill is None else fill, padding_mode)(array))


def crop(image: Any, top: Numbers, left: Numbers, height: int, width: int) -> Any:
    """The window with this corner and size; what lies outside is 0."""
    images, back = planes("crop", image)
    tops, lefts = (np.asarray(v, np.int64).reshape(-1) for v in (top, left))
    h, w = images.shape[2:]
    sides = (
        max(-lefts.min(), 0),
        max(-tops.min(), 0),
        max(lefts.max() + width - w, 0),
        max(tops.max() + height - h, 0),
    )
    if any(sides):
        images = Pad([int(side) for side in sides])(images)
        tops, lefts = tops + sides[1], lefts + sides[0]
    if len(tops) == len(lefts) == 1:
        at, across = tops[0], lefts[0]
        return back(images[:, :, at : at + height, across : across + width])
    views = sliding_window_view(images, (height, width), axis=(2, 3))  # (n, c, oh, ow, h, w)
    return back(views[np.arange(len(images)), :, tops, lefts])  # (n, c, h, w)


def center_crop(image: Any, output_size: int | Sequence[int]) -> Any:
    """The middle; smaller images are padded with 0."""
    array, back = planes("center_crop", image)
    return back(CenterCrop(output_size)(array))


def resize(
    image: Any,
    size: int | Sequence[int],
    interpolation: object = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool = True,
) -> Any:
    """In another size: height and width, or that of the shorter side."""
    return Resize(size, interpolation, max_size, antialias)(image)


def resized_crop(
    image: Any,
    top: Numbers,
    left: Numbers,
    height: Numbers,
    width: Numbers,
    size: int | Sequence[int],
    interpolation: object = InterpolationMode.BILINEAR,
    antialias: bool = True,
) -> Any:
    """A window in another size."""
    images, back = planes("resized_crop", image)
    n = len(images)
    boxes = np.stack([np.broadcast_to(v, n) for v in (top, left, height, width)], axis=1)  # (n, 4)
    done = [
        resize(crop(one[None], *map(int, box)), size, interpolation, None, antialias)
        for one, box in zip(images, boxes, strict=True)
    ]
    return back(np.concatenate(done) if done else images)


def erase(
    image: Any, i: Numbers, j: Numbers, h: Numbers, w: Numbers, v: Any, inplace: bool = False
) -> Any:
    """With ``v`` in the rectangle from row i and column j of height h and width w."""
    images, back = planes("erase", image)
    if inplace:
        raise ArgumentError("erase: `inplace` is True, expected False: images are not changed")
    rows, columns = np.arange(images.shape[2]), np.arange(images.shape[3])
    top, left, height, width = (np.asarray(value).reshape(-1, 1) for value in (i, j, h, w))
    down = (rows >= top) & (rows < top + height)  # (n, h)
    across = (columns >= left) & (columns < left + width)  # (n, w)
    inside = (down[:, :, None] & across[:, None, :])[:, None]  # (n, 1, h, w)
    value = np.asarray(v._array if isinstance(v, Tensor) else v)
    value = value.reshape(-1, 1, 1) if value.ndim == 1 else value
    if value.ndim == 3 and value.shape[1:] != (1, 1):  # the rectangle itself
        whole = np.zeros(images.shape, images.dtype)
        at = tuple(int(corner.reshape(-1)[0]) for corner in (top, left))
        whole[..., at[0] : at[0] + value.shape[1], at[1] : at[1] + value.shape[2]] = value
        value = whole
    return back(np.where(inside, value, images).astype(images.dtype))


def affine(
    image: Any,
    angle: Numbers,
    translate: Sequence[Numbers],
    scale: Numbers,
    shear: Sequence[Numbers],
    interpolation: object = InterpolationMode.NEAREST,
    fill: Fill = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Turned clockwise by ``angle`` degrees, moved, enlarged and sheared, in the same size."""
    images, back = planes("affine", image)
    matrix = _forward(angle, scale, shear)
    return back(_moved("affine", images, matrix, translate, interpolation, fill, center))


def rotate(
    image: Any,
    angle: Numbers,
    interpolation: object = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Fill = None,
) -> Any:
    """Turned counter-clockwise by ``angle`` degrees; with ``expand``, in a size that has it all.

    >>> import tinygrad_cnn as tg
    >>> rotate(tg.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 90)
    tensor([[[2., 4.],
             [1., 3.]]])
    """
    images, back = planes("rotate", image)
    matrix = _forward(-np.asarray(angle), 1.0, (0.0, 0.0))
    size = images.shape[2], images.shape[3]
    if expand:
        if len(matrix) > 1:
            raise ArgumentError(
                "rotate: `expand` is True for angles of several images, which would get several "
                "sizes; expected False"
            )
        h, w = size
        corners = np.array([[w, w, -w, -w], [h, -h, h, -h]]) / 2
        reach = matrix[0] @ corners
        if np.any(np.asarray(angle) % 90):  # otherwise pixels go to pixels
            reach += [[w / 2], [h / 2]]
            reach = np.stack([np.floor(reach.round(3).min(1)), np.ceil(reach.round(3).max(1))], 1)
        wide, high = np.rint(reach.max(1) - reach.min(1))
        size, center = (int(high), int(wide)), None
    return back(_moved("rotate", images, matrix, (0.0, 0.0), interpolation, fill, center, size))


def _forward(angle: Numbers, scale: Numbers, shear: Sequence[Numbers]) -> Array:
    """Matrices (n, 2, 2) that scale, shear along x and y, and turn clockwise, as y points down."""
    turn, sx, sy = (np.deg2rad(np.asarray(v, np.float64).reshape(-1)) for v in (angle, *shear))
    one, zero = np.ones(1), np.zeros(1)

    def matrix(*rows: Array) -> Array:
        return np.stack(np.broadcast_arrays(*rows), axis=-1).reshape(-1, 2, 2)

    rotation = matrix(np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn))
    sheared = matrix(one, zero, -np.tan(sy), one) @ matrix(one, -np.tan(sx), zero, one)
    out: Array = np.asarray(scale, np.float64).reshape(-1, 1, 1) * (rotation @ sheared)
    return out


def _moved(
    name: str,
    images: Images,
    forward: Array,
    translate: Sequence[Numbers],
    interpolation: object,
    fill: Fill,
    center: Sequence[float] | None,
    size: tuple[int, int] | None = None,
) -> Images:
    """Images (n, c, *size), which have at ``forward`` of a place what it was at."""
    mode = getattr(interpolation, "value", interpolation)
    if mode not in ("nearest", "bilinear"):
        raise ArgumentError(
            f"{name}: `interpolation` is {interpolation!r}, expected nearest or bilinear"
        )
    n, c, h, w = images.shape
    oh, ow = size or (h, w)
    middle = np.zeros(2) if center is None else np.array([center[0] - w / 2, center[1] - h / 2])
    move = np.stack(
        np.broadcast_arrays(*(np.asarray(t, np.float64).reshape(-1) for t in translate))
    )
    back = np.linalg.inv(forward)  # (n, 2, 2)
    start = middle - np.einsum(
        "nij,nj->ni", back, np.broadcast_to((move.T + middle), (max(len(back), move.shape[1]), 2))
    )
    back, start = np.broadcast_to(back, (n, 2, 2)), np.broadcast_to(start, (n, 2))
    x, y = np.arange(ow) - (ow - 1) / 2, (np.arange(oh) - (oh - 1) / 2)[:, None]
    colours = _colours(name, fill, images)
    out = np.empty((n, oh, ow, c), images.dtype)
    step = max(1, _PART // max(oh * ow * c, 1))
    for at in range(0, n, step):
        part = slice(at, at + step)
        m, s = back[part, :, :, None, None], start[part, :, None, None]
        columns = m[:, 0, 0] * x + m[:, 0, 1] * y + s[:, 0] + (w - 1) / 2  # (n, oh, ow)
        rows = m[:, 1, 0] * x + m[:, 1, 1] * y + s[:, 1] + (h - 1) / 2
        take = _nearest if mode == "nearest" else _bilinear
        out[part] = take(channels_last(images[part]), rows, columns, colours)
    return out.transpose(0, 3, 1, 2)


def _colours(name: str, fill: Fill, images: Images) -> Array:
    colours = np.asarray(0 if fill is None else fill, _work(images[:0]).dtype)
    if colours.shape not in ((), (1,), (images.shape[1],)):
        raise ShapeError(
            f"{name}: `fill` has {colours.size} numbers, expected one, or one for each of the "
            f"{images.shape[1]} channels"
        )
    return colours


def _pixels(images: Images, rows: Array, columns: Array) -> tuple[Images, Array]:
    """Pixels (n, oh, ow, c) of images (n, h, w, c), and which of them exist (n, oh, ow, 1)."""
    n, h, w, _ = images.shape
    there = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    rows, columns = rows.clip(0, h - 1).astype(np.intp), columns.clip(0, w - 1).astype(np.intp)
    return images[np.arange(n)[:, None, None], rows, columns], there[..., None]


def _nearest(images: Images, rows: Array, columns: Array, fill: Array) -> Images:
    pixels, there = _pixels(images, np.rint(rows), np.rint(columns))
    return np.where(there, pixels, fill.astype(images.dtype))


def _bilinear(images: Images, rows: Array, columns: Array, fill: Array) -> Images:
    top, left = np.floor(rows), np.floor(columns)
    work = _work(images[:0]).dtype
    down, right = (rows - top).astype(work)[..., None], (columns - left).astype(work)[..., None]
    out: Images = np.zeros((*rows.shape, images.shape[3]), work)
    for step_down, share_down in ((0, 1 - down), (1, down)):
        for step_right, share_right in ((0, 1 - right), (1, right)):
            pixels, there = _pixels(images, top + step_down, left + step_right)
            out += share_down * share_right * np.where(there, pixels, fill)
    return np.rint(out) if images.dtype == np.uint8 else out


# ---- colours --------------------------------------------------------------------------------


@_of_images
def rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
    """Luma, in one channel or in three equal ones."""
    return _Grayscale(num_output_channels)(image)


to_grayscale = rgb_to_grayscale


@_of_images
def adjust_brightness(image: Any, brightness_factor: Numbers) -> Any:
    """Times a factor: 0 is black, 1 the image."""
    return _like(_work(image) * _each(brightness_factor, image), image)


@_of_images
def adjust_contrast(image: Any, contrast_factor: Numbers) -> Any:
    """Away from the image's mean grey: 0 is grey, 1 the image."""
    _check_colours("adjust_contrast", image)
    return _blend(image, _grey(image).mean((1, 2, 3), keepdims=True), contrast_factor)


@_of_images
def adjust_saturation(image: Any, saturation_factor: Numbers) -> Any:
    """Away from each pixel's grey: 0 is without colours, 1 the image."""
    _check_colours("adjust_saturation", image)
    return _blend(image, _grey(image), saturation_factor)


@_of_images
def adjust_hue(image: Any, hue_factor: Numbers) -> Any:
    """Colours turned by a part of their circle, from -0.5 to 0.5."""
    _check_colours("adjust_hue", image)
    if (np.abs(hue_factor) > 0.5).any():
        raise ArgumentError(f"adjust_hue: `hue_factor` is {hue_factor}, expected -0.5 to 0.5")
    if image.shape[1] == 1:
        return image
    top = _top(image)
    hue, saturation, value = _to_hsv(_work(image) / top)
    out = _from_hsv(hue + _each(hue_factor, image)[:, 0], saturation, value)
    if image.dtype == np.uint8:
        return np.rint(out * top).astype(np.uint8)
    return _like(out, image)


def _to_hsv(images: Images) -> tuple[Images, Images, Images]:
    """Hue in turns, saturation and value (n, h, w) of images (n, 3, h, w)."""
    red, green, blue = images.transpose(1, 0, 2, 3)
    value, least = images.max(1), images.min(1)
    spread = value - least
    safe = np.where(spread == 0, 1, spread)
    sector = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return sector / 6, spread / np.where(value == 0, 1, value), value


def _from_hsv(hue: Images, saturation: Images, value: Images) -> Images:
    """Images (n, 3, h, w); source: A. R. Smith, "Color gamut transform pairs", 1978."""
    channels = []
    for offset in (5, 3, 1):
        k = (offset + 6 * hue) % 6
        channels.append(value * (1 - saturation * np.minimum(k, 4 - k).clip(0, 1)))
    return np.stack(channels, axis=1)


@_of_images
def adjust_gamma(image: Any, gamma: float, gain: float = 1) -> Any:
    """``gain * image ** gamma``, of white as 1."""
    if gamma < 0:
        raise ArgumentError(f"adjust_gamma: `gamma` is {gamma}, expected at least 0")
    return _like(gain * (_work(image) / _top(image)) ** gamma * _top(image), image)


@_of_images
def adjust_sharpness(image: Any, sharpness_factor: Numbers) -> Any:
    """Away from the smoothed image: 0 is smooth, 1 the image."""
    if min(image.shape[2:]) <= 2:
        return image
    work = _work(image)
    around = sliding_window_view(work, (3, 3), axis=(2, 3)).sum((-2, -1))  # (n, c, h - 2, w - 2)
    inner = (around + 4 * work[:, :, 1:-1, 1:-1]) / 13
    smooth = work.copy()  # the border stays as it is
    smooth[:, :, 1:-1, 1:-1] = np.rint(inner) if image.dtype == np.uint8 else inner
    return _blend(image, smooth, sharpness_factor)


@_of_images
def invert(image: Any) -> Any:
    """White less the image."""
    return image.dtype.type(_top(image)) - image


@_of_images
def posterize(image: Any, bits: Numbers) -> Any:
    """The first ``bits`` bits of each byte."""
    depth = np.asarray(bits, np.int64).reshape(-1, 1, 1, 1)
    if image.dtype == np.uint8:
        return image & (256 - (1 << (8 - depth))).astype(np.uint8)
    levels = (1 << depth).astype(image.dtype)
    return np.floor(image * levels).clip(0, levels - 1) / levels


@_of_images
def solarize(image: Any, threshold: Numbers) -> Any:
    """Inverted where it is at least as bright as the threshold."""
    return np.where(image >= _each(threshold, image), invert(image), image)


@_of_images
def autocontrast(image: Any) -> Any:
    """Each channel stretched over the whole range."""
    _check_colours("autocontrast", image)
    work = _work(image)
    low, high = work.min((2, 3), keepdims=True), work.max((2, 3), keepdims=True)
    flat = low == high
    stretched = (work - np.where(flat, 0, low)) * (_top(image) / np.where(flat, 1, high - low))
    return np.where(flat, image, _like(stretched, image))


@_of_images
def equalize(image: Any) -> Any:
    """Each channel with about as many pixels of each brightness; floats as bytes."""
    _check_colours("equalize", image)
    if image.dtype != np.uint8:
        same = (image.clip(0, 1) * 255.999).astype(np.uint8)
        return (equalize(same) / 255).astype(image.dtype)
    n, c, h, w = image.shape
    flat = image.reshape(n * c, h * w)
    at = flat + 256 * np.arange(n * c)[:, None]
    counts = np.bincount(at.ravel(), minlength=256 * n * c).reshape(n * c, 256)
    last = 255 - (counts[:, ::-1] > 0).argmax(1)  # the brightest there is
    steps = (h * w - counts[np.arange(n * c), last]) // 255
    before = np.cumsum(counts, axis=1) - counts
    table = (before + steps[:, None] // 2) // np.maximum(steps, 1)[:, None]
    table = np.where(steps[:, None] == 0, np.arange(256), table.clip(0, 255)).astype(np.uint8)
    return np.take_along_axis(table, flat.astype(np.intp), axis=1).reshape(image.shape)


@_of_images
def gaussian_blur(image: Any, kernel_size: int | Sequence[int], sigma: Any = None) -> Any:
    """Smoothed by a window of odd width and height; what is outside is mirrored.

    ``sigma`` is a number, one for each image, or a pair (x, y).
    """
    kx, ky = [kernel_size] * 2 if isinstance(kernel_size, int) else kernel_size
    if kx % 2 == 0 or ky % 2 == 0 or min(kx, ky) < 1:
        raise ArgumentError(
            f"gaussian_blur: `kernel_size` is {kernel_size}, expected odd positive numbers"
        )
    h, w = image.shape[2:]
    if ky // 2 >= h or kx // 2 >= w:
        raise ShapeError(
            f"gaussian_blur: `kernel_size` {kernel_size} is too large for images of {h}x{w}"
        )
    pair = sigma if isinstance(sigma, tuple | list) and len(sigma) == 2 else (sigma, sigma)
    out = _work(image)
    for axis, (size, width) in ((3, (kx, pair[0])), (2, (ky, pair[1]))):
        if width is None:
            width = size * 0.15 + 0.35
        if np.min(width) <= 0:
            raise ArgumentError(f"gaussian_blur: `sigma` is {sigma}, expected positive numbers")
        place = np.arange(size) - size // 2
        weights = np.exp(-0.5 * (place / np.asarray(width, np.float64).reshape(-1, 1)) ** 2)
        weights /= weights.sum(1, keepdims=True)  # (n, size)
        sides = [(0, 0)] * 4
        sides[axis] = (size // 2, size // 2)
        padded = np.pad(out, sides, mode="reflect")
        length = image.shape[axis]
        out = sum(
            weights[:, k].astype(out.dtype).reshape(-1, 1, 1, 1)
            * padded[(slice(None),) * axis + (slice(k, k + length),)]
            for k in range(size)
        )
    return (np.rint(out) if image.dtype == np.uint8 else out).astype(image.dtype)
