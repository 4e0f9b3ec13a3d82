"""Complex numbers from their parts and back: real and imaginary, or size and phase.

For the convention of gradients see `conjugate`.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import cmath
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample, binary
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.ops.choice import NO_BROADCAST, abs, where, zeros_like
from tinygrad_cnn.ops.conjugate import complex_samples, conj, is_complex
from tinygrad_cnn.types import Array


@op(
    complex="apart", vjp=lambda g: g, view=True, samples=complex_samples, oracle=lambda x: x.real
)  # the walk makes a gradient complex that its input is
def real_part(x: Array) -> Array:
    """Elementwise real part, in the memory of ``x``."""
    return x.real


@op(
    complex="apart",
    vjp=lambda g: g * 1j,
    view=True,
    samples=complex_samples,
    oracle=lambda x: x.imag,
)
def imag_part(x: Array) -> Array:
    """Elementwise imaginary part, in the memory of ``x``."""
    return x.imag


def real(x: Any) -> Any:
    """The real part; ``x`` itself where it is real."""
    return real_part(x) if is_complex(x) else x


@op(
    complex="apart",
    vjp=(lambda g: g, lambda g: imag_part(g)),  # the walk takes the real part of a real input's
    broadcasts=True,
    promotes="common",
    samples=binary(),
    errors=NO_BROADCAST,
    oracle=complex,
)
def of_parts(real: Array, imag: Array) -> Array:
    """``real + 1j * imag``, elementwise."""
    out = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real, np.complex64))
    out.real, out.imag = real, imag
    return out


@op(
    complex="apart",
    vjp=lambda g: of_parts(g[..., 0], g[..., 1]),
    view=True,
    samples=complex_samples,
)
def as_parts(x: Array) -> Array:
    """Real and imaginary part side by side, in the memory of ``x``: (...) → (..., 2)."""
    return x[..., None].view(x.real.dtype)  # of an axis of length 1 the last one may be split


def _pairs(draw: Draw) -> Sample:
    return Sample((draw.array((*draw.shape(), 2)),))


@op(
    complex="apart",
    vjp=lambda g: as_parts(g),
    view=True,
    samples=_pairs,
)
def from_parts(x: Array) -> Array:
    """Complex numbers of pairs, in their memory if they lie there so: (..., 2) → (...)."""
    if not x.ndim or x.shape[-1] != 2:
        raise ShapeError(f"view_as_complex: `input` has shape {x.shape}, expected (..., 2)")
    wanted = np.result_type(x, np.complex64)
    if x.strides[-1] != x.itemsize or any(s % wanted.itemsize for s in x.strides[:-1]):
        x = np.ascontiguousarray(x)
    return x.view(wanted)[..., 0]


def _sgn_rule(g: Any, x: Any, y: Any) -> Any:
    """Along the direction of ``x`` nothing changes, across it by the inverse size."""
    zero = computed(np.equal, x, 0)
    size = where(zero, 1.0, abs(x))
    return where(zero, 0.0, (g - y * real_part(conj(y) * g)) / size)


@op(
    complex="apart",
    vjp=_sgn_rule,
    ignore_fp_errors=True,
    samples=complex_samples,
    oracle=lambda x: x / cmath.polar(x)[0],
)
def sgn(x: Array) -> Array:
    """Elementwise ``x / abs(x)``, 0 at 0, of complex numbers."""
    size = np.abs(x)
    return np.asarray(x / np.where(size == 0, 1, size), x.dtype)


def _angle_rule(g: Any, x: Any) -> Any:
    if not is_complex(x):
        return zeros_like(g)
    zero = computed(np.equal, x, 0)
    return where(zero, 0.0, g * 1j / conj(where(zero, 1.0, x)))


def _right_half(draw: Draw) -> Sample:
    shape = draw.shape()
    return Sample((draw.array(shape, 0.3, 2.0) + 1j * draw.array(shape),))


@op(
    complex="apart",
    vjp=_angle_rule,
    promotes="float",
    ignore_fp_errors=True,
    samples=_right_half,
    oracle=cmath.phase,
)
def angle(x: Array) -> Array:
    """Elementwise phase in radians: of real numbers 0, or π below 0."""
    if x.dtype.kind == "c":
        return np.angle(x)
    return np.where(np.isnan(x), x, np.where(x < 0, x.dtype.type(np.pi), x.dtype.type(0)))
