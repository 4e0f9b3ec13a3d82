"""Activation functions at kinks, infinities and NaN, and far from 0: PyTorch's values, gradients
and second derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg

inf, nan = math.inf, math.nan
POINTS = [0.0, -0.0, inf, -inf, nan, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, -2.0, 0.1, -0.1, 2.5]
FAR = [20.0, -20.0, 50.0, -50.0, 88.0, -89.0, 104.0, -104.0, 1000.0, -1000.0, 1e-30, -1e-30]

ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    name: lambda F, x, name=name: getattr(F, name)(x)
    for name in (
        "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu "
        "relu6 selu sigmoid silu softplus softshrink softsign tanh tanhshrink"
    ).split()
}
ACTIVATIONS |= {
    "celu 0.7": lambda F, x: F.celu(x, 0.7),
    "celu -0.7": lambda F, x: F.celu(x, -0.7),
    "elu 1.7": lambda F, x: F.elu(x, 1.7),
    "elu 0": lambda F, x: F.elu(x, 0.0),
    "elu -0.5": lambda F, x: F.elu(x, -0.5),
    "gelu tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "hardshrink 0": lambda F, x: F.hardshrink(x, 0.0),
    "hardshrink -1": lambda F, x: F.hardshrink(x, -1.0),
    "hardshrink inf": lambda F, x: F.hardshrink(x, inf),
    "hardtanh -2 0.5": lambda F, x: F.hardtanh(x, -2.0, 0.5),
    "hardtanh -inf": lambda F, x: F.hardtanh(x, -inf, 0.5),
    "leaky_relu -0.2": lambda F, x: F.leaky_relu(x, -0.2),
    "leaky_relu 0": lambda F, x: F.leaky_relu(x, 0.0),
    "softplus 2.5": lambda F, x: F.softplus(x, 2.5, 3.0),
    "softshrink 0": lambda F, x: F.softshrink(x, 0.0),
    "threshold": lambda F, x: F.threshold(x, 0.5, 2.0),
}
# Where PyTorch's own number is none: its erf gives NaN at infinity, mish's second derivative
# divides inf by inf; at NaN the gradient of hardswish is 1, and second derivatives of elu are 0 or
# NaN (ours are NaN, as the values).
OUR_OWN = {
    ("gelu", "value"): [inf],
    ("mish", "second"): [1000.0, 88.0, 104.0, 50.0],
    **{("hardswish", what): [nan] for what in ("gradient", "recorded", "second")},
    **{(name, "second"): [nan] for name in ("elu", "selu", "celu")},
}


def is_known(name: str, what: str, x: np.ndarray) -> np.ndarray:
    """Where PyTorch says what is right."""
    own = np.array(OUR_OWN.get((name.split()[0], what), []))
    return ~(np.isin(x, own) | (np.isnan(x) & np.isnan(own).any()))


def derivatives(m: Any, f: Callable[[Any, Any], Any], x: np.ndarray) -> dict[str, Any]:
    x = m.tensor(x.copy(), requires_grad=True)
    F = m.nn.functional
    y = f(F, x)
    (plain,) = m.autograd.grad(y, x, m.full_like(y, 3.0))
    y = f(F, x)
    (first,) = m.autograd.grad(y, x, m.full_like(y, 3.0), create_graph=True)
    second = m.zeros_like(x)
    if first.requires_grad:
        try:
            (found,) = m.autograd.grad(first, x, m.full_like(x, 2.0), allow_unused=True)
            second = second if found is None else found
        except RuntimeError as error:  # PyTorch's hardsigmoid
            if "is not implemented" not in str(error):
                raise
            second = None
    found = {"value": y, "gradient": plain, "recorded": first, "second": second}
    return {k: None if v is None else v.detach().numpy().astype(float) for k, v in found.items()}


@pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits(f: Any, dtype: str, request: pytest.FixtureRequest) -> None:
    torch = require_torch()
    name = request.node.callspec.id.split("-", 1)[-1]
    x = np.array(POINTS + FAR, dtype)
    ours = derivatives(tg, f, x)
    # Where PyTorch computes several numbers at once, some gradients at NaN are others than alone.
    alone = [derivatives(torch, f, x[i : i + 4]) for i in range(0, len(x), 4)]
    theirs = {
        k: None if v is None else np.concatenate([d[k] for d in alone]) for k, v in alone[0].items()
    }
    for what in ours:
        if theirs[what] is None:
            continue
        known = is_known(name, what, x)
        rtol, atol = (
            (1e-3, 2e-6) if dtype == "float32" else (1e-5, 5e-8)
        )  # its slopes are of float32
        np.testing.assert_allclose(
            ours[what][known], theirs[what][known], rtol=rtol, atol=atol, err_msg=f"{what} {x}"
        )
        if not known.all() and what in ("gradient", "recorded"):
            assert np.isnan(ours[what][~known]).all()


@pytest.mark.parametrize("name", ["celu", "selu", "elu", "hardtanh", "relu6", "hardswish", "mish"])
def test_in_place_at_limits(name: str) -> None:
    found = []
    for inplace in (False, True):
        x = tg.tensor(POINTS, requires_grad=True)
        y = x * 1
        y = getattr(tg.nn.functional, name)(y, inplace=inplace)
        (g,) = tg.autograd.grad(y, x, tg.full_like(y, 3.0))
        found.append([y.tolist(), g.tolist()])
    np.testing.assert_array_equal(*found)


def test_half_precision_does_not_overflow_inside() -> None:
    x = tg.tensor([1000.0, -1000.0], dtype=tg.float16, requires_grad=True)
    tg.nn.functional.gelu(x, approximate="tanh").sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == tg.float16
    assert x.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("lambd", [inf, nan, -1.0])
def test_softshrink_refuses(lambd: float) -> None:
    with pytest.raises(ValueError, match="softshrink: `lambd` is"):
        tg.nn.functional.softshrink(tg.ones(1), lambd)


def test_prelu_converts_nothing() -> None:
    with pytest.raises(TypeError, match="prelu: `input` is float64 but `weight` is float32"):
        tg.nn.functional.prelu(tg.ones(1, dtype=tg.float64), tg.ones(1))
