"""`Parameter`, a tensor that a module trains; `Buffer`; and both before their shape is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions import empty
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array, DTypeLike, Size


def _share(new: Tensor, data: Tensor | Array) -> None:
    """Make ``new`` a leaf on the memory of ``data``."""
    source = to_tensor(data)
    new._value, new.storage = source._array, source.storage
    new.storage.shared_by(source, new)
    new.node = new.view_of = new._saved = new._grad = None


class Parameter(Tensor):
    """A leaf tensor that a `Module` registers when it is assigned to an attribute.

    ``data`` is a tensor or array, whose memory is shared; it must be floating unless
    ``requires_grad`` is False.

    Raises
    ------
    TypeError
        ``data`` is neither a tensor nor an array.
    RuntimeError
        ``data`` is not floating and ``requires_grad`` is set.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Parameter(tg.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, data: object = None, requires_grad: bool = True) -> None:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor | np.ndarray):
            raise DtypeError(
                f"Parameter: `data` is a {type(data).__name__} but a tensor or array is expected"
            )
        _share(self, data)
        if requires_grad:
            self.want_gradient(True)

    def __deepcopy__(self, memo: dict[int, object]) -> Tensor:
        """A copy without the gradient, as PyTorch's."""
        gradient, self._grad = self._grad, None
        try:
            return super().__deepcopy__(memo)
        finally:
            self._grad = gradient

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned to an attribute.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.Identity()
    >>> layer.count = nn.Buffer(tg.zeros(1))
    >>> list(layer.state_dict())
    ['count']
    """

    persistent: bool

    def __init__(self, data: Tensor | Array | None = None, *, persistent: bool = True) -> None:
        _share(self, empty(0) if data is None else data)
        self.persistent = persistent


class _Uninitialized(Tensor):
    """A tensor whose shape will be known when its module sees its first input."""

    becomes: ClassVar[type[Tensor]]

    @property
    def shape(self) -> Size:
        """Raise RuntimeError: there is none yet."""
        raise RuntimeError(
            f"{type(self).__name__}: the shape is not known yet; call the module once, or "
            f"`materialize`"
        )

    def numel(self) -> int:
        """Raise RuntimeError: there is no shape yet."""
        return self.shape.numel()

    def __len__(self) -> int:
        return len(self.shape)  # which raises

    def materialize(self, shape: Sequence[int], dtype: DTypeLike = None) -> None:
        """Give the tensor a shape, and memory with any values."""
        kind = self.dtype if dtype is None else dtype
        self.__class__ = self.becomes  # type: ignore[assignment]  # what it is from now on
        self.data = empty(tuple(shape), dtype=kind)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A `Parameter` whose shape will be known when its module sees its first input.

    >>> from tinygrad_cnn import nn
    >>> weight = nn.UninitializedParameter()
    >>> weight.materialize((2, 3))
    >>> type(weight).__name__, weight.shape
    ('Parameter', Size([2, 3]))
    """

    becomes = Parameter

    def __init__(
        self, requires_grad: bool = True, device: DeviceLike = None, dtype: DTypeLike = None
    ) -> None:
        check_device(device, "UninitializedParameter")
        super().__init__(empty(0, dtype=dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A buffer whose shape will be known when its module sees its first input.

    >>> from tinygrad_cnn import nn
    >>> mean = nn.UninitializedBuffer()
    >>> mean.materialize((3,))
    >>> mean.shape
    Size([3])
    """

    becomes = Buffer

    def __init__(
        self,
        requires_grad: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        persistent: bool = True,
    ) -> None:
        check_device(device, "UninitializedBuffer")
        super().__init__(empty(0, dtype=dtype), persistent=persistent)
        self.requires_grad_(requires_grad)


def is_lazy(param: object) -> bool:
    """Whether ``param`` is a parameter or buffer whose shape is not known yet.

    >>> from tinygrad_cnn import nn
    >>> is_lazy(nn.LazyLinear(3).weight)
    True
    """
    return isinstance(param, _Uninitialized)
