"""Data sets, the loader that batches them, and transforms of images and of batches."""

from tinygrad_cnn.data import transforms
from tinygrad_cnn.data.appearance import ColorJitter, Cutout, Mixup
from tinygrad_cnn.data.cifar10 import CIFAR10, download_cifar10
from tinygrad_cnn.data.collate import default_collate, default_convert
from tinygrad_cnn.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from tinygrad_cnn.data.folder import ImageFolder, read_image
from tinygrad_cnn.data.images import ImageDataset
from tinygrad_cnn.data.keyed import SampleRandom
from tinygrad_cnn.data.loader import DataLoader
from tinygrad_cnn.data.reading import WorkerInfo, get_worker_info
from tinygrad_cnn.data.rotation import RandomRotation
from tinygrad_cnn.data.samplers import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from tinygrad_cnn.data.shapes import Shapes
from tinygrad_cnn.data.single import (
    CenterCrop,
    ConvertImageDtype,
    Grayscale,
    Lambda,
    Pad,
    PILToTensor,
    Resize,
    ToTensor,
)
from tinygrad_cnn.data.transforms import (
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomShift,
    ToFloat,
)

__all__ = [
    "CIFAR10",
    "BatchSampler",
    "CenterCrop",
    "ChainDataset",
    "ColorJitter",
    "Compose",
    "ConcatDataset",
    "ConvertImageDtype",
    "Cutout",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "Grayscale",
    "ImageDataset",
    "ImageFolder",
    "IterableDataset",
    "Lambda",
    "Mixup",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomSampler",
    "RandomShift",
    "Resize",
    "SampleRandom",
    "Sampler",
    "SequentialSampler",
    "Shapes",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "ToFloat",
    "ToTensor",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "default_convert",
    "download_cifar10",
    "get_worker_info",
    "random_split",
    "read_image",
    "transforms",
]
