"""Initialisers: fill a tensor in place and return it. Nothing is recorded.

The random ones draw from ``generator``, by default the library's own, which `tg.manual_seed` sets.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.grad_mode import no_grad
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.inplace_methods import deviation, floats_to_draw, rising
from tinygrad_cnn.ops.random import Generator, source_of
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array, DType

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "pytorch_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]


M = TypeVar("M", bound="Module")

_UNIT_GAINS = frozenset(
    ["linear", "sigmoid"]
    + [f"{name}{n}d" for name in ("conv", "conv_transpose") for n in (1, 2, 3)]
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights in front of ``nonlinearity`` are enlarged.

    ``param`` is the negative slope of ``leaky_relu`` (0.01 unless given).

    Raises
    ------
    ValueError
        ``nonlinearity`` is none of linear, conv1d ..., sigmoid, tanh, relu, leaky_relu, selu.

    >>> round(calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity in _UNIT_GAINS:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ArgumentError(
                f"calculate_gain: `param` is {param!r} but the negative slope, a number, is "
                f"expected"
            )
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4  # as PyTorch: found by experiment
    raise ArgumentError(
        f"calculate_gain: `nonlinearity` is {nonlinearity!r} but one of linear, conv1d, conv2d, "
        f"conv3d, conv_transpose1d, ..., sigmoid, tanh, relu, leaky_relu, selu is expected"
    )


@checked
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with draws from the uniform distribution on [a, b).

    >>> import tinygrad_cnn as tg
    >>> x = uniform_(tg.empty(100), -2, 3)
    >>> bool((x >= -2).all()), bool((x <= 3).all())
    (True, True)
    """
    rising("uniform_", a, b)
    floats_to_draw("uniform_", tensor.dtype)
    if tensor.dtype.kind == "c":
        with no_grad():
            return tensor.uniform_(a, b, generator=generator)
    draws = source_of(generator).numpy.random(tensor.shape, dtype=_draw_dtype(tensor))
    draws *= b - a
    draws += a
    return _fill(tensor, draws, "uniform_")


@checked
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with draws from the normal distribution of this mean and standard deviation.

    >>> import tinygrad_cnn as tg
    >>> normal_(tg.empty(3), mean=5.0, std=0.0)
    tensor([5., 5., 5.])
    """
    deviation("normal_", std)
    floats_to_draw("normal_", tensor.dtype)
    if tensor.dtype.kind == "c":
        with no_grad():
            return tensor.normal_(mean, std, generator=generator)
    draws = source_of(generator).numpy.standard_normal(tensor.shape, dtype=_draw_dtype(tensor))
    draws *= std
    draws += mean
    return _fill(tensor, draws, "normal_")


@checked
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with draws from the normal distribution, cut off outside [a, b].

    The bounds are values, not multiples of ``std``. Method: the inverse of the distribution
    function, applied to uniform draws.

    Raises
    ------
    ValueError
        ``a`` is above ``b`` or ``std`` is not positive.

    >>> import tinygrad_cnn as tg
    >>> float(trunc_normal_(tg.empty(1000), std=3.0).abs().max()) <= 2.0
    True
    """
    from scipy.special import ndtr, ndtri  # kept out of `import tinygrad_cnn`

    if a > b:
        raise ArgumentError(f"trunc_normal_: `a` is {a} and `b` is {b} but a <= b is expected")
    if std <= 0:
        raise ArgumentError(f"trunc_normal_: `std` is {std} but a positive number is expected")
    low, high = ndtr((a - mean) / std), ndtr((b - mean) / std)
    draws = ndtri(low + (high - low) * source_of(generator).numpy.random(tensor.shape))
    return _fill(tensor, np.clip(mean + std * draws, a, b), "trunc_normal_")


@checked
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``.

    >>> import tinygrad_cnn as tg
    >>> constant_(tg.empty(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    return _fill(tensor, np.asarray(val), "constant_")


@checked
def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return _fill(tensor, np.asarray(1), "ones_")


@checked
def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return _fill(tensor, np.asarray(0), "zeros_")


@checked
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on its diagonal and zeros elsewhere.

    Raises
    ------
    ValueError
        ``tensor`` is no matrix.

    >>> import tinygrad_cnn as tg
    >>> eye_(tg.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    _require_ndim("eye_", tensor, (2,))
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]), "eye_")


@checked
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that each group passes its channels through.

    Shapes: ``tensor`` (f, c, k...), of 3 to 5 axes.

    Raises
    ------
    ValueError
        The number of axes is another, or ``groups`` does not divide f.

    >>> import tinygrad_cnn as tg
    >>> dirac_(tg.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    _require_ndim("dirac_", tensor, (3, 4, 5))
    f, c, *kernel = tensor.shape
    if groups < 1 or f % groups:
        raise ShapeError(
            f"dirac_: `groups` is {groups} but a divisor of the {f} output channels is expected"
        )
    per_group = f // groups
    values = np.zeros(tensor.shape)
    centre = tuple(k // 2 for k in kernel)
    for group in range(groups):
        for i in range(min(per_group, c)):
            values[(group * per_group + i, i, *centre)] = 1
    return _fill(tensor, values, "dirac_")


@checked
def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill uniformly so that the variance is gain² · 2 / (fan_in + fan_out).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, eq. 16.

    Raises
    ------
    ValueError
        ``tensor`` has fewer than 2 axes.
    """
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / max(fan_in + fan_out, 1))
    return uniform_(tensor, -bound, bound, generator)


@checked
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill normally so that the variance is gain² · 2 / (fan_in + fan_out).

    Raises
    ------
    ValueError
        ``tensor`` has fewer than 2 axes.
    """
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(fan_in + fan_out, 1)), generator)


@checked
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill uniformly with the variance that keeps the signal's size through ``nonlinearity``.

    ``a`` is the negative slope for leaky_relu, ``mode`` is "fan_in" (keeps the forward signal) or
    "fan_out" (keeps the gradient). Source: He et al., "Delving deep into rectifiers", 2015.

    Raises
    ------
    ValueError
        ``tensor`` has fewer than 2 axes, or ``mode`` or ``nonlinearity`` is unknown.
    """
    std = _he_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


@checked
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill normally with the variance that keeps the signal's size through ``nonlinearity``.

    Arguments, source and errors are those of `kaiming_uniform_`.

    >>> import tinygrad_cnn as tg
    >>> w = kaiming_normal_(tg.empty(500, 200), nonlinearity="relu")
    >>> abs(float(w.std()) - (2 / 200) ** 0.5) < 0.01
    True
    """
    return normal_(
        tensor, 0.0, _he_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator
    )


@checked
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix times ``gain``; axes after the first are joined.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2013.

    Raises
    ------
    ValueError
        ``tensor`` has fewer than 2 axes.

    >>> import tinygrad_cnn as tg
    >>> q = orthogonal_(tg.empty(3, 5))
    >>> bool(tg.allclose(q @ q.T, tg.eye(3), atol=1e-5))
    True
    """
    _require_fans("orthogonal_", tensor)
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    draws = source_of(generator).numpy.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes q uniformly distributed (Mezzadri 2006)
    q = q.T if rows < columns else q
    return _fill(tensor, gain * q.reshape(tensor.shape), "orthogonal_")


@checked
def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill a matrix normally, then set the fraction ``sparsity`` of each column to zero.

    Source: Martens, "Deep learning via Hessian-free optimization", 2010.

    Raises
    ------
    ValueError
        ``tensor`` is no matrix.

    >>> import tinygrad_cnn as tg
    >>> (sparse_(tg.empty(10, 3), sparsity=0.2) == 0).sum(0)
    tensor([2, 2, 2])
    """
    _require_ndim("sparse_", tensor, (2,))
    rows, columns = tensor.shape
    draw = source_of(generator).numpy
    values = std * draw.standard_normal((rows, columns))
    zeros = math.ceil(sparsity * rows)
    for column in range(columns):
        values[draw.permutation(rows)[:zeros], column] = 0
    return _fill(tensor, values, "sparse_")


# ---- whole layers and models ---------------------------------------------------------------


def pytorch_(model: M) -> M:
    """Draw all parameters of ``model`` anew from the distributions that PyTorch starts from.

    Here `Linear` and convolutions start from He's normal distribution, with biases of 0: networks
    of relu layers keep their signal (see docs/decisions). PyTorch draws weights and biases
    uniformly within ``fan_in ** -0.5``. All other layers start as PyTorch's, and are drawn again;
    running statistics are forgotten. Parameters that a model makes itself are left as they are.

    Returns
    -------
    Module
        The model.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> net = nn.init.pytorch_(nn.Sequential(nn.Linear(100, 10), nn.ReLU()))
    >>> bool((net[0].weight.abs() <= 0.1).all()), bool((net[0].bias != 0).all())
    (True, True)
    """

    def reset(module: Module) -> None:
        own = getattr(module, "_reset_as_pytorch", None) or getattr(
            module, "reset_parameters", None
        )
        if callable(own):
            own()

    model.apply(reset)
    return model


def _draw_dtype(tensor: Tensor) -> DType:
    return np.dtype(np.float64 if tensor.dtype == np.float64 else np.float32)


def _fill(tensor: Tensor, values: Array, by: str) -> Tensor:
    np.copyto(tensor._written_by(f"init.{by}"), values, casting="unsafe")
    return tensor


def _he_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _fan(name, tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _fan(name: str, tensor: Tensor, mode: str) -> int:
    known = dict(zip(("fan_in", "fan_out"), _fans(name, tensor), strict=True))
    if mode.lower() not in known:
        raise ArgumentError(f"{name}: `mode` is {mode!r} but 'fan_in' or 'fan_out' is expected")
    return known[mode.lower()]


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """How many inputs feed one output, and how many outputs one input feeds."""
    _require_fans(name, tensor)
    outputs, inputs, *kernel = tensor.shape
    taps = math.prod(kernel)
    return inputs * taps, outputs * taps


def _require_fans(name: str, tensor: Tensor) -> None:
    if tensor.ndim < 2:
        raise ShapeError(
            f"{name}: `tensor` has shape {tensor.shape} but at least 2 axes are expected (fan-in "
            f"and fan-out are not defined for fewer); use normal_ or zeros_"
        )


def _require_ndim(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    if tensor.ndim not in wanted:
        raise ShapeError(
            f"{name}: `tensor` has shape {tensor.shape} but "
            f"{' or '.join(map(str, wanted))} axes are expected"
        )


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Do as `_fans`, under the name by which programs for PyTorch call it."""
    return _fans("_calculate_fan_in_and_fan_out", tensor)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    return _fan("_calculate_correct_fan", tensor, mode)


# ---- older names ---------------------------------------------------------------------------


def _older(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` under PyTorch's older name, without the underscore."""
    name = function.__name__

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> Tensor:
        warnings.warn(
            f"nn.init.{name[:-1]} is an older name of nn.init.{name}", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    return call


uniform, normal, constant = _older(uniform_), _older(normal_), _older(constant_)
eye, dirac, orthogonal, sparse = _older(eye_), _older(dirac_), _older(orthogonal_), _older(sparse_)
xavier_uniform, xavier_normal = _older(xavier_uniform_), _older(xavier_normal_)
kaiming_uniform, kaiming_normal = _older(kaiming_uniform_), _older(kaiming_normal_)
