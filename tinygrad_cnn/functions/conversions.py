"""What a tensor is to Python, NumPy and other libraries: numbers, arrays, their memory, text."""

from __future__ import annotations

import builtins
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Node
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.inplace_methods import InPlaceMethods
from tinygrad_cnn.functions.numpy_protocol import apply_function, apply_ufunc
from tinygrad_cnn.functions.printing import format_tensor
from tinygrad_cnn.types import Array, DTypeLike

if TYPE_CHECKING:
    pass


class Conversions(InPlaceMethods):
    """What `Tensor` inherits: to Python's and NumPy's objects, and to other libraries'."""

    __slots__ = ()

    @property
    def _loses_gradient(self) -> builtins.bool:
        """Whether what is made of it would lose a gradient that is being recorded."""
        return is_recording() and self.current_node() is not None

    def numpy(self, *, force: builtins.bool = False) -> Array:
        """The values as an array in the same memory.

        Raises
        ------
        RuntimeError
            The tensor requires gradients, which would not see a change to the array, and
            operations are being recorded; ``force`` returns the array all the same.
        """
        if not force and self._loses_gradient:
            raise RuntimeError(
                "numpy: this tensor requires gradients; use t.detach().numpy() for its values"
            )
        return self.array

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:
        if self._loses_gradient:
            raise DtypeError(
                "np.asarray: this tensor requires gradients, which an array would lose; use "
                "t.detach() for its values"
            )
        if dtype is not None and self._value.dtype != dtype:
            if copy is False:
                raise ArgumentError(
                    f"np.asarray: `copy` is False, but {self.dtype} is not {np.dtype(dtype)}"
                )
            return self._array.astype(dtype)
        return self._array.copy() if copy else self.array

    def __buffer__(self, flags: builtins.int, /) -> memoryview:
        """The tensor's own memory, for ``memoryview(t)`` and the like (from Python 3.12 on).

        Raises
        ------
        BufferError
            The tensor requires gradients, or its dtype is bfloat16, which buffers do not know.
        """
        if self._loses_gradient:
            raise BufferError("memoryview: this tensor requires gradients; use t.detach()")
        array: Any = self.array
        try:
            return memoryview(array)
        except ValueError as error:
            raise BufferError(f"memoryview: dtype is {self.dtype}: {error}") from None

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[builtins.int, builtins.int] | None = None,
        dl_device: tuple[builtins.int, builtins.int] | None = None,
        copy: builtins.bool | None = None,
    ) -> Any:
        """A capsule with the values for another library, in the same memory (DLPack).

        Raises
        ------
        BufferError
            The tensor requires gradients, which the other library would lose; it is read-only, and
            ``max_version`` is before 1.0, which cannot say so; or another device is wanted.
        """
        if self._loses_gradient:
            raise BufferError(
                "__dlpack__: this tensor requires gradients, which another library would lose; use "
                "t.detach() for its values"
            )
        if dl_device not in (None, (1, 0)):
            raise BufferError(f"__dlpack__: `dl_device` is {dl_device}, expected the CPU, (1, 0)")
        given = {"stream": stream, "max_version": max_version, "copy": copy}
        array: Any = self.array
        return array.__dlpack__(**{k: v for k, v in given.items() if v is not None})

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        return (1, 0)  # the CPU

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return apply_function(function, args, kwargs)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """The functions of the array API standard for tensors: `tinygrad_cnn.array_api`.

        Raises
        ------
        ValueError
            ``api_version`` is a version of the standard that it does not follow.
        """
        above = import_module("tinygrad_cnn.array_api")  # many programs do without
        return above.checked(api_version)

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
        return builtins.int(self._real())

    def __complex__(self) -> builtins.complex:
        return builtins.complex(self.item())

    def __float__(self) -> builtins.float:
        return builtins.float(self._real())

    def _real(self) -> Any:
        """Its one element, if complex without the imaginary part, which must be 0."""
        number = self.item()
        return number.real if isinstance(number, complex) and not number.imag else number

    def __index__(self) -> builtins.int:
        if self._value.size != 1 or self._value.dtype.kind not in "biu":
            raise DtypeError(
                f"index: shape {self.shape} and dtype {self.dtype}, expected one integer"
            )
        return builtins.int(self._array.item())

    def __format__(self, spec: str) -> str:
        number = spec or (type(self) is Variable.tensor_type and not self._value.ndim)  # as PyTorch
        return format(self.item(), spec) if number else repr(self)

    def __len__(self) -> builtins.int:
        if not self._value.ndim:
            raise DtypeError("len: a tensor without dimensions has no length")
        return self._value.shape[0]

    def __contains__(self, value: Any) -> builtins.bool:
        return builtins.bool((self._array == to_tensor(value)._array).any())

    def __repr__(self) -> str:
        node = self.current_node()
        made_by = node.name() if type(node) is Node else None
        return format_tensor(self._array, node is not None, made_by)
