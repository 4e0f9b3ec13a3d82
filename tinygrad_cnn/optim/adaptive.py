"""Optimisers that scale every weight's step by its past gradients: Adadelta, Adagrad, Rprop."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.formula import Arrays, FormulaOptimizer
from tinygrad_cnn.optim.optimizer import Group, How, Params
from tinygrad_cnn.types import Array


class Adadelta(FormulaOptimizer):
    """Steps as large as past steps were, relative to past gradients; ``lr`` scales them.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``::

        square_avg = rho * square_avg + (1 - rho) * g²
        delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
        acc_delta = rho * acc_delta + (1 - rho) * delta²
        param -= lr * delta

    State: ``step`` (0-d), ``square_avg``, ``acc_delta``. Source: Zeiler, "ADADELTA: an adaptive
    learning rate method", 2012.

    Raises
    ------
    ValueError
        An option is negative, or ``rho`` is above 1.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> adadelta = optim.Adadelta([x], rho=0.75, eps=0.25)
    >>> (x * x).sum().backward()
    >>> adadelta.step()
    >>> x.detach()
    tensor([0.1056])
    """

    not_negative = ("lr", "rho", "eps", "weight_decay")
    kept = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"maximize": maximize}, how)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        if group["rho"] > 1:
            raise ArgumentError(f"Adadelta: `rho` is {group['rho']} but at most 1 is expected")

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        rho, eps = float(group["rho"]), float(group["eps"])
        square, steps = held["square_avg"], held["acc_delta"]
        square *= rho
        square += (1.0 - rho) * g * g
        delta = np.sqrt(steps + eps) / np.sqrt(square + eps) * g
        steps *= rho
        steps += (1.0 - rho) * delta * delta
        w -= float(group["lr"]) * delta


class Adagrad(FormulaOptimizer):
    """Steps divided by the root of the sum of all squared gradients so far.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        sum = sum + g²
        param -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    State, from the beginning: ``step`` (0-d), ``sum`` (at first ``initial_accumulator_value``).
    Source: Duchi et al., "Adaptive subgradient methods", 2011.

    Raises
    ------
    ValueError
        An option is negative.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, 5.0], requires_grad=True)
    >>> adagrad = optim.Adagrad([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> adagrad.step()
    >>> x.detach()
    tensor([0.5000, 4.5000])
    """

    not_negative = ("lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value")
    accepts = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters, whose state begins at once."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for param in group["params"]:
            self.state[param] = self.begin(param._array, group)

    def first_state(self, w: Array, group: Group) -> Arrays:
        """The sum before the first step."""
        first = float(self.defaults["initial_accumulator_value"])
        return {"sum": np.full_like(w, complex(first, first) if w.dtype.kind == "c" else first)}

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        rate = float(group["lr"]) / (1.0 + (float(held["step"]) - 1.0) * float(group["lr_decay"]))
        held["sum"] += g * g
        w -= rate * (g / (np.sqrt(held["sum"]) + float(group["eps"])))


class Rprop(FormulaOptimizer):
    """Steps by the gradient's sign alone, longer while it stays and shorter when it changes.

    For every weight, with g the gradient (negated if ``maximize``)::

        step_size *= etas[1] where g * prev > 0, etas[0] where g * prev < 0
        step_size = clip(step_size, *step_sizes)
        g = 0 where g * prev < 0
        param -= sign(g) * step_size
        prev = g

    For gradients of the whole data set. State: ``step`` (0-d), ``prev``, ``step_size`` (at first
    ``lr``). Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation
    learning", 1993.

    Raises
    ------
    ValueError
        ``lr`` is negative, or not ``0 < etas[0] < 1 < etas[1]``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, -5.0], requires_grad=True)
    >>> rprop = optim.Rprop([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> rprop.step()
    >>> x.detach()
    tensor([ 0.5000, -4.5000])
    """

    not_negative = ("lr",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        super().__init__(params, options, how)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        low, high = group["etas"]
        if not 0 < low < 1 < high:
            raise ArgumentError(
                f"Rprop: `etas` are {group['etas']} but one below 1 and one above are expected"
            )

    def first_state(self, w: Array, group: Group) -> Arrays:
        """No gradient before, and steps of ``lr``."""
        return {"prev": np.zeros_like(w), "step_size": np.full_like(w, float(group["lr"]))}

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        shrink, grow = map(float, group["etas"])
        least, most = map(float, group["step_sizes"])
        prev, size = held["prev"], held["step_size"]
        agrees = np.sign(g * prev)
        size[agrees > 0] *= grow
        size[agrees < 0] *= shrink
        np.clip(size, least, most, out=size)
        np.copyto(prev, np.where(agrees < 0, np.zeros_like(g), g))
        w -= np.sign(prev) * size
