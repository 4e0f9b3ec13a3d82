"""Short-time Fourier transforms: of a signal's frames, and back by adding them up."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.units import check
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.arranging import unfold_axis
from tinygrad_cnn.functions.complex import view_as_real
from tinygrad_cnn.functions.convert import inexact, own, to_tensor
from tinygrad_cnn.functions.elementwise import div, mul
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.fourier import fft, ifft, irfft, rfft
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.functions.shaping import expand, squeeze, transpose, unsqueeze
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.ops.index import ungetitem
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

_SILENT = 1e-11  # a sum of squared windows that cannot be divided by, as PyTorch has it


def _between(name: str, argument: str, value: Any, most: float, why: str) -> int:
    """An integer from 1 to ``most``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise DtypeError(f"{name}: `{argument}` is {value!r}, expected an integer") from None
    if not 0 < number <= most:
        raise ArgumentError(f"{name}: `{argument}` is {number}, expected {why}")
    return number


def _window_of(name: str, window: TensorLike | None, length: int, n_fft: int, x: Tensor) -> Tensor:
    """The window, or ones, with zeros on both sides: (n_fft,)."""
    found = wrap(np.ones(length, x.dtype).real) if window is None else to_tensor(window)
    if found.shape != (length,):
        raise ShapeError(
            f"{name}: `window` has shape {found.shape}, expected ({length},), as `win_length` says"
        )
    left = (n_fft - length) // 2
    return pad(found, (left, n_fft - length - left)) if length < n_fft else found


@export()
def stft(
    input: TensorLike,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: TensorLike | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The Fourier transforms of a signal's frames, which overlap (short-time transform).

    Parameters
    ----------
    input
        (length,) or (batch, length), real or complex.
    n_fft
        How many values a frame has.
    hop_length
        How far apart frames begin: ``n_fft // 4`` by default.
    win_length, window
        What frames are multiplied with, a vector of ``win_length`` (``n_fft`` by default) values
        around which there are zeros: ones by default.
    center
        Whether the frames' middles lie at 0, ``hop_length``, …: the signal is continued at both
        ends as ``pad_mode`` says (see `nn.functional.pad`). Else they begin there.
    normalized
        Whether the result is divided by the root of ``n_fft``.
    onesided
        Whether to leave out frequencies that are conjugates of others: by default of real signals.
    return_complex
        Whether the result is complex. It must be given where input and window are real; with False
        real and imaginary parts are a last axis.
    align_to_window
        Without ``center``: whether the first window, not the first frame, begins with the signal.

    Returns
    -------
    Tensor
        (batch, frequencies, frames), the batch if there is one; with a last axis (…, 2) where
        ``return_complex`` is False.

    Raises
    ------
    ValueError
        Lengths that do not fit, or arguments that contradict one another.
    TypeError
        ``input`` is neither floating nor complex.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.stft(tg.ones(8), 4, window=tg.hann_window(4), center=False, return_complex=True)
    tensor([[ 2.+0.j,  2.+0.j,  2.+0.j,  2.+0.j,  2.+0.j],
            [-1.+0.j, -1.+0.j, -1.+0.j, -1.+0.j, -1.+0.j],
            [ 0.+0.j,  0.+0.j,  0.+0.j,  0.+0.j,  0.+0.j]])
    """
    x = inexact("stft", to_tensor(input))
    if x.ndim not in (1, 2):
        raise ShapeError(
            f"stft: `input` has shape {x.shape}, expected (length,) or (batch, length)"
        )
    if center and align_to_window is not None:
        raise ArgumentError(
            f"stft: `align_to_window` is {align_to_window}, which is for center=False"
        )
    n_fft = _between("stft", "n_fft", n_fft, np.inf, "a positive number")
    hop = n_fft // 4 if hop_length is None else hop_length
    hop = _between("stft", "hop_length", hop, np.inf, "a positive number")
    length = n_fft if win_length is None else win_length
    length = _between("stft", "win_length", length, n_fft, f"1 to `n_fft`, {n_fft}")
    if center:
        x = pad(x, (n_fft // 2, n_fft // 2), pad_mode)
    elif align_to_window:
        left = (n_fft - length) // 2
        x = pad(x, (left, n_fft - length - left))
    if n_fft > x.shape[-1]:
        raise ArgumentError(
            f"stft: `n_fft` is {n_fft}, expected at most the signal's length, {x.shape[-1]}"
        )
    frames = unfold_axis(x, -1, n_fft, hop)  # (..., frames, n_fft)
    if window is not None or length < n_fft:
        frames = mul(frames, _window_of("stft", window, length, n_fft, x))
    whole = is_complex(frames)
    if return_complex is None and not whole:
        raise ArgumentError("stft: `return_complex` is missing, which real signals need (say True)")
    if whole and onesided:
        raise ArgumentError("stft: `onesided` is True, but `input` or `window` is complex")
    half = not whole if onesided is None else onesided
    out = (rfft if half else fft)(frames, norm="ortho" if normalized else None)
    out = transpose(out, -1, -2)  # (..., frequencies, frames)
    return view_as_real(out) if return_complex is False else own(out)


def _covered(weight: Array, hop: int) -> None:
    least = np.abs(weight).min(initial=np.inf)
    if not _SILENT <= least < np.inf:
        raise ArgumentError(
            f"istft: `window` and `hop_length` {hop} leave out a place of the signal, "
            f"whose windows' squares add up to {least}"
        )


def _added_up(frames: Tensor, hop: int, length: int) -> Tensor:
    """Frames (batch, frames, n_fft) in their places, their sum where they overlap."""
    count, n_fft = frames.shape[1:]
    places = made(np.arange(count)[:, None] * hop + np.arange(n_fft))
    found: Tensor = ungetitem(frames, index=(slice(None), places), shape=(len(frames), length))
    return found


@export()
def istft(
    input: TensorLike,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: TensorLike | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal of which `stft` gives ``input``, with the same arguments.

    Of other inputs it is the one whose transform is nearest (Griffin & Lim, 1984).

    Parameters
    ----------
    input
        (frequencies, frames) or (batch, frequencies, frames), complex.
    n_fft, hop_length, win_length, window, center, normalized
        As in `stft`.
    onesided
        Whether conjugates are left out: by default if there are not ``n_fft`` frequencies.
    length
        How long the signal is; by default as long as frames tell. It is cut off, or zeros follow.
    return_complex
        Whether the signal is complex, else its imaginary part is taken to be 0.

    Returns
    -------
    Tensor
        (length,) or (batch, length).

    Raises
    ------
    ValueError
        Shapes and lengths that do not fit, or windows that leave a place of the signal out.
    TypeError
        ``input`` is not complex.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> window = tg.hann_window(4)
    >>> spectrum = tg.stft(tg.arange(5.0), 4, window=window, return_complex=True)
    >>> tg.istft(spectrum, 4, window=window)
    tensor([0., 1., 2., 3., 4.])
    """
    x = to_tensor(input)
    if not is_complex(x):
        raise DtypeError(f"istft: `input` is {x.dtype}, expected complex numbers, as of `stft`")
    if x.ndim not in (2, 3) or not x.numel():
        raise ShapeError(
            f"istft: `input` has shape {x.shape}, expected (frequencies, frames) or "
            f"(batch, frequencies, frames), not empty"
        )
    n_fft = _between("istft", "n_fft", n_fft, np.inf, "a positive number")
    span = n_fft if win_length is None else win_length
    span = _between("istft", "win_length", span, n_fft, f"1 to `n_fft`, {n_fft}")
    hop = n_fft // 4 if hop_length is None else hop_length
    hop = _between("istft", "hop_length", hop, span, f"1 to `win_length`, {span}")
    half = x.shape[-2] != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if half else n_fft
    if x.shape[-2] != wanted:
        raise ShapeError(
            f"istft: `input` has shape {x.shape} with {x.shape[-2]} frequencies, expected {wanted} "
            f"for `n_fft` {n_fft} and `onesided` {half}"
        )
    taper = _window_of("istft", window, span, n_fft, x)
    if return_complex and half:
        raise ArgumentError("istft: `return_complex` is True, but half of the frequencies are left")
    if is_complex(taper) and not return_complex:
        raise ArgumentError("istft: `window` is complex, which needs return_complex=True")
    spectra = transpose(x if x.ndim == 3 else unsqueeze(x, 0), 1, 2)  # (batch, frames, frequencies)
    norm = "ortho" if normalized else None
    frames = (
        ifft(spectra, norm=norm)
        if return_complex
        else irfft(spectra[..., : n_fft // 2 + 1], n_fft, norm=norm)
    )
    count = spectra.shape[1]
    whole = n_fft + hop * (count - 1)
    signal = _added_up(mul(frames, taper), hop, whole)
    weight = _added_up(expand(mul(taper, taper), 1, count, n_fft), hop, whole)
    start = n_fft // 2 if center else 0
    end = (
        whole - start
        if length is None
        else start + _between("istft", "length", length, np.inf, "a positive number")
    )
    signal, weight = signal[:, start:end], weight[:, start:end]
    check(_covered, weight, hop)
    signal = div(signal, weight)
    missing = end - start - signal.shape[1]
    signal = pad(signal, (0, missing)) if missing > 0 else signal
    return own(signal if x.ndim == 3 else squeeze(signal, 0))
