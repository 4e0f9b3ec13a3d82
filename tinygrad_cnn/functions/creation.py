"""Making tensors: from data, of constants, of ranges, of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.functions.convert import array_of, check_dtype, only_cpu, size_of, to_tensor
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
    "is_floating_point",
    "is_tensor",
    "linspace",
    "logspace",
    "multinomial",
    "normal",
    "numel",
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


def _make(
    name: str, array: np.ndarray[Any, Any], requires_grad: bool, device: Any = None
) -> Tensor:
    only_cpu(name, device)
    out = wrap(array)
    if requires_grad:
        out.want_gradient(True)
    return out  # type: ignore[no-any-return]


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Variable)


def is_floating_point(input: Any) -> bool:
    """Whether the dtype of ``input`` is floating."""
    return bool(to_tensor(input).array.dtype.kind == "f")


def numel(input: Any) -> int:
    """How many elements ``input`` has."""
    return to_tensor(input).array.size


def tensor(
    data: Any, dtype: Any = None, *, requires_grad: bool = False, device: Any = None
) -> Tensor:
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
    return _make("tensor", array_of(data, dtype), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, sharing memory (and, of a tensor, the graph) where that is possible."""
    only_cpu("as_tensor", device)
    if isinstance(data, Variable):
        return data.to(dtype) if dtype is not None else data  # type: ignore[attr-defined,return-value,no-any-return]
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return wrap(check_dtype(data))  # type: ignore[no-any-return]
    return tensor(data, dtype)


def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares its memory with ``ndarray``."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(
            f"from_numpy: `ndarray` is a {type(ndarray).__name__}, expected numpy.ndarray"
        )
    return wrap(check_dtype(ndarray))  # type: ignore[no-any-return]


def _dtype(dtype: Any) -> np.dtype[Any]:
    if dtype is None:
        return promotion.get_default_dtype()
    return check_dtype(np.empty(0, dtype)).dtype


def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _make(
        "zeros", np.zeros(size_of("zeros", sizes, size), _dtype(dtype)), requires_grad, device
    )


def ones(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """Ones of a shape: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _make(
        "ones", np.ones(size_of("ones", sizes, size), _dtype(dtype)), requires_grad, device
    )


def empty(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """A tensor of a shape whose values are whatever the memory holds."""
    return _make(
        "empty", np.empty(size_of("empty", sizes, size), _dtype(dtype)), requires_grad, device
    )


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """A shape full of one number, of that number's dtype."""
    size = size if isinstance(size, (tuple, list)) else (size,)
    value = array_of(fill_value, dtype)
    return _make(
        "full", np.full(size_of("full", tuple(size)), value, value.dtype), requires_grad, device
    )


def zeros_like(
    input: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Zeros of the shape and dtype of ``input``."""
    return _make(
        "zeros_like", np.zeros_like(to_tensor(input).array, dtype=dtype), requires_grad, device
    )


def ones_like(
    input: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Ones of the shape and dtype of ``input``."""
    return _make(
        "ones_like", np.ones_like(to_tensor(input).array, dtype=dtype), requires_grad, device
    )


def empty_like(
    input: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """A tensor of the shape and dtype of ``input`` with whatever the memory holds."""
    return _make(
        "empty_like", np.empty_like(to_tensor(input).array, dtype=dtype), requires_grad, device
    )


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """The shape and dtype of ``input`` full of one number."""
    return _make(
        "full_like",
        np.full_like(to_tensor(input).array, fill_value, dtype=dtype),
        requires_grad,
        device,
    )


def arange(
    start: float = 0,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
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
    return _make("arange", np.arange(*values, dtype=dtype), requires_grad, device)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    if steps < 0:
        raise ValueError(f"linspace: `steps` is {steps}, which must not be negative")
    return _make(
        "linspace", np.linspace(start, end, steps, dtype=_dtype(dtype)), requires_grad, device
    )


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """``base`` to the power of `linspace`."""
    if steps < 0:
        raise ValueError(f"logspace: `steps` is {steps}, which must not be negative")
    return _make(
        "logspace",
        np.logspace(start, end, steps, base=base, dtype=_dtype(dtype)),
        requires_grad,
        device,
    )


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """The (n, m) matrix with ones on its diagonal."""
    if n < 0 or (m is not None and m < 0):
        raise ValueError(f"eye: `n` and `m` are {n} and {m}, but no side can be negative")
    return _make("eye", np.eye(n, m, dtype=_dtype(dtype)), requires_grad, device)


# ---- random numbers ------------------------------------------------------------------------


def _draw(
    name: str, shape: tuple[int, ...], dtype: Any, generator: Any, method: str
) -> np.ndarray[Any, Any]:
    wanted = _dtype(dtype)
    if wanted.kind != "f":
        raise TypeError(f"{name}: `dtype` is {wanted}, expected a floating dtype")
    fine = np.float32 if wanted.itemsize <= 4 else np.float64
    sample = getattr(numpy_generator(generator), method)
    return np.asarray(sample(shape, dtype=fine), dtype=wanted)


def rand(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform random numbers from 0 up to 1."""
    return _make(
        "rand",
        _draw("rand", size_of("rand", sizes, size), dtype, generator, "random"),
        requires_grad,
        device,
    )


def randn(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Random numbers from the normal distribution of mean 0 and variance 1."""
    return _make(
        "randn",
        _draw("randn", size_of("randn", sizes, size), dtype, generator, "standard_normal"),
        requires_grad,
        device,
    )


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
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    *,
    dtype: Any = np.int64,
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


def bernoulli(input: Any, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that ``input`` holds in each place, else 0."""
    p = to_tensor(input)
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
