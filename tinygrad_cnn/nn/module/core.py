"""`Module`, the base class of everything that holds parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.autograd.devices import device as tg_device
from tinygrad_cnn.autograd.rounding import bfloat16
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions.convert import dtype_of, is_dtype
from tinygrad_cnn.nn.module.attributes import Members, OwnerMixin
from tinygrad_cnn.nn.module.hooks import HOOKS, CallMixin, HookTable
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.nn.module.state import StateMixin
from tinygrad_cnn.nn.module.tree import TreeMixin
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING, INEXACT, DType, DTypeLike


class Module(CallMixin, OwnerMixin, StateMixin, TreeMixin):
    """Base class of layers and models, used as in PyTorch.

    Assigning a `Parameter`, another `Module` or (through `register_buffer`) a buffer registers it
    under the attribute's name. Subclasses call ``super().__init__()`` first and define `forward`.
    Errors raised inside `forward` name the module in which they happened.

    Attributes
    ----------
    training
        True until `eval` is called; layers such as `Dropout` behave accordingly.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(3, 2)
    ...
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    >>> net = Net()
    >>> net
    Net(
      (fc): Linear(in_features=3, out_features=2, bias=True)
    )
    >>> net(tg.ones(5, 3)).shape
    Size([5, 2])
    """

    training: bool
    call_super_init: bool = False
    """Whether `__init__` hands its arguments on to the next base class, as PyTorch's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and not self.call_super_init:
            raise DtypeError(
                f"{type(self).__name__}.__init__() of `Module` takes no arguments but got "
                f"{', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in kwargs.items())])}"
            )
        held = self.__dict__
        held["training"] = True
        held["_parameters"] = Members()
        held["_buffers"] = Members()
        held["_non_persistent_buffers_set"] = set()
        held["_modules"] = Members()
        for kind in HOOKS:
            held[kind] = HookTable()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- modes --------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training (or, with False, to evaluation)."""
        if not isinstance(mode, bool):
            raise DtypeError(f"train: `mode` is {mode!r} but a bool is expected")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Switch this module and all below it to evaluation.

        >>> from tinygrad_cnn import nn
        >>> nn.Sequential(nn.Dropout()).eval()[0].training
        False
        """
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or thaw every parameter of this module and of those below it."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = param.grad.detach().zero_()

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call ``fn`` on every module below and on this one, children first.

        >>> from tinygrad_cnn import nn
        >>> def init(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.ones_(module.weight)
        >>> nn.Sequential(nn.Linear(2, 1)).apply(init)[0].weight
        Parameter containing:
        tensor([[1., 1.]], requires_grad=True)
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- dtypes -------------------------------------------------------------------------------

    def to(
        self,
        *args: DTypeLike | DeviceLike | Tensor,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        non_blocking: bool = False,
        memory_format: object = None,
    ) -> Self:
        """Convert floating and complex parameters, gradients and buffers to a dtype, in place.

        Takes a dtype, a tensor whose dtype is meant, or the only device, the CPU, which changes
        nothing, and after those PyTorch's ``non_blocking``. The `Parameter` objects stay the same,
        so optimisers keep working. Integer buffers are left as they are.

        Raises
        ------
        TypeError
            The dtype is neither a floating nor a complex one.
        ValueError
            The device is another one.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> nn.Linear(2, 1).to(tg.float64).bias.dtype
        dtype('float64')
        """
        for given in args:
            if isinstance(given, Tensor):
                dtype = given.dtype
            elif isinstance(given, str | tg_device) and not is_dtype(given):
                device = given
            elif given is not None and not isinstance(given, bool):
                dtype = given  # type: ignore[assignment]  # dtype_of sees what it is
        check_device(device, "Module.to")
        if dtype is None:
            return self
        wanted = dtype_of(dtype, "Module.to") if is_dtype(dtype) else None
        if wanted is None or wanted.kind not in INEXACT:
            raise DtypeError(
                f"Module.to: `dtype` is {dtype!r} but a floating dtype is expected, or a complex "
                f"one"
            )
        return self._to(wanted, INEXACT)

    def _to(self, wanted: DType, kinds: str = FLOATING) -> Self:
        """Convert what is of these kinds of dtypes."""
        return self._apply(lambda t: t.to(wanted) if t.dtype.kind in kinds else t)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Put ``fn(tensor)`` for parameters, gradients and buffers; what `to` and `type` call.

        Subclasses that hold tensors elsewhere extend it. `Parameter` objects stay the same.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for param in self._parameters.values():
                if param is not None:
                    _replace(param, fn)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def type(self, dst_type: DTypeLike) -> Self:
        """Convert parameters and buffers to a dtype, integers too."""
        wanted = dtype_of(dst_type, "Module.type")
        return self._apply(lambda t: t.to(wanted))

    def to_empty(self, *, device: DeviceLike, recurse: bool = True) -> Self:
        """Return the module itself: there is no other device."""
        check_device(device, "Module.to_empty")
        return self

    def cpu(self) -> Self:
        """Return the module itself: there is no other device."""
        return self

    def cuda(self, device: DeviceLike = None) -> Self:
        """Raise ValueError: there is no other device than the CPU."""
        check_device("cuda", "Module.cuda")
        return self

    def share_memory(self) -> Self:
        """Return the module itself: threads share its memory anyway."""
        return self

    def compile(self, *args: object, **kwargs: object) -> None:
        """Do nothing: kernels are compiled where that helps, without being asked."""

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self._to(np.dtype(np.float32))

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64.

        >>> from tinygrad_cnn import nn
        >>> nn.Linear(2, 1).double().weight.dtype
        dtype('float64')
        """
        return self._to(np.dtype(np.float64))

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._to(np.dtype(np.float16))

    def bfloat16(self) -> Self:
        """Convert floating parameters and buffers to bfloat16."""
        return self._to(bfloat16())

    # -- text ---------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return what stands between the parentheses in `repr`; subclasses define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indent(repr(m))}" for name, m in self._modules.items()]
        return _frame(self._get_name(), lines, children)


def _replace(param: Parameter, fn: Callable[[Tensor], Tensor]) -> None:
    new, grad = fn(param), param.grad
    if new is not param:
        param.grad = None  # a gradient always has the dtype of its parameter
        param.data = new
    if grad is not None:
        param.grad = fn(grad.detach())


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _frame(name: str, extra: list[str], children: list[str]) -> str:
    """Set a module's line and its children's as PyTorch does."""
    if len(extra) == 1 and not children:
        return f"{name}({extra[0]})"
    if not extra and not children:
        return f"{name}()"
    return f"{name}(\n  " + "\n  ".join(extra + children) + "\n)"
