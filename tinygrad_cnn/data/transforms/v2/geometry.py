"""Transforms of size, place and kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.single import Pad as _Pad
from tinygrad_cnn.data.single import Resize as _Resize
from tinygrad_cnn.data.transforms import Images, is_pil, sides_of, size_of
from tinygrad_cnn.data.transforms.v2 import functional as f
from tinygrad_cnn.data.transforms.v2.base import (
    Parameters,
    Size,
    Transform,
    chance,
    images_of,
    is_batch,
    leaves,
    pair,
    replaced,
)
from tinygrad_cnn.data.transforms.v2.functional import Fill, InterpolationMode
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class ToImage(Transform):
    """PIL images, and arrays (h, w, c), as Tensors (c, h, w) of the same values.

    Examples
    --------
    >>> image, label = ToImage()(np.zeros((4, 6, 3), np.uint8), 7)
    >>> image.shape, label
    (Size([3, 4, 6]), 7)
    """

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` with Tensors."""
        if is_batch(inputs):
            return inputs[0]

        def change(value: Any) -> Any:
            array = isinstance(value, np.ndarray) and value.ndim in (2, 3)
            return f.to_image(value) if array or is_pil(value) else value

        out = replaced(inputs, change)
        return out[0] if len(inputs) == 1 else out


class PILToTensor(ToImage):
    """The same by its former name."""


class ToPILImage(Transform):
    """Tensors (c, h, w) as PIL images; floats are times 255.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> ToPILImage()(tg.zeros(3, 4, 6)).size
    (6, 4)
    """

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` with PIL images."""
        found = {id(image) for image in images_of(leaves(inputs))}
        out = replaced(inputs, lambda v: f.to_pil_image(v, self.mode) if id(v) in found else v)
        return out[0] if len(inputs) == 1 else out


class ToDtype(Transform):
    """Images in another dtype; with ``scale``, from the range of one to that of the other.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> ToDtype(tg.float32, scale=True)(tg.tensor([[[255, 51]]], dtype=tg.uint8), 3)
    (tensor([[[1.0000, 0.2000]]]), 3)
    """

    def __init__(self, dtype: DTypeLike, scale: bool = False) -> None:
        if isinstance(dtype, Mapping):
            raise DtypeError("ToDtype: `dtype` is a dict, expected one dtype, which images get")
        self.dtype, self.scale = dtype_of(dtype, "ToDtype"), scale

    def _one(self, image: Any, params: Parameters) -> Any:
        if is_pil(image):
            raise DtypeError(
                "ToDtype: the image is a PIL image, expected a Tensor: ToImage() first"
            )
        return f.to_dtype(image, self.dtype, self.scale)

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` with the dtype."""
        return f.to_dtype(from_numpy(images), self.dtype, self.scale)._array


class ConvertImageDtype(ToDtype):
    """The same by its former name, with scaling."""

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        super().__init__(dtype, scale=True)


class Normalize(Transform):
    """``(image - mean) / std`` by channel, of floats.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> Normalize([0.5], [0.25])(tg.ones(1, 1, 2))
    tensor([[[2., 2.]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = list(mean), list(std), inplace

    def _one(self, image: Any, params: Parameters) -> Any:
        if is_pil(image):
            raise DtypeError(
                "Normalize: the image is a PIL image, expected a Tensor: ToImage() first"
            )
        return f.normalize(image, self.mean, self.std, self.inplace)

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` normalised."""
        return f.normalize(images, self.mean, self.std, self.inplace)


class Resize(Transform):
    """Images in another size; one number is that of the shorter side.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> Resize(16)(tg.zeros(3, 32, 48)).shape
    Size([3, 16, 24])
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: object = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        self.size, self.interpolation = size, interpolation
        self.max_size, self.antialias = max_size, antialias
        self._resize = _Resize(size, interpolation, max_size, antialias)  # checks them

    def _one(self, image: Any, params: Parameters) -> Any:
        return self._resize(image)  # Pillow's of a PIL image, all channels at once

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` in the size."""
        return self._resize(images)


class CenterCrop(Transform):
    """The middle of images; smaller ones are padded with 0.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> CenterCrop(2)(tg.arange(9.0).reshape(1, 3, 3)).tolist()
    [[[0.0, 1.0], [3.0, 4.0]]]
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size_of("CenterCrop", size)

    def transform(self, images: Images, **params: Any) -> Any:
        """Return the middles."""
        return f.center_crop(images, self.size)


class Pad(Transform):
    """Images with more at the sides.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> Pad((1, 2))(tg.zeros(3, 4, 4)).shape
    Size([3, 8, 6])
    """

    def __init__(
        self,
        padding: int | Sequence[int],
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode
        _Pad(padding, fill, padding_mode)  # checks them

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` padded."""
        return f.pad(images, self.padding, self.fill, self.padding_mode)


class RandomCrop(Transform):
    """A random window of images, after padding them.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomCrop(32, padding=4)(tg.zeros(3, 32, 32)).shape
    Size([3, 32, 32])
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size, self.padding, self.pad_if_needed = (
            size_of("RandomCrop", size),
            padding,
            pad_if_needed,
        )
        self.fill, self.padding_mode = fill, padding_mode
        self._sides = sides_of("RandomCrop", 0 if padding is None else padding)
        _Pad(self._sides, fill, padding_mode)  # checks them

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """Corners of the windows in the padded images."""
        left, top, right, bottom = self._sides
        h, w = size[1] + top + bottom, size[2] + left + right
        height, width = self.size
        if self.pad_if_needed:
            more_w, more_h = max(width - w, 0), max(height - h, 0)
            left, right, top, bottom = left + more_w, right + more_w, top + more_h, bottom + more_h
            h, w = h + 2 * more_h, w + 2 * more_w
        if h < height or w < width:
            raise ArgumentError(
                f"RandomCrop: `size` {self.size} is larger than images of {size[1]}x{size[2]} with "
                f"padding {self.padding}; enlarge `padding`, or pad_if_needed=True"
            )
        return {
            "sides": (left, top, right, bottom),
            "top": rng.integers(0, h - height + 1, (n,)),
            "left": rng.integers(0, w - width + 1, (n,)),
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return the windows."""
        if any(params["sides"]):
            images = f.pad(images, params["sides"], self.fill, self.padding_mode)
        return f.crop(images, params["top"], params["left"], *self.size)


def _proportions(ratio: tuple[float, float], rng: Random, n: int) -> Array:
    """Ten for each of n images, spread evenly by their logarithms."""
    low, high = np.log(ratio)
    out: Array = np.exp(rng.uniform(low, high, (n, 10)))
    return out


class RandomResizedCrop(Transform):
    """A window of random area and proportions, brought to ``size``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomResizedCrop(8)(tg.zeros(3, 32, 32)).shape
    Size([3, 8, 8])
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: object = InterpolationMode.BILINEAR,
        antialias: bool = True,
    ) -> None:
        name = "RandomResizedCrop"
        self.size = size_of(name, size)
        self.scale = pair(name, "scale", scale, 0)
        self.ratio = pair(name, "ratio", ratio, 1e-9)
        self.interpolation, self.antialias = interpolation, antialias
        _Resize(self.size, interpolation, None, antialias)  # checks them

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """Windows: the first of ten that fit, else the largest in the middle."""
        _, h, w = size
        area = h * w * rng.uniform(self.scale[0], self.scale[1], (n, 10))
        ratio = _proportions(self.ratio, rng, n)
        width = np.rint(np.sqrt(area * ratio)).astype(np.int64)
        height = np.rint(np.sqrt(area / ratio)).astype(np.int64)
        fits = (0 < width) & (width <= w) & (0 < height) & (height <= h)
        first = np.arange(n), fits.argmax(1)
        width, height, any_fits = width[first], height[first], fits.any(1)
        whole_w, whole_h = w, h
        if w / h < self.ratio[0]:
            whole_h = round(w / self.ratio[0])
        elif w / h > self.ratio[1]:
            whole_w = round(h * self.ratio[1])
        width, height = np.where(any_fits, width, whole_w), np.where(any_fits, height, whole_h)
        top = rng.integers(0, h - height + 1, (n,))
        left = rng.integers(0, w - width + 1, (n,))
        return {
            "top": np.where(any_fits, top, (h - whole_h) // 2),
            "left": np.where(any_fits, left, (w - whole_w) // 2),
            "height": height,
            "width": width,
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return the windows."""
        return f.resized_crop(images, **params, size=self.size, interpolation=self.interpolation)


class RandomHorizontalFlip(Transform):
    """Images mirrored left to right with probability ``p``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomHorizontalFlip(1.0)(tg.arange(3.0).reshape(1, 1, 3), "label")
    (tensor([[[2., 1., 0.]]]), 'label')
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = chance(type(self).__name__, p)

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` mirrored."""
        return f.horizontal_flip(images)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Images turned upside down with probability ``p``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomVerticalFlip(1.0)(tg.arange(3.0).reshape(1, 3, 1)).flatten()
    tensor([2., 1., 0.])
    """

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` upside down."""
        return f.vertical_flip(images)


def _range(name: str, argument: str, value: Any, least: float = 0) -> tuple[float, float]:
    """From ``-value`` to ``value``, or a pair."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (value >= least and math.isfinite(value)):
            raise ArgumentError(f"{name}: `{argument}` is {value}, expected at least {least}")
        return -value, value
    return pair(name, argument, value)


class RandomAffine(Transform):
    """Images turned, moved, enlarged and sheared at random.

    Parameters
    ----------
    degrees, shear
        a range, or a number for ``(-number, number)``; ``shear`` may have four, for x and for y.
    translate
        the most that they are moved, as parts of width and of height.
    scale
        a range of factors.
    interpolation
        ``nearest`` or ``bilinear``.
    fill
        for what comes from outside: a number, or one for each channel.
    center
        the point (x, y) about which they turn, by default the middle.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomAffine(10, translate=(0.1, 0.1))(tg.zeros(3, 8, 8)).shape
    Size([3, 8, 8])
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: object = InterpolationMode.NEAREST,
        fill: Fill = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        name = "RandomAffine"
        self.degrees = _range(name, "degrees", degrees)
        self.translate, self.scale = translate, scale and pair(name, "scale", scale, 1e-9)
        if translate is not None and (
            len(translate) != 2 or not all(0 <= t <= 1 for t in translate)
        ):
            raise ArgumentError(
                f"{name}: `translate` is {translate!r}, expected two numbers from 0 to 1"
            )
        if isinstance(shear, Sequence) and len(shear) == 4:
            self.shear: tuple[float, ...] | None = (
                *pair(name, "shear", shear[:2]),
                *pair(name, "shear", shear[2:]),
            )
        else:
            self.shear = None if shear is None else (*_range(name, "shear", shear), 0.0, 0.0)
        self.interpolation, self.fill, self.center = interpolation, fill, center

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """How each image is turned, moved, enlarged and sheared."""
        reach = [
            (part * side) for part, side in zip(self.translate or (0, 0), size[:0:-1], strict=True)
        ]
        scale, shear = self.scale or (1.0, 1.0), self.shear or (0.0,) * 4
        return {
            "angle": rng.uniform(self.degrees[0], self.degrees[1], (n,)),
            "x": np.rint(rng.uniform(-reach[0], reach[0], (n,))),
            "y": np.rint(rng.uniform(-reach[1], reach[1], (n,))),
            "scale": rng.uniform(scale[0], scale[1], (n,)),
            "shear_x": rng.uniform(shear[0], shear[1], (n,)),
            "shear_y": rng.uniform(shear[2], shear[3], (n,)),
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` changed."""
        return f.affine(
            images,
            params["angle"],
            (params["x"], params["y"]),
            params["scale"],
            (params["shear_x"], params["shear_y"]),
            self.interpolation,
            self.fill,
            self.center,
        )


class RandomRotation(Transform):
    """Images turned by a random angle.

    Parameters
    ----------
    degrees
        a range, or a number for ``(-number, number)``; counter-clockwise.
    expand
        make the image as large as the turned one; not in batches.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomRotation((90, 90))(tg.tensor([[[1.0, 2.0], [3.0, 4.0]]])).flatten()
    tensor([2., 4., 1., 3.])
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: object = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Fill = 0,
    ) -> None:
        self.degrees = _range("RandomRotation", "degrees", degrees)
        self.interpolation, self.expand = interpolation, expand
        self.center, self.fill = center, fill

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """The angles."""
        return {"angle": rng.uniform(self.degrees[0], self.degrees[1], (n,))}

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` turned."""
        return f.rotate(
            images, params["angle"], self.interpolation, self.expand, self.center, self.fill
        )


class RandomErasing(Transform):
    """A random rectangle painted over, with probability ``p``.

    Parameters
    ----------
    scale
        a range for its part of the image's area.
    ratio
        a range for its height over its width.
    value
        a number, one for each channel, or ``"random"`` for normally distributed numbers.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> erased = RandomErasing(1.0, scale=(0.25, 0.25), ratio=(1, 1))(tg.ones(1, 8, 8))
    >>> erased.sum().item()
    48.0
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
        inplace: bool = False,
    ) -> None:
        self.p = chance("RandomErasing", p)
        self.scale = pair("RandomErasing", "scale", scale, 0)
        if self.scale[1] > 1:
            raise ArgumentError(f"RandomErasing: `scale` is {scale}, expected numbers from 0 to 1")
        self.ratio = pair("RandomErasing", "ratio", ratio, 1e-9)
        if isinstance(value, str) and value != "random":
            raise ArgumentError(
                f"RandomErasing: `value` is {value!r}, expected 'random' or numbers"
            )
        self.value, self.inplace = value, inplace

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """Rectangles: the first of ten that fit, else none."""
        c, h, w = size
        area = h * w * rng.uniform(self.scale[0], self.scale[1], (n, 10))
        ratio = _proportions(self.ratio, rng, n)
        height = np.rint(np.sqrt(area * ratio)).astype(np.int64)
        width = np.rint(np.sqrt(area / ratio)).astype(np.int64)
        fits = (height < h) & (width < w)
        first = np.arange(n), fits.argmax(1)
        height = np.where(fits.any(1), height[first], 0)
        width = np.where(fits.any(1), width[first], 0)
        value: Any = self.value
        if value == "random":
            value = rng.standard_normal((n, c, h, w))
        elif not isinstance(value, int | float) and len(value) not in (1, c):
            raise ArgumentError(
                f"RandomErasing: `value` has {len(value)} numbers, expected one, or one for each "
                f"of the {c} channels"
            )
        return {
            "i": rng.integers(0, h - height + 1, (n,)),
            "j": rng.integers(0, w - width + 1, (n,)),
            "h": height,
            "w": width,
            "v": value,
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` with rectangles."""
        return f.erase(images, **params, inplace=self.inplace)


class GaussianBlur(Transform):
    """Images smoothed by a window of odd size.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> GaussianBlur(3, sigma=1.0)(tg.ones(1, 4, 4)).shape
    Size([1, 4, 4])
    """

    def __init__(
        self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)
    ) -> None:
        sides = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sides) > 2 or any(side < 1 or side % 2 == 0 for side in sides):
            raise ArgumentError(
                f"GaussianBlur: `kernel_size` is {kernel_size}, expected one or two odd positive "
                "numbers"
            )
        self.kernel_size = kernel_size
        spread = (sigma, sigma) if isinstance(sigma, int | float) else sigma
        self.sigma = pair("GaussianBlur", "sigma", spread, 1e-9)

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """How far each is smoothed."""
        return {"sigma": rng.uniform(self.sigma[0], self.sigma[1], (n,))}

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` smoothed."""
        return f.gaussian_blur(images, self.kernel_size, params["sigma"])


class ToTensor(ToImage):
    """PIL images and arrays (h, w, c) as Tensors (c, h, w) of floats: `ToImage`, then `ToDtype`.

    Examples
    --------
    >>> ToTensor()(np.full((1, 2, 1), 51, np.uint8))
    tensor([[[0.2000, 0.2000]]])
    """

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` with Tensors of floats."""
        if is_batch(inputs):
            return f.to_dtype(from_numpy(inputs[0]), np.float32, scale=True)._array
        found = {id(v) for v in leaves(inputs) if isinstance(v, Tensor)}

        def change(value: Any) -> Any:
            if id(value) in found or not (isinstance(value, np.ndarray) or is_pil(value)):
                return value
            return f.to_dtype(f.to_image(value), np.float32, scale=True)

        out = replaced(inputs, change)
        return out[0] if len(inputs) == 1 else out
