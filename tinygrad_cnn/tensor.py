"""`Tensor`: an array that remembers how it was made, with every function as a method."""

from __future__ import annotations

import builtins
import copy
import html
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.backward import backward
from tinygrad_cnn.autograd.devices import CPU, DeviceLike, check_device, device
from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.hooks import Hooks, RemovableHandle, add_hook
from tinygrad_cnn.autograd.layout import channels_last, memory_format, steps_of
from tinygrad_cnn.autograd.node import GraphNode, Leaf, Node
from tinygrad_cnn.autograd.variable import Storage, Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import copying, indexing, storages
from tinygrad_cnn.functions.conversions import Conversions
from tinygrad_cnn.functions.convert import array_of, axis, dtype_of, is_dtype, size_of, to_tensor
from tinygrad_cnn.functions.shaping import view
from tinygrad_cnn.kernels.tape import do, taping
from tinygrad_cnn.types import (
    FLOATING,
    INEXACT,
    LEGACY_DTYPES,
    Array,
    DType,
    DTypeLike,
    Size,
    TensorLike,
)

_OPERANDS = (Variable, int, float, complex, np.ndarray, np.generic, list)
Operator = Callable[[Any, Any], Any]
T = TypeVar("T", bound="Tensor")


def _operators(function: Callable[..., Any]) -> tuple[Operator, Operator]:
    """The methods of an operator, left and right of the tensor, that call a function."""

    def left(self: Tensor, other: object) -> Any:
        return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def right(self: Tensor, other: object) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    left.__name__ = right.__name__ = function.__name__
    return left, right


def _new(function: Callable[..., Tensor], summary: str) -> Callable[..., Tensor]:
    """The method that makes a tensor of this one's dtype."""

    def make(self: Tensor, *args: Any, dtype: DTypeLike = None, **options: Any) -> Tensor:
        return function(*args, dtype=dtype or self.dtype, **options)

    make.__name__, make.__doc__ = f"new_{function.__name__}", summary
    return make


def _cast(kind: type[np.generic], summary: str) -> Callable[[Any], Tensor]:
    """The method that converts to a dtype."""

    def cast(self: Tensor, memory_format: memory_format | None = None) -> Tensor:
        return f.to(self, kind)

    cast.__name__, cast.__doc__ = kind.__name__, summary
    return cast


def _legacy_array(data: Any, n: int, dtype: DType) -> Array:
    """What the constructor called with ``n`` arguments, the tuple or the only one, makes of it."""
    if isinstance(data, (builtins.int, np.integer, Size)) or n != 1:
        return np.zeros(size_of("Tensor", (data,)) if n else 0, dtype)
    if not isinstance(data, (list, tuple, range, np.ndarray)):
        raise DtypeError(
            f"Tensor: `data` is a {type(data).__name__}, expected integers, a Size, or one list, "
            f"array or tensor; see tensor()"
        )
    return array_of(data, dtype)


class Tensor(Conversions):
    """An n-dimensional array of one dtype that records what is done to it.

    Made by `tinygrad_cnn.tensor`, `zeros`, `randn` and so on. If `requires_grad` is set, the
    results of operations on it know how they came to be, and `backward` on one of them adds the
    gradient to `grad`.

    Called itself, as PyTorch's constructor from before there was `tensor`, it takes integers, a
    shape, or one list, array or tensor, whose memory is shared.

    Parameters
    ----------
    data
        The shape of a tensor of zeros, as ``2, 3`` or a `Size`; or numbers.
    dtype
        Default: the default dtype, also for integers; a tensor keeps its own.
    requires_grad
        Whether gradients are to be collected.

    Raises
    ------
    TypeError
        ``data`` is something else, such as a number that is no integer.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x**2).sum()
    >>> y
    tensor(14., grad_fn=<sum>)
    >>> y.backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    __hash__ = object.__hash__
    __array_priority__ = 1000

    def __init__(
        self,
        *data: Any,
        dtype: DTypeLike = None,
        device: DeviceLike = None,
        requires_grad: bool = False,
    ) -> None:
        check_device(device, "Tensor")
        first = data[0] if len(data) == 1 else data
        if isinstance(first, Tensor):
            self._alias(first)
        else:
            self._value = _legacy_array(first, len(data), dtype_of(dtype))
            self.storage = Storage()
            self.node = self.view_of = self._saved = self._grad = None
        if requires_grad:
            self.want_gradient(True)

    def _alias(self, source: Tensor) -> None:
        """Be a view of all of ``source``."""
        seen = f.reshape(source, source.shape)
        self._value, self.storage, self.node, self.view_of = (
            seen._value,
            seen.storage,
            seen.node,
            seen.view_of,
        )
        self._saved = self._grad = None
        self.storage.shared_by(source, self)

    def as_subclass(self, cls: builtins.type[T]) -> T:
        """A view of all of it, of the class ``cls``; no ``__init__`` runs."""
        new = cls.__new__(cls)
        new._alias(self)
        return new

    # ---- what it is ------------------------------------------------------------------------

    @property
    def device(self) -> device:
        """Where it lives: always the CPU."""
        return CPU

    is_cpu = True
    is_cuda = is_mps = is_xpu = is_xla = is_meta = is_mkldnn = is_vulkan = False
    is_sparse = is_sparse_csr = is_quantized = is_nested = False
    output_nr = 0
    name = None

    def is_inference(self) -> builtins.bool:
        """False: what `inference_mode` makes is an ordinary constant."""
        return False

    def is_pinned(self, device: DeviceLike = None) -> builtins.bool:
        """False: there is no other device to copy to."""
        return False

    def is_shared(self) -> builtins.bool:
        """False: other processes do not see its memory."""
        return False

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._value.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._value.nbytes

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return type(self.current_node()) is not Node

    @property
    def grad_fn(self) -> GraphNode | None:
        """The recorded operation that made it, None for a leaf."""
        node = self.current_node()
        return node if type(node) is Node else None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it. May be set on leaves."""
        return self.current_node() is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        node = self.current_node()
        if type(node) is Node:
            raise RuntimeError(
                f"requires_grad: this tensor is the result of {node.name()}; the flag can only be "
                f"set on leaves. Use detach() for a constant with the same values"
            )
        self.want_gradient(wanted)

    @property
    def grad(self) -> Tensor | None:
        """The gradient collected by `backward`, or None. May be set or deleted.

        Results have none, and asking gives a warning, unless `retain_grad` was called.
        """
        if self._grad is None and type(node := self.current_node()) is Node and not node.retain:
            warnings.warn(
                f"grad: this tensor is the result of {node.name()}, and backward() collects the "
                f"gradients of leaves only; call retain_grad() on it before, or read the leaf's",
                stacklevel=2,
            )
        return self._grad  # type: ignore[return-value]  # every Variable is a Tensor

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Variable):
                raise DtypeError(f"grad: got a {type(value).__name__}, expected a Tensor or None")
            if value is self:
                raise RuntimeError("grad: a tensor cannot be its own gradient; use a clone()")
            if value._value.shape != self._value.shape or value._value.dtype != self._value.dtype:
                raise ShapeError(
                    f"grad: got shape {value.shape} and dtype {value.dtype}, expected "
                    f"{self.shape} and {self.dtype}"
                )
        if taping:
            taping[0].dropped(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def data(self) -> Tensor:
        """The same values outside the graph, in the same memory. May be set to other values.

        As in PyTorch, derivative rules do not notice a change through it: they see the new values.
        """
        out = self.detach()
        out.storage = out.storage.with_own_version()
        return out

    @data.setter
    def data(self, value: Any) -> None:
        new = to_tensor(value)
        if self.node is not None and new.dtype.kind not in INEXACT:
            raise DtypeError(
                f"data: got dtype {new.dtype}, but a tensor with gradients is floating or complex"
            )
        self._set_data(new)
        if type(self.node) is Leaf:
            self.node.shape, self.node.dtype = new.shape, new.dtype

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return f.permute(self, tuple(reversed(range(self._value.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return f.transpose(self, -2, -1)

    @property
    def _version(self) -> int:
        """How often its memory was changed in place."""
        return self.storage.version

    def dim(self) -> int:
        """How many axes it has."""
        return self._value.ndim

    @overload
    def size(self, dim: None = None) -> Size: ...
    @overload
    def size(self, dim: builtins.int) -> builtins.int: ...
    def size(self, dim: builtins.int | None = None) -> Size | builtins.int:
        """Its sides, or one of them."""
        shape = self.shape
        return shape if dim is None else shape[axis("size", dim, self.ndim)]

    ndimension = dim

    def numel(self) -> int:
        """How many elements it has."""
        return self._value.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._value.dtype.itemsize

    @overload
    def stride(self, dim: None = None) -> tuple[builtins.int, ...]: ...
    @overload
    def stride(self, dim: builtins.int) -> builtins.int: ...
    def stride(self, dim: builtins.int | None = None) -> tuple[builtins.int, ...] | builtins.int:
        """Elements to skip in memory for one step along each axis, or along one."""
        self.in_rows()
        steps = steps_of(self._given)
        return steps if dim is None else steps[axis("stride", dim, self.ndim)]

    def is_contiguous(
        self, memory_format: memory_format = memory_format.contiguous_format
    ) -> builtins.bool:
        """Whether its elements lie in memory in row-major order, or as images channels last."""
        if memory_format.name.startswith("channels_last"):
            return channels_last(self._given)
        self.in_rows()
        return self._given.flags.c_contiguous

    def storage_offset(self) -> int:
        """How many elements of its memory lie before its first one."""
        return self.offset_in_storage()

    def untyped_storage(self) -> storages.UntypedStorage:
        """Its memory, with that of all tensors that share it."""
        self.in_rows()
        return storages.UntypedStorage(self)

    def dim_order(self) -> tuple[builtins.int, ...]:
        """The axes from the one with the largest steps in memory to that with the smallest."""
        steps = self.stride()
        return tuple(sorted(range(self.ndim), key=lambda d: -steps[d]))

    resize_ = storages.resize_
    set_, is_set_to = storages.set_, storages.is_set_to

    def is_floating_point(self) -> bool:
        """Whether its dtype is floating."""
        return self._value.dtype.kind in FLOATING

    def is_complex(self) -> builtins.bool:
        """Whether its dtype is complex."""
        return self._value.dtype.kind == "c"

    def is_signed(self) -> builtins.bool:
        """Whether its dtype has negative numbers."""
        return self._value.dtype.kind not in "bu"

    def is_nonzero(self) -> builtins.bool:
        """Whether its one element is not 0."""
        return builtins.bool(self)

    def is_same_size(self, other: Variable) -> builtins.bool:
        """Whether ``other`` has the same shape."""
        return self._value.shape == other._value.shape

    @property
    def real(self) -> Tensor:
        """The real part, in the same memory; may be set."""
        return f.real(self)

    @real.setter
    def real(self, value: Any) -> None:
        f.real(self).copy_(to_tensor(value))

    @property
    def imag(self) -> Tensor:
        """The imaginary part, in the same memory; may be set."""
        return f.imag(self)

    @imag.setter
    def imag(self, value: Any) -> None:
        f.imag(self).copy_(to_tensor(value))

    @property
    def H(self) -> Tensor:
        """The conjugate transpose of a matrix."""
        if self._value.ndim not in (0, 2):
            raise ShapeError(f"H: shape is {self.shape}, expected two axes; see mH for batches")
        return f.conj(f.transpose(self, 0, 1) if self._value.ndim else self)

    @property
    def mH(self) -> Tensor:
        """The conjugate transposes of matrices."""
        return f.adjoint(self)

    def data_ptr(self) -> int:
        """The address of its first element."""
        return int(self.array.__array_interface__["data"][0]) if self._value.size else 0

    const_data_ptr = data_ptr

    # ---- elements and copies; the rest is in `functions.conversions` ---------------------------

    def to_device(self, device: DeviceLike, /, *, stream: Any = None) -> Tensor:
        """The tensor itself, for the CPU (array API standard).

        Raises
        ------
        ValueError
            Another device, or a ``stream``: those are of devices that are not here.
        """
        check_device(device, "to_device")
        if stream is not None:
            raise ArgumentError(f"to_device: `stream` is {stream!r}, expected None on the CPU")
        return self

    def __iter__(self) -> Iterator[Tensor]:
        if not self._value.ndim:
            raise DtypeError("iter: a tensor without dimensions cannot be iterated over")
        return iter(f.unbind(self))

    def __reversed__(self) -> Tensor:
        return f.flip(self, 0) if self._value.ndim else self

    def _repr_html_(self) -> str:
        """What Jupyter shows: the shape and dtype, and below them what is printed."""
        sides = " × ".join(map(str, self.shape)) or "a number"
        grad = ", requires gradients" if self.requires_grad else ""
        shown = html.escape(repr(self))
        return f"<div><small>{sides}, {self.dtype}{grad}</small><pre>{shown}</pre></div>"

    def __copy__(self) -> Tensor:
        self._require_leaf("copy")
        new: Tensor = copying.leaf(type(self), self._array, self.storage, self.requires_grad)
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Tensor:
        self._require_leaf("deepcopy")
        memory, layout = copying.Memory.of(self._array)
        memory = copy.deepcopy(memory, memo)
        new: Tensor = copying.rebuild(type(self), memory, layout, self.requires_grad)
        memo[id(self)] = new
        state, slots = copy.deepcopy(copying.attributes(self), memo) or ({}, {})
        new.__dict__.update(state)
        for name, value in slots.items():
            setattr(new, name, value)
        if self.grad is not None:
            new._grad = copy.deepcopy(self.grad, memo)
        return new

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._require_leaf("pickle")
        args = (type(self), *copying.Memory.of(self._array), self.requires_grad)
        return copying.rebuild, args, copying.attributes(self)

    def _require_leaf(self, name: str) -> None:
        if not self.is_leaf:
            raise RuntimeError(
                f"{name}: only leaves can be copied and pickled; a result's copy would share its "
                f"graph. Use clone() or detach()"
            )

    # ---- autograd --------------------------------------------------------------------------

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradients of this tensor to ``grad`` of the leaves it was made from.

        See `tinygrad_cnn.autograd.backward`.
        """
        backward(self, gradient, retain_graph, create_graph, inputs)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.want_gradient(requires_grad)
        return self

    def detach(self) -> Tensor:
        """The same values, in the same memory, as a constant."""
        if watching and observed(Tensor.detach):
            constant: Tensor = observe("detach", "detach", Tensor.detach, (self,), {})
            return constant
        out = wrap(self._array, storage=self.storage)
        self.storage.shared_by(self, out)
        return out

    def detach_(self) -> Tensor:
        """Make this tensor a constant."""
        if self.view_of is not None and self.view_of.tracked:
            raise RuntimeError(
                "detach_: this tensor is a view, whose graph is its base's; use detach()"
            )
        if self._saved is not None and type(self.current_node()) is Node:
            saved = self._saved  # a rule needs the way through this tensor, which ends here
            saved.storage = saved.storage.with_own_version()
            saved.storage.version, saved.storage.writer = saved.seen + 1, "detach_"
        self.node = self._saved = None
        return self

    def retain_grad(self) -> None:
        """Collect `grad` here too, although an operation made this tensor."""
        node = self.current_node()
        if node is None:
            raise RuntimeError("retain_grad: this tensor does not require gradients")
        if type(node) is Node:
            node.retain = weakref.ref(self)

    @property
    def retains_grad(self) -> builtins.bool:
        """Whether `retain_grad` was called on a result."""
        node = self.current_node()
        return type(node) is Node and node.retain is not None and node.retain() is self

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call ``hook(gradient)`` when this tensor's gradient is complete.

        What it returns, unless None, takes the gradient's place.
        """
        node = self.current_node()
        if node is None:
            raise RuntimeError("register_hook: this tensor does not require gradients")
        if node.hooks is None:
            node.hooks = Hooks()
        return add_hook(node.hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> RemovableHandle:
        """Call ``hook(tensor)`` after `backward` has added to this leaf's `grad`."""
        node = self.current_node()
        if type(node) is not Leaf:
            raise RuntimeError(
                "register_post_accumulate_grad_hook: expected a leaf that requires gradients"
            )
        if node.post_hooks is None:
            node.post_hooks = Hooks()
            node.tensor = lambda: self  # for the hook, whoever else lets go of it
        return add_hook(node.post_hooks, lambda tensor, g: hook(tensor))

    # ---- operators -------------------------------------------------------------------------

    __radd__: Operator  # said before, as operations are checked before this file
    # Named first, for mypy: rules of operations use them before this file is read.
    __mul__: Operator
    __rmul__: Operator
    __truediv__: Operator
    __rtruediv__: Operator
    __add__, __radd__ = _operators(f.add)
    __sub__, __rsub__ = _operators(f.sub)
    __mul__, __rmul__ = _operators(f.mul)
    __truediv__, __rtruediv__ = _operators(f.div)
    __rdiv__ = __rtruediv__  # PyTorch has the name
    __floordiv__, __rfloordiv__ = _operators(f.floor_divide)
    __mod__, __rmod__ = _operators(f.remainder)
    __pow__, __rpow__ = _operators(f.pow)
    __matmul__, __rmatmul__ = _operators(f.matmul)
    __and__ = __rand__ = _operators(f.bitwise_and)[0]
    __or__ = __ror__ = _operators(f.bitwise_or)[0]
    __lshift__, __rlshift__ = _operators(f.bitwise_left_shift)
    __rshift__, __rrshift__ = _operators(f.bitwise_right_shift)
    __xor__ = __rxor__ = _operators(f.bitwise_xor)[0]
    __eq__ = _operators(f.eq)[0]
    __ne__ = _operators(f.ne)[0]
    __lt__ = _operators(f.lt)[0]
    __le__ = _operators(f.le)[0]
    __gt__ = _operators(f.gt)[0]
    __ge__ = _operators(f.ge)[0]

    def __neg__(self) -> Tensor:
        return f.neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return f.abs(self)

    def __invert__(self) -> Tensor:
        return f.bitwise_not(self)

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem

    # ---- dtypes and copies -----------------------------------------------------------------

    def to(
        self,
        *args: Variable | DeviceLike | DTypeLike,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        tensor: Variable | None = None,
        non_blocking: builtins.bool = False,
        copy: builtins.bool = False,
        memory_format: memory_format | None = None,
    ) -> Tensor:
        """Another dtype: ``to(tg.float64)``, ``to("cpu", tg.float64)``, ``to(other_tensor)``.

        Itself, if it has that dtype already, unless ``copy``. After the device and the dtype,
        ``non_blocking`` and ``copy`` may come by position; the former and ``memory_format`` change
        nothing.

        Raises
        ------
        ValueError
            Another device than the CPU.
        TypeError
            Something is no dtype, or there are too many arguments.
        """
        rest = list(args) if tensor is None else [tensor, *args]
        if rest and isinstance(rest[0], Variable):
            dtype = to_tensor(rest.pop(0)).dtype
        else:
            if rest and (rest[0] is None or not is_dtype(rest[0])):
                device = rest.pop(0)  # type: ignore[assignment]  # check_device sees what it is
            if rest and not isinstance(rest[0], builtins.bool):
                dtype = rest.pop(0)  # type: ignore[assignment]  # f.to sees what it is
        check_device(device, "to")
        if len(rest) > 2 or not all(isinstance(flag, builtins.bool) for flag in rest):
            raise DtypeError(f"to: unexpected arguments {rest}")
        return f.to(self, dtype, copy=builtins.bool(rest[1]) if len(rest) == 2 else copy)

    def cpu(self) -> Tensor:
        """The tensor itself: there is no other device."""
        return self

    def cuda(self, device: DeviceLike = None, non_blocking: builtins.bool = False) -> Tensor:
        """An error: there is no other device than the CPU.

        Raises
        ------
        ValueError
            Always.
        """
        check_device("cuda", "cuda")
        return self

    def get_device(self) -> builtins.int:
        """The number of the device: -1 on the CPU."""
        return -1

    @overload
    def type(self, dtype: None = None) -> str: ...

    @overload
    def type(self, dtype: Any) -> Tensor: ...

    def type(self, dtype: Any = None) -> Tensor | str:
        """Another dtype; without one, this one by PyTorch's older name, ``"torch.FloatTensor"``.

        ``dtype`` may be such a name or its constructor, too.
        """
        if dtype is None:
            own = self._value.dtype
            older = next((n for n, d in LEGACY_DTYPES.items() if d == own), f"{own}Tensor")
            return f"torch.{older}"
        if isinstance(dtype, str):
            dtype = LEGACY_DTYPES.get(dtype.removeprefix("torch."), dtype)
        return f.to(self, dtype)

    def type_as(self, other: TensorLike) -> Tensor:
        """The dtype of ``other``."""
        return f.to(self, to_tensor(other).dtype)

    float = _cast(np.float32, "As float32.")
    double = _cast(np.float64, "As float64.")
    half = _cast(np.float16, "As float16.")

    def bfloat16(self, memory_format: memory_format | None = None) -> Tensor:
        """As bfloat16."""
        return f.to(self, "bfloat16")

    long = _cast(np.int64, "As int64.")
    int = _cast(np.int32, "As int32.")
    cfloat = _cast(np.complex64, "As complex64.")
    cdouble = _cast(np.complex128, "As complex128.")
    short = _cast(np.int16, "As int16.")
    char = _cast(np.int8, "As int8.")
    byte = _cast(np.uint8, "As uint8.")
    bool = _cast(np.bool_, "As bool: whether it is not 0.")

    def contiguous(self, *, memory_format: memory_format | None = None) -> Tensor:
        """Itself if its elements lie in row-major order, else a copy that does."""
        self.in_rows()
        if self._given.flags.c_contiguous or memory_format is not None:
            return self
        out = f.clone(self)
        out._value = do(np.ascontiguousarray, out._given)
        return out

    def new_tensor(
        self,
        data: Any,
        *,
        dtype: DTypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """A tensor of ``data`` in this one's dtype."""
        return f.tensor(data, dtype or self.dtype, device=device, requires_grad=requires_grad)

    def new(self, *data: Any) -> Tensor:
        """A tensor of this dtype, of integers that are its shape, or of a list or an array."""
        return Tensor(*data, dtype=self.dtype)

    new_zeros = _new(f.zeros, "Zeros of another shape in this dtype.")
    new_ones = _new(f.ones, "Ones of another shape in this dtype.")
    new_empty = _new(f.empty, "Whatever the memory holds, of another shape in this dtype.")
    new_empty_strided = _new(f.empty_strided, "`empty_strided`, in this dtype.")
    new_full = _new(f.full, "One number, of another shape in this dtype.")

    view = view

    def view_as(self, other: TensorLike) -> Tensor:
        """Its elements in the shape of ``other``, in the same memory."""
        return view(self, to_tensor(other).shape)

    def where(self, condition: Any, other: TensorLike) -> Tensor:
        """Its values where ``condition`` holds, else ``other``."""
        out: Tensor = f.where(condition, self, other)
        return out


Variable.tensor_type = Tensor
