"""Transforms drawn from a list, by published recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.transforms import Images
from tinygrad_cnn.data.transforms.v2 import functional as f
from tinygrad_cnn.data.transforms.v2.base import Parameters, Size, Transform
from tinygrad_cnn.data.transforms.v2.functional import Fill, InterpolationMode
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.types import Array

Space = dict[str, tuple[Array | None, bool]]
"""Magnitudes of each operation from the least to the most, and whether they may be negative."""

_PLAIN: Final[dict[str, Callable[[Images], Images]]] = {
    "Identity": lambda x: x,
    "AutoContrast": f.autocontrast,
    "Equalize": f.equalize,
}
_FACTOR: Final[dict[str, Callable[[Images, Array], Images]]] = {
    "Brightness": f.adjust_brightness,
    "Color": f.adjust_saturation,
    "Contrast": f.adjust_contrast,
    "Sharpness": f.adjust_sharpness,
}


def _space(
    bins: int, shear: float, move: tuple[Any, Any], turn: float, factor: float, bits: int
) -> Space:
    """The operations of all recipes; ``move`` is the most in pixels (x, y)."""

    def up_to(most: float) -> tuple[Array, bool]:
        return np.linspace(0.0, most, bins), True

    depth = 8 - np.rint(np.arange(bins) * bits / max(bins - 1, 1))
    return {
        "Identity": (None, False),
        "ShearX": up_to(shear),
        "ShearY": up_to(shear),
        "TranslateX": up_to(move[0]),
        "TranslateY": up_to(move[1]),
        "Rotate": up_to(turn),
        "Brightness": up_to(factor),
        "Color": up_to(factor),
        "Contrast": up_to(factor),
        "Sharpness": up_to(factor),
        "Posterize": (depth, False),
        "Solarize": (np.linspace(1.0, 0.0, bins), False),
        "AutoContrast": (None, False),
        "Equalize": (None, False),
    }


class _Drawn(Transform):
    """Base: each image gets operations of a list, one after the other."""

    _steps = 1

    def __init__(self, bins: int, interpolation: object, fill: Fill) -> None:
        name = type(self).__name__
        if not isinstance(bins, int) or bins < 2:
            raise ArgumentError(f"{name}: `num_magnitude_bins` is {bins!r}, expected at least 2")
        self.num_magnitude_bins = bins
        self.interpolation, self.fill = interpolation, fill

    def _space(self, size: Size) -> Space:
        raise NotImplementedError

    def _strengths(self, rng: Random, shape: tuple[int, ...]) -> Array:
        """Which magnitude of its list each step takes."""
        raise NotImplementedError

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """Operations, magnitudes and signs (n, steps)."""
        space = self._space(size)
        shape = (n, self._steps)
        operation = rng.integers(0, len(space), shape)
        place = self._strengths(rng, shape)
        table = np.stack(
            [np.zeros(self.num_magnitude_bins) if m is None else m for m, _ in space.values()]
        )
        signed = np.array([s for _, s in space.values()])[operation]
        sign = np.where(signed & (rng.random(shape) < 0.5), -1, 1)
        return {
            "operation": operation,
            "amount": table[operation, place] * sign,
            "names": list(space),
        }

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` after the steps."""
        names = params["names"]
        shape = (len(images), params["operation"].shape[1])
        operation = np.broadcast_to(params["operation"], shape)
        amount = np.broadcast_to(params["amount"], shape)
        out = images.copy()
        for step in range(shape[1]):
            for number, name in enumerate(names):
                chosen = operation[:, step] == number
                if chosen.any():
                    out[chosen] = self._apply(name, out[chosen], amount[chosen, step])
        return out

    def _apply(self, name: str, images: Images, amount: Array) -> Any:
        if name in _PLAIN:
            return _PLAIN[name](images)
        if name in _FACTOR:
            return _FACTOR[name](images, 1 + amount)
        if name == "Posterize":
            return f.posterize(images, amount)
        if name == "Solarize":
            white = 255 if images.dtype == np.uint8 else 1
            return f.solarize(images, white * amount)
        zero = np.zeros(1)
        if name == "Rotate":
            return f.rotate(images, amount, self.interpolation, fill=self.fill)
        tilt = np.rad2deg(np.arctan(amount))
        move = np.trunc(amount)
        return f.affine(
            images,
            zero,
            (move if name == "TranslateX" else zero, move if name == "TranslateY" else zero),
            1.0,
            (tilt if name == "ShearX" else zero, tilt if name == "ShearY" else zero),
            self.interpolation,
            self.fill,
            (0, 0) if name.startswith("Shear") else None,
        )


class RandAugment(_Drawn):
    """``num_ops`` operations at random, all of one magnitude.

    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search
    space", 2020.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> RandAugment()(tg.zeros(3, 8, 8, dtype=tg.uint8), 3)[1]
    3
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: object = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(num_magnitude_bins, interpolation, fill)
        if not isinstance(num_ops, int) or num_ops < 1:
            raise ArgumentError(f"RandAugment: `num_ops` is {num_ops!r}, expected at least 1")
        if not isinstance(magnitude, int) or not 0 <= magnitude < num_magnitude_bins:
            raise ArgumentError(
                f"RandAugment: `magnitude` is {magnitude!r}, expected 0 to "
                f"{num_magnitude_bins - 1} (`num_magnitude_bins` is {num_magnitude_bins})"
            )
        self.num_ops = self._steps = num_ops
        self.magnitude = magnitude

    def _space(self, size: Size) -> Space:
        most = 150 / 331  # pixels of an image of 331, to which the paper brings them
        move = (most * size[2], most * size[1])
        return _space(self.num_magnitude_bins, 0.3, move, 30.0, 0.9, 4)

    def _strengths(self, rng: Random, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.magnitude)


class TrivialAugmentWide(_Drawn):
    """One operation at random, of a random magnitude.

    Source: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation",
    2021.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> TrivialAugmentWide()(tg.zeros(3, 8, 8)).shape
    Size([3, 8, 8])
    """

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: object = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(num_magnitude_bins, interpolation, fill)

    def _space(self, size: Size) -> Space:
        return _space(self.num_magnitude_bins, 0.99, (32.0, 32.0), 135.0, 0.99, 6)

    def _strengths(self, rng: Random, shape: tuple[int, ...]) -> Array:
        return rng.integers(0, self.num_magnitude_bins, shape)


class AugMix(_Drawn):
    """The image mixed with several of its own variants.

    Source: Hendrycks et al., "AugMix: a simple data processing method to improve robustness and
    uncertainty", 2020.

    Parameters
    ----------
    severity
        1 to 10: magnitudes are drawn from so many of the least.
    mixture_width
        how many variants.
    chain_depth
        operations of each; -1 is 1, 2 or 3 at random.
    alpha
        of the distributions of the weights: Dirichlet's of the variants, Beta of the image.
    all_ops
        with brightness, contrast, colours and sharpness.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> AugMix()(tg.zeros(3, 8, 8)).shape
    Size([3, 8, 8])
    """

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: object = InterpolationMode.BILINEAR,
        fill: Fill = None,
    ) -> None:
        super().__init__(10, interpolation, fill)
        if not isinstance(severity, int) or not 1 <= severity <= 10:
            raise ArgumentError(f"AugMix: `severity` is {severity!r}, expected 1 to 10")
        if not isinstance(mixture_width, int) or mixture_width < 1:
            raise ArgumentError(f"AugMix: `mixture_width` is {mixture_width!r}, expected 1 or more")
        if chain_depth == 0 or chain_depth < -1:
            raise ArgumentError(
                f"AugMix: `chain_depth` is {chain_depth!r}, expected -1, or 1 or more"
            )
        if not alpha > 0:
            raise ArgumentError(f"AugMix: `alpha` is {alpha}, expected a positive number")
        self.severity, self.mixture_width, self.chain_depth = severity, mixture_width, chain_depth
        self.alpha, self.all_ops = alpha, all_ops
        self._depth = 3 if chain_depth < 0 else chain_depth
        self._steps = self._depth * mixture_width

    def _space(self, size: Size) -> Space:
        space = _space(10, 0.3, (size[2] / 3, size[1] / 3), 30.0, 0.9, 4)
        space["Posterize"] = (4 - np.rint(np.arange(10) * 4 / 9), False)
        del space["Identity"]
        return {k: v for k, v in space.items() if self.all_ops or k not in _FACTOR}

    def _strengths(self, rng: Random, shape: tuple[int, ...]) -> Array:
        return rng.integers(0, self.severity, shape)

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """Operations, how many of them, and weights (n, width + 1), the first the image's."""
        params = super().make_params(rng, n, size)
        width = self.mixture_width
        depth = np.full((n, width), self._depth)
        if self.chain_depth < 0:
            depth = rng.integers(1, 4, (n, width))
        share = rng.beta(self.alpha, self.alpha, (n,))
        weights, left = [share], 1 - share
        for k in range(width - 1, 0, -1):  # Dirichlet's, by breaking a stick
            part = rng.beta(self.alpha, self.alpha * k, (n,))
            weights.append(left * part)
            left = left * (1 - part)
        return {**params, "depth": depth, "weights": np.stack([*weights, left], axis=1)}

    def transform(self, images: Images, **params: Any) -> Any:
        """Return mixtures of ``images`` and their variants."""
        work = np.float64 if images.dtype == np.float64 else np.float32
        weights = params["weights"].astype(work)[..., None, None, None]  # (n, width + 1, 1, 1, 1)
        out = weights[:, 0] * images
        for i in range(self.mixture_width):
            part = slice(i * self._depth, (i + 1) * self._depth)
            variant = images
            for step in range(self._depth):
                own = {
                    "operation": params["operation"][:, part][:, step : step + 1],
                    "amount": params["amount"][:, part][:, step : step + 1],
                    "names": params["names"],
                }
                goes_on = params["depth"][:, i] > step
                changed = super().transform(variant, **own)
                variant = np.where(goes_on[:, None, None, None], changed, variant)
            out = out + weights[:, 1 + i] * variant
        return out.astype(images.dtype)
