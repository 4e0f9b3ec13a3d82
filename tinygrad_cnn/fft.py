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

from tinygrad_cnn.functions import fourier
from tinygrad_cnn.functions.fourier import fftshift, ifftshift
from tinygrad_cnn.functions.out import taking_out

fft = taking_out(fourier.fft, __name__)
fft2 = taking_out(fourier.fft2, __name__)
fftfreq = taking_out(fourier.fftfreq, __name__)
fftn = taking_out(fourier.fftn, __name__)
hfft = taking_out(fourier.hfft, __name__)
hfft2 = taking_out(fourier.hfft2, __name__)
hfftn = taking_out(fourier.hfftn, __name__)
ifft = taking_out(fourier.ifft, __name__)
ifft2 = taking_out(fourier.ifft2, __name__)
ifftn = taking_out(fourier.ifftn, __name__)
ihfft = taking_out(fourier.ihfft, __name__)
ihfft2 = taking_out(fourier.ihfft2, __name__)
ihfftn = taking_out(fourier.ihfftn, __name__)
irfft = taking_out(fourier.irfft, __name__)
irfft2 = taking_out(fourier.irfft2, __name__)
irfftn = taking_out(fourier.irfftn, __name__)
rfft = taking_out(fourier.rfft, __name__)
rfft2 = taking_out(fourier.rfft2, __name__)
rfftfreq = taking_out(fourier.rfftfreq, __name__)
rfftn = taking_out(fourier.rfftn, __name__)

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2",
    "ifftn", "ifftshift", "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip
