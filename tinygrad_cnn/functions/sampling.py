"""Random tensors, from the default generator or from one that is given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.autograd.layout import memory_format
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import dtype_of, floating, size_of, to_tensor
from tinygrad_cnn.functions.creation import make
from tinygrad_cnn.functions.elementwise import add, mul
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops.random import Generator, draw, numpy_generator
from tinygrad_cnn.types import FLOATING, Array, DType, DTypeLike, Sizes, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _draw(
    name: str, shape: tuple[int, ...], dtype: DTypeLike, generator: Generator | None, method: str
) -> Array:
    return do(_drawn, name, shape, dtype_of(dtype, name), generator, method)


def _drawn(
    name: str, shape: tuple[int, ...], wanted: DType, generator: Generator | None, method: str
) -> Array:
    if wanted.kind == "c":  # normal numbers of variance 1, halved between the parts
        part = np.dtype(np.float32 if wanted == np.complex64 else np.float64)
        pairs = _drawn(name, (*shape, 2), part, generator, method)
        scale = math.sqrt(0.5) if "normal" in method else 1
        return np.asarray(np.multiply(pairs, scale, dtype=part).view(wanted)[..., 0])
    if wanted.kind not in FLOATING:
        raise DtypeError(f"{name}: `dtype` is {wanted}, expected a floating or complex dtype")
    fine = np.float32 if wanted.itemsize <= 4 else np.float64
    sample = getattr(numpy_generator(generator), method)
    return np.asarray(sample(shape, dtype=fine), dtype=wanted)


@export(method=False)
def rand(
    *sizes: Sizes,
    size: Sizes | None = None,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform random numbers from 0 up to 1."""
    return make(
        "rand",
        _draw("rand", size_of("rand", sizes, size), dtype, generator, "random"),
        requires_grad,
        device,
    )


@export(method=False)
def randn(
    *sizes: Sizes,
    size: Sizes | None = None,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Random numbers from the normal distribution of mean 0 and variance 1."""
    return make(
        "randn",
        _draw("randn", size_of("randn", sizes, size), dtype, generator, "standard_normal"),
        requires_grad,
        device,
    )


@export(method=False)
def rand_like(
    input: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """`rand` of the shape and dtype of ``input``."""
    x = to_tensor(input)
    dtype = dtype or x.dtype
    return rand(
        x.shape, dtype=dtype, requires_grad=requires_grad, device=device, generator=generator
    )


@export(method=False)
def randn_like(
    input: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """`randn` of the shape and dtype of ``input``."""
    x = to_tensor(input)
    dtype = dtype or x.dtype
    return randn(
        x.shape, dtype=dtype, requires_grad=requires_grad, device=device, generator=generator
    )


@export(method=False)
def randint(
    low: Any = 0,
    high: Any = None,
    size: Sizes | None = None,
    *,
    dtype: DTypeLike = np.int64,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Random integers from ``low`` (0 if left out) up to but without ``high``.

    ``randint(10, (2, 3))`` and ``randint(5, 10, (2, 3))``.
    """
    if size is None:  # randint(10, (2, 3))
        low, high, size = 0, low, high
    elif high is None:  # randint(10, size=(2, 3))
        low, high = 0, low
    if high <= low:
        raise ArgumentError(f"randint: there is no integer from {low} up to but without {high}")
    shape = size_of("randint", tuple(size) if isinstance(size, (tuple, list)) else (size,))
    drawn = draw(generator, "integers", low, high, shape, dtype=dtype_of(dtype, "randint"))
    return make("randint", drawn, requires_grad, device)


@export(method=False)
def randint_like(
    input: TensorLike,
    low: Any = 0,
    high: Any = None,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """`randint` of the shape and dtype of ``input``."""
    x = to_tensor(input)
    low, high = (0, low) if high is None else (low, high)
    return randint(
        int(low), int(high), x.shape, dtype=dtype or x.dtype, requires_grad=requires_grad,
        device=device, generator=generator,
    )  # fmt: skip


@export(method=False)
def randperm(
    n: int,
    *,
    dtype: DTypeLike = np.int64,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    (n,) = size_of("randperm", (n,))
    order = draw(generator, "permutation", n, dtype=dtype_of(dtype, "randperm"))
    return make("randperm", order, requires_grad, device)


@export(method=False, inplace=True)
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normal random numbers; ``mean`` and ``std`` are tensors, or numbers for a ``size``.

    Raises
    ------
    ArgumentError
        ``std`` is a number below 0, or has one.
    """
    least = np.min(std._array, initial=0) if isinstance(std, Variable) else std
    if least < 0:
        raise ArgumentError(f"normal: `std` is {least}, expected numbers of at least 0")
    if size is None:
        shapes = [to_tensor(v)._value.shape for v in (mean, std)]
        size = np.broadcast_shapes(*shapes)
    tensors = [v._value for v in (mean, std) if isinstance(v, Variable)]
    if dtype is None and tensors:
        dtype = promotion.common_dtype(tensors)
    drawn = add(mul(randn(size, dtype=dtype, device=device, generator=generator), std), mean)
    return drawn.requires_grad_() if requires_grad else drawn


@export()
def bernoulli(input: TensorLike, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that ``input`` holds in each place, else 0."""
    return computed(_bernoulli, to_tensor(input), generator)


def _bernoulli(p: Array, generator: Generator | None) -> Array:
    if not ((p >= 0) & (p <= 1)).all():
        raise ArgumentError("bernoulli: `input` holds values that are no probabilities from 0 to 1")
    found: Array = (numpy_generator(generator).random(p.shape) < p).astype(p.dtype)
    return found


@export()
def multinomial(
    input: TensorLike,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``num_samples`` indices for each row of weights (c,) or (n, c)."""
    weights = floating("multinomial", to_tensor(input))
    return computed(_multinomial, weights, num_samples, replacement, generator)


def _multinomial(
    weights: Array, num_samples: int, replacement: bool, generator: Generator | None
) -> Array:
    weights = weights.astype(np.float64)
    if weights.ndim not in (1, 2) or num_samples < 1:
        raise ShapeError(
            f"multinomial: `input` has shape {weights.shape} and `num_samples` is {num_samples}, "
            f"expected (c,) or (n, c) and at least 1"
        )
    rows = np.atleast_2d(weights)
    if not (rows >= 0).all() or not np.isfinite(rows).all() or not (rows.sum(1) > 0).all():
        raise ArgumentError(
            "multinomial: weights must be finite, not negative, and not all 0 in a row"
        )
    if not replacement and (np.count_nonzero(rows, 1) < num_samples).any():
        raise ArgumentError(
            f"multinomial: `num_samples` is {num_samples}, more than a row has weights above 0"
        )
    rng = numpy_generator(generator)
    out = [rng.choice(len(r), num_samples, replacement, r / r.sum()) for r in rows]
    return np.array(out, np.int64).reshape((*weights.shape[:-1], num_samples))
