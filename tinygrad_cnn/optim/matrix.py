"""Optimisers that take a parameter as a matrix: Adafactor, Muon."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.formula import Arrays, FormulaOptimizer, average
from tinygrad_cnn.optim.optimizer import Group, How, Params
from tinygrad_cnn.types import Array


class Adafactor(FormulaOptimizer):
    """Steps scaled by mean squares of which only those of rows and of columns are kept.

    With g the gradient (negated if ``maximize``), t the number of the step, and rms the root of the
    mean square of an array's numbers::

        beta = 1 - t**beta2_decay
        variance = beta * variance + (1 - beta) * g²
        u = g / max(sqrt(variance), eps[0])
        size = max(eps[1], rms(param))
        param *= 1 - lr * weight_decay
        param -= size * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / d)

    Of a parameter with two axes and more, ``variance`` is made of the means over its last axis and
    over the one before. ``eps[0]`` is by default the dtype's precision. State: ``step`` (0-d), and
    ``variance`` or ``row_var`` and ``col_var``. Source: Shazeer and Stern, "Adafactor", 2018.

    Raises
    ------
    ValueError
        An option is out of range.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, 1.0], requires_grad=True)
    >>> adafactor = optim.Adafactor([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> adafactor.step()
    >>> x.detach()
    tensor([0.9000, 0.9000])
    """

    not_negative = ("lr", "weight_decay")
    accepts = ("foreach",)
    other_shapes = frozenset(["row_var", "col_var"])

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        if group["beta2_decay"] > 0:
            raise ArgumentError(
                f"Adafactor: `beta2_decay` is {group['beta2_decay']} but at most 0 is expected"
            )
        if group["d"] < 1:
            raise ArgumentError(f"Adafactor: `d` is {group['d']} but at least 1 is expected")
        if min(group["eps"][0] or 0, group["eps"][1]) < 0:
            raise ArgumentError(f"Adafactor: `eps` is {group['eps']} but at least 0 is expected")

    def first_state(self, w: Array, group: Group) -> Arrays:
        """Means of nothing."""
        if w.ndim < 2:
            return {"variance": np.zeros_like(w)}
        rows, columns = (*w.shape[:-1], 1), (*w.shape[:-2], 1, w.shape[-1])
        return {"row_var": np.zeros(rows, w.dtype), "col_var": np.zeros(columns, w.dtype)}

    def decayed(self, w: Array, g: Array, group: Group) -> Array:
        """The gradient: the parameter is shrunk in `move`, after its size was taken."""
        return g

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        if not w.size:
            return
        least, least_rms = group["eps"]
        least = float(np.finfo(w.dtype).eps) if least is None else float(least)
        lr, t = float(group["lr"]), float(held["step"])
        weight = t ** float(group["beta2_decay"])
        square = g * g
        if w.ndim < 2:
            average(held["variance"], square, weight)
            variance = held["variance"]
        else:
            rows, columns = held["row_var"], held["col_var"]
            average(rows, square.mean(-1, keepdims=True), weight)  # (…, m, 1)
            average(columns, square.mean(-2, keepdims=True), weight)  # (…, 1, n)
            # (…, m, n): the product, divided by what both have in common
            variance = rows * columns / np.maximum(rows.mean(-2, keepdims=True), least)
        u = g / np.sqrt(np.maximum(variance, least * least))
        # NumPy's maximum, of which NaN is no less than a number
        rate = float(np.maximum(least_rms, _rms(w))) * min(lr, 1.0 / math.sqrt(t))
        w *= 1.0 - lr * float(group["weight_decay"])
        w -= rate / float(np.maximum(1.0, _rms(u) / float(group["d"]))) * u


class Muon(FormulaOptimizer):
    """Momentum whose direction is made orthogonal, for matrices only.

    With g the gradient::

        momentum_buffer = momentum * momentum_buffer + (1 - momentum) * g
        m = (1 - momentum) * g + momentum * momentum_buffer if nesterov else momentum_buffer
        x = m / max(norm(m), eps)
        repeat ns_steps times: x = a * x + (b * x @ x.T + c * (x @ x.T)²) @ x
        param *= 1 - lr * weight_decay
        param -= rate * x

    (a, b, c) are the ``ns_coefficients``: the singular values of x come close to 1. The rate is
    ``lr * sqrt(max(1, rows / columns))``, or with ``adjust_lr_fn="match_rms_adamw"``
    ``lr * 0.2 * sqrt(max(rows, columns))``. Biases, embeddings and the last layer are for another
    optimiser. PyTorch computes x in bfloat16, this in the parameter's dtype. State:
    ``momentum_buffer``. Source: Jordan et al., "Muon", 2024.

    Raises
    ------
    ValueError
        A parameter is no matrix, an option is negative, or ``adjust_lr_fn`` is unknown.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.eye(2, requires_grad=True)
    >>> muon = optim.Muon([x], lr=0.1, weight_decay=0.0)
    >>> (x * x).sum().backward()
    >>> muon.step()
    >>> x.detach()
    tensor([[0.8892, 0.0000],
            [0.0000, 0.8892]])
    """

    not_negative = ("lr", "weight_decay", "momentum")
    kept = ("momentum_buffer",)
    counts = False
    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, options)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(
                f"Muon: `adjust_lr_fn` is {group['adjust_lr_fn']!r} but 'original' or "
                f"'match_rms_adamw' is expected"
            )
        if len(group["ns_coefficients"]) != 3 or group["ns_steps"] >= 100:
            raise ArgumentError(
                "Muon: three `ns_coefficients` and less than 100 `ns_steps` expected"
            )
        for i, param in enumerate(group["params"]):
            if param.ndim != 2:
                raise ArgumentError(
                    f"Muon: parameter {i} has shape {param.shape} but a matrix is expected"
                )

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        momentum, buffer = float(group["momentum"]), held["momentum_buffer"]
        average(buffer, g, 1.0 - momentum)
        x = g + momentum * (buffer - g) if group["nesterov"] else buffer
        rows, columns = w.shape
        a, b, c = map(float, group["ns_coefficients"])
        x = x if rows <= columns else x.T  # the smaller of both products
        x = x / max(float(np.linalg.norm(x)), float(group["eps"]))
        for _ in range(group["ns_steps"]):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        rate = float(group["lr"])
        if group["adjust_lr_fn"] == "match_rms_adamw":
            rate *= 0.2 * math.sqrt(max(rows, columns))
        else:
            rate *= math.sqrt(max(1.0, rows / columns))
        w -= rate * (x if rows <= columns else x.T)


def _rms(array: Array) -> float:
    """The root of the mean square."""
    return float(np.linalg.norm(array)) / math.sqrt(array.size)
