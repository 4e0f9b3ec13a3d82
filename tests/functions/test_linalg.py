"""`tinygrad_cnn.linalg`: as `torch.linalg`, and what must hold without it."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import math

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import gradcheck, gradgradcheck

SQUARE = floats(3, 3) + 3 * np.eye(3)
BATCH = floats(2, 1, 3, 3) + 3 * np.eye(3)
POSITIVE = BATCH @ np.swapaxes(BATCH, -1, -2)
POSITIVE = (POSITIVE + np.swapaxes(POSITIVE, -1, -2)) / 2
TALL, WIDE = floats(5, 3), floats(2, 3, 5)
LOW_RANK = floats(4, 2) @ floats(2, 4)
SINGULAR = np.diag([1.0, 2.0, 0.0])


def _norms():
    for p in (None, 2, 1, 0, 0.5, -1, math.inf, -math.inf, 3.5):
        for keepdim in (False, True):
            call = lambda m, x, p=p, k=keepdim: m.linalg.norm(x, p, 1, k)
            yield case(f"norm of vectors {p} {keepdim}", call, TALL)
    for p in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        yield case(f"norm of matrices {p}", lambda m, x, p=p: m.linalg.norm(x, p, (0, 2)), WIDE)
        call = lambda m, x, p=p: m.linalg.matrix_norm(x, p, keepdim=True)
        yield case(f"matrix_norm {p}", call, WIDE)
        yield case(f"cond {p}", lambda m, x, p=p: m.linalg.cond(x.detach(), p), BATCH)
        yield case(
            f"cond of singular {p}", lambda m, x, p=p: m.linalg.cond(x.detach(), p), SINGULAR
        )
    yield case("norm of all", lambda m, x: m.linalg.norm(x), WIDE)
    yield case("norm of an empty dim", lambda m, x: m.linalg.vector_norm(x, dim=()), WIDE)
    yield case("norm dtype", lambda m, x: m.linalg.norm(x, dtype=m.float64), TALL)
    yield case("norm of three axes", lambda m, x: m.linalg.norm(x, "fro"), WIDE)
    yield case("norm of integers", lambda m, x: m.linalg.vector_norm(x), ints(3, 3))
    yield case("matrix_norm of a vector", lambda m, x: m.linalg.matrix_norm(x), floats(3))
    yield case("matrix_norm unknown", lambda m, x: m.linalg.matrix_norm(x, "max"), TALL)
    yield case("matrix_norm one axis", lambda m, x: m.linalg.matrix_norm(x, dim=(0, 0)), TALL)


def _real(m, x):
    return x


def _turned(m, x):
    return m.complex(x, x.flip(-1) / 2)


def _ldl(m, x, b, hermitian):
    """The factors and, as PyTorch has no derivative, the solution of constants."""
    x, b = x.detach(), b.detach()
    x = x + (x.mH if hermitian else x.mT)
    LD, pivots, info = m.linalg.ldl_factor_ex(x, hermitian=hermitian)
    x = m.linalg.ldl_solve(LD, pivots, b, hermitian=hermitian)
    return LD, pivots, info, x, m.linalg.ldl_solve(LD[0], pivots[0], b, hermitian=hermitian)


def _about(found):
    """What does not hang on random numbers, nor on signs."""
    U, S, V = found
    return S, (U * S[..., None, :]) @ V.mH, U.shape, V.shape


CASES = [
    *_norms(),
    case("inv", lambda m, x: m.linalg.inv(x), BATCH),
    case("inverse", lambda m, x: m.inverse(x), BATCH),
    case("inv of an empty batch", lambda m, x: m.linalg.inv(x), floats(0, 3, 3)),
    case("inv of empty matrices", lambda m, x: m.linalg.inv(x), floats(2, 0, 0)),
    case("inv singular", lambda m, x: m.linalg.inv(x), SINGULAR),
    case("inv of no square", lambda m, x: m.linalg.inv(x), TALL),
    case("inv of integers", lambda m, x: m.linalg.inv(x), ints(3, 3)),
    case("inv_ex", lambda m, x: m.linalg.inv_ex(x), BATCH),
    case("inv_ex info", lambda m, x: m.linalg.inv_ex(x).info, SINGULAR),
    case("inv_ex check", lambda m, x: m.linalg.inv_ex(x, check_errors=True), SINGULAR),
    case("solve", lambda m, a, b: m.linalg.solve(a, b), BATCH, floats(4, 3, 2)),
    case("solve a vector", lambda m, a, b: m.linalg.solve(a, b), SQUARE, floats(3)),
    case("solve vectors", lambda m, a, b: m.linalg.solve(a, b), BATCH, floats(2, 1, 3)),
    case("solve right", lambda m, a, b: m.linalg.solve(a, b, left=False), BATCH, floats(2, 3)),
    case("solve singular", lambda m, a, b: m.linalg.solve(a, b), SINGULAR, floats(3)),
    case("solve shapes", lambda m, a, b: m.linalg.solve(a, b), SQUARE, floats(2, 2)),
    case("solve dtypes", lambda m, a, b: m.linalg.solve(a, b.int()), SQUARE, floats(3)),
    case("solve_ex", lambda m, a, b: m.linalg.solve_ex(a, b), BATCH, floats(3, 2)),
    case("solve_ex info", lambda m, a, b: m.linalg.solve_ex(a, b).info, SINGULAR, floats(3)),
    case("det", lambda m, x: m.linalg.det(x), BATCH),
    case("det of empty matrices", lambda m, x: m.det(x), floats(2, 0, 0)),
    case("slogdet", lambda m, x: m.linalg.slogdet(-x)[1], BATCH),
    case("slogdet singular", lambda m, x: m.slogdet(x.detach()), SINGULAR),
    case("logdet", lambda m, x: m.logdet(m.stack([x, -x])), SQUARE),
    case("cholesky", lambda m, x: m.linalg.cholesky(x), POSITIVE),
    case("cholesky upper", lambda m, x: m.linalg.cholesky(x, upper=True), POSITIVE),
    case("cholesky reads one triangle", lambda m, x: m.cholesky(x.detach()), SQUARE @ np.diag([9, 8, 7])),
    case("cholesky of others", lambda m, x: m.linalg.cholesky(x), -POSITIVE),
    case("cholesky_ex info", lambda m, x: m.linalg.cholesky_ex(-x).info, POSITIVE),
    case("cholesky_ex", lambda m, x: m.linalg.cholesky_ex(x), POSITIVE),
    case("cholesky_solve", lambda m, b, x: m.cholesky_solve(b, x.tril()), floats(3, 2), SQUARE),
    case("cholesky_inverse", lambda m, x: m.cholesky_inverse(x.triu(), upper=True), SQUARE),
    *[
        case(f"qr {mode} {x.shape}", lambda m, x, mode=mode: m.linalg.qr(x, mode), x)
        for mode in ("reduced", "complete")
        for x in (SQUARE, WIDE)
    ],
    case("qr tall", lambda m, x: m.qr(x), TALL),
    case("qr r", lambda m, x: m.linalg.qr(x.detach(), "r"), TALL),
    case("qr unknown", lambda m, x: m.linalg.qr(x, "full"), TALL),
    case("qr r without a derivative", lambda m, x: m.linalg.qr(x, "r").R.sum().backward(), TALL),
    case("qr complete without a derivative", lambda m, x: m.linalg.qr(x, "complete").Q.sum().backward(), TALL),
    case("svdvals", lambda m, x: m.linalg.svdvals(x), WIDE),
    case("svdvals of equals", lambda m, x: m.linalg.svdvals(x).sum(), np.eye(3)),
    case("svd sizes", lambda m, x: [v.abs() for v in m.linalg.svd(x, False)], WIDE),
    case("svd whole", lambda m, x: [v[..., :3, :].abs() for v in m.linalg.svd(x)[::2]], TALL),
    case("svd with V", lambda m, x: [v.abs() for v in m.svd(x)], TALL),
    case("svd without vectors", lambda m, x: m.svd(x, compute_uv=False), TALL),
    case("svd of NaN", lambda m, x: m.linalg.svd(x * math.nan), SQUARE),
    case("svd of an empty batch", lambda m, x: m.linalg.svd(x, False), floats(0, 3, 2)),
    case("eigh", lambda m, x: [v.abs() for v in m.linalg.eigh(x)], POSITIVE),
    case("eigh upper", lambda m, x: [v.abs() for v in m.linalg.eigh(x, "u")], POSITIVE),
    case("eigh unknown", lambda m, x: m.linalg.eigh(x, "X"), POSITIVE),
    case("eigvalsh", lambda m, x: m.linalg.eigvalsh(x), POSITIVE),
    case("lu", lambda m, x: m.linalg.lu(x), WIDE),
    case("lu tall", lambda m, x: m.linalg.lu(x), TALL),
    case("lu_factor", lambda m, x: m.linalg.lu_factor(x), BATCH),
    case("lu_factor singular", lambda m, x: m.linalg.lu_factor(x), SINGULAR),
    case("lu_factor_ex", lambda m, x: m.linalg.lu_factor_ex(x), SINGULAR),
    case("lu_unpack", lambda m, x: m.lu_unpack(*m.linalg.lu_factor(x)), TALL),
    *[
        case(
            f"lu_solve {left} {adjoint}",
            lambda m, x, b, left=left, adjoint=adjoint: m.linalg.lu_solve(
                *m.linalg.lu_factor(x), b, left=left, adjoint=adjoint
            ),
            BATCH,
            floats(2, 1, 3, 3),
        )
        for left in (False, True)
        for adjoint in (False, True)
    ],
    *[
        case(
            f"solve_triangular {upper} {left} {ones}",
            lambda m, a, b, kind=(upper, left, ones): m.linalg.solve_triangular(
                a, b, upper=kind[0], left=kind[1], unitriangular=kind[2]
            ),
            BATCH,
            floats(3, 3),
        )
        for upper in (False, True)
        for left in (False, True)
        for ones in (False, True)
    ],
    case("triangular_solve", lambda m, b, a: m.triangular_solve(b, a, transpose=True), floats(3, 2), SQUARE),
    *[
        case(
            f"lstsq {driver}",
            lambda m, a, b, driver=driver: m.linalg.lstsq(a, b.detach(), driver=driver)[:3:2],
            TALL,
            floats(5, 2),
        )
        for driver in (None, "gels", "gelsd")
    ],
    case("lstsq of low rank", lambda m, a, b: m.linalg.lstsq(a.detach(), b)[:3:2], LOW_RANK, floats(4, 2)),
    case("lstsq unknown", lambda m, a, b: m.linalg.lstsq(a, b, driver="qr"), TALL, floats(5, 2)),
    case("pinv", lambda m, x: m.linalg.pinv(x), WIDE),
    case("pinv rtol", lambda m, x: m.linalg.pinv(x.detach(), rtol=0.5), WIDE),
    case("pinv of low rank", lambda m, x: m.pinverse(x, 1e-5), LOW_RANK),
    case("pinv hermitian", lambda m, x: m.linalg.pinv(x, hermitian=True), POSITIVE + 3 * np.eye(3)),
    case("matrix_exp", lambda m, x: m.linalg.matrix_exp(x), BATCH),
    case("matrix_exp of empty matrices", lambda m, x: m.matrix_exp(x), floats(2, 0, 0)),
    *[
        case(f"matrix_power {n}", lambda m, x, n=n: m.linalg.matrix_power(x if n else x.detach(), n), BATCH)
        for n in (-3, 0, 1, 2, 5)
    ],
    case("matrix_rank", lambda m, x: m.linalg.matrix_rank(x), LOW_RANK),
    case("matrix_rank tolerance", lambda m, x: m.linalg.matrix_rank(x, atol=1.0, rtol=0.1), WIDE),
    case("matrix_rank hermitian", lambda m, x: m.linalg.matrix_rank(x, hermitian=True), SINGULAR),
    case("multi_dot", lambda m, *xs: m.linalg.multi_dot(xs), floats(3), TALL.T, TALL, floats(3)),
    case("multi_dot of one", lambda m, x: m.linalg.multi_dot([x]), TALL),
    case("chain_matmul", lambda m, *xs: m.chain_matmul(*xs), TALL, TALL.T, TALL),
    case("cross", lambda m, a, b: m.linalg.cross(a, b, dim=0), floats(3, 1), floats(3, 4)),
    case("cross of the first", lambda m, a, b: m.cross(a, b), floats(2, 3, 3), floats(2, 3, 3)),
    case("cross of two", lambda m, a, b: m.linalg.cross(a, b), floats(2), floats(2)),
    case("diagonal", lambda m, x: m.linalg.diagonal(x, offset=1), WIDE),
    case("vander", lambda m, x: m.linalg.vander(x, N=5), floats(2, 3)),
    case("vander of integers", lambda m, x: m.linalg.vander(x), ints(3)),
    case("vander descending", lambda m, x: m.vander(x.detach(), 2), floats(3)),
    case("vecdot", lambda m, a, b: m.linalg.vecdot(a, b, dim=0), TALL, floats(3)),
    case("householder_product", lambda m, a, t: m.linalg.householder_product(a, t), TALL / 2, floats(2)),
    case("householder_product of none", lambda m, a, t: m.orgqr(a, t), TALL, floats(4)),
    case("geqrf", lambda m, x: [p.detach() for p in m.geqrf(x)], floats(2, 5, 3)),
    case("geqrf of a wide", lambda m, x: m.geqrf(x.detach()), WIDE),
    case("geqrf of nothing", lambda m, x: m.geqrf(x.detach()), floats(0, 3)),
    case("geqrf of a vector", lambda m, x: m.geqrf(x), floats(3)),
    case("geqrf has no derivative", lambda m, x: m.geqrf(x).a.sum().backward(), TALL),
    *(
        case(
            f"ormqr {left} {transpose} {columns}",
            lambda m, a, t, c, *how: m.ormqr(a, t, c, *how),
            TALL[:, :columns] / 2, floats(columns), floats(*((5, 3) if left else (3, 5))), left, transpose,
        )
        for left in (True, False) for transpose in (True, False) for columns in (2, 3)
    ),
    case("ormqr of none", lambda m, a, t, c: m.ormqr(a, t, c), floats(5, 0), floats(0), TALL),
    case("ormqr of other sides", lambda m, a, t, c: m.ormqr(a, t, c), TALL, floats(3), WIDE[0]),
    case("ormqr of more factors", lambda m, a, t, c: m.ormqr(a, t, c), TALL, floats(4), TALL),
    *(
        case(
            f"ldl {hermitian} {n} {kind.__name__}",
            lambda m, x, b, h, kind=kind: _ldl(m, kind(m, x), kind(m, b), h),
            floats(2, n, n, seed=n), floats(2, n, 2), hermitian,
        )
        for hermitian in (True, False) for n in (0, 1, 2, 4, 5) for kind in (_real, _turned)
    ),
    case("ldl of a singular", lambda m, x: m.linalg.ldl_factor_ex(x.detach() * 0), SQUARE),
    case("ldl of a singular checked", lambda m, x: m.linalg.ldl_factor(x.detach() * 0), SQUARE),
    case("ldl of no square", lambda m, x: m.linalg.ldl_factor(x), TALL),
    case("ldl has no derivative", lambda m, x: m.linalg.ldl_factor(x).LD.sum().backward(), SQUARE),
    case("slogdet's sign", lambda m, x: m.linalg.slogdet(x).sign, BATCH),
    case("slogdet's sign twice", lambda m, x: m.autograd.grad((m.linalg.slogdet(x).sign * x.sum()).sum(), x, create_graph=True)[0], SQUARE),
    case("rank lower", lambda m, x, y: _about(m.svd_lowrank(x.double().mT @ y.double(), 2)), floats(2, 6), floats(2, 2, 5)),
    case("rank lower less the mean", lambda m, x, y: _about(m.svd_lowrank(x.double().mT @ y.double(), 2, 1, y.double()[:1])), floats(2, 6), floats(2, 5)),
    case("rank lower of wide", lambda m, x, y: _about(m.svd_lowrank(x.double().mT @ y.double(), 2)), floats(2, 4), floats(2, 5)),
    case("principal components", lambda m, x, y: _about(m.pca_lowrank((x.mT @ y).detach())), floats(5, 6), floats(5, 5)),
    case("principal components as given", lambda m, x, y: _about(m.pca_lowrank(x.double().mT @ y.double(), 2, center=False)), floats(2, 6), floats(2, 5)),
    case("principal components, too many", lambda m, x: m.pca_lowrank(x, 4), TALL),
    case("tensorinv", lambda m, x: m.linalg.tensorinv(x + 4 * m.eye(6, dtype=x.dtype).reshape(2, 3, 6), 2), floats(2, 3, 6)),
    case("tensorinv of no square", lambda m, x: m.linalg.tensorinv(x, 1), floats(2, 3)),
    case("tensorsolve", lambda m, a, b: m.linalg.tensorsolve(a, b), floats(2, 3, 6), floats(2, 3)),
    case("tensorsolve dims", lambda m, a, b: m.linalg.tensorsolve(a, b, (0,)), floats(6, 2, 3), floats(2, 3)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*deprecated")  # PyTorch's own, of the older names
@pytest.mark.parametrize(("call", "inputs"), CASES)
def test_as_in_pytorch(call, inputs):
    assert_agrees(call, inputs)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3, 4)])
def test_factors_make_up_the_matrix(shape):
    a = tg.tensor(floats(*shape))
    q, r = tg.linalg.qr(a)
    p, lower, upper = tg.linalg.lu(a)
    u, s, vh = tg.linalg.svd(a, full_matrices=False)
    for product in (q @ r, p @ lower @ upper, (u * s.unsqueeze(-2)) @ vh):
        np.testing.assert_allclose(product.numpy(), a.numpy(), rtol=0, atol=1e-12)
    whole, _, right = tg.linalg.svd(a)
    for x in (q.mT @ q, whole @ whole.mT, right @ right.mT):
        eye = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
        np.testing.assert_allclose(x.numpy(), eye, rtol=0, atol=1e-12)


def test_a_singular_matrix_is_named():
    batch = tg.stack([tg.eye(2), tg.zeros(2, 2)])
    with pytest.raises(tg.linalg.LinAlgError, match=r"inv: the matrix \[1\] of the batch"):
        tg.linalg.inv(batch)
    with pytest.raises(tg.linalg.LinAlgError, match="cholesky: the matrix"):
        tg.linalg.cholesky(batch - tg.eye(2))
    inverse, info = tg.linalg.inv_ex(batch)
    assert info.tolist() == [0, 1]
    assert inverse[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert inverse[1].isnan().all()
    found, info = tg.linalg.solve_ex(batch, tg.ones(2, 2, 1))
    assert found[0].tolist() == [[1.0], [1.0]]
    assert found[1].isnan().all()
    factor, info = tg.linalg.cholesky_ex(batch - 2 * tg.tensor([0.0, 1.0])[:, None, None])
    assert info.tolist() == [0, 1]
    assert factor[1].isnan().all()


@pytest.mark.parametrize("zeros", [1, 2])
def test_derivative_of_the_determinant_of_a_singular_matrix(zeros):
    """Cofactors are products of the others: none needs an inverse."""
    x = tg.tensor(np.diag([2.0, 3.0, 0.0] if zeros == 1 else [2.0, 0.0, 0.0]), requires_grad=True)
    (g,) = tg.autograd.grad(tg.linalg.det(x), x)
    expected = np.diag([0.0, 0.0, 6.0 if zeros == 1 else 0.0])
    np.testing.assert_allclose(g.numpy(), expected, atol=1e-12)


def test_values_of_repeated_singular_values_have_a_derivative():
    """Only vectors of equal values are not defined, and the sum does not depend on them."""
    x = tg.eye(3, dtype=tg.float64).requires_grad_()
    (g,) = tg.autograd.grad(tg.linalg.svdvals(x).sum() + tg.linalg.eigvalsh(x).sum(), x)
    np.testing.assert_allclose(g.numpy(), 2 * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("upper", [False, True])
def test_gradients_of_hermitian_matrices_are_hermitian(upper):
    x = tg.tensor(POSITIVE[0, 0], requires_grad=True)
    for y in (
        tg.linalg.cholesky(x, upper=upper),
        tg.linalg.eigh(x, "U" if upper else "L").eigenvectors,
    ):
        (g,) = tg.autograd.grad(y, x, tg.tensor(floats(3, 3)))
        np.testing.assert_allclose(g.numpy(), g.numpy().T, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tg.linalg.lstsq(x, tg.tensor(floats(3, 2))).solution,
        lambda x: tg.linalg.householder_product(x, x[0]),
        lambda x: tg.linalg.lu_factor(x).LU,
        lambda x: tg.linalg.matrix_power(x, -2),
        lambda x: tg.linalg.matrix_norm(x, "nuc"),
        lambda x: tg.linalg.svd(x @ tg.tensor(floats(3, 5)), False).Vh.abs(),
        lambda x: tg.logdet(x @ x.mT),
    ],
)
def test_both_orders(function):
    x = tg.tensor(SQUARE, requires_grad=True)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_losses_that_depend_on_phases_have_no_derivative():
    """Complex vectors are free up to a phase: PyTorch refuses these, too."""
    z = tg.tensor(SQUARE + 1j * floats(3, 3, seed=1), requires_grad=True)
    hermitian = z @ z.mH
    for vectors in (
        tg.linalg.svd(z).U,
        tg.linalg.eigh(hermitian).eigenvectors,
        tg.linalg.eig(z).eigenvectors,
    ):
        with pytest.raises(RuntimeError, match="the loss depends on the phases"):
            (vectors.real.sum() + vectors.imag.sum()).backward(retain_graph=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: tg.linalg.svd(z, False).U.abs(),
        lambda z: tg.linalg.svdvals(z),
        lambda z: tg.linalg.svd(z[:, :2], False).Vh.abs(),
        lambda z: tg.linalg.eigh(z @ z.mH).eigenvectors.abs(),
        lambda z: tg.linalg.eigvalsh(z + z.mH),
        lambda z: tg.linalg.eigvals(z),
        lambda z: tg.linalg.eig(z).eigenvectors.abs(),
        lambda z: tg.linalg.cholesky(z @ z.mH),
        lambda z: tg.linalg.qr(z).R.abs(),
        lambda z: tg.linalg.slogdet(z).sign,
        lambda z: tg.linalg.pinv(z[:, :2]),
        lambda z: tg.linalg.lu(z).U,
        lambda z: tg.linalg.matrix_norm(z, "nuc"),
        lambda z: tg.linalg.vector_norm(z, 3),
    ],
)
def test_both_orders_of_complex_matrices(function):
    z = tg.tensor(SQUARE + 1j * floats(3, 3, seed=1), requires_grad=True)
    assert gradcheck(function, (z,))
    assert gradgradcheck(function, (z,))
