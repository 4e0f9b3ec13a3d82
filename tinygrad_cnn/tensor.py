"""`Tensor`: an array that remembers how it was made, with every function as a method."""

from __future__ import annotations

import builtins
import copy
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.backward import backward
from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.hooks import Hooks, RemovableHandle, add_hook
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import GraphNode, Leaf, Node
from tinygrad_cnn.autograd.storage import Storage
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.functions import copying, indexing
from tinygrad_cnn.functions.convert import array_of, axis, is_dtype, only_cpu, size_of, to_tensor
from tinygrad_cnn.functions.inplace_methods import InPlaceMethods
from tinygrad_cnn.functions.numpy_protocol import apply_function, apply_ufunc
from tinygrad_cnn.functions.printing import format_tensor
from tinygrad_cnn.functions.shaping import view
from tinygrad_cnn.types import Array, DTypeLike, TensorLike

_OPERANDS: Any = (Variable, int, float, np.ndarray, np.generic, list)


class Tensor(InPlaceMethods):
    """An n-dimensional array of one dtype that records what is done to it.

    Made by `tinygrad_cnn.tensor`, `zeros`, `randn` and so on. If `requires_grad` is set, the
    results of operations on it know how they came to be, and `backward` on one of them adds the
    gradient to `grad`.

    Parameters
    ----------
    data
        Numbers, nested lists, an array or a tensor; copied.
    dtype
        Default: float32 for Python floats, int64 for integers, an array's own.
    requires_grad
        Whether gradients are to be collected.

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
        self, data: Any = (), dtype: DTypeLike = None, *, requires_grad: bool = False
    ) -> None:
        self._value = array_of(data, dtype)
        self.storage = Storage()
        self.node = self.view_of = self._saved = self._grad = None
        if requires_grad:
            self.want_gradient(True)

    # ---- what it is ------------------------------------------------------------------------

    @property
    def device(self) -> str:
        """Always ``"cpu"``."""
        return "cpu"

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
                raise TypeError(f"grad: got a {type(value).__name__}, expected a Tensor or None")
            if value is self:
                raise RuntimeError("grad: a tensor cannot be its own gradient; use a clone()")
            if value._value.shape != self._value.shape or value._value.dtype != self._value.dtype:
                raise ShapeError(
                    f"grad: got shape {value.shape} and dtype {value.dtype}, expected "
                    f"{self.shape} and {self.dtype}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

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
        if self.node is not None and new.dtype.kind != "f":
            raise DtypeError(
                f"data: got dtype {new.dtype}, but a tensor with gradients is floating"
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

    def size(self, dim: int | None = None) -> Any:
        """Its sides, or one of them."""
        return self.shape if dim is None else self.shape[axis("size", dim, self.ndim)]

    def numel(self) -> int:
        """How many elements it has."""
        return self._value.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._value.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Elements to skip in memory for one step along each axis, or along one."""
        steps = tuple(s // self._array.itemsize for s in self._array.strides)
        return steps if dim is None else steps[axis("stride", dim, self.ndim)]

    def is_contiguous(self) -> bool:
        """Whether its elements lie in memory in row-major order."""
        return self._array.flags.c_contiguous

    def is_floating_point(self) -> bool:
        """Whether its dtype is floating."""
        return self._value.dtype.kind == "f"

    def data_ptr(self) -> int:
        """The address of its first element."""
        return int(self.array.__array_interface__["data"][0])

    # ---- to Python and NumPy ---------------------------------------------------------------

    def numpy(self, *, force: builtins.bool = False) -> Array:
        """The values as an array in the same memory.

        Raises
        ------
        RuntimeError
            The tensor requires gradients, which would not see a change to the array, and
            operations are being recorded; ``force`` returns the array all the same.
        """
        if not force and is_recording() and self.current_node() is not None:
            raise RuntimeError(
                "numpy: this tensor requires gradients; use t.detach().numpy() for its values"
            )
        return self.array

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:
        if is_recording() and self.current_node() is not None:
            raise TypeError(
                "np.asarray: this tensor requires gradients, which an array would lose; use "
                "t.detach() for its values"
            )
        if dtype is not None and self._value.dtype != dtype:
            return self._array.astype(dtype)
        return self._array.copy() if copy else self.array

    def __dlpack__(self, **options: Any) -> Any:
        """The values for another library, in the same memory (DLPack)."""
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        return (1, 0)  # the CPU

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return apply_function(function, args, kwargs)

    def item(self) -> Any:
        """Its one element as a Python number."""
        if self._value.size != 1:
            raise RuntimeError(f"item: shape is {self.shape}, expected a single element")
        return self._array.item()

    def tolist(self) -> Any:
        """Its values as nested lists of Python numbers."""
        return self._array.tolist()

    def __bool__(self) -> builtins.bool:
        if self._value.size != 1:
            raise RuntimeError(
                f"bool: shape is {self.shape}; the truth of several values is ambiguous, use "
                f"any() or all()"
            )
        return builtins.bool(self._array.item())

    def __int__(self) -> builtins.int:
        return builtins.int(self.item())

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __index__(self) -> builtins.int:
        if self._value.size != 1 or self._value.dtype.kind not in "biu":
            raise DtypeError(
                f"index: shape {self.shape} and dtype {self.dtype}, expected one integer"
            )
        return builtins.int(self._array.item())

    def __format__(self, spec: str) -> str:
        number = spec or (type(self) is Tensor and not self._value.ndim)  # as PyTorch
        return format(self.item(), spec) if number else repr(self)

    def __len__(self) -> builtins.int:
        if not self._value.ndim:
            raise TypeError("len: a tensor without dimensions has no length")
        return self._value.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._value.ndim:
            raise TypeError("iter: a tensor without dimensions cannot be iterated over")
        return iter(f.unbind(self))

    def __contains__(self, value: Any) -> builtins.bool:
        return builtins.bool((self._array == to_tensor(value)._array).any())

    def __repr__(self) -> str:
        node = self.current_node()
        made_by = node.name() if type(node) is Node else None
        return format_tensor(self._array, node is not None, made_by)

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
        return add_hook(node.post_hooks, hook)

    # ---- operators -------------------------------------------------------------------------

    def __add__(self, other: TensorLike) -> Any:
        return f.add(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __radd__(self, other: TensorLike) -> Any:
        return f.add(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __sub__(self, other: TensorLike) -> Any:
        return f.sub(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rsub__(self, other: TensorLike) -> Any:
        return f.sub(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __mul__(self, other: TensorLike) -> Any:
        return f.mul(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rmul__(self, other: TensorLike) -> Any:
        return f.mul(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __truediv__(self, other: TensorLike) -> Any:
        return f.div(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rtruediv__(self, other: TensorLike) -> Any:
        return f.div(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __floordiv__(self, other: TensorLike) -> Any:
        return f.floor_divide(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rfloordiv__(self, other: TensorLike) -> Any:
        return f.floor_divide(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __mod__(self, other: TensorLike) -> Any:
        return f.remainder(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rmod__(self, other: TensorLike) -> Any:
        return f.remainder(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __pow__(self, other: TensorLike) -> Any:
        return f.pow(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rpow__(self, other: TensorLike) -> Any:
        return f.pow(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __matmul__(self, other: TensorLike) -> Any:
        return f.matmul(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __rmatmul__(self, other: TensorLike) -> Any:
        return f.matmul(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    def __neg__(self) -> Tensor:
        return f.neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return f.abs(self)

    def __invert__(self) -> Tensor:
        return f.bitwise_not(self)

    def __and__(self, other: TensorLike) -> Any:
        return f.bitwise_and(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __or__(self, other: TensorLike) -> Any:
        return f.bitwise_or(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __xor__(self, other: TensorLike) -> Any:
        return f.bitwise_xor(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __eq__(self, other: Any) -> Any:
        return f.eq(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return f.ne(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __lt__(self, other: TensorLike) -> Any:
        return f.lt(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __le__(self, other: TensorLike) -> Any:
        return f.le(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __gt__(self, other: TensorLike) -> Any:
        return f.gt(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def __ge__(self, other: TensorLike) -> Any:
        return f.ge(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem

    # ---- dtypes and copies -----------------------------------------------------------------

    def to(
        self, *args: Any, dtype: DTypeLike = None, copy: builtins.bool = False, **ignored: Any
    ) -> Tensor:
        """Another dtype: ``to(tg.float64)``, ``to(other_tensor)``; the only device is ``"cpu"``."""
        for a in args:
            if isinstance(a, str) and not is_dtype(a):
                only_cpu("to", a)
            elif not isinstance(a, builtins.bool):
                dtype = a
        if "device" in ignored:
            only_cpu("to", ignored.pop("device"))
        ignored.pop("non_blocking", None)
        if ignored:
            raise TypeError(f"to: unexpected arguments {sorted(ignored)}")
        return f.to(self, dtype, copy=copy)

    def cpu(self) -> Tensor:
        """The tensor itself: there is no other device."""
        return self

    def type(self, dtype: DTypeLike) -> Tensor:
        """Another dtype."""
        return f.to(self, dtype)

    def type_as(self, other: TensorLike) -> Tensor:
        """The dtype of ``other``."""
        return f.to(self, to_tensor(other).dtype)

    def float(self) -> Tensor:
        """As float32."""
        return f.to(self, np.float32)

    def double(self) -> Tensor:
        """As float64."""
        return f.to(self, np.float64)

    def half(self) -> Tensor:
        """As float16."""
        return f.to(self, np.float16)

    def long(self) -> Tensor:
        """As int64."""
        return f.to(self, np.int64)

    def int(self) -> Tensor:
        """As int32."""
        return f.to(self, np.int32)

    def short(self) -> Tensor:
        """As int16."""
        return f.to(self, np.int16)

    def byte(self) -> Tensor:
        """As uint8."""
        return f.to(self, np.uint8)

    def bool(self) -> Tensor:
        """As bool: whether it is not 0."""
        return f.to(self, np.bool_)

    def contiguous(self, *, memory_format: Any = None) -> Tensor:
        """Itself if its elements lie in row-major order, else a copy that does."""
        self.in_rows()
        if self._array.flags.c_contiguous or memory_format is not None:
            return self
        out = f.clone(self)
        out._value = np.ascontiguousarray(out._array)
        return out

    def new_tensor(self, data: Any, *, dtype: DTypeLike = None) -> Tensor:
        """A tensor of ``data`` in this one's dtype."""
        return f.tensor(data, dtype or self.dtype)

    def new_zeros(self, *size: Any, dtype: DTypeLike = None) -> Tensor:
        """Zeros of another shape in this dtype."""
        return f.zeros(size_of("new_zeros", size), dtype=dtype or self.dtype)

    def new_ones(self, *size: Any, dtype: DTypeLike = None) -> Tensor:
        """Ones of another shape in this dtype."""
        return f.ones(size_of("new_ones", size), dtype=dtype or self.dtype)

    def new_empty(self, *size: Any, dtype: DTypeLike = None) -> Tensor:
        """Whatever the memory holds, of another shape in this dtype."""
        return f.empty(size_of("new_empty", size), dtype=dtype or self.dtype)

    def new_full(self, size: Any, fill_value: Any, *, dtype: DTypeLike = None) -> Tensor:
        """One number, of another shape in this dtype."""
        return f.full(size, fill_value, dtype=dtype or self.dtype)

    view = view

    def view_as(self, other: TensorLike) -> Tensor:
        """Its elements in the shape of ``other``, in the same memory."""
        return view(self, to_tensor(other).shape)

    def where(self, condition: Any, other: TensorLike) -> Tensor:
        """Its values where ``condition`` holds, else ``other``."""
        out: Tensor = f.where(condition, self, other)
        return out


Variable.tensor_type = Tensor
