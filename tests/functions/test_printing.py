"""How tensors are written out: as PyTorch does, character for character."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from parity import floats, require_torch

import tinygrad_cnn as tg

inf, nan = np.inf, np.nan
VALUES: dict[str, Any] = {
    "0d": np.array(1.5, np.float32),
    "0d-whole": np.array(3.0, np.float32),
    "0d-int": np.array(-3),
    "0d-bool": np.array(True),
    "0d-nan": np.array(nan, np.float32),
    "0d-inf": np.array(-inf, np.float32),
    "0d-tiny": np.array(1e-7, np.float32),
    "0d-huge": np.array(1e20, np.float32),
    "0d-negative-zero": np.array(-0.0, np.float32),
    "vector": np.array([1.0, 2.5, -3.25], np.float32),
    "whole": np.array([1.0, 2.0, -30.0], np.float32),
    "whole-large": np.array([1.0, 1234.0], np.float32),
    "whole-1e9": np.array([1e9, 1.0], np.float32),
    "whole-1e7": np.array([1e7, 1e7 + 1], np.float64),
    "small": np.array([1e-5, 2e-5], np.float32),
    "spread": np.array([1e-3, 10.0], np.float32),
    "spread-edge": np.array([0.01, 10.0], np.float32),
    "spread-zero": np.array([0.0, 1e-3, 10.0], np.float32),
    "nan-in": np.array([nan, 1.0, 2.5], np.float32),
    "nan-whole": np.array([nan, 1.0, 200.0], np.float32),
    "inf-in": np.array([inf, -inf, 1.5], np.float32),
    "inf-beside-small-wholes": np.array([[-inf, 0.0], [1.0, -2.0]], np.float32),
    "nan-beside-one": np.array([nan, -inf, 7.0], np.float32),
    "only-nan": np.array([nan, nan], np.float32),
    "only-inf": np.array([inf, -inf], np.float32),
    "nan-scientific": np.array([nan, 1e-9, 1.0], np.float32),
    "negative-tiny": np.array([-1e-9, 0.5], np.float32),
    "zeros": np.zeros((2, 2), np.float32),
    "negative-zeros": np.array([-0.0, 0.0], np.float32),
    "ints": np.array([1, -20, 300]),
    "int32": np.array([1, 2], np.int32),
    "uint8": np.array([1, 255], np.uint8),
    "int8-matrix": np.array([[1, -100], [3, 4]], np.int8),
    "bools": np.array([[True, False], [False, False]]),
    "half": np.array([0.1, 65504.0], np.float16),
    "double": np.array([0.1, 1e-300], np.float64),
    "empty": np.zeros(0, np.float32),
    "empty-int": np.zeros(0, np.int64),
    "empty-double": np.zeros(0, np.float64),
    "empty-2d": np.zeros((2, 0), np.float32),
    "empty-2d-int": np.zeros((0, 3), np.int64),
    "empty-bool": np.zeros(0, bool),
    "matrix": floats(2, 3).astype(np.float32),
    "3d": floats(2, 2, 3).astype(np.float32),
    "4d": floats(2, 1, 2, 2).astype(np.float32),
    "3d-ints": np.arange(12).reshape(2, 2, 3),
    "long-vector": floats(30).astype(np.float32),
    "long-ints": np.arange(50),
    "long-bools": np.arange(30) % 3 == 0,
    "long-rows": floats(2, 20).astype(np.float32),
    "long-3d": floats(2, 2, 13).astype(np.float64) * 1e6,
    "summary": np.arange(1001),
    "not-summary": np.arange(1000).reshape(50, 20),
    "summary-floats": (np.arange(2000) / 7).astype(np.float32),
    "summary-2d": np.arange(2000.0, dtype=np.float32).reshape(40, 50),
    "summary-3d": np.arange(3000).reshape(10, 10, 30),
    "summary-thin": np.arange(1002).reshape(501, 2),
    "summary-wide": np.arange(1200).reshape(6, 200),
    "summary-hidden-extremes": np.where(np.arange(1500) == 700, 1e20, 1.5).astype(np.float32),
    "summary-4d": np.zeros((8, 8, 8, 8), np.float32),
    "summary-bools": np.arange(1500) % 2 == 0,
    "summary-7": np.arange(1071).reshape(7, 153),
    "large-ints": np.array([2**62, 1]),
    "round-up": np.array([0.99996, 9.99996], np.float32),
    "e8": np.array([1e8, 1.5], np.float32),
    "e4": np.array([1e-4, 0.5e-4 + 1e-4], np.float32),
    "column": np.array([[1.5], [2.0]], np.float32),
    "e-100": np.array([1e-100, 1.0]),
    "e+100": np.array([1e100, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_as_pytorch(name: str) -> None:
    torch = require_torch()
    expected = repr(torch.tensor(VALUES[name])).replace("torch.", "")
    assert repr(tg.tensor(VALUES[name])) == expected
    assert str(tg.tensor(VALUES[name])) == expected


def random_array(seed: int) -> np.ndarray:
    """An array of some shape, dtype and spread, with or without NaN and infinities."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.choice([0, 1, 2, 3, 8, 12, 41], rng.integers(0, 4)))
    values = np.asarray(rng.standard_normal(shape))
    kind = rng.integers(4)
    values = values * 10.0 ** (rng.integers(-8, 8) if kind == 1 else rng.integers(-6, 6, shape))
    values = np.asarray(np.round(values) if kind == 2 else np.sign(values) if kind == 3 else values)
    odd = rng.random(shape) < rng.choice([0.0, 0.1, 0.6, 1.0])
    values[odd] = rng.choice([nan, inf, -inf, -0.0, 0.0], shape)[odd]
    return values.astype(rng.choice(["float16", "float32", "float64"]))


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_random_arrays_as_pytorch(start: int) -> None:
    torch = require_torch()
    for seed in range(start, start + 50):
        with np.errstate(all="ignore"):
            array = random_array(seed)
        expected = repr(torch.tensor(array)).replace("torch.", "")
        # PyTorch's names of dtypes are longer, so its last line may break earlier.
        found = re.sub(r",\s*dtype", ", dtype", repr(tg.tensor(array)))
        assert found == re.sub(r",\s*dtype", ", dtype", expected), seed


@pytest.mark.parametrize("name", ["vector", "matrix", "long-rows", "nan-in", "spread", "0d"])
@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 8},
        {"linewidth": 40},
        {"sci_mode": True},
        {"sci_mode": False},
        {"threshold": 2, "edgeitems": 1},
    ],
    ids=str,
)
def test_options_as_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = require_torch()
    try:
        torch.set_printoptions(**options)
        tg.set_printoptions(**options)
        assert repr(tg.tensor(VALUES[name])) == repr(torch.tensor(VALUES[name]))
    finally:
        torch.set_printoptions(profile="default", sci_mode=None)
        tg.set_printoptions(precision=4, threshold=1000, edgeitems=3, linewidth=80)


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
def test_suffixes_wrap_as_pytorch(n: int, dtype: str) -> None:
    torch = require_torch()
    a = (floats(n) * 10).astype(dtype)
    grad = dtype != "int16"
    mine, yours = tg.tensor(a, requires_grad=grad), torch.tensor(a, requires_grad=grad)
    theirs = repr(yours).replace("torch.", "")
    if "dtype" in theirs:  # PyTorch's name of it is longer, so its lines may break earlier
        assert repr(mine).split() == theirs.split()
        assert max(map(len, repr(mine).splitlines())) <= 80
    else:
        assert repr(mine) == theirs


# ---- without PyTorch -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (lambda: tg.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
        (lambda: tg.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: tg.tensor([1, -20]), "tensor([  1, -20])"),
        (lambda: tg.tensor([]), "tensor([])"),
        (lambda: tg.zeros(2, 0), "tensor([], size=(2, 0))"),
        (lambda: tg.tensor(True), "tensor(True)"),
        (lambda: tg.tensor([[1.0], [np.nan]]), "tensor([[1.],\n        [nan]])"),
        (lambda: tg.tensor([1e-6, 1.0]), "tensor([1.0000e-06, 1.0000e+00])"),
        (lambda: tg.tensor([1.0], dtype=tg.float64), "tensor([1.], dtype=float64)"),
        (lambda: tg.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: tg.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
        (lambda: tg.arange(1001), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    ],
)
def test_texts(tensor: Any, text: str) -> None:
    assert repr(tensor()) == text


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.tensor(3.14159),
        lambda m: m.tensor(7),
        lambda m: m.tensor(True),
        lambda m: m.tensor([1.0]),
        lambda m: m.nn.Parameter(m.tensor(0.5)),
        lambda m: m.tensor(0.5, requires_grad=True),
    ],
)
def test_format_as_pytorch(make: Any) -> None:
    torch = require_torch()
    assert f"{make(tg)}" == f"{make(torch)}"


def test_format() -> None:
    t = tg.tensor(3.14159)
    assert f"{t:.2f}" == "3.14"
    assert f"{tg.tensor([1.0])}" == "tensor([1.])"
    assert f"{tg.tensor(7):04d}" == "0007"
    with pytest.raises((TypeError, RuntimeError), match=r"item|format"):
        f"{tg.ones(2):.2f}"
