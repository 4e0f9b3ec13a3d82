"""What is written into a tensor: numbers that its dtype can hold, tensors of its dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg

REFUSED = (RuntimeError, ValueError, TypeError, IndexError, OverflowError)
DTYPES = ("uint8", "int8", "int32", "int64", "float16", "float32", "bool")
INTEGERS = ("uint8", "int8", "int32", "int64")
VALUES = (0, -1, 2.7, 256, -300, 65535.0, 1e10, 1e39, float("nan"), float("-inf"), True)
FILLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "fill_": lambda m, x, v: x.clone().fill_(v),
    "full_like": lambda m, x, v: m.full_like(x, v),
    "masked_fill": lambda m, x, v: x.masked_fill(m.tensor([True]), v),
    "index_fill": lambda m, x, v: x.index_fill(0, m.tensor([-1]), v),
    "scatter": lambda m, x, v: x.scatter(0, m.tensor([0]), v),
    "x[0] = v": lambda m, x, v: put(x.clone(), 0, v),
    "x[mask] = v": lambda m, x, v: put(x.clone(), m.tensor([True]), v),
    "x[list] = v": lambda m, x, v: put(x.clone(), [0], v),
    "tensor": lambda m, x, v: m.tensor([v], dtype=x.dtype),
}


def put(x: Any, index: Any, value: Any) -> Any:
    x[index] = value
    return x


def outcome(call: Callable[[], Any]) -> Any:
    try:
        found = call()
    except REFUSED:
        return "refused"
    return [str(found.dtype).removeprefix("torch."), found.tolist()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FILLS)
def test_numbers_are_written_or_refused_as_in_pytorch(name: str, dtype: str) -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    integral = dtype in INTEGERS
    for value in VALUES:
        too_large = not integral and abs(value) > 60000  # PyTorch's functions differ in these
        if too_large and name not in ("masked_fill", "tensor"):
            continue
        ours, theirs = (
            outcome(lambda m=m, v=value: FILLS[name](m, m.ones(1).to(getattr(m, dtype)), v))
            for m in (tg, torch)
        )
        np.testing.assert_equal(ours, theirs, err_msg=f"{name} of {value}")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
def test_no_integer_is_made_of_what_is_none(dtype: str, value: float) -> None:
    x = tg.ones(1, dtype=dtype)
    for name, fill in FILLS.items():
        with pytest.raises(TypeError, match="does not fit into"):
            fill(tg, x, value)
        assert x.tolist() == [1], name


WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "x[list] = v": lambda m, x, v: put(x, [0, 1], v),
    "x[mask] = v": lambda m, x, v: put(x, m.tensor([True, True, False]), v),
    "index_put": lambda m, x, v: x.index_put((m.tensor([0, 1]),), v),
    "index_put, accumulate": lambda m, x, v: x.index_put((m.tensor([0, 1]),), v, accumulate=True),
    "index_add": lambda m, x, v: x.index_add(0, m.tensor([0, 1]), v, alpha=2),
    "index_copy": lambda m, x, v: x.index_copy(0, m.tensor([0, 1]), v),
    "masked_scatter": lambda m, x, v: x.masked_scatter(m.tensor([True, True, False]), v),
    "put": lambda m, x, v: x.put(m.tensor([0, 1]), v),
    "scatter": lambda m, x, v: x.scatter(0, m.tensor([0, 1]), v),
    "scatter_add": lambda m, x, v: x.scatter_add(0, m.tensor([0, 1]), v),
}


@pytest.mark.parametrize("name", WRITES)
def test_tensors_that_are_written_by_index_have_the_dtype(name: str) -> None:
    x = tg.zeros(3)
    right = WRITES[name](tg, x.clone(), tg.tensor([1.0, 2.0]))
    assert right.dtype == np.float32
    assert right[1].item() in (2.0, 4.0)
    with pytest.raises(TypeError, match=r"is float64, expected float32"):
        WRITES[name](tg, x, tg.tensor([1.0, 2.0], dtype="float64"))
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_slices_cast_and_so_does_one_number_under_a_mask() -> None:
    x = tg.zeros(3)
    x[:2] = tg.tensor([1, 2])
    x[tg.tensor([False, False, True])] = tg.tensor([7])
    assert x.tolist() == [1.0, 2.0, 7.0]


def test_what_index_functions_take_for_an_index() -> None:
    x = tg.arange(4)
    assert x.index_fill(0, tg.tensor([-1]), 9).tolist() == [0, 1, 2, 9]
    assert x.index_copy(0, tg.tensor(1), tg.tensor([5])).tolist() == [0, 5, 2, 3]
    assert tg.tensor(True).index_add(0, tg.tensor(0), tg.tensor(True)).item() is True
    assert x.index_add(0, tg.tensor([0]), tg.tensor([3]), alpha=-1.5).tolist() == [-3, 1, 2, 3]
    for call in (
        lambda: x.index_fill(0, tg.tensor([[0]]), 1),
        lambda: x.index_copy(0, tg.tensor([[0]]), tg.tensor([1])),
        lambda: x.index_add(0, tg.tensor([[0]]), tg.tensor([1])),
    ):
        with pytest.raises(ValueError, match="expected a vector or a number"):
            call()
    with pytest.raises(IndexError, match="holds -1"):
        x.index_copy(0, tg.tensor([-1]), tg.tensor([1]))


def test_extremes_of_complex_numbers_are_refused() -> None:
    x, where = tg.zeros(2, dtype="complex64"), tg.tensor([0, 1])
    with pytest.raises(TypeError, match="has no order"):
        x.scatter_reduce(0, where, x + 1, "amax")
    assert x.scatter_reduce(0, where, x + 1j, "mean").tolist() == [0.5j, 0.5j]


def test_conditions_without_dimensions_or_of_bytes() -> None:
    assert [i.tolist() for i in tg.where(tg.tensor(True))] == [[0]]
    assert tg.where(tg.tensor([1, 0], dtype="uint8"), 1.0, 2.0).tolist() == [1.0, 2.0]


def test_python_numbers_wrap_around_in_integer_functions() -> None:
    x = tg.ones(1, dtype="uint8")
    assert (x ^ 65504).item() == 225
    assert (x | 300).item() == 45
    assert ((x << 2).item(), (x << 70).item(), (4 >> x).item()) == (4, 0, 2)
    assert tg.gcd(tg.tensor([6]), 4).tolist() == [2]
    assert tg.copysign(tg.ones(1, dtype="int8"), -300).item() == -1.0
    assert (int(tg.tensor(3 + 0j)), float(tg.tensor(2 + 0j))) == (3, 2.0)
