"""Losses of values and of probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinygrad_cnn.autograd.units import check
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import one_dtype
from tinygrad_cnn.functions.creation import full_like
from tinygrad_cnn.functions.elementwise import where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.losses import (
    legacy_reduction,
    like_input,
    one_shape,
    reduce_loss,
    same_shape,
)
from tinygrad_cnn.notices import warn
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """``d² / (2 beta)`` where ``d = |input - target|`` is below ``beta``, else ``d - beta / 2``.

    >>> import tinygrad_cnn as tg
    >>> smooth_l1_loss(tg.tensor([0.5, 3.0]), tg.zeros(2), reduction="none")
    tensor([0.1250, 2.5000])
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: `beta` is {beta} but at least 0 is expected")
    input, target = one_shape("smooth_l1_loss", input, target)
    d = (input - target).abs()
    if beta == 0:
        return reduce_loss("smooth_l1_loss", d, reduction)
    near = d.clamp(max=beta)  # the square of an infinity has no derivative to mask
    loss = where(d < beta, near * near * (0.5 / beta), d - 0.5 * beta)
    return reduce_loss("smooth_l1_loss", loss, reduction)


@export(top=False, method=False, nn=True)
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """``d² / 2`` where ``d = |input - target|`` is at most ``delta``, else ``delta (d - delta/2)``.

    >>> import tinygrad_cnn as tg
    >>> huber_loss(tg.tensor([0.5, 3.0]), tg.zeros(2), reduction="none", delta=2.0)
    tensor([0.1250, 4.0000])
    """
    if delta <= 0:
        raise ArgumentError(f"huber_loss: `delta` is {delta} but a positive number is expected")
    x, target = one_shape("huber_loss", input, target)
    d = (x - target).abs()
    near = d.clamp(max=delta)  # the square of an infinity has no derivative to mask
    loss = where(d <= delta, near * near * 0.5, (d - 0.5 * delta) * delta)
    if weight is not None:
        loss = loss * like_input("huber_loss", weight, input)
    return reduce_loss("huber_loss", loss, reduction)


@export(top=False, method=False, nn=True)
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of ``input``, log-probabilities, from ``target``.

    ``target`` holds probabilities, or their logarithms with ``log_target``. ``reduction`` may also
    be "batchmean": the sum, divided by the size of the first axis.

    >>> import tinygrad_cnn as tg
    >>> p, q = tg.tensor([[0.5, 0.5]]), tg.tensor([[0.25, 0.75]])
    >>> kl_div(q.log(), p, reduction="batchmean")
    tensor(0.1438)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    if reduction == "mean":
        warn(
            "kl_div: `reduction` 'mean' divides by the number of all values; 'batchmean', which "
            "divides by the number of samples, is the divergence itself"
        )
    if log_target:
        loss: Tensor = target.exp() * (target - input)
    else:
        positive = target.masked_fill(target == 0, 1.0)  # 0 log 0 = 0
        loss = positive * positive.log() - target * input
    if reduction == "batchmean":
        total: Tensor = loss.sum() / (input.shape[0] if input.ndim else 1)
        return total
    return reduce_loss("kl_div", loss, reduction)


@export(top=False, method=False, nn=True)
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``-(target * log(input) + (1 - target) * log(1 - input))``, logarithms at least -100.

    Shapes: input and target alike, values in [0, 1]; weight broadcasts to them. At an input of
    exactly 0 or 1 the derivative is taken 1e-12 away from it. Prefer
    `binary_cross_entropy_with_logits`, which needs none of this.

    Raises
    ------
    TypeError
        Dtypes differ.
    ValueError
        Shapes differ, ``input`` or ``target`` has values outside [0, 1], ``reduction`` is unknown.

    >>> import tinygrad_cnn as tg
    >>> binary_cross_entropy(tg.tensor([0.5, 0.25]), tg.tensor([1.0, 0.0]))
    tensor(0.4904)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    same_shape("binary_cross_entropy", input, target)
    one_dtype("binary_cross_entropy", input, target=target)
    check(_are_probabilities, "input", input)
    check(_are_probabilities, "target", target)
    loss = -(target * _safe_log(input) + (1 - target) * _safe_log(1 - input))
    if weight is not None:
        loss = loss * weight
    return reduce_loss("binary_cross_entropy", loss, reduction)


@export(top=False, method=False, nn=True)
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of counts ``target`` under Poisson distributions.

    ``input`` holds their rates, or, with ``log_input``, the rates' logarithms. ``full`` adds
    Stirling's approximation of ``log(target!)``, which does not depend on ``input``.

    >>> import tinygrad_cnn as tg
    >>> poisson_nll_loss(tg.zeros(2), tg.tensor([0.0, 3.0]))
    tensor(1.)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        above = target > 1
        n = where(above, target, 1.0)
        stirling = n * n.log() - n + 0.5 * (2 * math.pi * n).log()
        loss = loss + where(above, stirling, 0.0)
    return reduce_loss("poisson_nll_loss", loss, reduction)


@export(top=False, method=False, nn=True)
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of ``target`` under normal distributions.

    Their means are ``input``; their variances ``var`` have its shape, or 1 for its last axis, or
    are without it, and count as at least ``eps``, with the gradient that they had without that
    bound. ``full`` adds the constant ``log(2π) / 2``.

    Raises
    ------
    ValueError
        ``var`` has another shape or a negative value, or ``reduction`` is unknown.

    >>> import tinygrad_cnn as tg
    >>> gaussian_nll_loss(tg.zeros(2), tg.tensor([1.0, 3.0]), tg.ones(2))
    tensor(2.5000)
    """
    name = "gaussian_nll_loss"
    spread = full_like(input, var) if isinstance(var, (int, float)) else var
    if spread.shape == input.shape[:-1] != input.shape:
        spread = spread.unsqueeze(-1)
    elif spread.ndim != input.ndim or any(
        v not in (1, n) for v, n in zip(spread.shape, input.shape, strict=True)
    ):
        raise ShapeError(
            f"{name}: `var` has shape {spread.shape}, expected {input.shape} as `input`"
        )
    check(_not_negative, name, spread)
    constant = spread.detach()
    least = constant.clamp(min=eps)
    # The difference of two infinities is NaN.
    spread = spread + where(least == constant, 0.0, least - constant)
    loss = 0.5 * (spread.log() + (input - target) ** 2 / spread)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(name, loss, reduction)


def _safe_log(x: Tensor) -> Tensor:
    """``max(log(x), -100)`` with derivative ``1 / max(x, 1e-12)``."""
    constant = x.detach()
    moved = x + (constant.clamp(min=1e-12) - constant)
    near = moved.log()
    exact = constant.masked_fill(constant == 0, 1.0).log().masked_fill(constant == 0, -100.0)
    out: Tensor = near + (exact.clamp(min=-100.0) - near.detach())
    return out


def _are_probabilities(name: str, x: Array) -> None:
    if x.size and not (0 <= x.min() and x.max() <= 1):
        raise ArgumentError(
            f"binary_cross_entropy: `{name}` has values from {x.min()} to {x.max()} but "
            f"probabilities in [0, 1] are expected; for logits use "
            f"binary_cross_entropy_with_logits"
        )


def _not_negative(name: str, var: Array) -> None:
    if (var < 0).any():
        raise ArgumentError(f"{name}: `var` holds {var.min()}, expected none below 0")
