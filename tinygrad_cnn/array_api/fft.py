"""The extension ``fft`` of the array API standard, on tensors."""

from typing import Any

from tinygrad_cnn.array_api.translated import translated
from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.functions import fourier

_TABLE = """
fftfreq(n, /, *, d=1.0, dtype=None, device=None)
rfftfreq(n, /, *, d=1.0, dtype=None, device=None)
fftshift(x, /, *, axes=None)
ifftshift(x, /, *, axes=None)
"""
_TABLE += "".join(
    f"{name}(x, /, *, n=None, axis=-1, norm='backward')\n"
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
)
_TABLE += "".join(
    f"{name}(x, /, *, s=None, axes=None, norm='backward')\n"
    for name in ("fftn", "ifftn", "rfftn", "irfftn")
)


def _fftfreq(n: int, d: float = 1.0, dtype: Any = None, device: DeviceLike = None) -> Any:
    return fourier.fftfreq(n, d, dtype=dtype, device=device)


def _rfftfreq(n: int, d: float = 1.0, dtype: Any = None, device: DeviceLike = None) -> Any:
    return fourier.rfftfreq(n, d, dtype=dtype, device=device)


_FUNCTIONS = translated(_TABLE, "fft.", {"fftfreq": _fftfreq, "rfftfreq": _rfftfreq}, __name__)
globals().update(_FUNCTIONS)
__all__ = sorted(_FUNCTIONS)
