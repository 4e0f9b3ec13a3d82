"""Images per second through each batch transform, beside the loop over images that it replaces.

    python benchmarks/augmentation.py [--batch 128] [--rounds 7]

The loop does to one image at a time what a first version does: slices and `numpy.pad`, and
`scipy.ndimage.rotate`. Both take turns in one process on one thread; the ratio is the median over
the rounds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from turns import median_seconds

from tinygrad_cnn import data

MEAN, STD = data.CIFAR10.mean, data.CIFAR10.std
Image = np.ndarray


def flip(image: Image, rng: np.random.Generator) -> Image:
    """Mirror an image (c, h, w) half of the time."""
    return image[:, :, ::-1] if rng.random() < 0.5 else image


def shift(image: Image, rng: np.random.Generator) -> Image:
    """Move by up to an eighth, reflecting at the border."""
    return crop(image, rng, mode="reflect")


def crop(image: Image, rng: np.random.Generator, mode: str = "constant") -> Image:
    """Pad by 4 and cut a window of 32 x 32."""
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode=mode)
    y, x = rng.integers(0, 9, 2)
    return padded[:, y : y + 32, x : x + 32]


def rotation(image: Image, rng: np.random.Generator) -> Image:
    """Turn by up to 15 degrees."""
    angle = rng.uniform(-15, 15)
    return ndimage.rotate(image, angle, axes=(1, 2), reshape=False, order=1, mode="reflect")


def jitter(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast and saturation by up to a fifth."""
    b, c, s = rng.uniform(0.8, 1.2, 3)
    x = image * np.float32(b)
    x = c * x + (1 - c) * (x * GREY).sum(axis=0).mean()
    x = s * x + (1 - s) * (x * GREY).sum(axis=0)
    return np.rint(x.clip(0, 255)).astype(np.uint8)


def cutout(image: Image, rng: np.random.Generator) -> Image:
    """Paint a grey square of 8 x 8."""
    y, x = rng.integers(0, 32, 2)
    out = image.copy()
    out[:, max(y - 4, 0) : y + 4, max(x - 4, 0) : x + 4] = 128
    return out


def normalize(image: Image, rng: np.random.Generator) -> Image:
    """Bytes to normalised floats."""
    mean, std = (np.reshape(v, (3, 1, 1)).astype(np.float32) for v in (MEAN, STD))
    return (image.astype(np.float32) / np.float32(255) - mean) / std


GREY = np.reshape([0.299, 0.587, 0.114], (3, 1, 1)).astype(np.float32)
Naive = Callable[[Image, np.random.Generator], Image]
PAIRS: dict[str, tuple[data.transforms.Transform, list[Naive]]] = {
    "horizontal flip": (data.RandomHorizontalFlip(), [flip]),
    "shift by an eighth": (data.RandomShift(0.125), [shift]),
    "crop, padding 4": (data.RandomCrop(32, padding=4), [crop]),
    "rotation, 15 degrees": (data.RandomRotation(15), [rotation]),
    "colour jitter": (data.ColorJitter(0.2, 0.2, 0.2), [jitter]),
    "cutout of 8 x 8": (data.Cutout(8), [cutout]),
    "normalisation": (data.Normalize(MEAN, STD), [normalize]),
    "flip, crop, normalise": (
        data.Compose(
            [
                data.RandomHorizontalFlip(),
                data.RandomCrop(32, padding=4),
                data.Normalize(MEAN, STD),
            ]
        ),
        [flip, crop, normalize],
    ),
}


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=128, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.batch, 32, 32, 3)).astype(np.uint8)
    images = pixels.transpose(0, 3, 1, 2)  # (n, c, h, w)

    print(f"uint8 images of 3 x 32 x 32 in batches of {args.batch}, images per second")
    print(f"{'':22}{'batch transform':>16}{'loop over images':>18}{'ratio':>8}")
    for name, (transform, steps) in PAIRS.items():

        def whole(transform: data.transforms.Transform = transform) -> object:
            return transform(images, rng)

        def loop(steps: list[Naive] = steps) -> object:
            out = []
            for image in images:
                for step in steps:
                    image = step(image, rng)
                out.append(image)
            return np.stack(out)

        rounds = [(median_seconds(whole, 5), median_seconds(loop, 2)) for _ in range(args.rounds)]
        fast, slow = (args.batch / statistics.median(times) for times in zip(*rounds, strict=True))
        ratio = statistics.median(b / a for a, b in rounds)
        print(f"{name:22}{fast:16,.0f}{slow:18,.0f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
