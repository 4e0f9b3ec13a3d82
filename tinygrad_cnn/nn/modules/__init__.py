"""PyTorch's places for the layers: ``nn.modules.batchnorm._BatchNorm`` and the like.

Programs import base classes from there, to ask for them by ``isinstance``. Each module below holds
the classes of the files in `nn/layers/` that are named beside it.
"""

from __future__ import annotations

import sys
from types import ModuleType

from tinygrad_cnn import nn as _nn
from tinygrad_cnn.nn.layers import (
    activation,
    containers,
    conv,
    dropout,
    embedding,
    lazy,
    linear,
    loss,
    normalization,
    padding,
    parameter_containers,
    pooling,
    recurrent,
    resampling,
    transformer,
)
from tinygrad_cnn.nn.module import core, everywhere
from tinygrad_cnn.nn.modules import utils as utils

_SOURCES: dict[str, tuple[ModuleType, ...]] = {
    "activation": (activation, transformer),
    "adaptive": (loss,),
    "batchnorm": (normalization, lazy),
    "channelshuffle": (resampling,),
    "container": (containers, parameter_containers),
    "conv": (conv, lazy),
    "distance": (linear,),
    "dropout": (dropout,),
    "flatten": (linear,),
    "fold": (resampling,),
    "instancenorm": (normalization, lazy),
    "lazy": (lazy,),
    "linear": (linear, lazy),
    "loss": (loss,),
    "module": (core,),
    "normalization": (normalization,),
    "padding": (padding,),
    "pixelshuffle": (resampling,),
    "pooling": (pooling,),
    "rnn": (recurrent,),
    "sparse": (embedding,),
    "transformer": (transformer,),
    "upsampling": (resampling,),
}
_BASES: dict[str, dict[str, type]] = {
    "batchnorm": {"_NormBase": normalization._RunningNorm},
    "conv": {"_ConvNd": conv._Conv, "_ConvTransposeNd": conv._Transposed},
    "dropout": {"_DropoutNd": dropout._Dropout},
}


def _made(name: str) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}", f"PyTorch's ``torch.nn.modules.{name}``.")
    for source in _SOURCES[name]:
        here = {k: v for k, v in vars(source).items() if isinstance(v, type)}
        vars(module).update({k: v for k, v in here.items() if v.__module__ == source.__name__})
    vars(module).update(_BASES.get(name, {}))
    if name == "module":
        vars(module).update({n: getattr(everywhere, n) for n in everywhere.__all__})
    return module


for _name in _SOURCES:
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _made(_name)


def __getattr__(name: str) -> object:
    """Every layer of ``nn`` by its name."""
    try:
        return vars(_nn)[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
