"""Making tensors: from data, of constants, of ranges, of random numbers."""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.autograd.layout import extent_of, memory_format, order_of, view_on
from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import (
    array_of,
    as_native,
    dtype_of,
    operand,
    shared,
    size_of,
    to_tensor,
)
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.types import FLOATING, INEXACT, Array, DType, DTypeLike, Sizes, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def make(name: str, values: Array, requires_grad: bool, device: DeviceLike = None) -> Tensor:
    check_device(device, name)
    out = wrap(made(values))  # unless it was computed or drawn, it is the same each time
    if requires_grad:
        out.want_gradient(True)
    return out


@export(method=False)
def is_tensor(obj: object) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Variable)


@export(method=False)
def is_floating_point(input: TensorLike) -> bool:
    """Whether the dtype of ``input`` is floating."""
    return bool(to_tensor(input)._value.dtype.kind in FLOATING)


@export(method=False)
def finfo(dtype: DTypeLike = None) -> Any:
    """The range of a floating dtype: ``eps``, ``max``, ``min``, ``tiny`` and so on.

    >>> import tinygrad_cnn as tg
    >>> float(tg.finfo(tg.float32).eps) == 2**-23
    True
    """
    return limits_of(dtype_of(dtype, "finfo"))


@export(method=False)
def numel(input: TensorLike) -> int:
    """How many elements ``input`` has."""
    return to_tensor(input)._value.size


@export(method=False)
def tensor(
    data: TensorLike,
    dtype: DTypeLike = None,
    *,
    requires_grad: bool = False,
    device: DeviceLike = None,
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
    return make("tensor", array_of(data, dtype), requires_grad, device)


@export(method=False)
def as_tensor(data: TensorLike, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """``data`` as a tensor, sharing memory (and, of a tensor, the graph) where that is possible."""
    check_device(device, "as_tensor")
    if isinstance(data, Variable):
        return to_tensor(data) if dtype is None else to_tensor(data).to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return shared(data)
    return tensor(data, dtype)


@export(method=False)
def asarray(
    obj: Any,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``obj`` as a tensor: a tensor, an array, a buffer of bytes, numbers or nested lists.

    Parameters
    ----------
    dtype
        That of ``obj``, if it is not given; of a buffer the default dtype.
    copy
        None shares the memory of ``obj`` where that is possible, True never does.
    requires_grad
        Whether the result wants gradients; if not, it is detached from the graph of ``obj``.

    Raises
    ------
    ValueError
        ``copy`` is False, but a copy is necessary.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> array = np.zeros(2, np.float32)
    >>> tg.asarray(array).fill_(1), tg.asarray(array, dtype=tg.int64), array
    (tensor([1., 1.]), tensor([1, 1]), array([1., 1.], dtype=float32))
    >>> tg.asarray(b"ab", dtype=tg.uint8)
    tensor([97, 98], dtype=uint8)
    """
    check_device(device, "asarray")
    if isinstance(obj, Variable):
        found: Tensor = to_tensor(obj) if requires_grad else to_tensor(obj).detach()
    elif isinstance(obj, np.ndarray):
        found = shared(obj)
    elif isinstance(obj, (bytes, bytearray, memoryview, array.array)):
        found = frombuffer(obj, dtype=dtype_of(dtype, "asarray"))
    elif hasattr(obj, "__dlpack__") and not isinstance(obj, np.generic):
        found = from_dlpack(obj)
    elif copy is False:
        raise ArgumentError(f"asarray: `copy` is False, but a {type(obj).__name__} has no memory")
    else:
        found, copy = tensor(obj, dtype), None
    if dtype is not None and found.dtype != dtype_of(dtype, "asarray"):
        if copy is False:
            raise ArgumentError(f"asarray: `copy` is False, but {found.dtype} is not {dtype}")
        found, copy = found.to(dtype), None
    if copy:
        found = found.clone()
    return found.requires_grad_() if requires_grad and found.is_leaf else found


@export(method=False)
def frombuffer(
    buffer: Any,
    *,
    dtype: DTypeLike,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    """The bytes of ``buffer`` as a vector of a dtype, in the same memory if they are aligned there.

    ``offset`` bytes are left out at the beginning; ``count`` is how many numbers there are, -1
    for all. The memory of ``bytes`` cannot be written to: clone() what is to be changed.

    Raises
    ------
    ValueError
        The buffer is empty, too short for ``count`` numbers, or no whole numbers fit in it.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.frombuffer(bytearray([1, 0, 2, 0]), dtype=tg.int16)
    tensor([1, 2], dtype=int16)
    """
    kind = dtype_of(dtype, "frombuffer")
    try:
        found = np.frombuffer(buffer, kind, count, offset)
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"frombuffer: `buffer`, `count` {count} and `offset` {offset} do not give numbers of "
            f"{kind}: {error}"
        ) from None
    out = shared(found)
    return out.requires_grad_() if requires_grad else out


class _Capsule:
    """A DLPack capsule as an array that hands it over, which is what NumPy takes."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> object:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # a CPU


_READABLE = (1, 3, 11, 13)  # DLPack's numbers of devices whose memory the CPU sees


@export(method=False)
def from_dlpack(ext_tensor: Any, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A tensor in the memory of another library's array, or of a capsule, handed over by DLPack.

    What either side writes is seen by the other. Memory that the other side says is read-only
    cannot be written to here.

    Parameters
    ----------
    ext_tensor
        An array on the CPU: it has ``__dlpack__`` and ``__dlpack_device__``.
    device
        The CPU, or None.
    copy
        None shares the memory, True never does, False is an error where the other side has to copy.

    Raises
    ------
    TypeError
        ``ext_tensor`` is no such array.
    ValueError
        It lies on another device than the CPU, or its memory cannot be shared.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> array = np.zeros(2, np.float32)
    >>> tg.from_dlpack(array).fill_(1)
    tensor([1., 1.])
    >>> array
    array([1., 1.], dtype=float32)
    """
    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Capsule(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        raise DtypeError(
            f"from_dlpack: `ext_tensor` is a {type(ext_tensor).__name__}, expected an array with "
            f"__dlpack__"
        )
    check_device(device, "from_dlpack")
    if isinstance(ext_tensor, Variable):
        found = to_tensor(ext_tensor).detach()
        return found.clone() if copy else found
    where = tuple(ext_tensor.__dlpack_device__())
    if where[0] not in _READABLE:
        raise ArgumentError(
            f"from_dlpack: `ext_tensor` lies on the device {where}, expected the CPU, (1, 0): "
            f"bring it there first"
        )
    try:
        try:
            array = np.from_dlpack(ext_tensor, copy=None if copy else copy)
        except TypeError:  # NumPy or the other side is older than the argument, and shares
            array = np.from_dlpack(ext_tensor)
    except (BufferError, RuntimeError, ValueError) as error:
        raise ArgumentError(
            f"from_dlpack: `ext_tensor` (a {type(ext_tensor).__name__}) does not hand over its "
            f"memory: {error}"
        ) from None
    found = from_numpy(array)
    return found.clone() if copy else found


@export(method=False)
def from_numpy(ndarray: Array) -> Tensor:
    """A tensor that shares its memory with ``ndarray``.

    Raises
    ------
    TypeError
        ``ndarray`` is no array, or one of a dtype that tensors cannot have.
    ValueError
        Its bytes are swapped or not aligned: use `tensor`, which copies.
    """
    if not isinstance(ndarray, np.ndarray):
        raise DtypeError(
            f"from_numpy: `ndarray` is a {type(ndarray).__name__}, expected numpy.ndarray"
        )
    if as_native(ndarray) is not ndarray:
        raise ArgumentError(
            f"from_numpy: `ndarray` (dtype {ndarray.dtype.str}) has swapped or unaligned bytes, "
            f"which a tensor cannot share; use tensor() for a copy"
        )
    return shared(ndarray)


def _of_size(
    name: str,
    fill: Callable[..., Array],
    size: tuple[int, ...],
    dtype: DTypeLike,
    requires_grad: bool,
    device: DeviceLike,
) -> Tensor:
    return make(name, fill(size, dtype_of(dtype, name)), requires_grad, device)


@export(method=False)
def zeros(
    *sizes: Sizes,
    size: Sizes | None = None,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _of_size("zeros", np.zeros, size_of("zeros", sizes, size), dtype, requires_grad, device)


@export(method=False)
def ones(
    *sizes: Sizes,
    size: Sizes | None = None,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """Ones of a shape: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _of_size("ones", np.ones, size_of("ones", sizes, size), dtype, requires_grad, device)


@export(method=False)
def empty(
    *sizes: Sizes,
    size: Sizes | None = None,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """A tensor of a shape whose values are whatever the memory holds."""
    return _of_size("empty", np.empty, size_of("empty", sizes, size), dtype, requires_grad, device)


@export(method=False)
def full(
    size: Sizes,
    fill_value: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """A shape full of one number, of that number's dtype."""
    size = size if isinstance(size, (tuple, list)) else (size,)
    value = array_of(operand(fill_value), dtype)
    values = do(np.full, size_of("full", tuple(size)), value, value.dtype)
    return make("full", values, requires_grad, device)


def _like(
    name: str,
    fill: Callable[..., Array],
    input: TensorLike,
    dtype: DTypeLike,
    requires_grad: bool,
    device: DeviceLike,
    memory_format: memory_format | None,
) -> Tensor:
    wanted = None if dtype is None else dtype_of(dtype, name)
    order = order_of(memory_format)
    values = fill(to_tensor(input)._given, dtype=wanted, order=order)
    return make(name, values, requires_grad, device)


@export(method=False)
def zeros_like(
    input: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Zeros of the shape and dtype of ``input``."""
    return _like("zeros_like", np.zeros_like, input, dtype, requires_grad, device, memory_format)


@export(method=False)
def ones_like(
    input: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Ones of the shape and dtype of ``input``."""
    return _like("ones_like", np.ones_like, input, dtype, requires_grad, device, memory_format)


@export(method=False)
def empty_like(
    input: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """A tensor of the shape and dtype of ``input`` with whatever the memory holds."""
    return _like("empty_like", np.empty_like, input, dtype, requires_grad, device, memory_format)


@export(method=False)
def full_like(
    input: TensorLike,
    fill_value: TensorLike,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
    memory_format: memory_format | None = None,
) -> Tensor:
    """The shape and dtype of ``input`` full of one number."""
    like = to_tensor(input)._given
    wanted = like.dtype if dtype is None else dtype_of(dtype, "full_like")
    fill = array_of(fill_value, wanted)
    full = do(np.full_like, like, fill, wanted, order_of(memory_format))
    return make("full_like", full, requires_grad, device)


@export(method=False)
def arange(
    start: float = 0,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """Numbers from ``start`` (0 if only one is given) up to but without ``end``.

    >>> import tinygrad_cnn as tg
    >>> tg.arange(3), tg.arange(0, 1, 0.25)
    (tensor([0, 1, 2]), tensor([0.0000, 0.2500, 0.5000, 0.7500]))
    """
    if end is None:
        start, end = 0, start
    values = [v.item() if hasattr(v, "item") else v for v in (start, end, step)]
    if dtype is None and any(isinstance(v, float) for v in values):
        dtype = promotion.get_default_dtype()
    first, last, by = values
    if not by or not 0 <= (last - first) / by < 2**60:
        raise ArgumentError(f"arange: from {first} to {last} by steps of {by} is endless")
    dtype = None if dtype is None else dtype_of(dtype, "arange")
    if dtype == np.bool_:
        raise DtypeError("arange: `dtype` is bool, expected one of numbers")
    if dtype is not None and dtype.kind in "iu":  # numbers that it cannot hold wrap around
        whole = [int(v) for v in values]
        ends = whole if dtype == np.int64 else values  # by which PyTorch counts
        count = math.ceil((ends[1] - ends[0]) / ends[2])
        places = whole[0] + whole[2] * np.arange(count)
        return make("arange", places.astype(dtype), requires_grad, device)
    return make("arange", np.arange(*values, dtype=dtype), requires_grad, device)


@ignore_fp_errors
def _evenly(
    name: str,
    start: Any,
    end: TensorLike,
    steps: int,
    dtype: DType,
    function: Callable[[Any], Any],
) -> Array:
    """``function`` of evenly spaced numbers. Counted from both ends, as PyTorch does; of integers,
    the ends are cut off first and the results then.
    """
    wide = np.complex128 if dtype.kind == "c" else np.float64
    ends = [v._array if isinstance(v, Variable) else array_of(v, wide) for v in (start, end)]
    if dtype.kind == "b":
        raise DtypeError(f"{name}: `dtype` is bool, expected one of numbers")
    if not isinstance(steps, (int, np.integer)):
        raise DtypeError(f"{name}: `steps` is {steps!r}, expected an integer")
    if any(v.ndim for v in ends) or steps < 0:
        raise ArgumentError(
            f"{name}: `start`, `end` and `steps` are {start}, {end} and {steps}, expected two "
            f"numbers and a number of steps"
        )
    first, last = (v.item() if dtype.kind in INEXACT else int(v.item()) for v in ends)
    i = np.arange(steps)
    step = (last - first) / max(steps - 1, 1)
    low = i < max(steps // 2, int(steps == 1))
    places = np.where(low, first + step * i, last - step * (steps - 1 - i))
    return np.asarray(function(places)).astype(dtype)


@export(method=False)
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    return make(
        "linspace",
        _evenly("linspace", start, end, steps, dtype_of(dtype, "linspace"), lambda x: x),
        requires_grad,
        device,
    )


@export(method=False)
def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``base`` to the power of `linspace`."""
    kind = dtype_of(dtype, "logspace")
    values = _evenly("logspace", start, end, steps, kind, lambda x: np.power(base, x))
    return make("logspace", values, requires_grad, device)


@export(method=False)
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """The (n, m) matrix with ones on its diagonal."""
    size_of("eye", (n,) if m is None else (n, m))
    return make("eye", np.eye(n, m, dtype=dtype_of(dtype, "eye")), requires_grad, device)


def _triangle(
    name: str, find: Callable[..., Any], row: int, col: int, offset: int, dtype: DTypeLike
) -> Array:
    row, col = size_of(name, (row, col))
    return np.stack(find(row, offset, col)).astype(dtype_of(dtype, name))


@export(method=False)
def tril_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: DTypeLike = np.int64,
    device: DeviceLike = None,
) -> Tensor:
    """Where the lower triangle of a (row, col) matrix is, row by row: indices (2, count).

    >>> import tinygrad_cnn as tg
    >>> tg.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    places = _triangle("tril_indices", np.tril_indices, row, col, offset, dtype)
    return make("tril_indices", places, False, device)


@export(method=False)
def triu_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: DTypeLike = np.int64,
    device: DeviceLike = None,
) -> Tensor:
    """Where the upper triangle of a (row, col) matrix is, row by row: indices (2, count)."""
    places = _triangle("triu_indices", np.triu_indices, row, col, offset, dtype)
    return make("triu_indices", places, False, device)


@export(method=False)
def scalar_tensor(
    s: float,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """A number as a tensor without dimensions, of the default dtype."""
    return full((), s, dtype=dtype_of(dtype), requires_grad=requires_grad, device=device)


@export(method=False)
def empty_strided(
    size: Sizes,
    stride: Sizes,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """What the memory holds, in a shape whose elements lie ``stride`` apart along each axis."""
    sides, steps = size_of("empty_strided", (size,)), size_of("empty_strided", (stride,))
    if len(sides) != len(steps):
        raise ArgumentError(
            f"empty_strided: `size` is {sides} and `stride` {steps}, expected as many numbers"
        )
    kind = dtype_of(dtype, "empty_strided")
    bytes_apart = tuple(s * kind.itemsize for s in steps)
    flat = np.empty(extent_of(sides, steps), kind).view(np.uint8)
    out = view_on(flat, (kind, sides, bytes_apart, 0))
    return make("empty_strided", out, requires_grad, device)


@export(method=False)
def empty_permuted(
    size: Sizes,
    physical_layout: Sizes,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """What the memory holds, in a shape whose axes lie in memory in the order that is given."""
    sides = size_of("empty_permuted", (size,))
    order = size_of("empty_permuted", (physical_layout,))
    if sorted(order) != list(range(len(sides))):
        raise ArgumentError(
            f"empty_permuted: `physical_layout` is {order}, expected all axes of `size` {sides}"
        )
    dense = np.empty([sides[d] for d in order], dtype_of(dtype, "empty_permuted"))
    out = make("empty_permuted", dense.transpose(np.argsort(order)), requires_grad, device)
    out.storage.expose()  # the layout is the user's, not a kernel's
    return out
