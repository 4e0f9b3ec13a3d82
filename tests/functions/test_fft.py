"""`tinygrad_cnn.fft`, as `torch.fft`."""

from __future__ import annotations

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import gradcheck, gradgradcheck

X, Y = floats(2, 5, 4), floats(2, 5, 4, seed=1)
FULL, TO_COMPLEX, TO_REAL = ("fft", "ifft"), ("rfft", "ihfft"), ("irfft", "hfft")


def parts(m, z):
    return m.view_as_real(m.resolve_conj(z)) if m.is_complex(z) else z


def _of_real(name, suffix, *args, **kwargs):
    def call(m, x):
        return parts(m, getattr(m.fft, name + suffix)(x, *args, **kwargs))

    return case(f"{name}{suffix} {args} {kwargs}", call, X)


def _of_complex(name, suffix, *args, **kwargs):
    def call(m, x, y):
        return parts(m, getattr(m.fft, name + suffix)(m.complex(x, y), *args, **kwargs))

    return case(f"{name}{suffix} of complex {args} {kwargs}", call, X, Y)


def _cases():
    for name in (*FULL, *TO_COMPLEX, *TO_REAL):
        for make in (_of_real, *(() if name in TO_COMPLEX else (_of_complex,))):
            for norm in (None, "backward", "ortho", "forward"):
                yield make(name, "", norm=norm)
            for n in (1, 3, 4, 7):
                yield make(name, "", n, 1)
            yield make(name, "2")
            yield make(name, "2", (3, 6), norm="ortho")
            yield make(name, "2", dim=(0, 2), norm="forward")
            yield make(name, "n")
            yield make(name, "n", (4, 3))
            yield make(name, "n", (-1, 3), (2, 1))
            yield make(name, "n", dim=(1,))
        yield _of_real(name, "", 0)
        yield _of_real(name, "", norm="unitary")
        yield _of_real(name, "", dim=3)
        yield _of_real(name, "n", dim=(1, 1))
        yield _of_real(name, "n", (2, 2), (1,))
        yield case(f"{name} of a number", lambda m, x, n=name: getattr(m.fft, n)(x), floats())
        yield case(
            f"{name} of integers", lambda m, x, n=name: parts(m, getattr(m.fft, n)(x)), ints(2, 5)
        )
    for name in TO_COMPLEX:
        yield _of_complex(name, "")
    yield _of_real("fft", "n", dim=())
    yield case("fft of half floats", lambda m, x: m.fft.fft(x.half()), X)
    yield case("fft of nothing", lambda m, x: m.fft.fft(x), floats(2, 0))
    for name in ("fftshift", "ifftshift"):
        yield _of_real(name, "")
        yield _of_real(name, "", 1)
        yield _of_real(name, "", (0, 2))
    for name in ("fftfreq", "rfftfreq"):
        for n in (1, 4, 5):
            yield case(f"{name} {n}", lambda m, n=n, f=name: getattr(m.fft, f)(n, 0.5))
        yield case(f"{name} dtype", lambda m, f=name: getattr(m.fft, f)(3, dtype=m.float64))


@pytest.mark.parametrize(("call", "inputs"), list(_cases()))
def test_as_in_pytorch(call, inputs):
    assert_agrees(call, inputs, is_function=False)  # parts of a result are a view of it


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("n", [4, 5])
def test_inverses(n, norm):
    x = tg.tensor(floats(3, n))
    z = tg.complex(x, tg.tensor(floats(3, n, seed=1)))
    for back in (
        tg.fft.ifftn(tg.fft.fftn(z, norm=norm), norm=norm) - z,
        tg.fft.irfftn(tg.fft.rfftn(x, norm=norm), x.shape, norm=norm) - x,
        tg.fft.hfftn(tg.fft.ihfftn(x, norm=norm), x.shape, norm=norm) - x,
        tg.fft.ifftshift(tg.fft.fftshift(x)) - x,
    ):
        assert back.abs().max().item() < 1e-14


def test_parsevals_theorem():
    x = tg.tensor(X)
    assert tg.allclose(tg.fft.fftn(x, norm="ortho").abs().square().sum(), x.square().sum())


@pytest.mark.parametrize(
    "function",
    [
        lambda z: tg.fft.fftn(z, (3, 4)),
        lambda z: tg.fft.hfft(z, 5, 0),
        lambda z: tg.fft.irfft2(z * z),
        lambda z: tg.fft.rfft(z.abs(), norm="ortho").abs(),
    ],
)
def test_both_orders_of_complex_numbers(function):
    z = tg.tensor(floats(3, 3) + 1j * floats(3, 3, seed=1), requires_grad=True)
    assert gradcheck(function, (z,))
    assert gradgradcheck(function, (z,))


def test_float32_stays():
    x = tg.tensor(X, dtype=tg.float32)
    assert tg.fft.fft(x).dtype == tg.fft.rfft(x).dtype == tg.complex64
    assert tg.fft.irfft(tg.fft.rfft(x)).dtype == tg.fft.hfft(x).dtype == tg.float32
    np.testing.assert_allclose(tg.fft.rfft(x).numpy(), np.fft.rfft(X), rtol=1e-5, atol=1e-5)
