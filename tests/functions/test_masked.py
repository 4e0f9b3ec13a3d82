"""`tinygrad_cnn.masked` as ``torch.masked``: its own samples are in ``tests/parity``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from parity import assert_agrees, bools, case, floats, ints

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import gradcheck, gradgradcheck

X, M, N = floats(3, 4), bools(3, 4), ints(3, 4, low=-3, high=4)
Z = X + 1j * X[::-1]
SOME = np.array([True, False, True, True])
REDUCTIONS = "sum prod amax amin mean logsumexp norm var std".split()
PLACES = ["argmax", "argmin", "median"]
ALONG = "softmax log_softmax softmin cumsum cumprod".split()


def _cases():
    def add(title, name, x, *args, mask=SOME, **kwargs):
        def call(m, x, mask):
            options = {k: getattr(m, v) if k == "dtype" else v for k, v in kwargs.items()}
            return getattr(m.masked, name)(x, *args, mask=mask, **options)

        return case(f"{name} {title}", call, x, mask)

    for name in REDUCTIONS:
        first = (2,) if name == "norm" else ()
        for dim in (None, 0, -1, (0, 1), (), (0, 0), 2):
            yield add(f"over {dim}", name, X, *first, dim, keepdim=dim == 0)
    for name in (*REDUCTIONS, *PLACES, *ALONG):
        first = (3, 1) if name == "norm" else (1,)
        for kind, x in (("integers", N), ("int32", N.astype(np.int32)), ("complex", Z)):
            if kind != "complex" or name not in PLACES:
                yield add(f"of {kind}", name, x, *first)
        if name != "logsumexp":  # which is computed in float32 all the same
            yield add("in float64", name, X, *first, dtype="float64")
            if name != "norm":  # which is refused
                yield add("of integers in float64", name, N, *first, dtype="float64")
        yield add("a matrix of a mask", name, X, *first, mask=M)
        yield add("a mask of numbers", name, X, *first, mask=N)
        yield add("a mask of other lengths", name, X, *first, mask=SOME[:3])
        yield add("a mask of more axes", name, X, *first, mask=M[None])
        yield add("nothing left", name, X, *first, mask=M & False)
        yield add("no mask", name, X, *first, mask=None)
        yield add("of a number", name, floats(), *first[:-1], 0, mask=np.array(True))
    for name in ("sum", "prod", "amax", "cumsum"):
        yield add("of bools", name, M, 1)
    for name in ("var", "std"):
        for kwargs in ({"unbiased": False}, {"correction": 2}, {"correction": 9.5}):
            yield add(f"{kwargs}", name, X, 1, **kwargs)
        yield add("in int64", name, N, 1, dtype="int64")
    for order in (0, 1, 2, 0.5, math.inf, -math.inf):
        yield add(f"of order {order}", "norm", X, order, 1)
        yield add(f"of order {order}", "normalize", X, order, 1)
    yield add("of integers", "normalize", N, 2, 1)
    yield add("far from 0", "normalize", X, 2, 1, eps=100.0)
    yield case("logaddexp", lambda m, x, y, k: m.masked.logaddexp(x, y, input_mask=k), X, -X, M)
    yield case("logaddexp of both", lambda m, x, k: m.masked.logaddexp(
        x, x, input_mask=k, other_mask=k, dtype=m.float64), X, M)  # fmt: skip


@pytest.mark.parametrize(("call", "inputs"), list(_cases()))
def test_as_in_pytorch(call, inputs):
    assert_agrees(call, inputs)


@pytest.mark.parametrize("name", [*REDUCTIONS, *ALONG])
def test_both_orders(name):
    x, mask = tg.tensor(X, requires_grad=True), tg.tensor(SOME)
    first = (2, 1) if name == "norm" else (1,)

    def call(x):
        out = getattr(tg.masked, name)(x, *first, mask=mask)
        return tg.where(out.isinf(), 0.0, out)  # a logarithm of what is left out

    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,))


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "softmax", "var"])
def test_what_is_left_out_has_no_gradient_whatever_it_is(name):
    values = X.copy()
    values[:, 1] = np.nan
    x = tg.tensor(values, requires_grad=True)
    out = getattr(tg.masked, name)(x, 1, mask=tg.tensor(SOME))
    assert np.isfinite(out.detach().numpy()).all()
    if name == "var":  # PyTorch's too is NaN there
        return
    (slope,) = tg.autograd.grad(out, x, tg.tensor(floats(*out.shape)))
    assert (slope.numpy()[:, 1] == 0).all()
    assert np.isfinite(slope.numpy()).all()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: tg.masked.sum(x, mask=tg.ones(1, 3, 4)), IndexError, "sum: `mask` has shape"),
        (lambda x: tg.masked.amax(x, mask=tg.ones(3)), ValueError, "amax: `mask` .* broadcasts"),
        (lambda x: tg.masked.mean(x.long()), TypeError, "mean: the result would be int64"),
        (lambda x: tg.masked.amin(x > 0, mask=x > 0), TypeError, "amin: `input` is bool"),
        (lambda x: tg.masked.median(x.long(), mask=x < -9), ValueError, "median: `mask` leaves no"),
        (lambda x: tg.masked.median(x * 1j), TypeError, "median: `input` is complex128"),
        (lambda x: tg.masked.argmin(x * 1j), TypeError, "argmin: `input` is complex128"),
        (lambda x: tg.masked.var(x, 0, True, correction=0), ValueError, "`unbiased` and `correcti"),
        (lambda x: tg.masked.softmax(x, 2), IndexError, "softmax: `dim` is 2"),
    ],
)
def test_errors_say_what_was_expected(call, error, said):
    with pytest.raises(error, match=said):
        call(tg.tensor(X))
