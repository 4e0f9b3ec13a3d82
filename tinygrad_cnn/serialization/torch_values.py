"""What stands for PyTorch's names when its pickles are read: tensors on memory of ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.devices import CPU, device
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import as_tensor
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.functions.copying import Memory, rebuild
from tinygrad_cnn.nn.module.parameter import Buffer, Parameter
from tinygrad_cnn.serialization.torch_names import DTYPES, STORAGES, StorageType
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DType, Size
from tinygrad_cnn.unpickling import Budget, Builds, Call, Machine, NumPy, check_plain, python_names

_LONGEST = 64  # dimensions, as in NumPy
_PLAIN = (np.ndarray, np.generic, np.dtype, Tensor, device)


class Stored:
    """A part of a memory, and the dtype of what is in it: PyTorch's storage."""

    def __init__(self, memory: Memory, kind: StorageType, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > memory.flat.nbytes:
            raise ArgumentError(f"{size} bytes of a memory of {memory.flat.nbytes}")
        self.memory, self.dtype, self.start, self.size = memory, kind.dtype, start, size


class Values:
    """The values of one file's pickles; ``size`` is that of the file, in bytes."""

    def __init__(self, size: int) -> None:
        self._budget = Budget(2 * size)  # of what is not in memories, each twice: text and bytes
        self._of_truth: set[int] = set()  # memories of booleans that are 0 or 1
        arrays = NumPy(self._budget)
        self._known = _Names({**python_names(self._budget), **arrays.known, **_functions(self)})
        self._builds: Builds = {**arrays.builds, OrderedDict: self._with_metadata}

    def read(self, data: bytes | BytesIO, persistent: Any = None) -> Any:
        """The value of a pickle; ``persistent`` gives the `Stored` of an id."""
        value = Machine(self._known, self._builds, persistent).run(data)
        check_plain(value, *_PLAIN)
        return value

    def tensor(
        self, stored: Any, offset: Any, shape: Any, strides: Any, dtype: DType | None = None
    ) -> Tensor:
        """The tensor that lies so in its memory; all is counted in numbers, not in bytes."""
        if not isinstance(stored, Stored) or not isinstance(dtype, np.dtype | type(None)):
            raise ArgumentError("a tensor without memory")
        if not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ArgumentError("a tensor whose shape is no tuple")
        numbers = (offset, *shape, *strides)
        if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise ArgumentError("a tensor whose shape is not of integers")
        if len(shape) != len(strides) or len(shape) > _LONGEST:
            raise ArgumentError(f"a tensor of {len(shape)} dimensions with {len(strides)} strides")
        kind = stored.dtype if dtype is None else dtype
        item = kind.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and (last + 1) * item > stored.size:
            raise ArgumentError(f"a tensor beyond its memory of {stored.size} bytes")
        at = 0 if 0 in shape else stored.start + offset * item
        steps = tuple(s * item for s in strides)
        if kind.kind == "b":
            self._have_truth(stored.memory)
        made: Tensor = rebuild(Tensor, stored.memory, (kind, tuple(shape), steps, at), False)
        return made

    def _with_metadata(
        self, state: OrderedDict[Any, Any], attributes: Any
    ) -> OrderedDict[Any, Any]:
        """A ``state_dict`` with the versions of its modules; other attributes are left out."""
        metadata = attributes.get("_metadata") if isinstance(attributes, dict) else None
        if isinstance(metadata, dict) and all(map(_is_version, metadata.items())):
            self._budget.take(len(metadata))
            versions = OrderedDict((path, dict(version)) for path, version in metadata.items())
            state.__dict__["_metadata"] = versions
        return state

    def _have_truth(self, memory: Memory) -> None:
        """Any byte but 0 is True, and NumPy's True is 1."""
        if id(memory) not in self._of_truth:
            self._of_truth.add(id(memory))
            if memory.flat.max(initial=0) > 1:
                np.minimum(memory.flat, 1, out=memory.flat)

    def rebuild_tensor(self, stored: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
        """A tensor that requires no gradient."""
        return self.tensor(stored, offset, shape, strides)

    def rebuild_tensor_v2(
        self,
        stored: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        wanted: Any,
        _hooks: Any,
        metadata: Any = None,
    ) -> Tensor:
        """A tensor that may require a gradient, and be what is conjugate or negative in memory."""
        return self._finished(self.tensor(stored, offset, shape, strides), wanted, metadata)

    def rebuild_tensor_v3(
        self,
        stored: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        wanted: Any,
        _hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        """A tensor of any dtype."""
        return self._finished(self.tensor(stored, offset, shape, strides, dtype), wanted, metadata)

    def _finished(self, made: Tensor, wanted: Any, metadata: Any) -> Tensor:
        if metadata:
            if not isinstance(metadata, dict) or not {*metadata} <= {"conj", "neg"}:
                raise ArgumentError("a tensor with more than `conj` and `neg` in its metadata")
            if made.dtype.kind == "b":
                raise ArgumentError("negative booleans")
            self._budget.take(made.nbytes)
            for name, change in (("conj", np.conj), ("neg", np.negative)):
                if metadata.get(name):
                    made = as_tensor(change(made._array))
        if type(wanted) is not bool:
            raise ArgumentError("a tensor that may or may not require a gradient")
        return made.requires_grad_() if wanted else made


def _functions(values: Values) -> dict[tuple[str, str], object]:
    """PyTorch's functions and classes."""
    utilities: dict[str, Callable[..., object]] = {
        "_rebuild_tensor": values.rebuild_tensor, "_rebuild_tensor_v2": values.rebuild_tensor_v2,
        "_rebuild_tensor_v3": values.rebuild_tensor_v3, "_rebuild_parameter": _parameter,
        "_rebuild_parameter_with_state": _parameter_with_state,
    }  # fmt: skip
    out: dict[tuple[str, str], object] = {
        ("torch._utils", name): Call(made) for name, made in utilities.items()
    }
    for module in ("torch", "torch.cuda"):
        out |= {(module, name): StorageType(dtype) for name, dtype in STORAGES.items()}
    return out | {
        ("torch", "Size"): Call(_size),
        ("torch", "device"): Call(_device),
        ("torch", "Tensor"): Tensor,
        ("torch._tensor", "Tensor"): Tensor,
        ("torch._tensor", "_rebuild_from_type_v2"): Call(_with_attributes),
        ("torch.nn.parameter", "Buffer"): Buffer,
        ("torch.nn.parameter", "Parameter"): Parameter,
        ("torch.storage", "UntypedStorage"): StorageType(None),
    }


class _Names(dict[tuple[str, str], object]):
    """Names with what stands for them; dtypes are looked for when they are asked for."""

    def __missing__(self, key: tuple[str, str]) -> object:
        module, name = key
        if module != "torch" or name not in DTYPES:
            raise KeyError(key)
        return dtype_of(name)


def _is_version(entry: tuple[Any, Any]) -> bool:
    path, version = entry
    known = isinstance(version, dict) and isinstance(version.get("version"), int | None)
    return isinstance(path, str) and known


def _size(sides: Any) -> Size:
    return Size(sides)


def _device(kind: Any, index: Any = None) -> device:
    """Wherever it was, here it is the CPU."""
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise ArgumentError("a device that has no name")
    return device("cpu", index) if kind == "cpu" and index in (None, 0) else CPU


def _parameter(data: Any, wanted: Any, _hooks: Any = None) -> Parameter:
    if not isinstance(data, Tensor) or type(wanted) is not bool:
        raise ArgumentError("a parameter that is no tensor")
    return Parameter(data, wanted)


def _parameter_with_state(data: Any, wanted: Any, hooks: Any, state: Any) -> Tensor:
    return _having(_parameter(data, wanted, hooks), state)


def _with_attributes(make: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor on which a user hung something, or one of a class of its own."""
    if not isinstance(make, Call) or kind not in (Tensor, Parameter, Buffer):
        raise ArgumentError("a tensor of another class")
    made = make.function(*arguments)
    if not isinstance(made, Tensor):
        raise ArgumentError("a tensor that is none")
    return _having(made, state)


def _having(made: Tensor, state: Any) -> Tensor:
    """With the attributes of a state, but for those that tensors have for themselves."""
    if isinstance(state, dict):
        check_plain(state, *_PLAIN)
        made.__dict__.update(
            {k: v for k, v in state.items() if isinstance(k, str) and not hasattr(type(made), k)}
        )
    return made
