"""Transforms by the names and the meanings of ``torchvision.transforms.v2``.

They take one image or a sample: nested tuples, lists and dicts, of which images change and the rest
passes through. In a `DataLoader` they take batches, of which each image has its own random numbers,
the same whatever the number of workers.
"""

from tinygrad_cnn.data.transforms.v2 import functional
from tinygrad_cnn.data.transforms.v2.automatic import AugMix, RandAugment, TrivialAugmentWide
from tinygrad_cnn.data.transforms.v2.base import (
    Compose,
    Identity,
    Lambda,
    RandomApply,
    RandomChoice,
    RandomOrder,
    Transform,
)
from tinygrad_cnn.data.transforms.v2.colours import (
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from tinygrad_cnn.data.transforms.v2.functional import InterpolationMode
from tinygrad_cnn.data.transforms.v2.geometry import (
    CenterCrop,
    ConvertImageDtype,
    GaussianBlur,
    Normalize,
    Pad,
    PILToTensor,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToDtype,
    ToImage,
    ToPILImage,
    ToTensor,
)
from tinygrad_cnn.data.transforms.v2.mixing import CutMix, MixUp

__all__ = [
    "AugMix",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "CutMix",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "InterpolationMode",
    "Lambda",
    "MixUp",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "functional",
]
