"""Order: of complex numbers there is none; medians of nothing, and of equal numbers; `isin`."""

import pytest
from parity import require_torch

import tinygrad_cnn as tg

CALLS = {
    "max": lambda x: tg.max(x, 0),
    "min": lambda x: tg.min(x, 0),
    "argmax": tg.argmax,
    "argmin": tg.argmin,
    "sort": tg.sort,
    "argsort": tg.argsort,
    "msort": tg.msort,
    "topk": lambda x: tg.topk(x, 1),
    "kthvalue": lambda x: tg.kthvalue(x, 1),
    "median": tg.median,
    "nanmedian": tg.nanmedian,
    "mode": tg.mode,
    "cummax": lambda x: tg.cummax(x, 0),
    "cummin": lambda x: tg.cummin(x, 0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("shape", [(3,), ()], ids=str)
def test_complex_numbers_have_no_order(name, shape):
    with pytest.raises(TypeError, match=r"complex64, expected real numbers"):
        CALLS[name](tg.zeros(shape, dtype=tg.complex64))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["median", "nanmedian"])
def test_the_median_of_nothing(name, dtype):
    torch = require_torch()
    wanted = getattr(torch, name)(torch.zeros(0, dtype=getattr(torch, dtype)))
    found = getattr(tg, name)(tg.zeros(0, dtype=getattr(tg, dtype)))
    assert found.dtype == getattr(tg, dtype)
    assert repr(found.item()) == repr(wanted.item())


def test_equal_numbers_share_the_gradient_of_the_median():
    x = tg.tensor([1.0, 2.0, 2.0, 3.0, float("nan")], requires_grad=True)
    tg.nanmedian(x).backward()
    assert x.grad.tolist() == [0, 0.5, 0.5, 0, 0]


@pytest.mark.parametrize("name", ["all", "any"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_along_no_axis(name, dtype):
    torch = require_torch()
    numbers = [[2, 0], [1, 1]]
    wanted = getattr(torch, name)(torch.tensor(numbers).to(getattr(torch, dtype)), dim=())
    found = getattr(tg, name)(tg.tensor(numbers).to(getattr(tg, dtype)), dim=())
    assert found.tolist() == wanted.tolist()


def test_small_ones():
    x = tg.tensor([1.0, 2.0])
    assert tg.isin(x, tg.tensor([2.0]), invert=True).tolist() == [True, False]
    assert tg.isin(x, tg.tensor([2.0]), assume_unique=True).tolist() == [False, True]
    assert tg.vander(x, N=0).shape == (2, 0)
    assert tg.mvlgamma(tg.tensor([float("nan"), 3.0]), 2)[0].isnan()
