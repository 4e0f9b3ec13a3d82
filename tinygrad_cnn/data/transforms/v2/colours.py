"""Transforms of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.transforms import Images
from tinygrad_cnn.data.transforms.v2 import functional as f
from tinygrad_cnn.data.transforms.v2.base import Parameters, Size, Transform, chance, pair
from tinygrad_cnn.errors import ArgumentError


class Grayscale(Transform):
    """Images in grey, in one channel or in three equal ones.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> Grayscale()(tg.ones(3, 2, 2)).shape
    Size([1, 2, 2])
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels
        f.rgb_to_grayscale(np.zeros((0, 3, 1, 1)), num_output_channels)  # checks it

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` in grey."""
        return f.rgb_to_grayscale(images, self.num_output_channels)


class _Chance(Transform):
    """Base of transforms that happen with a probability."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = chance(type(self).__name__, p)


class RandomGrayscale(_Chance):
    """Images in grey with probability ``p``, with as many channels.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandomGrayscale(1.0)(tg.ones(3, 2, 2)).shape
    Size([3, 2, 2])
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` in grey."""
        return f.rgb_to_grayscale(images, images.shape[1])


class RandomInvert(_Chance):
    """Negatives with probability ``p``.

    >>> RandomInvert(1.0)(np.zeros((1, 1, 1, 1)), np.random.default_rng(0)).item()
    1.0
    """

    def transform(self, images: Images, **params: Any) -> Any:
        """Return negatives."""
        return f.invert(images)


class RandomAutocontrast(_Chance):
    """Each channel stretched over the whole range with probability ``p``."""

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` stretched."""
        return f.autocontrast(images)


class RandomEqualize(_Chance):
    """Each channel with equally many pixels of each brightness, with probability ``p``."""

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` equalised."""
        return f.equalize(images)


class RandomPosterize(_Chance):
    """Only the first ``bits`` bits of colours, with probability ``p``."""

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        if not isinstance(bits, int) or not 0 <= bits <= 8:
            raise ArgumentError(f"RandomPosterize: `bits` is {bits!r}, expected 0 to 8")
        self.bits = bits

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` of fewer colours."""
        return f.posterize(images, self.bits)


class RandomSolarize(_Chance):
    """Inverted where it is bright (at least ``threshold``), with probability ``p``."""

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` inverted in part."""
        return f.solarize(images, self.threshold)


class RandomAdjustSharpness(_Chance):
    """Sharper by a factor with probability ``p``: 0 is smooth, 1 as it is."""

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        if not sharpness_factor >= 0:
            raise ArgumentError(
                f"RandomAdjustSharpness: `sharpness_factor` is {sharpness_factor}, expected at "
                "least 0"
            )
        self.sharpness_factor = sharpness_factor

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` sharper."""
        return f.adjust_sharpness(images, self.sharpness_factor)


def _factors(name: str, value: Any, centre: float, least: float, most: float) -> Any:
    """The range of a factor; None where it would always change nothing."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not value >= 0:
            raise ArgumentError(f"ColorJitter: `{name}` is {value}, expected at least 0")
        value = (max(centre - value, least) if centre else -value, centre + value)
    low, high = pair("ColorJitter", name, value)
    if not least <= low <= high <= most:
        raise ArgumentError(
            f"ColorJitter: `{name}` is {value}, expected numbers from {least:g} to {most:g}"
        )
    return None if low == high == centre else (low, high)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by random factors, in a random order.

    Parameters
    ----------
    brightness, contrast, saturation
        a range of factors, or a number for ``(max(0, 1 - number), 1 + number)``.
    hue
        a range, or a number for ``(-number, number)``, in turns of the circle of colours, at most
        half a turn.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> ColorJitter(0.2, 0.2, 0.2, 0.05)(tg.zeros(3, 4, 4)).shape
    Size([3, 4, 4])
    """

    def __init__(
        self,
        brightness: float | Sequence[float] | None = None,
        contrast: float | Sequence[float] | None = None,
        saturation: float | Sequence[float] | None = None,
        hue: float | Sequence[float] | None = None,
    ) -> None:
        self.brightness = _factors("brightness", brightness, 1, 0, math.inf)
        self.contrast = _factors("contrast", contrast, 1, 0, math.inf)
        self.saturation = _factors("saturation", saturation, 1, 0, math.inf)
        self.hue = _factors("hue", hue, 0, -0.5, 0.5)

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """The order and the factors."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        low, high = np.array([r or (0.0, 0.0) for r in ranges]).T
        return {
            "order": np.argsort(rng.random((n, 4)), axis=1),
            "factors": low + (high - low) * rng.random((n, 4)),
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` with other colours."""
        order, factors = params["order"], params["factors"]
        order = np.broadcast_to(order, (len(images), 4))
        factors = np.broadcast_to(factors, (len(images), 4))
        steps = (
            (self.brightness, f.adjust_brightness),
            (self.contrast, f.adjust_contrast),
            (self.saturation, f.adjust_saturation),
            (self.hue, f.adjust_hue),
        )
        out = images.copy()
        for place in range(4):
            for number, (wanted, adjust) in enumerate(steps):
                chosen = order[:, place] == number
                if wanted is not None and chosen.any():
                    out[chosen] = adjust(out[chosen], factors[chosen, number])
        return out
