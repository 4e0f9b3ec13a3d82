"""Layers that are a function and the arguments it is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.tensor import Tensor

_Layer = TypeVar("_Layer", bound="FunctionLayer")


class FunctionLayer(Module):
    """A layer without weights. The class lists the arguments as a dataclass does its fields."""

    function: ClassVar[Callable[..., Any]]
    shown: ClassVar[str] = ""
    passed: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Make the module ready: the generated constructor only sets attributes."""
        self = super().__new__(cls)
        Module.__init__(self)
        return self

    def _arguments(self) -> dict[str, Any]:
        """What the function is called with beside the tensors."""
        held = self.__dict__  # where all are but buffers
        return {n: held[n] if n in held else getattr(self, n) for n in self.passed}

    def extra_repr(self) -> str:
        """Return the arguments."""
        text = self.shown.format_map(self.__dict__)
        if self.__dict__.get("inplace") and "inplace" not in text:
            text += ", inplace=True" if text else "inplace=True"
        return text


class UnaryLayer(FunctionLayer):
    """A function of one tensor."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function of the same name in `nn.functional`."""
        raise NotImplementedError  # `calls` writes it


class BinaryLayer(FunctionLayer):
    """A function of two tensors."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Apply the function of the same name in `nn.functional`."""
        raise NotImplementedError  # `calls` writes it


def _forward(cls: type[FunctionLayer], function: Callable[..., Any]) -> Callable[..., Any]:
    """The method that calls ``function``, with each argument by name: no loop when it runs."""
    model = UnaryLayer.forward if issubclass(cls, UnaryLayer) else BinaryLayer.forward
    tensors = ("input",) if issubclass(cls, UnaryLayer) else ("x1", "x2")
    given = ", ".join((*tensors, *(f"{name}=self.{name}" for name in cls.passed)))
    scope: dict[str, Any] = {"function": function}
    text = f"def forward(self, {', '.join(tensors)}): return function({given})"
    lines = "\n" * _forward.__code__.co_firstlineno  # tracebacks show the line above
    exec(compile(lines + text, __file__, "exec"), scope)  # nosec B102  # source that is made here
    made = scope["forward"]
    made.__doc__, made.__annotations__ = model.__doc__, model.__annotations__
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.forward", cls.__module__
    made.written = True
    return made  # type: ignore[no-any-return]


@dataclass_transform(eq_default=False)
def calls(
    function: Callable[..., Any] | None = None, shown: str = "", also: tuple[str, ...] = ()
) -> Callable[[type[_Layer]], type[_Layer]]:
    """Make a class of annotated arguments a layer that passes them to ``function`` by keyword.

    ``shown`` is what `repr` says, with arguments in braces; ``also`` names attributes that are
    passed beside the arguments.
    """

    def made(cls: type[_Layer]) -> type[_Layer]:
        if "__init__" not in cls.__dict__:
            dataclass(eq=False, repr=False, match_args=False)(cls)
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for name in names:  # defaults stand in the signature; here they would hide buffers
            if name in cls.__dict__:
                delattr(cls, name)
        cls.shown = shown or cls.shown
        cls.passed = (*names, *also)
        if function is not None:
            cls.function = staticmethod(function)
            before = cls.forward
            if before in (UnaryLayer.forward, BinaryLayer.forward) or hasattr(before, "written"):
                cls.forward = _forward(cls, function)  # type: ignore[method-assign]
        return cls

    return made
