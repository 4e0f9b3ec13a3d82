"""``@op``: one record per operation: its forward pass, its derivative rules, its samples.

A rule is a function written in operations (so that it can be differentiated again). Its first
parameter is ``g``, the gradient of the output; its other parameters name what it needs, and only
that is kept alive until the backward pass:

========== =====================================================================================
``y``      the output
an argument the input of that name, as the forward pass saw it (a variadic one: all of them)
a parameter the keyword parameter of that name
a residual what the forward pass returned in ``Saved(out, name=...)``
``params`` all keyword parameters, as a dict
``shapes`` the shapes of all inputs (always known, costs nothing)
``dtypes`` their dtypes
``needs``  for each input, whether its gradient is wanted
========== =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.types import AnyFunction

REGISTRY: dict[str, Op] = {}
"""Every operation by name: the source of the op table, of the property tests, of the benchmarks."""


def op(
    *, vjp: AnyFunction | tuple[AnyFunction | None, ...] | None = None, **options: Any
) -> Callable[[AnyFunction], Op]:
    """Make a differentiable operation of a function on arrays, and register it.

    Parameters
    ----------
    vjp
        The derivative rule, or a tuple of one for every array argument (None where there is
        none). For a variadic operation one rule that returns all gradients.
    array_vjp
        A rule on raw arrays beside those of ``vjp``, used in their place while no gradients are
        being recorded. It returns a tuple of all gradients that it ``needs`` (None for others) and
        gets None for values that only the others depend on.
    fused, reference
        Instead of ``vjp``: one rule on raw arrays that returns a tuple of all gradients, and the
        same operation written in other operations, which is differentiated in the rule's place
        while gradients are themselves being recorded.
    broadcasts
        Gradients are summed back to the inputs' shapes. Without it, a gradient of the wrong shape
        is an error.
    promotes
        ``"common"``: inputs are brought to one dtype by PyTorch's rules; ``"float"``: to a
        floating one.
    ignore_fp_errors
        NumPy's floating-point warnings are off in the forward pass.
    view
        The result shares memory with the first argument whenever NumPy can do so.
    piecewise
        Gradients that are themselves recorded depend on all inputs, on some with zeros as
        derivatives, instead of not at all: for operations that are linear in pieces, and where
        PyTorch has one rule for several inputs. A function of the parameters may say whether.
    lazy
        Names of arguments (and ``g``, the gradient of a rule on raw arrays) whose values may come
        uncomputed, as `kernels.lazy` describes; the result may be such a value then.
    samples
        ``samples(draw)`` returns a `Sample` of valid arguments; see `autograd.samples`.
    oracle
        The result for one element, computed in another way, of Python numbers and the parameters;
        what is not elementwise has its oracle in `tinygrad_cnn.testing.oracles`.
    complex
        "" for operations on real arrays, which refuse complex ones. Others are certified on complex
        arrays too: "parts" if the operation works on real and imaginary parts alike (is affine),
        so that its oracle can, "whole" if the oracle takes complex numbers. "apart" is for those
        whose samples are complex as they are, or that are tested elsewhere.
    errors
        `ErrorSample` records: arguments that must be refused, and how.
    onnx
        How the operation is exported: the name of the one ONNX operator that it is, or a function
        that makes nodes through its first parameter, a `forms.Graph`; its others name arguments,
        parameters and ``y``, the result, as those of a rule do. Without it the operation is not
        exported.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cnn.autograd import Op
    >>> import tinygrad_cnn as tg
    >>> def cube(x):
    ...     '''Elementwise cube.'''
    ...     return x ** 3
    >>> cube = Op(cube, lambda g, x: g * 3 * x ** 2)   # `@op(vjp=...)` also registers it
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor(12.)
    """

    def decorate(forward: AnyFunction) -> Op:
        record = Op(forward, vjp, **options)
        if record.name in REGISTRY:
            raise ArgumentError(f"op: `{record.name}` is already registered")
        REGISTRY[record.name] = record
        return record

    return decorate
