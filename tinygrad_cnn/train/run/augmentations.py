"""Augmentation as text: names, each with a value where it is not to be the usual one.

``none``, or a comma-separated list of

* ``flip[:PROBABILITY]``: mirror left to right (0.5);
* ``shift[:FRACTION]``: move by up to this share of the side (0.125), reflecting at the border;
* ``rotation[:DEGREES]``: turn by up to this angle (15), reflecting at the border;
* ``crop[:PADDING]``: pad with zeros (4 pixels) and cut out a window of the old size;
* ``cutout[:SIZE]``: paint a grey square over it (8 pixels);
* ``jitter[:AMOUNT]``: change brightness, contrast and saturation by up to this share (0.2);
* ``mixup[:ALPHA]``: blend images and their labels (0.2).
"""

from collections.abc import Callable

from tinygrad_cnn.data import (
    ColorJitter,
    Compose,
    Cutout,
    Mixup,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
)
from tinygrad_cnn.data.transforms import Transform
from tinygrad_cnn.train.errors import TrainError

AUGMENTATIONS: dict[str, tuple[str, Callable[[str, int, int], Transform]]] = {
    "flip": ("PROBABILITY", lambda v, size, classes: RandomHorizontalFlip(float(v or 0.5))),
    "shift": ("FRACTION", lambda v, size, classes: RandomShift(float(v or 0.125))),
    "rotation": ("DEGREES", lambda v, size, classes: RandomRotation(float(v or 15))),
    "crop": ("PADDING", lambda v, size, classes: RandomCrop(size, padding=int(v or 4))),
    "cutout": ("SIZE", lambda v, size, classes: Cutout(int(v or 8))),
    "jitter": ("AMOUNT", lambda v, size, classes: ColorJitter(*[float(v or 0.2)] * 3)),
    "mixup": ("ALPHA", lambda v, size, classes: Mixup(float(v or 0.2), classes)),
}


def make_augmentation(text: str, *, size: int = 32, classes: int = 10) -> Transform | None:
    """The batch transforms named in ``text``, in that order; None for none.

    ``size`` is the images' height and width.

    Raises
    ------
    TrainError
        A name is unknown or its value does not fit.

    Examples
    --------
    >>> make_augmentation("flip,crop:2")
    Compose([RandomHorizontalFlip(p=0.5), RandomCrop(32, padding=2, padding_mode='constant')])
    """
    if text == "none":
        return None
    transforms = []
    for part in text.split(","):
        name, _, value = part.strip().partition(":")
        if name not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise TrainError(f"unknown augmentation {part.strip()!r}; known: none, {known}")
        form, make = AUGMENTATIONS[name]
        try:
            transforms.append(make(value, size, classes))
        except ValueError as error:
            raise TrainError(
                f"bad augmentation {part.strip()!r}; expected {name}[:{form}] ({error})"
            ) from None
    return Compose(transforms)
