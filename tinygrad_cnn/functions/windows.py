"""Windows for spectra: what a signal's frames are multiplied with before they are transformed.

All follow from the numbers k of their values, 0 to n - 1, and their span: n - 1 in one that is
symmetric, n in one that is periodic, which is a symmetric one of n + 1 values without the last.
They are computed in float64.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.functions.creation import make
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.types import Array, DTypeLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Formula = Callable[[Array, float], Array]


def _cosines(*coefficients: float) -> Formula:
    """The sum of cosines of 0, 1, 2, … periods, with signs in turn."""

    def formula(k: Array, span: float) -> Array:
        angle = 2 * np.pi * k / span
        terms = ((-1) ** i * a * np.cos(i * angle) for i, a in enumerate(coefficients))
        return np.asarray(sum(terms), np.float64)

    return formula


def _triangle(k: Array, span: float) -> Array:
    return np.asarray(1 - np.abs(2 * k / span - 1))


def _half_period(k: Array, span: float) -> Array:
    return np.asarray(np.sin(np.pi * (k + 0.5) / (span + 1)))


def _kaiser(beta: float) -> Formula:
    def formula(k: Array, span: float) -> Array:
        inside = np.maximum(1 - (2 * k / span - 1) ** 2, 0)
        return np.asarray(np.i0(beta * np.sqrt(inside)) / np.i0(beta))

    return formula


_HANN, _HAMMING, _BLACKMAN = _cosines(0.5, 0.5), _cosines(0.54, 0.46), _cosines(0.42, 0.5, 0.08)
# Nuttall, "Some windows with very good sidelobe behavior", 1981; as Heinzel et al., 2002, give them
_NUTTALL = _cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411)


def _window(
    name: str,
    n: int,
    formula: Formula,
    periodic: bool,
    dtype: DTypeLike,
    requires_grad: bool,
    device: DeviceLike,
    *,
    argument: str = "M",
    itemsizes: tuple[int, ...] = (4, 8),
    one: bool = True,
) -> Tensor:
    """A window; ``one`` says that a single value is 1 whatever the formula."""
    try:
        n = operator.index(n)
    except TypeError:
        raise DtypeError(f"{name}: `{argument}` is {n!r}, expected an integer") from None
    if n < 0:
        raise ArgumentError(f"{name}: `{argument}` is {n}, expected a length of 0 or more")
    kind = dtype_of(dtype, name)
    if kind.kind != "f" or kind.itemsize not in itemsizes:
        wanted = " or ".join(f"float{8 * size}" for size in itemsizes)
        raise DtypeError(f"{name}: `dtype` is {kind}, expected {wanted}")
    span = n if periodic and n > 1 else n - 1
    values = np.ones(1) if one and n == 1 else formula(np.arange(n), span) if n else np.empty(0)
    return make(name, values.astype(kind), requires_grad, device)


def _positive(name: str, argument: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(f"{name}: `{argument}` is {value}, expected a positive number")


# ---- torch.signal.windows ------------------------------------------------------------------


def _symmetric(name: str, formula: Formula, summary: str) -> Callable[..., Tensor]:
    """The window of `tinygrad_cnn.signal.windows` that has no arguments of its own."""

    def window(
        M: int,
        *,
        sym: bool = True,
        dtype: DTypeLike = None,
        requires_grad: bool = False,
        device: DeviceLike = None,
    ) -> Tensor:
        return _window(name, M, formula, not sym, dtype, requires_grad, device)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"""{summary}

    Parameters
    ----------
    M
        The number of values.
    sym
        Whether it is symmetric; else it is periodic, as spectra want it.
    dtype
        ``float32`` or ``float64``.

    Raises
    ------
    ValueError
        ``M`` is negative.
    TypeError
        ``dtype`` is another.
    """
    return window


bartlett = _symmetric("bartlett", _triangle, "A triangle from 0 over 1 to 0.")
blackman = _symmetric("blackman", _BLACKMAN, "``0.42 - 0.5 cos(a) + 0.08 cos(2a)`` of one period.")
cosine = _symmetric("cosine", _half_period, "Half a period of a sine, from above 0 to above 0.")
hamming = _symmetric("hamming", _HAMMING, "``0.54 - 0.46 cos(a)`` of one period.")
hann = _symmetric("hann", _HANN, "``0.5 - 0.5 cos(a)`` of one period.")
nuttall = _symmetric("nuttall", _NUTTALL, "Nuttall's window of four cosines, of low side lobes.")


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``exp(-|k - center| / tau)``; ``center`` is the middle, and can be set if not ``sym``.

    >>> exponential(3, tau=2.0)
    tensor([0.6065, 1.0000, 0.6065])
    """
    _positive("exponential", "tau", tau)
    if sym and center is not None:
        raise ArgumentError(
            f"exponential: `center` is {center}, expected None in a symmetric window (sym=True)"
        )

    def formula(k: Array, span: float) -> Array:
        return np.exp(-np.abs(k - (span / 2 if center is None else center)) / tau)

    return _window(
        "exponential", M, formula, not sym, dtype, requires_grad, device, one=False
    )  # of one value too `center` counts


def gaussian(
    M: int,
    *,
    std: float = 1.0,
    sym: bool = True,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``exp(-(k - middle)² / (2 std²))``.

    >>> gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])
    """
    _positive("gaussian", "std", std)

    def formula(k: Array, span: float) -> Array:
        return np.exp(-(((k - span / 2) / std) ** 2) / 2)

    return _window("gaussian", M, formula, not sym, dtype, requires_grad, device)


def kaiser(
    M: int,
    *,
    beta: float = 12.0,
    sym: bool = True,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``I₀(beta sqrt(1 - u²)) / I₀(beta)`` for u from -1 to 1 (Kaiser, 1966).

    >>> kaiser(3, beta=2.0)
    tensor([0.4387, 1.0000, 0.4387])
    """
    if not beta >= 0:
        raise ArgumentError(f"kaiser: `beta` is {beta}, expected 0 or more")
    return _window("kaiser", M, _kaiser(beta), not sym, dtype, requires_grad, device)


def general_cosine(
    M: int,
    *,
    a: Iterable[float],
    sym: bool = True,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``a[0] - a[1] cos(b) + a[2] cos(2b) - …`` of one period.

    >>> general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    if not isinstance(a, Iterable):
        raise DtypeError(f"general_cosine: `a` is {a!r}, expected a list of numbers")
    numbers = [float(v) for v in a]
    if not numbers:
        raise ArgumentError("general_cosine: `a` is empty, expected at least one number")
    formula = _cosines(*numbers)
    return _window("general_cosine", M, formula, not sym, dtype, requires_grad, device)


def general_hamming(
    M: int,
    *,
    alpha: float = 0.54,
    sym: bool = True,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``alpha - (1 - alpha) cos(b)`` of one period.

    >>> general_hamming(3, alpha=0.5)
    tensor([0., 1., 0.])
    """
    formula = _cosines(alpha, 1 - alpha)
    return _window("general_hamming", M, formula, not sym, dtype, requires_grad, device)


# ---- older names ---------------------------------------------------------------------------


def _older(name: str, formula: Formula, like: str) -> Any:
    """The window ``name`` of `tinygrad_cnn`, which is periodic unless it is asked not to be."""

    def window(
        window_length: int,
        periodic: bool = True,
        *,
        dtype: DTypeLike = None,
        requires_grad: bool = False,
        device: DeviceLike = None,
    ) -> Tensor:
        return _periodic(name, window_length, formula, periodic, dtype, requires_grad, device)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"""`signal.windows.{like}`, periodic by default; of float16 too.

    Raises
    ------
    ValueError
        ``window_length`` is negative.
    TypeError
        ``dtype`` is not floating.
    """
    return export(method=False)(window)


def _periodic(name: str, *arguments: Any) -> Tensor:
    return _window(name, *arguments, argument="window_length", itemsizes=(2, 4, 8))


bartlett_window = _older("bartlett_window", _triangle, "bartlett")
blackman_window = _older("blackman_window", _BLACKMAN, "blackman")
hann_window = _older("hann_window", _HANN, "hann")


@export(method=False)
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """``alpha - beta cos(a)`` of one period, periodic by default.

    >>> import tinygrad_cnn as tg
    >>> tg.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    formula = _cosines(alpha, beta)
    return _periodic(
        "hamming_window", window_length, formula, periodic, dtype, requires_grad, device
    )


@export(method=False)
def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """`signal.windows.kaiser`, periodic by default.

    >>> import tinygrad_cnn as tg
    >>> tg.kaiser_window(4, beta=2.0)
    tensor([0.4387, 0.8348, 1.0000, 0.8348])
    """
    formula = _kaiser(beta)
    return _periodic(
        "kaiser_window", window_length, formula, periodic, dtype, requires_grad, device
    )
