"""Reductions, searches and order."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, bools, case, floats, ints
from scipy import special, stats

import tinygrad_cnn as tg

ALL = "sum mean prod var std amax amin norm logsumexp any all count_nonzero".split()
ONE = "max min argmax argmin median sort argsort cumsum cumprod softmax".split()
DIMS = [None, 0, 1, -1, 2, -4, (0,), (0, 2), (-1, 0), (0, 0), ()]


def _keywords(name: str, dim: Any, keep: bool) -> dict[str, Any]:
    keywords: dict[str, Any] = {} if dim is None else {"dim": dim}
    if keep and name not in ("count_nonzero", "sort", "argsort", "cumsum", "cumprod", "softmax"):
        keywords["keepdim"] = True
    return keywords


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("keep", [False, True], ids=["drop", "keep"])
def test_over_dims(name: str, dim: Any, keep: bool) -> None:
    if name == "logsumexp" and dim is None:
        dim = (0, 1, 2)
    if name == "prod" and isinstance(dim, tuple):
        return  # PyTorch multiplies over one axis only
    if dim == () and name in ("any", "all", "var", "std", "logsumexp"):
        return  # PyTorch: a copy, infinite gradients, an error; here () means all, as for sum
    if dim is None:
        keep = False
    assert_agrees(
        lambda m, x: getattr(m, name)(x, **_keywords(name, dim, keep)), (floats(2, 3, 2),)
    )


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("dim", [None, 0, 1, -1, 3, -4], ids=str)
@pytest.mark.parametrize("keep", [False, True], ids=["drop", "keep"])
def test_along_one_dim(name: str, dim: Any, keep: bool) -> None:
    if dim is None and name in ("cumsum", "cumprod", "softmax"):
        dim = 1
    if dim is None:
        keep = False
    call = lambda m, x: getattr(m, name)(x, **_keywords(name, dim, keep))
    assert_agrees(call, (floats(2, 3, 2),))


SHAPES = [(), (0,), (0, 3), (3, 0), (1,), (1, 1), (2, 0, 3)]


@pytest.mark.parametrize("name", [*ALL, *ONE])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dim", [None, 0, -1], ids=str)
@pytest.mark.filterwarnings("ignore:var.*degrees of freedom:UserWarning")
@pytest.mark.filterwarnings("ignore:std.*degrees of freedom:UserWarning")
def test_empty_and_0d(name: str, shape: tuple[int, ...], dim: Any) -> None:
    if dim is None and name in ("cumsum", "cumprod", "softmax", "logsumexp"):
        dim = 0
    if name == "median" and dim is None and 0 in shape:
        return  # PyTorch: NaN with a warning; here an error, as of max()
    assert_agrees(
        lambda m, x: getattr(m, name)(x, **_keywords(name, dim, False)), (floats(*shape),)
    )


@pytest.mark.parametrize("name", [*ALL, *ONE])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16"])
@pytest.mark.parametrize("dim", [None, 0], ids=str)
def test_dtypes(name: str, dtype: str, dim: Any) -> None:
    if dim is None and name in ("cumsum", "cumprod", "softmax", "logsumexp"):
        dim = 0
    x = np.array([[1, 3, 2], [0, 4, 1]]).astype(dtype)
    if name == "median":
        x = x[:, :1]  # of equal values another one may be chosen
    if name in ("any", "all") and dtype == "uint8":
        return  # PyTorch gives uint8 here, for old times' sake
    assert_agrees(lambda m, x: getattr(m, name)(x, **_keywords(name, dim, False)), (x,))


@pytest.mark.parametrize(
    "name",
    "sum mean amax amin max min argmax argmin sort prod cumsum norm logsumexp median".split(),
)
@pytest.mark.parametrize(
    "x",
    [
        np.array([[1.0, np.nan, 3.0], [np.inf, 1.0, 1.0]]),
        np.array([[-np.inf, -np.inf, -np.inf], [1.0, 1.0, 1.0]]),
        np.array([[np.inf, -np.inf, 0.0], [0.0, 0.0, 0.0]]),
        np.array([[2.0, 1.0, 2.0], [3.0, 3.0, 3.0]]),
    ],
    ids=["nan", "-inf", "inf", "ties"],
)  # fmt: skip
def test_ties_and_special_values(name: str, x: np.ndarray) -> None:
    if name == "median" and np.isnan(x).any():
        return  # see median-nan below
    if name == "prod" and np.isinf(x).any():
        return  # 0 * inf: PyTorch calls the gradient 0
    if name in ("amax", "amin") and np.isnan(x).any():
        assert_agrees(lambda m, x: getattr(m, name)(x, 1).detach(), (x,))
        return  # PyTorch has no gradient beside NaN; here the NaN gets it, as from max(dim)
    if name == "logsumexp":  # of -inf only: PyTorch's gradient is NaN, here it is 0
        x = x[~np.isneginf(x).all(1)]
    if name not in ("logsumexp", "cumsum", "sort", "median"):
        assert_agrees(lambda m, x: getattr(m, name)(x), (x,))
    keywords = {"stable": True} if name == "sort" else {}
    values = lambda out: out[0] if name == "median" else out  # which of equal ones is not specified
    assert_agrees(lambda m, x: values(getattr(m, name)(x, dim=1, **keywords)), (x,))


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("sum-dtype", lambda m, x: m.sum(x, dtype=m.float64), ints(3)),
        case("sum-dtype-dim", lambda m, x: x.sum(0, dtype=m.float32), floats(3)),
        case("mean-int", lambda m, x: m.mean(x), ints(3)),
        case("mean-int-dtype", lambda m, x: m.mean(x, dtype=m.float32), ints(3)),
        case("prod-dtype", lambda m, x: m.prod(x, dtype=m.float64), ints(3)),
        case("prod-zero", lambda m, x: m.prod(x), np.array([2.0, 0.0, 3.0])),
        case("prod-zeros", lambda m, x: m.prod(x, 1), np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])),
        case("cumprod-zero", lambda m, x: m.cumprod(x, 0), np.array([2.0, 0.0, 3.0, 4.0])),
        case("cumprod-zeros", lambda m, x: m.cumprod(x, 1), np.array([[2.0, 0.0, 3.0, 0.0], [1.0, 2.0, 3.0, 4.0]])),
        case("cumprod-dtype", lambda m, x: m.cumprod(x, 0, dtype=m.float64), ints(3)),
        case("cumsum-dtype", lambda m, x: m.cumsum(x, 0, dtype=m.float64), ints(3)),
        case("sum-into-uint8", lambda m, x: m.sum(x, 0, dtype=m.uint8), ints(2, 3)),
        case("prod-into-bool", lambda m, x: m.prod(x, 0, dtype=m.bool), ints(2, 3)),
        case("cumsum-into-int32", lambda m, x: m.cumsum(x, 0, dtype=m.int32), ints(2, 3)),
        case("diff-negative", lambda m, x: m.diff(x, -1), floats(3)),
        case("sum-positional", lambda m, x: m.sum(x, 1, True), floats(2, 3)),
        case("sum-list", lambda m, x: m.sum(x, [0, 1]), floats(2, 3)),
        case("sum-float-dim", lambda m, x: m.sum(x, 1.0), floats(2, 3)),
        case("var-unbiased", lambda m, x: m.var(x, unbiased=False), floats(5)),
        case("var-bool", lambda m, x: m.var(x, False), floats(5)),
        case("var-dim-bool", lambda m, x: m.var(x, 0, False, True), floats(5, 2)),
        case("var-correction", lambda m, x: m.var(x, 0, correction=2), floats(5, 2)),
        case("var-int", lambda m, x: m.var(x), ints(3)),
        case("std-0", lambda m, x: m.std(x), np.array([1.0, 1.0, 1.0])),
        case("std-dim", lambda m, x: x.std(dim=(0, 1), keepdim=True), floats(3, 2)),
        case("var-nd-tuple", lambda m, x: m.var(x, (0, 2), unbiased=False), floats(2, 3, 2)),
        case("var_mean", lambda m, x: m.var_mean(x, 0), floats(4, 2)),
        case("var_mean-kw", lambda m, x: m.var_mean(x, dim=1, correction=0, keepdim=True), floats(4, 2)),
        case("var_mean-unbiased", lambda m, x: m.var_mean(x, unbiased=False), floats(4, 2)),
        case("std_mean", lambda m, x: m.std_mean(x, 0, unbiased=False), floats(4, 2)),
        case("norm-1", lambda m, x: m.norm(x, 1), floats(4, 2)),
        case("norm-2-dim", lambda m, x: m.norm(x, 2, 1), floats(4, 2)),
        case("norm-3", lambda m, x: m.norm(x, 3, dim=0), floats(4, 2)),
        case("norm-inf", lambda m, x: m.norm(x, math.inf), floats(4, 2)),
        case("norm--inf", lambda m, x: m.norm(x, -math.inf, 1), floats(4, 2)),
        case("norm-0", lambda m, x: m.norm(x, 0, 1), np.array([[1.0, 0.0], [0.0, 0.0]])),
        case("norm-zero", lambda m, x: m.norm(x, 2, 1), np.array([[1.0, 0.0], [0.0, 0.0]])),
        case("norm-1-zero", lambda m, x: m.norm(x, 1), np.zeros(3)),
        case("norm-3-zero", lambda m, x: m.norm(x, 3), np.zeros(3)),
        case("norm-1.5-part-zero", lambda m, x: m.norm(x, 1.5), np.array([0.0, 2.0])),
        case("norm-fro", lambda m, x: x.norm(p="fro", dim=(0, 1), keepdim=True), floats(4, 2)),
        case("norm-int", lambda m, x: m.norm(x), ints(4)),
        case("norm-dtype", lambda m, x: m.norm(x, dtype=m.float64), floats(4)),
        case("max-two", lambda m, x, y: m.max(x, y), floats(3), floats(3, seed=1)),
        case("min-method-two", lambda m, x, y: x.min(y), floats(3), floats(3, seed=1)),
        case("max-names", lambda m, x: (m.max(x, dim=1, keepdim=True).values, m.max(x, 1).indices), floats(2, 3)),
        case("max-other", lambda m, x, y: m.max(x, other=y), floats(3), floats(3, seed=1)),
        case("argmax-keep", lambda m, x: m.argmax(x, keepdim=True), floats(2, 3)),
        case("argmax-bool", lambda m, x: m.argmax(x.long(), 1), bools(3, 3)),
        case("argmin-neg", lambda m, x: x.argmin(-1), floats(2, 3)),
        case("sort-desc", lambda m, x: m.sort(x, descending=True, stable=True), np.array([3.0, 1.0, 3.0, 2.0])),
        case("sort-0", lambda m, x: x.sort(0), floats(3, 4)),
        case("sort-values", lambda m, x: m.sort(x, 1).values, floats(3, 4)),
        case("sort-bool", lambda m, x: m.sort(x, stable=True), bools(4)),
        case("sort-empty", lambda m, x: m.sort(x), np.zeros((2, 0))),
        case("sort-nan-desc", lambda m, x: m.sort(x, descending=True, stable=True), np.array([1.0, np.nan, 3.0])),
        case("argsort", lambda m, x: m.argsort(x, dim=0, descending=True), floats(3, 4)),
        case("topk", lambda m, x: m.topk(x, 2), floats(3, 5)),
        case("topk-small", lambda m, x: m.topk(x, 2, 0, largest=False), floats(3, 5)),
        case("topk-0", lambda m, x: m.topk(x, 0), floats(3, 5)),
        case("topk-0d", lambda m, x: m.topk(x, 1), np.array(2.0)),
        case("topk-0d-0", lambda m, x: m.topk(x, 0), np.array(2.0)),
        case("topk-too-many", lambda m, x: m.topk(x, 6), floats(3, 5)),
        case("topk-names", lambda m, x: x.topk(k=1, dim=-1, largest=True, sorted=True).indices, floats(3, 5)),
        case("topk-nan", lambda m, x: m.topk(x, 2), np.array([1.0, np.nan, 3.0])),
        case("median-even", lambda m, x: m.median(x), np.array([1.0, 4.0, 2.0, 3.0])),
        case("median-keep", lambda m, x: m.median(x, 1, True), floats(2, 5)),
        case("median-nan", lambda m, x: m.median(x), np.array([1.0, np.nan, 3.0])),
        case("median-nan-dim", lambda m, x: m.median(x, 0), np.array([1.0, np.nan, 3.0])),
        case("any-dims", lambda m, x: m.any(x, dim=(0, 1)), bools(2, 3)),
        case("all-float", lambda m, x: m.all(x, 1, keepdim=True), np.array([[1.0, 0.0], [np.nan, 2.0]])),
        case("count_nonzero", lambda m, x: m.count_nonzero(x, (0, 1)), ints(2, 3)),
        case("logsumexp-int", lambda m, x: m.logsumexp(x, 0), ints(3)),
        case("logsumexp-large", lambda m, x: m.logsumexp(x, 0).detach(), np.array([1000.0, 1000.0])),  # gradients: tests/numerics
        case("logsumexp--inf", lambda m, x: m.logsumexp(x, 0).detach(), np.array([-np.inf, -np.inf])),
        case("logsumexp-inf", lambda m, x: m.logsumexp(x, 0), np.array([np.inf, 1.0])),
        case("logsumexp-nd", lambda m, x: m.logsumexp(x, (0, 1), keepdim=True), floats(2, 3)),
        case("aminmax", lambda m, x: m.aminmax(x, dim=1), floats(2, 3)),
        case("bincount", lambda m, x: m.bincount(x, minlength=5), ints(6)),
        case("bincount-weights", lambda m, x, w: m.bincount(x, w).detach(), ints(6), floats(6)),
        case("bincount-negative", lambda m, x: m.bincount(x), np.array([1, -1])),
        case("unique", lambda m, x: m.unique(x), np.array([3, 1, 3, 2])),
        case("unique-all", lambda m, x: m.unique(x, return_inverse=True, return_counts=True), np.array([[3, 1], [3, 2]])),
        case("diff", lambda m, x: m.diff(x), floats(2, 4)),
        case("diff-2", lambda m, x: m.diff(x, n=2, dim=0), floats(4, 2)),
        case("nansum", lambda m, x: m.nansum(x, 0), np.array([[1.0, np.nan], [np.nan, np.nan]])),
        case("nanmean", lambda m, x: m.nanmean(x, 0), np.array([[1.0, np.nan], [3.0, 2.0]])),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("sum", np.sum),
        ("mean", np.mean),
        ("prod", np.prod),
        ("amax", np.max),
        ("amin", np.min),
        ("logsumexp", lambda x, axis, keepdims: special.logsumexp(x, axis, keepdims=keepdims)),
        ("var", lambda x, axis, keepdims: np.var(x, axis, ddof=1, keepdims=keepdims)),
        ("std", lambda x, axis, keepdims: np.std(x, axis, ddof=1, keepdims=keepdims)),
    ],
)
def test_values_by_numpy_and_both_spellings(name: str, oracle: Any, dim: Any) -> None:
    x = floats(2, 3, 4)
    expected = oracle(x, axis=dim, keepdims=True)
    function = getattr(tg, name)
    for got in (
        function(tg.tensor(x), dim=dim, keepdim=True),
        function(tg.tensor(x), axis=dim, keepdims=True),
        getattr(tg.tensor(x), name)(dim, keepdim=True),
        function(input=tg.tensor(x), dim=dim, keepdim=True),
    ):
        np.testing.assert_allclose(got.array, expected, rtol=1e-13)
    with pytest.raises(TypeError, match="axis"):
        function(tg.tensor(x), dim=0, axis=0)


def test_order_by_numpy() -> None:
    x = floats(4, 7)
    values, indices = tg.sort(tg.tensor(x), dim=1, descending=True)
    assert (values.array == -np.sort(-x, 1)).all()
    assert (np.take_along_axis(x, indices.array, 1) == values.array).all()
    top = tg.topk(tg.tensor(x), 3, dim=0)
    assert (top.values.array == -np.sort(-x, 0)[:3]).all()
    assert tg.median(tg.tensor(x)).item() == np.sort(x.ravel())[13]
    assert tg.argsort(tg.tensor([2.0, 1.0, 2.0, 1.0])).tolist() == [1, 3, 0, 2]  # stable


def test_moments_by_scipy() -> None:
    x = floats(50)
    described = stats.describe(x)
    var, mean = tg.var_mean(tg.tensor(x))
    assert var.item() == pytest.approx(described.variance)
    assert mean.item() == pytest.approx(described.mean)


def test_errors() -> None:
    x = tg.ones(2, 3)
    with pytest.raises(IndexError, match=r"sum: `dim` is 2, expected -2 to 1 for 2 dimensions"):
        x.sum(2)
    with pytest.raises(ValueError, match="names an axis twice"):
        x.sum((0, -2))
    with pytest.raises(TypeError, match="mean: `input` is int64, expected a floating dtype"):
        tg.arange(3).mean()
    with pytest.raises(IndexError, match="no value to choose"):
        tg.zeros(0).max()
