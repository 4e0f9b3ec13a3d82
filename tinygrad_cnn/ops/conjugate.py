"""Complex numbers: parts, conjugates, phases.

Gradients are PyTorch's: for a real loss L and a complex z = x + iy the gradient is dL/dx + i dL/dy,
twice the conjugate Wirtinger derivative. So a function f that is analytic has the rule
g * conj(f'(z)).
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.types import Array


def is_complex(x: Any) -> bool:
    """Whether ``x``, a tensor, an array or a number, is of a complex dtype."""
    if isinstance(x, Variable):
        return bool(x._value.dtype.kind == "c")
    return np.iscomplexobj(x)


def conj(x: Any) -> Any:
    """The complex conjugate; ``x`` itself where it is real."""
    if not is_complex(x):
        return x
    return conjugate(x) if isinstance(x, Variable) else np.conj(x)


def complex_samples(draw: Draw) -> Sample:
    shape = draw.shape()
    return Sample((draw.array(shape) + 1j * draw.array(shape),))


@op(
    complex="apart",
    vjp=lambda g: conjugate(g),
    samples=complex_samples,
    oracle=lambda x: complex(x.real, -x.imag),
)
def conjugate(x: Array) -> Array:
    """Elementwise complex conjugate."""
    return np.conjugate(x)
