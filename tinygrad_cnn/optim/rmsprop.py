"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.optim.checks import at_least_zero
from tinygrad_cnn.optim.optimizer import Optimizer, new_step
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class RMSprop(Optimizer):
    """Steps scaled by a running average of the squared gradient.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``::

        square_avg = alpha * square_avg + (1 - alpha) * g²
        direction = g / (sqrt(square_avg) + eps)     # if centered: of square_avg - grad_avg²
        buffer = momentum * buffer + direction       # if there is momentum
        param -= lr * (buffer or direction)

    State: ``step`` (0-d), ``square_avg`` and, if asked for, ``grad_avg`` and ``momentum_buffer``.
    Source: Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012.

    Raises
    ------
    ValueError
        An option is negative.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> rms = optim.RMSprop([x], lr=0.1, alpha=0.75)
    >>> (x * x).sum().backward()
    >>> rms.step()
    >>> x.detach()
    tensor([0.8000])
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def check_options(self, group: dict[str, Any]) -> None:
        """Raise ValueError if an option is out of range."""
        at_least_zero("RMSprop", group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def update(
        self,
        param: Tensor,
        grad: Array,
        state: dict[str, Any],
        group: dict[str, Any],
    ) -> None:
        """Change ``param`` in place."""
        w = param._array
        lr, eps, decay = float(group["lr"]), float(group["eps"]), float(group["weight_decay"])
        alpha, momentum = float(group["alpha"]), float(group["momentum"])
        if not state:
            state["step"] = new_step()
            state["square_avg"] = from_numpy(np.zeros_like(w))
            if momentum > 0:
                state["momentum_buffer"] = from_numpy(np.zeros_like(w))
            if group["centered"]:
                state["grad_avg"] = from_numpy(np.zeros_like(w))
        for held in state.values():
            held._written_by("RMSprop.step")
        steps = state["step"]._array
        steps += 1
        g = -grad if group["maximize"] else grad
        if decay:
            g = g + decay * w
        square = state["square_avg"]._array
        square *= alpha
        square += (1.0 - alpha) * g * g
        spread = square
        if group["centered"]:
            mean = state["grad_avg"]._array
            mean += (1.0 - alpha) * (g - mean)
            spread = square - mean * mean
        direction = g / (np.sqrt(spread) + eps)
        if momentum > 0:
            buffer = state["momentum_buffer"]._array
            buffer *= momentum
            buffer += direction
            direction = buffer
        w -= lr * direction
