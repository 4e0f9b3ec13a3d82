"""exp and what is made of it, over all exponents, in loops of numbers and on vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from compiled import OTHER_WIDTHS, run_at_width

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import Arithmetic, Value, number_instruction
from tinygrad_cnn.kernels.jit.pointwise import exponential
from tinygrad_cnn.kernels.jit.pointwise.activations import PARAMETERS, entry_of
from tinygrad_cnn.types import Array

TINY = np.finfo(np.float32).tiny
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _logistic(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _tanh_softplus(x: Array) -> Array:
    small = np.exp(np.minimum(x, 50))
    return small * (small + 2) / (small * (small + 2) + 2)


def normal(e: Arithmetic, x: Value) -> Value:
    """Return the distribution function."""
    return exponential.normal(e, x)[0]


def density(e: Arithmetic, x: Value) -> Value:
    """Return the normal density."""
    return exponential.normal(e, x)[1]


# The function, the same in float64, and units in the last place
FUNCTIONS: list[tuple[Any, Any, float]] = [
    (exponential.exp, np.exp, 1.1),
    (exponential.expm1, np.expm1, 1.5),
    (exponential.sigmoid, _logistic, 2.5),
    (exponential.tanh, np.tanh, 2.5),
    (exponential.log1p_exp, lambda x: np.logaddexp(0, x), 4),
    (exponential.tanh_softplus, _tanh_softplus, 4.5),
    (normal, lambda x: _erfc(-x / math.sqrt(2)).astype(float) / 2, 6),
    (density, lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi), 2.5),
]


def _loop(write: Any) -> Any:
    """Return the kernel that calls a function for each number."""
    call = number_instruction(write)

    def each(part: int, parts: int, x: Array, y: Array) -> None:
        for i in range(x.size):
            y[i] = call(x[i])

    each.__name__ = each.__qualname__ = f"_each_{write.__name__}"
    return kernel(entry=True)(each)


def _found(write: Any, vectors: bool, x: Array) -> Array:
    y = np.empty_like(x)
    if vectors:
        vector = entry_of(f"test_{write.__name__}", lambda e, a, _, numbers: write(e, a))
        run(vector, 1, x, x, np.zeros(PARAMETERS, np.float32), y)
    else:
        run(_loop(write), 1, x, y)
    return y


@pytest.mark.parametrize("vectors", [False, True], ids=["numbers", "vectors"])
@pytest.mark.parametrize(
    ("write", "exact", "bound"), FUNCTIONS, ids=[case[0].__name__ for case in FUNCTIONS]
)
def test_functions_over_all_exponents(write: Any, exact: Any, bound: float, vectors: bool) -> None:
    every = np.arange(0, 1 << 32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
    close = np.linspace(-110, 110, 300_007, dtype=np.float32)
    near = np.linspace(-14, 14, 300_007, dtype=np.float32)
    special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 88.7228, 88.7229])
    x = np.concatenate((every, close, near, special))
    y = _found(write, vectors, x)
    with np.errstate(all="ignore"):
        wanted = exact(x.astype(np.float64))
        rounded = wanted.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(rounded))
    numbers = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(y[numbers]), np.signbit(rounded[numbers]))
    ordinary = np.isfinite(rounded) & (np.abs(rounded) >= TINY)
    error = np.abs(y[ordinary] - wanted[ordinary]) / np.spacing(np.abs(rounded[ordinary]))
    assert error.max() <= bound
    small = np.abs(rounded) < TINY
    assert np.abs(y[small].astype(np.float64) - wanted[small]).max() <= 4e-45


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_other_vector_widths(lanes: int) -> None:
    run_at_width(
        lanes,
        "import test_jit_exponential as test\n"
        "for case in test.FUNCTIONS:\n"
        "    test.test_functions_over_all_exponents(*case, vectors=True)\n",
    )
