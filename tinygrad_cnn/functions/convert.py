"""From what users write to what operations take: tensors, numbers, axes, sizes."""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.rounding import bfloat16, fast
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.types import FLOATING, Array, Dims, DType, DTypeLike, Sizes, TensorLike, Tensors

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
_ADDED = 256  # the numbers from which on NumPy counts the dtypes that others add
_NUMBERS = (bool, int, float, complex)


def array_of(data: Any, dtype: DTypeLike = None) -> Array:
    """A new array of ``data`` in a dtype that tensors have.

    Python floats (and lists of them) become the default dtype, integers int64.

    Raises
    ------
    TypeError
        ``data`` holds something else than numbers, or numbers tensors cannot hold.
    ValueError
        ``data`` is ragged.
    """
    if isinstance(data, Variable):
        source: Any = data._given
    elif isinstance(data, (list, tuple)) and isinstance(_first(data), Variable):
        source = do(_stack, data)
    else:
        try:
            source = np.asarray(data)
        except ValueError:
            raise ShapeError(
                "tensor: `data` is not rectangular: some of its lists differ in length"
            ) from None
        if dtype is None and not _is_numpys(_first(data)):
            if source.dtype == np.float64:
                dtype = promotion.get_default_dtype()
            elif source.dtype == np.complex128:
                dtype = promotion.complex_dtype(promotion.get_default_dtype())
    if source.dtype.kind not in "biufc" and source.dtype.name != "bfloat16":
        kind = type(data).__name__
        raise DtypeError(
            f"tensor: `data` is a {kind} of dtype {source.dtype}, expected bools, integers, "
            f"floats or complex numbers"
        )
    wanted = dtype_of(source.dtype if dtype is None else dtype)
    if source.dtype.kind == "c" != wanted.kind and not isinstance(data, Variable):
        raise DtypeError(f"tensor: `data` is complex, which does not fit into {wanted}")
    params = {"dtype": wanted, "order": "K"}
    if source is not data and not isinstance(data, Variable):  # of numbers
        if wanted.kind in "iu" and wanted != source.dtype and not _is_numpys(_first(data)):
            _fits(source, wanted)
        return made(ignoring_fp_errors(np.array, (source,), params))
    return do(ignoring_fp_errors, np.array, (source,), params)


def _fits(numbers: Array, dtype: DType) -> None:
    """Refuse Python's numbers that an integer ``dtype`` cannot hold; -1 fits unsigned ones."""
    if not numbers.size:
        return
    most = np.iinfo(dtype).max
    least = np.iinfo(dtype).min if dtype.kind == "i" else -int(most)
    low, high = numbers.min().item(), numbers.max().item()
    for n in (low, high):
        if n != n or abs(n) == math.inf or not least <= int(n) <= most:
            raise DtypeError(f"tensor: `data` holds {n}, which does not fit into {dtype}")


def is_dtype(value: Any) -> bool:
    """Whether NumPy takes ``value`` for a dtype."""
    try:
        np.dtype(value)
    except TypeError:
        return False
    return True


def dtype_of(dtype: DTypeLike, name: str = "tensor") -> DType:
    """The dtype, in native byte order, that a user's ``dtype`` means; the default one for None.

    Raises
    ------
    TypeError
        It is no dtype, or one that tensors cannot have.
    """
    if dtype is None:
        return promotion.get_default_dtype()
    if not is_dtype(dtype):
        if dtype == "bfloat16":
            return bfloat16()
        raise DtypeError(f"{name}: `dtype` is {dtype!r}, expected one such as float32")
    wanted = np.dtype(dtype)
    most = 16 if wanted.kind == "c" else 8
    if wanted.kind not in "biufc" or wanted.itemsize > most or wanted.num >= _ADDED:
        if wanted.name == "bfloat16":
            return bfloat16()
        raise DtypeError(
            f"{name}: `dtype` is {wanted}, which is not supported (bool, integers, bfloat16, "
            f"float16, float32, float64, complex64 and complex128 are)"
        )
    return wanted if wanted.isnative else wanted.newbyteorder("=")


def as_native(array: Array) -> Array:
    """``array`` itself, or a copy if its bytes lie as a tensor's cannot.

    Those of another byte order do, and those that are not aligned, such as a field of a structure.

    Raises
    ------
    TypeError
        Tensors cannot have its dtype.
    """
    dtype = dtype_of(array.dtype)
    if dtype is array.dtype and array.flags.aligned:
        return array
    return np.array(array, dtype=dtype, order="K")


def _first(data: Any) -> Any:
    """The first thing in nested lists that is not a list."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _is_numpys(value: object) -> bool:
    return isinstance(value, (np.ndarray, np.generic))


def _stack(data: Any) -> Array:
    if isinstance(data, Variable):
        return data._array
    return np.array([_stack(d) if not isinstance(d, _NUMBERS) else d for d in data])


def to_tensor(x: Any, dtype: DTypeLike = None) -> Tensor:
    """``x`` as a tensor: itself if it is one, else a constant (an array keeps its memory).

    Numbers and lists are read as ``dtype`` right away: by way of the default dtype, 0.1 would lose
    half of its digits.
    """
    if isinstance(x, Variable):
        return x  # type: ignore[return-value]  # every Variable is a Tensor
    return shared(x) if isinstance(x, np.ndarray) else wrap(array_of(x, dtype))


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether ``shape`` can be stretched to ``target``."""
    lead = len(target) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, target[lead:], strict=True))


def broadcast_shape(name: str, *values: Any) -> tuple[int, ...]:
    """The shape to which arrays and numbers broadcast together.

    Raises
    ------
    ValueError
        They do not.
    """
    shapes = [getattr(v, "shape", ()) for v in values]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        said = " and ".join(str(tuple(s)) for s in shapes)
        raise ShapeError(f"{name}: shapes {said} do not broadcast") from None


def own(result: Tensor, *inputs: Tensor) -> Tensor:
    """``result``, which looks into memory that was made for it: to its owner it is no view.

    A copy, where it looks into one of the ``inputs``.
    """
    if any(result.storage is x.storage for x in inputs):
        return result.clone()
    result.view_of = None
    return result


def shared(array: Array) -> Tensor:
    """A tensor in the memory of a user's array, who may write to it at any time.

    The memory is another one if the array `as_native` is a copy.
    """
    out = wrap(as_native(array))
    out.storage.expose()
    return out


def operand(x: TensorLike) -> Any:
    """``x`` as an operation takes it: a tensor, an array, or a Python number.

    As in PyTorch, a NumPy scalar is a number: its dtype does not count.
    """
    if isinstance(x, Variable):
        return x
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, _NUMBERS):
        return x
    if isinstance(x, np.ndarray):
        return as_native(x)
    return array_of(x)


def unary(op: Any, *aliases: str, **places: Any) -> Callable[[Any], Tensor]:
    """The public function of one tensor that an operation is: named ``input``, as PyTorch's.

    ``aliases`` and ``places`` are those of `export`.
    """

    def call(input: TensorLike) -> Tensor:
        out: Tensor = op(to_tensor(input))
        return out

    functools.update_wrapper(call, op)
    del call.__wrapped__  # type: ignore[attr-defined]  # whose signature would be shown instead
    return export(*aliases, **places)(call)


def floating(name: str, x: Tensor) -> Tensor:
    """``x`` itself; TypeError unless its dtype is floating."""
    if x.dtype.kind not in FLOATING:
        raise DtypeError(
            f"{name}: `input` is {x.dtype}, expected a floating dtype (x.float() makes one)"
        )
    return x


def inexact(name: str, x: Tensor) -> Tensor:
    """``x`` itself; TypeError unless its dtype is floating or complex."""
    return x if x._value.dtype.kind == "c" else floating(name, x)


def one_dtype(name: str, x: Tensor, **others: Tensor | None) -> None:
    """Raise TypeError unless the tensors ``others`` have the dtype of ``x``.

    As PyTorch, functions of weights convert nothing silently.
    """
    for argument, other in others.items():
        if other is not None and other._value.dtype != x._value.dtype:
            if fast.get() is not None and all(t._value.dtype.itemsize < 8 for t in (x, other)):
                continue  # autocast is about to convert both
            raise DtypeError(
                f"{name}: `input` is {x.dtype} but `{argument}` is {other.dtype}, "
                f"expected one dtype; convert one of them, for instance x.to({argument}.dtype)"
            )


def several(name: str, tensors: Tensors) -> list[Tensor]:
    """The tensors of a list or tuple (or the slices of one tensor)."""
    if not isinstance(tensors, (list, tuple, Variable, np.ndarray)):
        raise DtypeError(f"{name}: `tensors` is {tensors!r}, expected a list or tuple of tensors")
    return [to_tensor(x) for x in tensors]


def axis(name: str, dim: SupportsIndex, ndim: int) -> int:
    """``dim`` as a number from 0 to ndim - 1 (a 0-d tensor counts as having one axis).

    Raises
    ------
    IndexError
        It is out of range.
    TypeError
        It is not an integer.
    """
    try:
        d = operator.index(dim)
    except TypeError:
        raise DtypeError(f"{name}: `dim` is {dim!r}, expected an integer") from None
    n = max(ndim, 1)
    if not -n <= d < n:
        raise PositionError(f"{name}: `dim` is {d}, expected {-n} to {n - 1} for {ndim} dimensions")
    return d % n


def axes(name: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    """``dim`` (an integer, several, or None for all) as a sorted tuple of axes."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, (list, tuple)):
        if not dim:
            return tuple(range(ndim))
        out = sorted(axis(name, d, ndim) for d in dim)
        if len(set(out)) != len(out):
            raise ShapeError(f"{name}: `dim` is {dim}, which names an axis twice")
        return tuple(out) if ndim else ()
    one = axis(name, dim, ndim)  # type: ignore[arg-type]  # or TypeError
    return (one,) if ndim else ()


def size_of(name: str, size: tuple[Sizes, ...], named: Sizes | None = None) -> tuple[int, ...]:
    """The shape that ``zeros(2, 3)``, ``zeros((2, 3))`` or ``zeros(size=(2, 3))`` means."""
    if named is not None and not size:
        size = (named,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        shape = tuple(operator.index(n) for n in size)  # type: ignore[arg-type]  # or TypeError
    except TypeError:
        raise DtypeError(f"{name}: `size` is {size!r}, expected integers") from None
    if any(n < 0 for n in shape):
        raise ShapeError(f"{name}: `size` is {shape}, but no side can be negative")
    return shape


def pair(name: str, argument: str, value: Any, n: int = 2) -> tuple[int, ...]:
    """An integer or ``n`` of them, as a tuple of ``n``."""
    if type(value) is int:
        return (value,) * n
    if type(value) is tuple and len(value) == n:  # as layers have it
        if type(value[0]) is int and type(value[-1]) is int:
            if n == 2 or all([type(v) is int for v in value]):
                return value
    values = value if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) == 1:
        values = tuple(values) * n
    try:
        out = tuple(operator.index(v) for v in values)
    except TypeError:
        out = ()
    if len(out) != n:
        error = ShapeError if out else TypeError
        raise error(f"{name}: `{argument}` is {value!r}, expected an integer or {n} of them")
    return out


def older_call(*factors: str, tensors: int = 2) -> Callable[[F], F]:
    """Let a function take its factors as PyTorch once had them: numbers among the tensors.

    ``x.add_(0.1, y)`` is ``x.add_(y, alpha=0.1)``; ``addmm(2, x, 3, a, b)`` is
    ``addmm(x, a, b, beta=2, alpha=3)``. ``factors`` are the keywords in the order of the numbers,
    and ``tensors`` is how many arguments follow these.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) <= tensors + 1:
                return function(*args, **kwargs)
            head = args[:-tensors]
            numbers = [v for v in head if not isinstance(v, Variable)]
            if len(numbers) != len(head) - 1 or len(numbers) > len(factors):
                return function(*args, **kwargs)  # which says what it expects
            given = dict(zip(factors, numbers, strict=False))
            named = ", ".join(f"{key}={value}" for key, value in given.items())
            warnings.warn(
                f"{function.__name__}: numbers among the tensors are deprecated; "
                f"write {named} behind them",
                UserWarning,
                stacklevel=2,
            )
            input = next(v for v in head if isinstance(v, Variable))
            return function(input, *args[-tensors:], **given, **kwargs)

        return call  # type: ignore[return-value]  # the same signature and another order

    return decorate


def numpy_names(function: F) -> F:
    """Let a function take NumPy's ``axis`` and ``keepdims`` for ``dim`` and ``keepdim``."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for numpys, ours in (("axis", "dim"), ("keepdims", "keepdim")):
                if numpys in kwargs:
                    if ours in kwargs:
                        raise DtypeError(
                            f"{function.__name__}: `{numpys}` and `{ours}` are two names of one "
                            f"argument"
                        )
                    kwargs[ours] = kwargs.pop(numpys)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]  # the same signature and two more names
