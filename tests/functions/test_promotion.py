"""Which dtype comes out: all pairs of dtypes, as arrays, as 0-d tensors and as Python numbers."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest
from parity import dtype_name, require_torch

import tinygrad_cnn as tg

DTYPES = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()
OPERATIONS = {
    "add": operator.add,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "eq": operator.eq,
    "pow": operator.pow,
}


def _operands(m: Any) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for dtype in DTYPES:
        for shape in ((2,), ()):
            out.append((f"{dtype}{list(shape)}", m.ones(shape, dtype=getattr(m, dtype))))
    return [*out, ("True", True), ("1", 1), ("1.0", 1.0)]


def _dtype(operation: Any, a: Any, b: Any) -> str:
    try:
        return dtype_name(operation(a, b))
    except (TypeError, RuntimeError):
        return "refused"


@pytest.mark.parametrize("name", [*OPERATIONS, "where", "maximum", "cat", "stack"])
def test_every_pair_as_pytorch(name: str) -> None:
    torch = require_torch()

    def operation(m: Any) -> Any:
        if name == "where":
            return lambda a, b: m.where(m.tensor([True, False]), a, b)
        if name == "cat":
            return lambda a, b: m.cat([a, b])
        if name == "stack":
            return lambda a, b: m.stack([a, b])
        return OPERATIONS.get(name, getattr(m, name, None))

    mine, yours = _operands(tg), _operands(torch)
    wrong = []
    for (a, x), (b, y) in itertools.product(zip(mine, yours, strict=True), repeat=2):
        numbers = [v for v in (x[1], y[1]) if not hasattr(v, "dtype")]
        if len(numbers) == 2 or (numbers and name in ("maximum", "cat", "stack")):
            continue
        if name == "cat" and not (x[1].ndim and y[1].ndim):
            continue
        if name == "stack" and x[1].ndim != y[1].ndim:
            continue
        got, expected = _dtype(operation(tg), a[1], b[1]), _dtype(operation(torch), x[1], y[1])
        if expected not in (got, "refused"):
            wrong.append((a[0], b[0], got, expected))
    assert not wrong


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "remainder"])
def test_in_place_keeps_the_dtype_or_refuses(name: str) -> None:
    torch = require_torch()
    wrong = []
    pairs = itertools.product(zip(_operands(tg), _operands(torch), strict=True), repeat=2)
    for (a, x), (b, y) in pairs:
        if not hasattr(x[1], "dtype") or (hasattr(y[1], "ndim") and y[1].ndim > x[1].ndim):
            continue
        got = _dtype(lambda p, q: getattr(p.clone(), name + "_")(q), a[1], b[1])
        expected = _dtype(lambda p, q: getattr(p.clone(), name + "_")(q), x[1], y[1])
        if got != expected and "bool" not in (a[0] + b[0] + str(b[1])):
            wrong.append((a[0], b[0], got, expected))
    assert not wrong


@pytest.mark.parametrize(
    "name", ["sum", "prod", "mean", "cumsum", "var", "amax", "norm", "logsumexp"]
)
def test_reductions_as_pytorch(name: str) -> None:
    torch = require_torch()
    for dtype in DTYPES:
        got = _dtype(
            lambda m, d: getattr(m, name)(m.ones(2, dtype=getattr(m, d)), dim=0), tg, dtype
        )
        expected = _dtype(
            lambda m, d: getattr(m, name)(m.ones(2, dtype=getattr(m, d)), dim=0), torch, dtype
        )
        assert expected in (got, "refused"), dtype


def test_default_dtype_decides_for_python_floats() -> None:
    assert tg.tensor(1.0).dtype == np.float32
    tg.set_default_dtype(tg.float64)
    try:
        assert tg.tensor([1.0]).dtype == np.float64
        assert (tg.tensor([1, 2]) * 0.1).array.tolist() == [0.1, 0.2]
        assert tg.zeros(1).dtype == tg.rand(1).dtype == tg.arange(0.0, 1.0).dtype == np.float64
        assert tg.exp(tg.tensor([0])).dtype == np.float64
    finally:
        tg.set_default_dtype(tg.float32)
    with pytest.raises(TypeError, match="set_default_dtype: `dtype` is int64"):
        tg.set_default_dtype(tg.int64)


# hand-derived from PyTorch's documentation ("torch.dtype": type promotion)
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("int64", "float32", "float32"),
        ("int64", "float16", "float16"),
        ("uint8", "int8", "int16"),
        ("bool", "uint8", "uint8"),
        ("float16", "float32", "float32"),
    ],
)
def test_pairs(a: str, b: str, expected: str) -> None:
    x, y = tg.ones(2, dtype=getattr(tg, a)), tg.ones(2, dtype=getattr(tg, b))
    assert (x + y).dtype == (y * x).dtype == np.dtype(expected)
    assert (x + tg.ones((), dtype=tg.float64)).dtype == (
        x.dtype if x.dtype.kind == "f" else np.float64
    )


@pytest.mark.parametrize("number", [2, 1.5, True])
def test_a_number_beside_a_tensor_widens_nothing_inside_a_formula(number: float) -> None:
    for dtype in ("float16", "float32"):
        x = tg.ones(3, dtype=dtype)
        for function in (tg.xlogy, tg.special.xlog1py, tg.ldexp, tg.float_power):
            expected = "float64" if function is tg.float_power else dtype
            assert dtype_name(function(x, number)) == expected
    exact = np.log1p(np.float32(number))
    assert tg.special.xlog1py(tg.ones(1), number).item() == pytest.approx(exact, rel=1e-6)


def test_dtypes_of_pytorchs_own_habits() -> None:
    powers = tg.tensor([1, -1, 2, -1]) ** tg.tensor([-1, -3, -1, -2])
    assert powers.tolist() == [1, -1, 0, 1]
    assert dtype_name(tg.tensor([1], dtype="uint8").all()) == "uint8"
    assert tg.arange(-1, 2, 2, dtype="uint8").tolist() == [255, 1]
    assert np.isnan(tg.zeros(0).median().item())
    row = tg.tensor([1.0, 2.0]).scatter(
        0, tg.tensor([0, 0]), tg.tensor([3.0, 4.0]), reduce="multiply"
    )
    assert row.tolist() == [12.0, 2.0]
    with pytest.raises(tg.errors.DtypeError, match="masked_fill: `value` is complex"):
        tg.ones(2).masked_fill(tg.tensor([True, False]), 1j)


def test_questions_about_dtypes_are_answered_by_the_rules_of_operations():
    kinds = [tg.bool, tg.uint8, tg.int8, tg.int64, tg.float16, tg.float64, tg.complex64]
    for one in kinds:
        for other in kinds:
            x, y = tg.ones(2, dtype=one), tg.ones(2, dtype=other)
            assert tg.promote_types(one, other) == (x * y).dtype == tg.result_type(x, y)
            assert tg.result_type(x, y[0]) == (x * y[0]).dtype
            fits = tg.can_cast(other, one)
            try:
                x.mul_(y)
            except RuntimeError:
                assert not fits
            else:
                assert fits
    assert tg.result_type(1, 2.5) == tg.float32
    assert tg.result_type(tg.ones(2, dtype=tg.uint8), -1) == tg.uint8
