"""Random valid networks: strategies for single modules and for whole CNNs."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tinygrad_cnn import nn
from tinygrad_cnn.testing.draws import HypothesisDraw
from tinygrad_cnn.testing.strategies import composite
from tinygrad_cnn.testing.types import Shape

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_SMOOTH = ("Tanh", "Sigmoid", "SiLU", "GELU", "Softplus", "Mish", "Softsign", "LogSigmoid")
_KINKED = ("ReLU", "LeakyReLU", "ELU", "ReLU6", "Hardswish", "CELU", "SELU", "PReLU")


@dataclass(frozen=True)
class Layer:
    """A layer's class name in `nn` (ours or PyTorch's) and its arguments."""

    kind: str
    args: tuple[Any, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()

    def build(self, library: ModuleType = nn) -> nn.Module:
        """The layer, made by ``library``: `tinygrad_cnn.nn`, or `torch.nn`."""
        layer: nn.Module = getattr(library, self.kind)(*self.args, **dict(self.params))
        return layer

    def __repr__(self) -> str:
        parts = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.params)]
        return f"nn.{self.kind}({', '.join(parts)})"


@dataclass(frozen=True)
class Architecture:
    """A network as a list of layers, the shape of its input, and how many numbers come out."""

    layers: tuple[Layer, ...]
    input_shape: Shape
    outputs: int

    def build(self, library: ModuleType = nn) -> nn.Sequential:
        """The network, a ``Sequential`` of ``library``: ours, or ``torch.nn``."""
        made: nn.Sequential = library.Sequential(*[x.build(library) for x in self.layers])
        return made

    def __repr__(self) -> str:
        return f"nn.Sequential({', '.join(map(repr, self.layers))})  # input {self.input_shape}"


def modules(smooth: bool = False) -> SearchStrategy[tuple[nn.Module, Shape]]:
    """One layer and the shape of an input that fits it.

    Parameters
    ----------
    smooth
        Only layers that have derivatives everywhere.
    """

    def make(draw: HypothesisDraw) -> tuple[nn.Module, Shape]:
        shape = (draw.integer(1, 2), draw.integer(1, 3), draw.integer(2, 6), draw.integer(2, 6))
        options = (_activation, _convolution, _normalization, _pooling, _linear)
        layer, _ = draw.choice(options)(draw, shape, smooth)
        return layer.build(), shape

    return composite(make)


def architectures(
    smooth: bool = False, max_blocks: int = 3, batch: int = 2
) -> SearchStrategy[Architecture]:
    """Random CNNs that run: convolutions, normalisation, activations, pooling, a linear end.

    They shrink to few layers of small width.

    Parameters
    ----------
    smooth
        Only layers that have derivatives everywhere (no rectifier, no max pooling), for checks
        against numerical gradients.
    max_blocks
        The most blocks of convolution and what follows it.
    batch
        Images in the input.
    """

    def make(draw: HypothesisDraw) -> Architecture:
        shape: Shape = (batch, draw.integer(1, 3), draw.integer(4, 8), draw.integer(4, 8))
        start, layers = shape, []
        for _ in range(draw.integer(0, max_blocks)):
            for part in (_convolution, _normalization, _activation, _pooling):
                if part is _convolution or draw.choice((False, True)):
                    layer, shape = part(draw, shape, smooth)
                    layers.append(layer)
        if draw.choice((False, True)):
            layers.append(Layer("AdaptiveAvgPool2d", (draw.integer(1, 2),)))
            shape = (*shape[:2], *(layers[-1].args * 2))
        layers.append(Layer("Flatten"))
        width = shape[1] * shape[2] * shape[3]
        if draw.choice((False, True)):
            hidden = draw.integer(1, 4)
            layers += [Layer("Linear", (width, hidden)), _activation(draw, shape, smooth)[0]]
            width = hidden
        outputs = draw.integer(2, 4)
        layers.append(Layer("Linear", (width, outputs), (("bias", draw.choice((True, False))),)))
        return Architecture(tuple(layers), start, outputs)

    return composite(make)


# ---- layers --------------------------------------------------------------------------------


def _activation(draw: HypothesisDraw, shape: Shape, smooth: bool) -> tuple[Layer, Shape]:
    return Layer(draw.choice(_SMOOTH if smooth else _KINKED + _SMOOTH)), shape


def _convolution(draw: HypothesisDraw, shape: Shape, smooth: bool) -> tuple[Layer, Shape]:
    n, c, h, w = shape
    groups = draw.choice([g for g in (1, c) if c % g == 0])
    filters = groups * draw.integer(1, 3)
    kernel, stride, padding = draw.integer(1, 3), draw.integer(1, 2), draw.integer(0, 1)
    kernel = min(kernel, h + 2 * padding, w + 2 * padding)
    out = [(side + 2 * padding - kernel) // stride + 1 for side in (h, w)]
    params = (
        ("stride", stride),
        ("padding", padding),
        ("groups", groups),
        ("bias", draw.choice((True, False))),
    )
    return Layer("Conv2d", (c, filters, kernel), params), (n, filters, *out)


def _normalization(draw: HypothesisDraw, shape: Shape, smooth: bool) -> tuple[Layer, Shape]:
    c = shape[1]
    # the variance of a single number is 0, and PyTorch refuses to normalise by it
    options = [Layer("GroupNorm", (1, c))] if c * shape[2] * shape[3] > 1 else []
    if shape[0] * shape[2] * shape[3] > 1:
        options += [Layer("BatchNorm2d", (c,)), Layer("BatchNorm2d", (c,), (("affine", False),))]
    if shape[3] > 1:
        options.append(Layer("LayerNorm", (shape[3],)))
    return (draw.choice(options) if options else Layer("Identity")), shape


def _pooling(draw: HypothesisDraw, shape: Shape, smooth: bool) -> tuple[Layer, Shape]:
    kind = draw.choice(("AvgPool2d",) if smooth else ("MaxPool2d", "AvgPool2d"))
    kernel = min(draw.integer(1, 3), shape[2], shape[3])
    stride = draw.integer(1, 2)
    out = [(side - kernel) // stride + 1 for side in shape[2:]]
    return Layer(kind, (kernel, stride)), (*shape[:2], *out)


def _linear(draw: HypothesisDraw, shape: Shape, smooth: bool) -> tuple[Layer, Shape]:
    width = draw.integer(1, 4)
    return Layer("Linear", (shape[3], width)), (*shape[:3], width)
