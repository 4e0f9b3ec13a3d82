"""Which shapes, dtypes and weights losses take, and which warn: PyTorch's answers."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from parity import assert_close, require_torch

import tinygrad_cnn as tg

LOSSES = {
    "mse_loss": lambda F, x, t, r: F.mse_loss(x, t, reduction=r),
    "mse_loss weighted": lambda F, x, t, r: F.mse_loss(x, t, reduction=r, weight=x.detach() + 1),
    "l1_loss": lambda F, x, t, r: F.l1_loss(x, t, reduction=r),
    "l1_loss weighted": lambda F, x, t, r: F.l1_loss(x, t, reduction=r, weight=x.detach() + 1),
    "smooth_l1_loss": lambda F, x, t, r: F.smooth_l1_loss(x, t, reduction=r),
    "smooth_l1_loss 0": lambda F, x, t, r: F.smooth_l1_loss(x, t, reduction=r, beta=0.0),
    "huber_loss": lambda F, x, t, r: F.huber_loss(x, t, reduction=r, delta=0.4),
    "huber_loss weighted": lambda F, x, t, r: F.huber_loss(x, t, r, 0.4, x.detach() + 1),
    "binary_cross_entropy": lambda F, x, t, r: F.binary_cross_entropy(x, t, reduction=r),
    "with_logits": lambda F, x, t, r: F.binary_cross_entropy_with_logits(x, t, reduction=r),
    "kl_div": lambda F, x, t, r: F.kl_div(x, t, reduction=r),
    "kl_div of logs": lambda F, x, t, r: F.kl_div(x, t, reduction=r, log_target=True),
}
SHAPES = [
    ((3, 4), (3, 4)),
    ((), ()),
    ((0, 4), (0, 4)),
    ((3, 4), (4,)),
    ((3, 1), (3,)),
    ((4,), (3, 4)),
    ((3, 4), (3, 1)),
    ((3,), ()),
    ((3, 4), (2, 4)),
    ((3, 4), (3,)),
]


def run(m: Any, name: str, x: Any, target: Any, reduction: str) -> tuple[list[Any] | None, bool]:
    """Loss and gradients, None if it is refused; and whether there was a warning."""
    leaves = [m.tensor(x, requires_grad=True), m.tensor(target, requires_grad=True)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loss = LOSSES[name](m.nn.functional, *leaves, reduction)
            found = [loss, *m.autograd.grad(loss, leaves, m.ones_like(loss))]
        except (ValueError, RuntimeError):
            found = None
    return found, any(w.category is UserWarning for w in caught)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float64", "float64")])
def test_as_pytorch(name: str, dtypes: tuple[str, str]) -> None:
    torch = require_torch()
    rng = np.random.default_rng(0)
    reductions = ["mean", "sum", "none", "batchmean", "nonsense"]
    for (shape, of_target), reduction in itertools.product(SHAPES, reductions):
        x = np.asarray(rng.uniform(0.1, 0.9, shape)).astype(dtypes[0])
        target = np.asarray(rng.uniform(0.1, 0.9, of_target)).astype(dtypes[1])
        ours, our_warning = run(tg, name, x, target, reduction)
        theirs, their_warning = run(torch, name, x, target, reduction)
        what = f"{shape} {of_target} {reduction}"
        assert (ours is None) == (theirs is None), what
        if theirs is not None and ours is not None:
            assert our_warning == their_warning, what
            for a, b in zip(ours, theirs, strict=True):
                assert_close(a, b, what)


def test_the_warning_points_to_the_call() -> None:
    with pytest.warns(
        UserWarning, match=r"`input` has shape \(3, 4\) but `target` \(4,\)"
    ) as caught:
        tg.nn.functional.mse_loss(tg.ones(3, 4), tg.ones(4))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="kl_div: `reduction` 'mean' divides"):
        tg.nn.functional.kl_div(tg.ones(2), tg.ones(2))


def test_what_does_not_fit() -> None:
    F = tg.nn.functional
    with pytest.raises(ValueError, match=r"l1_loss: `input` has shape \(3, 4\) but"):
        F.l1_loss(tg.ones(3, 4), tg.ones(3))
    with pytest.raises(ValueError, match=r"mse_loss: `weight` has shape \(3,\), expected \(2, 3\)"):
        F.mse_loss(tg.ones(2, 3), tg.ones(2, 3), weight=tg.ones(3))
    with pytest.raises(TypeError, match="binary_cross_entropy: `input` is float32 but `target`"):
        F.binary_cross_entropy(tg.zeros(2), tg.zeros(2, dtype=tg.float64))
