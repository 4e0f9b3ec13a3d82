"""Functions that are put together from others: against NumPy and definitions, and what they refuse.

Values and derivatives are held against PyTorch's in tests/parity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import floats, ints

import tinygrad_cnn as tg

A, B, C = floats(3, 4, seed=1), floats(3, 4, seed=2), floats(4, 3, seed=3)
V, W = floats(4, seed=4), floats(3, seed=5)
BATCH = floats(2, 3, 4, seed=6), floats(2, 4, 3, seed=7)
PLACES = np.array([0.0, 0.5, 2.0, 2.25])
COUNTS = np.array([1, 2, 3, 1])
SHARES = np.abs(V)


CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "addmm": (lambda: tg.addmm(W, A, C, beta=2, alpha=3), lambda: 2 * W + 3 * A @ C),
    "addmm-0": (lambda: tg.addmm(W * np.nan, A, C, beta=0), lambda: A @ C),
    "addmv": (lambda: tg.addmv(W, A, V, beta=2, alpha=3), lambda: 2 * W + 3 * A @ V),
    "addr": (lambda: tg.addr(A, W, V, alpha=3), lambda: A + 3 * np.outer(W, V)),
    "baddbmm": (lambda: tg.baddbmm(W, *BATCH), lambda: W + BATCH[0] @ BATCH[1]),
    "addbmm": (lambda: tg.addbmm(W, *BATCH), lambda: W + (BATCH[0] @ BATCH[1]).sum(0)),
    "inner": (lambda: tg.inner(A, B), lambda: np.inner(A, B)),
    "vdot": (lambda: tg.vdot(V * 1j, V + 1j), lambda: np.vdot(V * 1j, V + 1j)),
    "trapezoid": (lambda: tg.trapezoid(A, PLACES), lambda: np.trapezoid(A, PLACES)),
    "trapezoid-dx": (lambda: tg.trapz(A, dx=0.5, dim=0), lambda: np.trapezoid(A, dx=0.5, axis=0)),
    "cumulative": (
        lambda: tg.cumulative_trapezoid(A, PLACES)[:, -1],
        lambda: np.trapezoid(A, PLACES),
    ),
    "gradient": (
        lambda: tg.stack(tg.gradient(A, edge_order=2)),
        lambda: np.stack(np.gradient(A, edge_order=2)),
    ),
    "gradient-places": (
        lambda: tg.gradient(A, spacing=[PLACES], dim=1, edge_order=2)[0],
        lambda: np.gradient(A, PLACES, axis=1, edge_order=2),
    ),
    "cov": (
        lambda: tg.cov(A, correction=0, fweights=COUNTS, aweights=SHARES),
        lambda: np.cov(A, ddof=0, fweights=COUNTS, aweights=SHARES),
    ),
    "corrcoef": (lambda: tg.corrcoef(A), lambda: np.corrcoef(A)),
    "tril_indices": (lambda: tg.tril_indices(3, 4, 1), lambda: np.stack(np.tril_indices(3, 1, 4))),
    "triu_indices": (lambda: tg.triu_indices(3, 4, 1), lambda: np.stack(np.triu_indices(3, 1, 4))),
    "combinations": (
        lambda: tg.combinations(V, 3),
        lambda: np.array(list(itertools.combinations(V, 3))),
    ),
    "cartesian_prod": (
        lambda: tg.cartesian_prod(V, W),
        lambda: np.array(list(itertools.product(V, W))),
    ),
    "dist": (lambda: tg.dist(A, B, 3), lambda: (np.abs(A - B) ** 3).sum() ** (1 / 3)),
    "unravel_index": (
        lambda: tg.stack(tg.unravel_index(ints(5, high=12), (3, 4))),
        lambda: np.stack(np.unravel_index(ints(5, high=12), (3, 4))),
    ),
    "diff": (
        lambda: tg.diff(A, 2, 0, prepend=B, append=B[:1]),
        lambda: np.diff(A, 2, 0, prepend=B, append=B[:1]),
    ),
    "fill": (lambda: tg.fill(A, 2), lambda: np.full_like(A, 2)),
    "nonzero_static": (
        lambda: tg.nonzero_static(tg.tensor([0, 3, 0, 4]), size=3),
        lambda: np.array([[1], [3], [-1]]),
    ),
    "as_strided_scatter": (
        lambda: tg.as_strided_scatter(A, np.zeros(3), (3,), (5,)),
        lambda: A * (1 - np.eye(3, 4)),
    ),
    "constant_pad_nd": (
        lambda: tg.constant_pad_nd(V, (1, 2), 5),
        lambda: np.pad(V, (1, 2), constant_values=5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_by_numpy(name: str) -> None:
    ours, theirs = CASES[name]
    np.testing.assert_allclose(ours().numpy(), theirs(), rtol=1e-12, atol=1e-14)


def test_too_few_observations_are_said() -> None:
    with pytest.warns(UserWarning, match="cov: degrees of freedom are -1 .* 1 observations"):
        assert tg.cov(tg.tensor([[1.0], [2.0]]), correction=2).isnan().all()


@pytest.mark.parametrize("weights", ["aweights", "fweights"])
def test_nothing_left_is_not_negative(weights: str) -> None:
    x, w = tg.tensor([[1.0, 2.0], [3.0, 5.0]]), np.ones(2, float if weights[0] == "a" else int)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert tg.cov(x, correction=3, **{weights: w}).isposinf().all()


def test_rows_are_scaled_down_to_the_norm() -> None:
    out = tg.renorm(tg.tensor(A), 2, 0, 1.5).numpy()
    lengths = np.linalg.norm(A, axis=1)
    assert (lengths > 1.5).any()
    assert np.allclose(np.linalg.norm(out, axis=1), np.minimum(lengths, 1.5))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: tg.addmv(B, A, V), ValueError, "addmv: `input` has shape"),
        (lambda: tg.addmm(W, A.astype("f4"), C.astype("f4")), TypeError, "addmm: .* float64"),
        (lambda: tg.inner(A, W), ValueError, r"inner: shapes \(3, 4\) and \(3,\)"),
        (lambda: tg.vdot(A, V), ValueError, "vdot: `input` has shape"),
        (lambda: tg.trapezoid(A, W), ValueError, r"trapezoid: `x` has shape \(3,\), expected 4"),
        (lambda: tg.trapezoid(tg.tensor(1.0)), ValueError, "trapezoid: `y` has no dimensions"),
        (lambda: tg.cumulative_trapezoid(A > 0), TypeError, "cumulative_trapezoid: .* bool"),
        (lambda: tg.gradient(A, edge_order=3), ValueError, "gradient: `edge_order` is 3"),
        (lambda: tg.gradient(A[:1]), ValueError, "gradient: `input` has shape .* more than 1"),
        (lambda: tg.gradient(A, spacing=[W], dim=1), ValueError, r"gradient: `spacing` .*\(3,\)"),
        (lambda: tg.cov(BATCH[0]), ValueError, "cov: `input` has shape .* at most 2"),
        (lambda: tg.cov(A, fweights=V), ValueError, "cov: `fweights` .* integers"),
        (lambda: tg.cov(A, aweights=-SHARES), ValueError, "cov: `aweights` holds -"),
        (lambda: tg.combinations(A), ValueError, "combinations: `input` has shape"),
        (lambda: tg.cartesian_prod(A), ValueError, "cartesian_prod: shapes"),
        (lambda: tg.renorm(V, 2, 0, 1), ValueError, "renorm: `input` has shape"),
        (lambda: tg.unravel_index(tg.tensor(12), (3, 4)), IndexError, "unravel_index: .* 12"),
        (lambda: tg.fill(A, V), ValueError, "fill: `value` has shape"),
        (lambda: tg.as_strided_scatter(A, W, (2,), (1,)), ValueError, "as_strided_scatter: `src`"),
        (lambda: tg.broadcast_shapes((2,), (3,)), ValueError, "broadcast_shapes: .* broadcast"),
        (lambda: tg.repeat_interleave(V, 2, output_size=7), ValueError, "`output_size` is 7"),
        (lambda: tg.empty_strided((2,), (1, 1)), ValueError, "empty_strided: `size`"),
        (lambda: tg.empty_permuted((2, 3), (0, 0)), ValueError, "empty_permuted: `phys"),
        (lambda: tg.zeros(2).geometric_(1.5), ValueError, "geometric_: `p` is 1.5"),
        (lambda: tg.zeros(2).cauchy_(0, -1), ValueError, "cauchy_: `sigma` is -1"),
    ],
)  # fmt: skip
def test_refused(call: Callable[[], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


@pytest.mark.parametrize(
    ("copy", "args"),
    [
        ("alias", ()), ("as_strided", ((2, 2), (1, 2))), ("diagonal", ()), ("expand", (2, 3, 4)),
        ("narrow", (0, 0, 2)), ("permute", (1, 0)), ("select", (0, 1)), ("split", (2,)),
        ("split_with_sizes", ([1, 2],)), ("squeeze", ()), ("t", ()), ("transpose", (0, 1)),
        ("unbind", ()), ("unfold", (1, 2, 1)), ("unsqueeze", (0,)), ("view", (4, 3)),
    ],
)  # fmt: skip
def test_copies_share_no_memory(copy: str, args: tuple[Any, ...]) -> None:
    x = tg.tensor(A)
    view = getattr(x, copy)(*args) if copy != "alias" else x
    made = getattr(tg, f"{copy}_copy")(x, *args)
    pairs = zip(made, view, strict=True) if isinstance(made, tuple) else [(made, view)]
    for one, other in pairs:
        assert np.array_equal(one.numpy(), other.numpy())
        assert not np.shares_memory(one.numpy(), x.numpy())
        one.mul_(2)  # as no view of several can be


def test_draws_have_their_moments() -> None:
    tg.manual_seed(0)
    x = tg.zeros(200_000, dtype=tg.float64)
    assert x.exponential_(4).mean().item() == pytest.approx(0.25, rel=0.02)
    assert x.geometric_(0.25).mean().item() == pytest.approx(4, rel=0.02)
    assert x.geometric_(0.25).min().item() == 1
    assert x.log_normal_(1, 0.5).log().std().item() == pytest.approx(0.5, rel=0.02)
    assert x.cauchy_(3, 2).median().item() == pytest.approx(3, abs=0.05)
    drawn = tg.randint_like(x, 2, 5)
    assert drawn.dtype == tg.float64
    assert set(drawn.unique().tolist()) == {2.0, 3.0, 4.0}


def test_memory_lies_as_it_was_asked_to() -> None:
    assert tg.empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert tg.zeros(1, dtype=tg.int8).new_empty_strided((2, 3), (3, 1)).dtype == tg.int8
    assert tg.empty_permuted((2, 3, 4), (0, 2, 1)).stride() == (12, 1, 3)
    with pytest.raises(RuntimeError):
        tg.empty_strided((2, 2), (0, 1)).fill_(1)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like", "full_like", "clone"])
def test_memory_formats(name: str) -> None:
    x = tg.tensor(A).t()
    more = (1,) if name == "full_like" else ()
    call = getattr(tg, name)
    assert call(x, *more, memory_format=tg.preserve_format).stride() == x.stride()
    assert call(x, *more, memory_format=tg.contiguous_format).is_contiguous()


@pytest.mark.parametrize("name", ["rand_like", "randn_like"])
def test_draws_take_a_memory_format(name: str) -> None:
    assert getattr(tg, name)(tg.tensor(A), memory_format=tg.preserve_format).shape == A.shape


def test_random_integers_in_place() -> None:
    x = tg.zeros(1000, dtype=tg.float64)
    assert set(x.random_(2, 5).tolist()) == {2.0, 3.0, 4.0}
    assert set(x.random_(2).tolist()) == {0.0, 1.0}
    assert x.random_().max().item() > 2**50
    small = tg.zeros(2000, dtype=tg.int8).random_()
    assert (small.min().item(), small.max().item()) == (0, 127)
    with pytest.raises(ValueError, match="random_: there is no integer from 5 up to"):
        x.random_(5, 5)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("eq", (B,)), ("not_equal", (0,)), ("less", (0,)), ("le", (B,)), ("greater", (B,)),
        ("ge", (0,)), ("logical_not", ()), ("logical_xor", (B,)), ("cumsum", (1,)),
        ("cumprod", (0,)), ("tril", ()), ("triu", (1,)), ("fix", ()), ("addmv", (A.T, W)),
    ],
)  # fmt: skip
def test_in_place(name: str, args: tuple[Any, ...]) -> None:
    x = tg.tensor(A if name != "addmv" else V)
    args = tuple(tg.tensor(a) if isinstance(a, np.ndarray) else a for a in args)
    expected = getattr(x, name)(*args).numpy()
    assert getattr(x, f"{name}_")(*args) is x
    assert np.array_equal(x.numpy(), expected)


def test_what_tensors_say_of_themselves() -> None:
    assert tg.tensor(A).is_signed()
    assert not tg.tensor(COUNTS.astype(np.uint8)).is_signed()
    assert tg.tensor(2.0).is_nonzero()
    assert tg.tensor(A).is_same_size(tg.tensor(B))
    assert tg.tensor(A).ndimension() == 2


def test_bytes_may_be_copied_as_another_dtype() -> None:
    x = tg.tensor([1.0, 2.0])
    for y in (tg.view_copy(x, tg.int32), tg.view_copy(x, dtype=tg.int32)):
        assert y.tolist() == [0x3F800000, 0x40000000]
        y.zero_()
    assert x.tolist() == [1.0, 2.0]
