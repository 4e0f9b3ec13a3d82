"""Discrete Fourier transforms, by pocketfft (M. Reinecke), which is NumPy's.

A record each for complex, real to complex, and complex to real transforms of some axes. ``norm``
says by what a transform is divided: "backward" by 1, "ortho" by the root of the number of values,
"forward" by that number; NumPy's names for a transform and its inverse are exchanged where it goes
the other way.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.shape import pad
from tinygrad_cnn.types import Array

Dims = tuple[int, ...]
_OTHER: dict[str, Any] = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _draw_dims(draw: Draw, first: int = 1) -> tuple[tuple[int, ...], Dims]:
    shape = draw.shape(min_dims=1, min_side=1)
    axes = draw.choice([(d,) for d in range(len(shape))] + [tuple(range(len(shape)))])
    return tuple(max(n, first) if i == axes[-1] else n for i, n in enumerate(shape)), axes


def _options(draw: Draw) -> dict[str, Any]:
    return {"inverse": draw.choice((False, True)), "norm": draw.choice(tuple(_OTHER))}


def _full_samples(draw: Draw) -> Sample:
    shape, dims = _draw_dims(draw)
    x = draw.array(shape) + 1j * draw.array(shape)
    return Sample((x,), {"dims": dims, **_options(draw)})


@op(
    complex="apart",
    vjp=lambda g, dims, inverse, norm: dft(g, dims=dims, inverse=not inverse, norm=_OTHER[norm]),
    ignore_fp_errors=True,
    samples=_full_samples,
)
def dft(x: Array, *, dims: Dims, inverse: bool, norm: Any) -> Array:
    """The transform of complex numbers along ``dims``, with exp(+i...) for ``inverse``.

    ``norm`` is that of NumPy's function for the direction: "backward" divides the inverse one.
    """
    out = (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=dims, norm=norm)
    return out.astype(np.result_type(x, np.complex64), copy=False)


def _weighted(g: Any, dim: int, n: int, factor: float) -> Any:
    """``g``, the half of a transform of n values, times ``factor`` where it stands for two."""
    half = g._value.shape[dim]
    double = np.ones(half, g._value.real.dtype)
    double[1 : half if n % 2 else half - 1] = factor
    return g * made(double).reshape((-1, *(1,) * (g._value.ndim - dim - 1)))


def _real_rule(g: Any, shapes: Any, dims: Dims, inverse: bool, norm: str) -> Any:
    """The transform of the half that is there, with zeros for the other.

    The walk takes its real part, as the input is real.
    """
    last, n = dims[-1], shapes[0][dims[-1]]
    width = [(0, 0)] * len(shapes[0])
    width[last] = (0, n - g._value.shape[last])
    whole = pad(g, width=tuple(width))
    return dft(whole, dims=dims, inverse=not inverse, norm=_OTHER[norm])


def _real_samples(draw: Draw) -> Sample:
    shape, dims = _draw_dims(draw)
    return Sample((draw.array(shape),), {"dims": dims, **_options(draw)})


@op(complex="apart", vjp=_real_rule, ignore_fp_errors=True, samples=_real_samples)
def real_dft(x: Array, *, dims: Dims, inverse: bool, norm: Any) -> Array:
    """The transform of real numbers; of the last of ``dims`` the first ``n // 2 + 1`` values."""
    if x.dtype.kind == "c":
        raise ShapeError(f"real_dft: `x` is {x.dtype}, expected real numbers")
    out = np.fft.rfftn(x, axes=dims, norm=_OTHER[norm] if inverse else norm)
    out = np.conj(out) if inverse else out
    return out.astype(np.result_type(x, np.complex64), copy=False)


def _half_rule(g: Any, shapes: Any, dims: Dims, n: int, inverse: bool, norm: str) -> Any:
    """The half of the transform of ``g``, twice where it stood for two values."""
    half = real_dft(g, dims=dims, inverse=not inverse, norm=_OTHER[norm])
    return _weighted(half, dims[-1], n, 2.0)


def _half_samples(draw: Draw) -> Sample:
    shape, dims = _draw_dims(draw)
    n = draw.integer(max(2 * shape[dims[-1]] - 2, 1), 2 * shape[dims[-1]] - 1)
    x = draw.array(shape) + 1j * draw.array(shape)
    return Sample((x,), {"dims": dims, "n": n, **_options(draw)})


@op(complex="apart", vjp=_half_rule, ignore_fp_errors=True, samples=_half_samples)
def half_dft(x: Array, *, dims: Dims, n: int, inverse: bool, norm: Any) -> Array:
    """The real transform, n values along the last of ``dims``, of ``n // 2 + 1`` complex ones.

    The others are taken as their conjugates.
    """
    x = x if inverse else np.conj(x)
    size = [x.shape[d] for d in dims[:-1]] + [n]
    out = np.fft.irfftn(x, size, axes=dims, norm=norm if inverse else _OTHER[norm])
    return out.astype(x.real.dtype, copy=False)
