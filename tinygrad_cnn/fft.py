"""Discrete Fourier transforms, with the names and arguments of ``torch.fft``, on pocketfft.

They can be differentiated any number of times. Gradients of complex tensors are PyTorch's: dL/dx +
i dL/dy for a real loss L and z = x + iy.

>>> import tinygrad_cnn as tg
>>> x = tg.tensor([1.0, 0.0, 0.0, 0.0], requires_grad=True)
>>> tg.fft.rfft(x)
tensor([1.+0.j, 1.+0.j, 1.+0.j], grad_fn=<real_dft>)
>>> tg.fft.rfft(x).abs().sum().backward()
>>> x.grad
tensor([3., 0., 1., 0.])
"""

from tinygrad_cnn.functions.fourier import (
    fft,
    fft2,
    fftfreq,
    fftn,
    fftshift,
    hfft,
    hfft2,
    hfftn,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    ihfft2,
    ihfftn,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftfreq,
    rfftn,
)

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2",
    "ifftn", "ifftshift", "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip
