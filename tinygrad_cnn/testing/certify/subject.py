"""What is certified: a registered operation, an `Op`, a `Function`, or any function on tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.function import Function
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.gradients import imports_for, literal
from tinygrad_cnn.testing.oracles.oracles import oracle_of
from tinygrad_cnn.testing.types import AnyCallable, Arguments, Params


@dataclass(frozen=True)
class Subject:
    """An operation and all that is known of it.

    Attributes
    ----------
    call
        The operation on tensors.
    forward
        Its forward pass on arrays, if it has one apart.
    registered
        Whether it is a registered operation, or a variant of one: conventions are written for it.
    locate
        Whether the worst element of a wrong gradient is looked for.
    source
        Python source by which a reproduction can name it, and the import it needs.
    """

    name: str
    call: AnyCallable
    samples: AnyCallable | Sequence[Sample]
    errors: tuple[ErrorSample, ...]
    oracle: AnyCallable | None
    broadcasts: bool
    view: bool
    source: tuple[str, str]
    forward: AnyCallable | None = None
    op: Op | None = None
    registered: bool = False
    locate: bool = True

    def differentiable(self, args: Arguments) -> list[int]:
        """The positions of the arguments that can have gradients."""
        arrays = [(i, a) for i, a in enumerate(args) if isinstance(a, np.ndarray)]
        found = [i for i, a in arrays if a.dtype.kind in "fc"]
        op = self.op
        if op is None or op.fused is not None or op.variadic:
            return found
        return [i for i in found if op.rules[i] is not None]

    def __call__(self, args: Arguments, params: Params) -> Tensor:
        """The operation on tensors and constants; arrays among them are made tensors if need be."""
        if self.op is None:  # an `Op` takes constant arrays as they are
            args = [wrap(a) if isinstance(a, np.ndarray) else a for a in args]
        out = self.call(*args, **params)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{self.name}: it returned a {type(out).__name__}, but only operations that return "
                f"one tensor can be certified"
            )
        return out

    def on_arrays(self, args: Arguments, params: Params) -> Any:
        """The forward pass on arrays (complex ones too, if it takes them)."""
        if self.forward is None:
            raise TypeError(f"{self.name} has no forward pass on arrays")
        out = self.forward(*args, **params)
        return getattr(out, "out", out)  # `Saved`

    def reproduction(self, check: str, sample: Sample, seed: int) -> str:
        """Python source that runs ``check`` again on ``sample``."""
        name, imports = self.source
        args = f"({', '.join(map(literal, sample.args))},)" if sample.args else "()"
        params = f", {literal(sample.params)}" if sample.params else ""
        return (
            f"{imports_for(params)}{imports}from tinygrad_cnn.autograd import Sample\n"
            f"from tinygrad_cnn.testing import certify\n"
            f"sample = Sample({args}{params})\n"
            f"certify({name}, samples=[sample], checks=[{check!r}], seed={seed})"
            f".raise_unless_certified()"
        )


def complex_too(samples: AnyCallable) -> AnyCallable:
    """Samples whose floating arrays are complex now and then: small imaginary parts are added."""

    def draw_some(draw: Draw) -> Sample:
        sample = as_sample(samples(draw))
        if not draw.choice((False, False, True)):
            return sample
        floating = [isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in sample.args]
        args = [
            a + 1j * draw.array(a.shape, -0.4, 0.4) if there else a
            for a, there in zip(sample.args, floating, strict=True)
        ]
        return Sample(tuple(args), sample.params)

    return draw_some


def as_sample(value: Any) -> Sample:
    """A `Sample` of one, of an array, or of a tuple of arguments."""
    if isinstance(value, Sample):
        return value
    return Sample(tuple(value) if isinstance(value, (tuple, list)) else (value,))


def subject_of(
    operation: Any,
    *,
    samples: AnyCallable | Iterable[Any] | None = None,
    errors: Sequence[ErrorSample] | None = None,
    oracle: AnyCallable | None = None,
    broadcasts: bool | None = None,
    view: bool | None = None,
    name: str | None = None,
) -> Subject:
    """The `Subject` of an operation; what is not given is taken from its record.

    Raises
    ------
    KeyError
        ``operation`` is a name that is not registered.
    TypeError
        It is nothing that can be called on tensors.
    ValueError
        There are no samples.
    """
    if isinstance(operation, str):
        if operation not in REGISTRY:
            raise KeyError(f"certify: no operation named `{operation}` is registered")
        operation = REGISTRY[operation]
    op = operation if isinstance(operation, Op) else None
    call: AnyCallable
    registered = op is not None and op.name in REGISTRY
    if op is not None:
        called, call = op.name, op
        if samples is None:
            samples = op.samples
            if samples is not None and op.complex in ("parts", "whole"):
                samples = complex_too(samples)
        errors = op.errors if errors is None else errors
        broadcasts = op.broadcasts if broadcasts is None else broadcasts
        view = op.view if view is None else view
        if oracle is None and registered:
            oracle = oracle_of(op)
        source = (op.name, "")
        if REGISTRY.get(op.name) is op:
            source = f"REGISTRY[{op.name!r}]", "from tinygrad_cnn.autograd import REGISTRY\n"
    elif isinstance(operation, type) and issubclass(operation, Function):
        called, call, source = operation.__name__, operation.apply, (operation.__name__, "")
    elif callable(operation):
        called, call = getattr(operation, "__name__", "function"), operation
        source = (called if called.isidentifier() else "function", "")
    else:
        raise TypeError(
            f"certify: `operation` is a {type(operation).__name__}, expected a registered name, an "
            f"Op, a Function or a function on tensors"
        )
    if samples is None:
        raise ValueError(
            f"certify: `{called}` has no samples, so nothing can be tried; give "
            f"samples=lambda draw: Sample((draw.array(draw.shape()),)) or a list of samples"
        )
    return Subject(
        name=name or called,
        call=call,
        samples=samples if callable(samples) else [as_sample(s) for s in samples],
        errors=tuple(errors or ()),
        oracle=oracle,
        broadcasts=bool(broadcasts),
        view=bool(view),
        source=source,
        forward=op.forward if op is not None else None,
        op=op,
        registered=registered,
    )
