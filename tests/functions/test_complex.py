"""Complex tensors, as in PyTorch: values, dtypes, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import REGISTRY, gradcheck, gradgradcheck

X, Y, A, B = floats(3, 3), floats(3, 3, seed=1), floats(3, 3, seed=2), floats(3, 3, seed=3)


def parts(m, z):
    """A complex result as a real one, so that it and its gradients can be compared."""
    return m.view_as_real(m.resolve_conj(z)) if m.is_complex(z) else z


def unary(name, function):
    return case(name, lambda m, x, y: parts(m, function(m, m.complex(x, y))), X, Y)


def binary(name, function):
    def call(m, x, y, a, b):
        return parts(m, function(m, m.complex(x, y), m.complex(a, b)))

    return case(name, call, X, Y, A, B)


CASES = [
    *[
        unary(name, lambda m, z, name=name: getattr(m, name)(z))
        for name in (
            "abs acos acosh angle asin asinh atan atanh conj conj_physical cos cosh exp exp2 expm1 "
            "imag log log10 log1p log2 mean neg real reciprocal rsqrt sgn sigmoid sin sinc sinh "
            "sqrt square std sum tan tanh var view_as_real"
        ).split()
    ],
    unary("cumsum", lambda m, z: z.cumsum(0)),
    unary("cumprod", lambda m, z: z.cumprod(0)),
    unary("prod with a zero", lambda m, z: (z * m.tensor([0.0, 1, 1])).prod(1)),
    unary("norm", lambda m, z: m.norm(z, 3)),
    unary("std of one", lambda m, z: z[:1].std(0, correction=0)),
    unary("var_mean", lambda m, z: parts(m, m.var_mean(z, 1)[1]) * m.var_mean(z, 1)[0][..., None]),
    unary("logsumexp", lambda m, z: m.logsumexp(z, 1, keepdim=True)),
    unary("logcumsumexp", lambda m, z: m.logcumsumexp(z, 0)),
    unary("float_power", lambda m, z: m.float_power(z, 1.5)),
    unary("cube", lambda m, z: z**3),
    unary("power", lambda m, z: z**-1.5),
    unary("complex power", lambda m, z: z ** (0.5 + 1j)),
    unary("times a complex number", lambda m, z: 2j * z + 1 - z * (1 - 3j)),
    unary("divided", lambda m, z: 1 / z - z / 2j),
    unary("transposed", lambda m, z: z.mH + z.H),
    unary("indexed", lambda m, z: z[[0, 0, 2], 1:]),
    unary("where", lambda m, z: m.where(z.real > 0, z, 0.0)),
    unary("joined", lambda m, z: m.cat((z, z.flip(0).reshape(3, 3))).roll(1, 0)),
    unary("masked", lambda m, z: z.masked_fill(z.imag > 0, 1j)),
    unary("real loss of a product", lambda m, z: (z * z.conj()).real.sum()),
    unary("adjoint", lambda m, z: z.adjoint()),
    unary("to real", lambda m, z: z.imag + z.real),
    unary("in place", lambda m, z: (z * 1).mul_(2j).add_(1)),
    unary("parts set", lambda m, z: m.resolve_conj(m.stack([z, z * 1j]))),
    binary("sum", lambda m, z, w: m.add(z, w, alpha=2)),
    binary("difference", lambda m, z, w: z - w),
    binary("product", lambda m, z, w: z * w),
    binary("quotient", lambda m, z, w: z / w),
    binary("power of both", lambda m, z, w: z**w),
    case("real numbers to a complex power", lambda m, x: parts(m, x ** (0.5 + 1j)), X),
    binary("logaddexp", lambda m, z, w: m.logaddexp(z, w)),
    binary("matrix product", lambda m, z, w: z @ w),
    binary("einsum", lambda m, z, w: m.einsum("ij,kj->ik", z, w)),
    binary("linear", lambda m, z, w: m.nn.functional.linear(z, w)),
    binary("vecdot", lambda m, z, w: m.linalg.vecdot(z, w)),
    case("polar", lambda m, r, t: parts(m, m.polar(r, t)), abs(X), Y),
    case("view_as_complex", lambda m, x: m.view_as_complex(x).abs(), floats(3, 2)),
    case("view_as_complex of three", lambda m, x: m.view_as_complex(x), floats(2, 3)),
    case("view_as_complex apart", lambda m, x: m.view_as_complex(x.t()), floats(2, 3)),
    case("angle of real numbers", lambda m, x: m.angle(x), X),
    case("sgn of real numbers", lambda m, x: m.sgn(x), X),
    case("real of real numbers", lambda m, x: m.real(x * 1), X),
    case("imag of real numbers", lambda m, x: m.imag(x), X),
    case("complex of integers", lambda m, x: m.complex(x, x), ints(3)),
    case("complex of two dtypes", lambda m, x: m.complex(x, x.int()), X),
    case("real and complex", lambda m, x, y: parts(m, x * m.complex(x, y)), X, Y),
    case("a complex number and floats", lambda m, x: parts(m, x * (1 + 2j)), X),
    case("a complex number and integers", lambda m, x: (x * 1j).abs(), ints(3)),
    case("less", lambda m, x, y: m.complex(x, y) < 1, X, Y),
    case("floor", lambda m, x, y: m.floor(m.complex(x, y)), X, Y),
    case("relu", lambda m, x, y: m.relu(m.complex(x, y)), X, Y),
    case("max", lambda m, x, y: m.max(m.complex(x, y)), X, Y),
    case("equal", lambda m, x, y: m.complex(x, y) == m.complex(x, y * (x > 0)), X, Y),
    case("isreal", lambda m, x, y: m.isreal(m.complex(x, y * (x > 0))), X, Y),
    case("complex loss", lambda m, x, y: m.complex(x, y).sum().backward(), X, Y),
    case("is_complex", lambda m, x, y: [m.is_complex(x), m.complex(x, y).is_complex()], X, Y),
    case("not floating", lambda m, x, y: m.complex(x, y).is_floating_point(), X, Y),
]  # fmt: skip


@pytest.mark.parametrize(("call", "inputs"), CASES)
def test_as_in_pytorch(call, inputs):
    assert_agrees(call, inputs, is_function=False)  # parts of a result are a view of it


@pytest.mark.parametrize(
    "function",
    [
        lambda m, z: z.abs().sum(),
        lambda m, z: (z**2).real.sum(),
        lambda m, z: (z.conj() * z.exp()).imag.sum(),
        lambda m, z: (z.real * z.imag).sum(),
        lambda m, z: m.view_as_real(z)[..., 0].sum(),
        lambda m, z: z.angle().sum(),
    ],
)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_gradients_of_complex_leaves_are_pytorchs(function, dtype):
    torch = require_torch()
    z = np.asarray(X + 1j * Y, dtype)
    found = []
    for m in (tg, torch):
        leaf = m.tensor(z, requires_grad=True)
        function(m, leaf).backward()
        found.append(leaf.grad)
    assert str(found[0].dtype) == dtype
    np.testing.assert_allclose(
        found[0].numpy(),
        found[1].resolve_conj().numpy(),
        rtol=1e-5 if dtype == "complex64" else 1e-12,
    )


def test_the_gradient_is_that_of_both_parts():
    """dL/dx + i dL/dy, twice the conjugate Wirtinger derivative."""
    z = tg.tensor([3.0 + 4.0j], dtype=tg.complex128, requires_grad=True)
    (z * z.conj()).real.sum().backward()  # x² + y²
    assert z.grad.tolist() == [6 + 8j]


EDGES = (-math.inf, -1e10, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 1e10, math.inf, math.nan)


@pytest.mark.parametrize("name", ["acos", "acosh", "asin", "asinh", "atan", "atanh", "log", "sqrt"])
def test_branch_cuts_are_pytorchs(name):
    torch = require_torch()
    z = np.empty((len(EDGES), len(EDGES)), np.complex128)
    z.real, z.imag = np.meshgrid(EDGES, EDGES)  # each with both signs of 0
    found = []
    for m in (tg, torch):
        x = m.tensor(z, requires_grad=True)
        y = getattr(m, name)(x)
        (slope,) = m.autograd.grad(y, x, m.ones_like(y))
        found.append((y.detach().numpy(), slope.resolve_conj().numpy()))
    for ours, theirs in zip(*found, strict=True):
        finite = np.isfinite(z) & np.isfinite(theirs)
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-12, atol=1e-12)
    for ours, theirs in [(found[0][0], found[1][0])]:
        np.testing.assert_allclose(ours.real, theirs.real, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.imag, theirs.imag, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_sigmoids_of_large_complex_numbers_do_not_overflow(name):
    z = tg.tensor([-800 + 1j, 800 + 1j, -30j], dtype=tg.complex128)
    right = {"sigmoid": [0, 1], "silu": [0, 800 + 1j]}[name]
    found = getattr(tg.nn.functional, name)(z).numpy()
    np.testing.assert_allclose(found[:2], right, atol=1e-300)
    assert np.isfinite(found).all()


def test_silu_of_complex_numbers():
    z = tg.tensor(X + 1j * Y, requires_grad=True)
    np.testing.assert_allclose(
        tg.nn.functional.silu(z).detach().numpy(), z.detach().numpy() / (1 + np.exp(-X - 1j * Y))
    )
    assert gradcheck(tg.nn.functional.silu, (z,))
    assert gradgradcheck(tg.nn.functional.silu, (z,))


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z.sgn(),
        lambda z: z.abs() * z.angle(),
        lambda z: z**3 / (1 + z.conj()),
        lambda z: tg.view_as_complex(tg.view_as_real(z) * 2),
        lambda z: z @ z.mH,
    ],
)
def test_gradcheck_changes_both_parts(function):
    z = tg.tensor(X + 1j * Y, requires_grad=True)
    assert gradcheck(function, (z,))
    assert gradgradcheck(function, (z,))


def test_gradcheck_finds_a_missing_conjugate():
    z = tg.tensor(X + 1j * Y, requires_grad=True)

    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            return g * 2 * z

    assert not gradcheck(Square.apply, (z,), raise_exception=False)
    with pytest.raises(RuntimeError, match="the gradient of inputs"):
        gradcheck(Square.apply, (z,))


@pytest.mark.parametrize("function", [tg.abs, tg.angle, lambda z: tg.sgn(z).abs()])
def test_gradients_at_zero_are_zeros(function):
    z = tg.zeros(2, dtype=tg.complex128, requires_grad=True)
    function(z).sum().backward()
    assert z.grad.tolist() == [0, 0]


def test_dtypes():
    assert tg.tensor(1j).dtype == tg.complex64 == tg.cfloat
    assert tg.tensor([1j, 2.0], dtype=tg.complex128).dtype == tg.cdouble
    assert (tg.ones(2, dtype=tg.float64) * 1j).dtype == tg.complex128
    assert (tg.ones(2, dtype=tg.float64) + tg.tensor(1j)).dtype == tg.complex128
    assert (tg.ones(2, dtype=tg.float64) + tg.tensor([1j])).dtype == tg.complex128
    assert (tg.ones(2) * tg.tensor([1j], dtype=tg.complex128)).dtype == tg.complex128
    assert (tg.ones(2, dtype=tg.int64) * 1j).dtype == tg.complex64
    assert tg.zeros(2, dtype=tg.complex64).abs().dtype == tg.float32
    assert complex(tg.tensor(1 + 2j)) == 1 + 2j
    with pytest.raises(TypeError, match="not supported"):
        tg.zeros(2, dtype=np.clongdouble)


def test_parts_are_views():
    z = tg.tensor([1 + 2j, 3 + 4j])
    z.real[0] = 9
    z.imag = tg.tensor([7.0, 8.0])
    tg.view_as_real(z)[1, 0] = -1
    assert z.tolist() == [9 + 7j, -1 + 8j]
    pairs = tg.zeros(2, 2)
    tg.view_as_complex(pairs)[0] = 1 + 2j
    assert pairs.tolist() == [[1, 2], [0, 0]]


def test_they_are_written_as_in_pytorch():
    torch = require_torch()
    for value in ([1 + 2j, 10 - 3j], [[1.5 + 0.25j]], 3j, [1e-6 + 1j, 2j]):
        assert str(tg.tensor(value)) == str(torch.tensor(value))
    assert "dtype=complex128" in str(tg.tensor([1j], dtype=tg.complex128))


def test_what_is_for_real_numbers_says_so():
    z = tg.tensor([1j])
    for call in (tg.relu, tg.floor, tg.erf, tg.sign):
        with pytest.raises(TypeError, match="not implemented for complex"):
            call(z)
    assert REGISTRY["maximum"].complex == ""
    with pytest.raises(RuntimeError, match="can only be left out for a real number"):
        tg.tensor(1j, requires_grad=True).backward()
