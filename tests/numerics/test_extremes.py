"""Losses, activations, norms, reductions and optimisers where float32 is at its ends.

Errors are counted in units in the last place of the exact result: of each number for activations,
which are compared with mpmath, and of a row's largest elsewhere, which is compared with float64. An
error may be one unit more than twice PyTorch's, which counts as half a unit at least: its rounding.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numerics import cases
from numerics.cases import DATA

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")

Array = np.ndarray[Any, Any]
CANCELS = {"tanhshrink"}  # a difference of two numbers, each of them rounded
LEAST = 2.0**-149  # of float32


pytestmark = pytest.mark.usefixtures("each_set_of_kernels")


@functools.cache
def _cotangent(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def _run(case: cases.Case, lib: Any, values: Array, dtype: Any) -> tuple[Array, Array]:
    """The result and the gradient."""
    x = lib.tensor(values.astype(dtype)).requires_grad_()
    y = case(lib, F if lib is tg else torch.nn.functional, x)
    y.backward(lib.tensor(_cotangent(tuple(y.shape)).astype(dtype)))
    return y.detach().numpy(), x.grad.numpy()


def _units(found: Array, exact: Array, by_row: bool) -> Array:
    """The error of each number, in units in the last place."""
    size = np.abs(exact)
    if by_row and size.size:
        finite = np.where(np.isfinite(size), size, 0)
        size = finite.max(-1 if size.ndim > 1 else None, keepdims=True)
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
        away = np.abs(found.astype(np.float64) - exact) / np.maximum(size * 2.0**-23, LEAST)
    return np.where(same, 0.0, np.where(np.isnan(away), np.inf, away))


def _worse(ours: Array, theirs: Array, exact: Array, by_row: bool = True) -> str | None:
    """What is wrong with a result, or None."""
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == theirs.shape == exact.shape
    mine, its = _units(ours, exact, by_row), _units(theirs, exact, by_row)
    if mine.max(initial=0) <= 2 * max(its.max(initial=0), 0.5) + 1:
        return None
    at = np.unravel_index(np.argmax(mine), mine.shape)
    return (
        f"{mine[at]:.3g} units, PyTorch's {its.max():.3g}: {ours[at]!r}, PyTorch {theirs[at]!r}, "
        f"exactly {exact[at]!r}"
    )


def _known(y: Array) -> Any:
    """The rows of the gradient that do not come from a result that is NaN."""
    unknown = np.isnan(y)
    if y.ndim == 2 and len(y) == cases.ROWS:
        return ~unknown.any(1, keepdims=True)
    return ~unknown.any()


# ---- activations ---------------------------------------------------------------------------


def _formulas() -> dict[str, Callable[[Any], Any]]:
    """The activations in mpmath, of one finite number."""
    import mpmath as m

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + m.exp(-x)) if x > 0 else m.exp(x) / (1 + m.exp(x))

    def softplus(x: Any) -> Any:
        return max(x, 0) + m.log1p(m.exp(-abs(x)))

    def elu(x: Any, alpha: float, inner: float = 1.0) -> Any:
        return x if x > 0 else alpha * m.expm1(x * inner)

    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    root = m.sqrt(2 / m.pi)
    return {
        "relu": lambda x: max(x, 0),
        "relu6": lambda x: min(max(x, 0), 6),
        "leaky_relu": lambda x: x if x > 0 else m.mpf(0.1) * x,
        "elu": lambda x: elu(x, 1.3),
        "selu": lambda x: scale * elu(x, alpha),
        "celu": lambda x: elu(x, 1.3, 1 / m.mpf(1.3)),
        "gelu": lambda x: x * m.erfc(-x / m.sqrt(2)) / 2,
        "gelu tanh": lambda x: x * sigmoid(2 * root * (x + m.mpf(0.044715) * x**3)),
        "silu": lambda x: x * sigmoid(x),
        "mish": lambda x: x * m.tanh(softplus(x)),
        "softplus": lambda x: x if x > 20 else softplus(x),
        "softplus beta": lambda x: x if x > 20 else 2 * softplus(x / 2),
        "softsign": lambda x: x / (1 + abs(x)),
        "sigmoid": sigmoid,
        "tanh": m.tanh,
        "hardtanh": lambda x: min(max(x, -2), 2),
        "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
        "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
        "logsigmoid": lambda x: -softplus(-x),
        "tanhshrink": lambda x: x - m.tanh(x),
        "softshrink": lambda x: x - 0.5 if x > 0.5 else x + 0.5 if x < -0.5 else m.mpf(0),
        "hardshrink": lambda x: x if abs(x) > 0.5 else m.mpf(0),
        "threshold": lambda x: x if x > 0.1 else m.mpf(20),
        "prelu": lambda x: x if x > 0 else x / 4,
        "rrelu": lambda x: x if x > 0 else x * (m.mpf(1) / 8 + m.mpf(1) / 3) / 2,
    }


@functools.cache  # for both sets of kernels
def _exact_activation(activation: str, name: str) -> tuple[Array, Array]:
    """The result and the gradient in many digits, where numbers are finite."""
    import mpmath

    formula, values = _formulas()[activation], DATA[name][:4]
    exact = _run(cases.ACTIVATIONS[activation], torch, values, np.float64)
    step = mpmath.mpf(10) ** -70
    with mpmath.workdps(160):
        for at in zip(*np.nonzero(np.isfinite(values) & (values != 0)), strict=True):
            x = mpmath.mpf(float(values[at]))
            exact[0][at] = float(formula(x))
            slope = (formula(x + step) - formula(x - step)) / (2 * step)
            exact[1][at] = float(slope) * _cotangent(values.shape)[at]
    return exact


@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_activations(activation: str) -> None:
    pytest.importorskip("mpmath", reason="mpmath is not installed: pip install mpmath")
    case = cases.ACTIVATIONS[activation]
    wrong = []
    for name, values in DATA.items():
        values = values[:4]
        ours, theirs = (_run(case, lib, values, np.float32) for lib in (tg, torch))
        exact = _exact_activation(activation, name)
        known = ~np.isnan(values)  # the derivative at NaN: PyTorch's depends on an array's length
        wrong.append(
            (name, "y", _worse(ours[0], theirs[0], exact[0], by_row=activation in CANCELS))
        )
        wrong.append(
            (name, "gx", _worse(*(np.where(known, of[1], 0) for of in (ours, theirs, exact))))
        )
    assert not [found for found in wrong if found[2]]


def test_every_activation_has_a_formula() -> None:
    pytest.importorskip("mpmath", reason="mpmath is not installed: pip install mpmath")
    assert _formulas().keys() == cases.ACTIVATIONS.keys()


# ---- losses, norms, reductions -------------------------------------------------------------


@pytest.mark.parametrize("case", cases.OTHERS)
def test_losses_norms_and_reductions(case: str) -> None:
    run = cases.OTHERS[case]
    wrong = []
    for name, values in DATA.items():
        if (case, name) in cases.REFUSED:
            for lib in (tg, torch):
                with pytest.raises(RuntimeError):
                    _run(run, lib, values, np.float32)
            continue
        ours, theirs = (_run(run, lib, values, np.float32) for lib in (tg, torch))
        if (case, name) in cases.OURS_IS_NAN:
            assert np.isnan(ours[0]).any()
            assert not np.isnan(theirs[0]).any()
            continue
        exact = _run(cases.EXACT.get(case, run), torch, values, np.float64)
        known = _known(exact[0])
        wrong.append((name, "y", _worse(ours[0], theirs[0], exact[0])))
        wrong.append(
            (name, "gx", _worse(*(np.where(known, of[1], 0) for of in (ours, theirs, exact))))
        )
    assert not [found for found in wrong if found[2]]


# ---- optimisers ----------------------------------------------------------------------------


def _train(lib: Any, kind: str, options: dict[str, Any], first: Array, dtype: Any) -> list[Array]:
    """The weights after a step with the gradient ``first`` and after each of some usual ones."""
    rng = np.random.default_rng(9)
    w = lib.tensor(rng.standard_normal(first.shape).astype(np.float32).astype(dtype))
    w.requires_grad_()
    optimizer = getattr(lib.optim, kind)([w], **options)
    seen = []
    for step in range(8):
        g = first if step == 1 else rng.standard_normal(first.shape).astype(np.float32)
        w.grad = lib.tensor(g.astype(dtype))
        optimizer.step()
        seen.append(w.detach().numpy().copy())
    return seen


@functools.cache  # for both sets of kernels
def _references(case: str, name: str) -> tuple[list[Array], list[Array]]:
    """What PyTorch has, and what is exact."""
    kind, options = cases.OPTIMIZERS[case]
    wide = tg if kind == "Muon" else torch  # whose own orthogonalises in bfloat16
    theirs = _train(torch, kind, options, DATA[name], np.float32)
    return theirs, _train(wide, kind, options, DATA[name], np.float64)


@pytest.mark.parametrize("case", cases.OPTIMIZERS)
def test_optimizers(case: str) -> None:
    kind, options = cases.OPTIMIZERS[case]
    wrong = []
    for name, values in DATA.items():
        if (kind, name) == ("Rprop", "nan"):  # PyTorch's sign of NaN is 0: it hides the NaN
            assert np.isnan(_train(tg, kind, options, values, np.float32)[-1]).any()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = _train(tg, kind, options, values, np.float32)
            theirs, exact = _references(case, name)
        for step, found in enumerate(zip(ours, theirs, exact, strict=True)):
            known = np.isfinite(found[2])
            assert not np.isfinite(found[0][~known]).any(), f"{name}: PyTorch's is not finite"
            wrong.append((name, step, _worse(*(np.where(known, of, 0) for of in found))))
    assert not [found for found in wrong if found[2]]
