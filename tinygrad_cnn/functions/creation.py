"""Making tensors: from data, of constants, of ranges, of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.functions.convert import array_of, check_dtype, size_of, to_tensor
from tinygrad_cnn.ops.random import Generator, numpy_generator

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "arange",
    "as_tensor",
    "bernoulli",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "is_tensor",
    "linspace",
    "logspace",
    "multinomial",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
]


def _make(array: np.ndarray[Any, Any], requires_grad: bool) -> Tensor:
    out = wrap(array)
    if requires_grad:
        out.want_gradient(True)
    return out  # type: ignore[no-any-return]


def is_tensor(input: Any) -> bool:
    """Whether ``input`` is a tensor."""
    return isinstance(input, Variable)


def tensor(data: Any, dtype: Any = None, *, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested lists, arrays.

    Python floats become the default dtype (float32), integers int64; arrays keep theirs.

    Raises
    ------
    TypeError
        ``data`` holds no numbers.
    ValueError
        ``data`` is ragged.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    >>> tg.tensor(0.5, requires_grad=True)
    tensor(0.5000, requires_grad=True)
    """
    return _make(array_of(data, dtype), requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """``data`` as a tensor, sharing memory (and, of a tensor, the graph) where that is possible."""
    if isinstance(data, Variable):
        return data.to(dtype) if dtype is not None else data  # type: ignore[attr-defined,return-value,no-any-return]
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return wrap(check_dtype(data))  # type: ignore[no-any-return]
    return tensor(data, dtype)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares its memory with ``array``."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: `array` is a {type(array).__name__}, expected numpy.ndarray")
    return wrap(check_dtype(array))  # type: ignore[no-any-return]


def _dtype(dtype: Any) -> np.dtype[Any]:
    if dtype is None:
        return promotion.get_default_dtype()
    return check_dtype(np.empty(0, dtype)).dtype


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _make(np.zeros(size_of("zeros", size), _dtype(dtype)), requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _make(np.ones(size_of("ones", size), _dtype(dtype)), requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a shape whose values are whatever the memory holds."""
    return _make(np.empty(size_of("empty", size), _dtype(dtype)), requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A shape full of one number, of that number's dtype."""
    size = size if isinstance(size, (tuple, list)) else (size,)
    value = array_of(fill_value, dtype)
    return _make(np.full(size_of("full", tuple(size)), value, value.dtype), requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of ``input``."""
    return _make(np.zeros_like(to_tensor(input).array, dtype=dtype), requires_grad)


def ones_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of ``input``."""
    return _make(np.ones_like(to_tensor(input).array, dtype=dtype), requires_grad)


def empty_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of ``input`` with whatever the memory holds."""
    return _make(np.empty_like(to_tensor(input).array, dtype=dtype), requires_grad)


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """The shape and dtype of ``input`` full of one number."""
    return _make(np.full_like(to_tensor(input).array, fill_value, dtype=dtype), requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from ``start`` (0 if only one is given) up to but without ``end``.

    >>> import tinygrad_cnn as tg
    >>> tg.arange(3), tg.arange(0, 1, 0.25)
    (tensor([0, 1, 2]), tensor([0.0000, 0.2500, 0.5000, 0.7500]))
    """
    if end is None:
        start, end = 0, start
    values = [v.item() if isinstance(v, Variable) else v for v in (start, end, step)]  # type: ignore[attr-defined]
    if not values[2] or (values[1] - values[0]) / values[2] < 0:
        raise ValueError(
            f"arange: from {values[0]} to {values[1]} by steps of {values[2]} is endless"
        )
    if dtype is None and any(isinstance(v, (float, np.floating)) for v in values):
        dtype = promotion.get_default_dtype()
    return _make(np.arange(*values, dtype=dtype), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    return _make(np.linspace(start, end, steps, dtype=_dtype(dtype)), requires_grad)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``base`` to the power of `linspace`."""
    return _make(np.logspace(start, end, steps, base=base, dtype=_dtype(dtype)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on its diagonal."""
    return _make(np.eye(n, m, dtype=_dtype(dtype)), requires_grad)


# ---- random numbers ------------------------------------------------------------------------


def _draw(
    name: str, size: tuple[Any, ...], dtype: Any, generator: Any, method: str
) -> np.ndarray[Any, Any]:
    shape, wanted = size_of(name, size), _dtype(dtype)
    if wanted.kind != "f":
        raise TypeError(f"{name}: `dtype` is {wanted}, expected a floating dtype")
    fine = np.float32 if wanted.itemsize <= 4 else np.float64
    sample = getattr(numpy_generator(generator), method)
    return np.asarray(sample(shape, dtype=fine), dtype=wanted)


def rand(
    *size: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Uniform random numbers from 0 up to 1."""
    return _make(_draw("rand", size, dtype, generator, "random"), requires_grad)


def randn(
    *size: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Random numbers from the normal distribution of mean 0 and variance 1."""
    return _make(_draw("randn", size, dtype, generator, "standard_normal"), requires_grad)


def rand_like(
    input: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`rand` of the shape and dtype of ``input``."""
    x = to_tensor(input)
    return rand(x.shape, dtype=dtype or x.dtype, requires_grad=requires_grad, generator=generator)


def randn_like(
    input: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`randn` of the shape and dtype of ``input``."""
    x = to_tensor(input)
    return randn(x.shape, dtype=dtype or x.dtype, requires_grad=requires_grad, generator=generator)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    dtype: Any = np.int64,
    generator: Generator | None = None,
) -> Tensor:
    """Random integers from ``low`` (0 if left out) up to but without ``high``.

    ``randint(10, (2, 3))`` and ``randint(5, 10, (2, 3))``.
    """
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise ValueError(f"randint: there is no integer from {low} up to but without {high}")
    shape = size_of("randint", tuple(size) if isinstance(size, (tuple, list)) else (size,))
    return wrap(numpy_generator(generator).integers(low, high, shape).astype(dtype))  # type: ignore[no-any-return]


def randperm(n: int, *, dtype: Any = np.int64, generator: Generator | None = None) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    return wrap(numpy_generator(generator).permutation(n).astype(dtype))  # type: ignore[no-any-return]


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None
) -> Tensor:
    """Normal random numbers; ``mean`` and ``std`` are numbers (then ``size`` is needed) or tensors."""
    if size is None:
        shapes = [to_tensor(v).array.shape for v in (mean, std)]
        size = np.broadcast_shapes(*shapes)
    return randn(size, generator=generator) * std + mean


def bernoulli(p: Any, *, generator: Generator | None = None) -> Tensor:
    """1 with probability ``p`` (a tensor of them), else 0."""
    p = to_tensor(p)
    draws = numpy_generator(generator).random(p.array.shape)
    return wrap((draws < p.array).astype(p.array.dtype))  # type: ignore[no-any-return]


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """``num_samples`` indices for each row of weights (c,) or (n, c)."""
    weights = to_tensor(input).array.astype(np.float64)
    rows = np.atleast_2d(weights)
    if (rows < 0).any() or not (rows.sum(1) > 0).all():
        raise ValueError("multinomial: weights must not be negative, nor all 0 in a row")
    if not replacement and (np.count_nonzero(rows, 1) < num_samples).any():
        raise ValueError(
            f"multinomial: `num_samples` is {num_samples}, more than a row has weights above 0"
        )
    rng = numpy_generator(generator)
    out = np.stack([rng.choice(len(r), num_samples, replacement, r / r.sum()) for r in rows])
    return wrap(out.reshape((*weights.shape[:-1], num_samples)))  # type: ignore[no-any-return]
