"""Products of vectors, matrices and tensors."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints

import tinygrad_cnn as tg

RANKS = [
    (),
    (3,),
    (2, 3),
    (3, 2),
    (4, 2, 3),
    (4, 3, 2),
    (1, 3, 2),
    (5, 1, 2, 3),
    (0, 3),
    (3, 0),
    (2,),
]
EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ji,jk", (3, 2), (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("bii->bi", (2, 3, 3)),
    ("iij->j", (2, 2, 3)),
    ("ij->", (2, 3)),
    ("ij->ji", (2, 3)),
    ("ba", (2, 3)),
    ("...ij->...ji", (2, 3, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    ("...ij,jk", (2, 3, 4), (4, 5)),
    ("b...,b...->b", (2, 3, 4), (2, 3, 4)),
    ("i...,...i->...", (3, 2), (2, 3)),
    ("...,...", (2, 3), (3,)),
    ("i,j->ij", (2,), (3,)),
    ("i,i->", (3,), (3,)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("aB,Bc->ac", (2, 3), (3, 4)),
    ("ij,ij->i", (2, 3), (1, 3)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    (",->", (), ()),
    (",i->i", (), (3,)),
    ("ij,jk->ii", (2, 3), (3, 4)),
    ("ij,jk->iz", (2, 3), (3, 4)),
    ("ij,jk->ik", (2, 3), (4, 4)),
    ("ij,jk->ik", (2, 3)),
    ("ijk->i", (2, 3)),
    ("i1->i", (2, 3)),
    ("ij->ij->i", (2, 3)),
]


@pytest.mark.parametrize("b", RANKS, ids=str)
@pytest.mark.parametrize("a", RANKS, ids=str)
def test_matmul_of_every_rank(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert_agrees(lambda m, x, y: x @ y, (floats(*a), floats(*b, seed=1)))


@pytest.mark.parametrize("given", EINSUMS, ids=lambda g: g[0])
def test_einsum(given: tuple[Any, ...]) -> None:
    equation, *shapes = given
    xs = tuple(floats(*s, seed=i) for i, s in enumerate(shapes))
    assert_agrees(lambda m, *ts: m.einsum(equation, *ts), xs)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("matmul-name", lambda m, x, y: m.matmul(input=x, other=y), floats(2, 3), floats(3, 2)),
        case("matmul-int", lambda m, x, y: x @ y, ints(2, 3), ints(3, 2)),
        case("matmul-inf", lambda m, x, y: x @ y, np.array([[np.inf, 1.0]]), np.array([[0.0], [1.0]])),
        case("mm", lambda m, x, y: m.mm(x, y), floats(2, 3), floats(3, 2)),
        case("mm-rank", lambda m, x, y: m.mm(x, y), floats(2, 3), floats(3)),
        case("bmm", lambda m, x, y: m.bmm(x, y), floats(4, 2, 3), floats(4, 3, 2)),
        case("bmm-batch", lambda m, x, y: m.bmm(x, y), floats(4, 2, 3), floats(1, 3, 2)),
        case("mv", lambda m, x, y: m.mv(x, y), floats(2, 3), floats(3)),
        case("dot", lambda m, x, y: m.dot(x, y), floats(3), floats(3, seed=1)),
        case("dot-length", lambda m, x, y: m.dot(x, y), floats(3), floats(4)),
        case("dot-int", lambda m, x, y: x.dot(y), ints(3), ints(3)),
        case("outer", lambda m, x, y: m.outer(x, y), floats(3), floats(2)),
        case("addmm", lambda m, b, x, y: m.addmm(b, x, y, beta=0.5, alpha=2), floats(4), floats(2, 3), floats(3, 4)),
        case("tensordot", lambda m, x, y: m.tensordot(x, y, dims=2), floats(2, 3, 4), floats(3, 4, 5)),
        case("tensordot-0", lambda m, x, y: m.tensordot(x, y, 0), floats(2), floats(3)),
        case("tensordot-lists", lambda m, x, y: m.tensordot(x, y, ([1, 0], [0, 1])), floats(2, 3, 4), floats(3, 2, 5)),
        case("tensordot-bad", lambda m, x, y: m.tensordot(x, y, 1), floats(2, 3), floats(2, 3)),
        case("tensordot-many", lambda m, x, y: m.tensordot(x, y, 3), floats(2, 3), floats(2, 3)),
        case("einsum-list", lambda m, x, y: m.einsum("ij,jk->ik", [x, y]), floats(2, 3), floats(3, 2)),
        case("linear", lambda m, x, w, b: m.nn.functional.linear(x, w, b), floats(2, 3), floats(4, 3), floats(4)),
        case("linear-no-bias", lambda m, x, w: m.nn.functional.linear(input=x, weight=w), floats(2, 3), floats(4, 3)),
        case("linear-1d", lambda m, x, w, b: m.nn.functional.linear(x, w, b), floats(3), floats(4, 3), floats(4)),
        case("linear-3d", lambda m, x, w, b: m.nn.functional.linear(x, w, b), floats(2, 5, 3), floats(4, 3), floats(4)),
        case("linear-vector", lambda m, x, w: m.nn.functional.linear(x, w), floats(2, 3), floats(3)),
        case("linear-empty", lambda m, x, w, b: m.nn.functional.linear(x, w, b), np.zeros((0, 3)), floats(4, 3), floats(4)),
        case("linear-bad", lambda m, x, w: m.nn.functional.linear(x, w), floats(2, 3), floats(4, 5)),
        case("linear-bad-bias", lambda m, x, w, b: m.nn.functional.linear(x, w, b), floats(2, 3), floats(4, 3), floats(3)),
        case("linear-dtype", lambda m, x, w: m.nn.functional.linear(x, w), floats(2, 3), np.zeros((4, 3), np.float16)),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


def test_products_by_numpy() -> None:
    for a in RANKS[1:]:
        for b in RANKS[1:]:
            x, y = floats(*a), floats(*b, seed=1)
            try:
                expected = np.matmul(x, y)
            except ValueError:
                with pytest.raises(ValueError, match="matmul"):
                    tg.tensor(x) @ tg.tensor(y)
                continue
            np.testing.assert_allclose((tg.tensor(x) @ tg.tensor(y)).array, expected, atol=1e-14)
            assert ((x @ tg.tensor(y)).array == (tg.tensor(x) @ y).array).all()


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3, 4)), ((3,), (3,)), ((5, 1, 2, 3), (4, 3, 2))])
def test_gradients_are_the_transposed_products(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = tg.tensor(floats(*a), requires_grad=True), tg.tensor(floats(*b), requires_grad=True)
    z = x @ y
    u = floats(*z.shape, seed=5)
    z.backward(tg.tensor(u))
    # <u, dx @ y> and <u, x @ dy> along random directions
    dx, dy = floats(*a, seed=8), floats(*b, seed=9)
    assert np.vdot(x.grad.array, dx) == pytest.approx(np.sum(u * (dx @ y.array)))
    assert np.vdot(y.grad.array, dy) == pytest.approx(np.sum(u * (x.array @ dy)))


def test_einsum_by_numpy() -> None:
    for equation, *shapes in EINSUMS[:26]:
        if "..." in equation and "..." not in equation.partition("->")[2]:
            continue  # NumPy refuses what PyTorch allows
        xs = [floats(*s, seed=i) for i, s in enumerate(shapes)]
        expected = np.einsum(equation, *xs)
        np.testing.assert_allclose(tg.einsum(equation, *xs).array, expected, atol=1e-14)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"matmul: .*3 columns.*2 rows.*\(2, 3\).*\(2, 3\)"):
        tg.zeros(2, 3) @ tg.zeros(2, 3)
    with pytest.raises(ValueError, match="einsum: index 'j' has length 3"):
        tg.einsum("ij,jk->ik", tg.zeros(2, 3), tg.zeros(4, 4))
    with pytest.raises(TypeError, match="linear: `input` is float32 but `weight` is float64"):
        tg.nn.functional.linear(tg.zeros(2, 3), tg.zeros(4, 3, dtype=tg.float64))
