"""RMSprop."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from tinygrad_cnn.optim.formula import Arrays, FormulaOptimizer, average
from tinygrad_cnn.optim.optimizer import Group, How, Params
from tinygrad_cnn.types import Array


class RMSprop(FormulaOptimizer):
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

    not_negative = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def first_state(self, w: Array, group: Group) -> Arrays:
        """Zeros for what the options ask for."""
        asked = {"momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
        names = ["square_avg", *(name for name, wanted in asked.items() if wanted)]
        return {name: np.zeros_like(w) for name in names}

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        alpha, momentum = float(group["alpha"]), float(group["momentum"])
        square = held["square_avg"]
        square *= alpha
        square += (1.0 - alpha) * g * g
        spread = square
        if group["centered"]:
            mean = held["grad_avg"]
            average(mean, g, 1.0 - alpha)
            # Of an infinity nothing can be taken, least of all another.
            spread = np.where(np.isinf(square), square, square - mean * mean)
        direction = g / (np.sqrt(spread) + float(group["eps"]))
        if momentum > 0:
            buffer = held["momentum_buffer"]
            buffer *= momentum
            buffer += direction
            direction = buffer
        w -= float(group["lr"]) * direction
