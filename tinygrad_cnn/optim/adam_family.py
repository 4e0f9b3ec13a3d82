"""Relatives of Adam: Adamax, NAdam, RAdam."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from tinygrad_cnn.optim.formula import Arrays, FormulaOptimizer, average
from tinygrad_cnn.optim.optimizer import Group, How, Params
from tinygrad_cnn.optim.together import new_step
from tinygrad_cnn.types import Array


class Adamax(FormulaOptimizer):
    """Adam with the largest recent gradient in the place of the root of the mean square.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_inf = max(beta2 * exp_inf, |g| + eps)
        param -= lr / (1 - beta1**t) * exp_avg / exp_inf

    State: ``step`` (0-d), ``exp_avg``, ``exp_inf``. Source: Kingma and Ba, "Adam", 2014, section 7.

    Raises
    ------
    ValueError
        ``lr``, ``eps`` or ``weight_decay`` is negative or a beta is outside [0, 1).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> adamax = optim.Adamax([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> adamax.step()
    >>> x.detach()
    tensor([ 0.9000, -0.9000])
    """

    not_negative = ("lr", "betas", "eps", "weight_decay")
    kept = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"maximize": maximize}, how)

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        beta1, beta2 = map(float, group["betas"])
        mean, largest = held["exp_avg"], held["exp_inf"]
        average(mean, g, 1.0 - beta1)
        np.maximum(beta2 * largest, np.abs(g) + float(group["eps"]), out=largest)
        w -= float(group["lr"]) / (1.0 - beta1 ** float(held["step"])) * (mean / largest)


class NAdam(FormulaOptimizer):
    """Adam with Nesterov's momentum, which grows with the steps.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        mu(t) = beta1 * (1 - 0.96**(t * momentum_decay) / 2)
        mu_product *= mu(t)
        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g²
        mean = (1 - mu(t)) / (1 - mu_product) * g
               + mu(t + 1) / (1 - mu_product * mu(t + 1)) * exp_avg
        param -= lr * mean / (sqrt(exp_avg_sq / (1 - beta2**t)) + eps)

    With ``decoupled_weight_decay`` the parameter is multiplied by ``1 - lr * weight_decay`` before
    the step instead. State: ``step`` and ``mu_product`` (0-d), ``exp_avg``, ``exp_avg_sq``. Source:
    Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    Raises
    ------
    ValueError
        An option is negative or a beta is outside [0, 1).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> nadam = optim.NAdam([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> nadam.step()
    >>> x.detach()
    tensor([0.8944])
    """

    not_negative = ("lr", "betas", "eps", "weight_decay", "momentum_decay")
    kept = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def first_state(self, w: Array, group: Group) -> Arrays:
        """Averages of nothing, and an empty product."""
        product = np.ones((), new_step().dtype)
        return {"mu_product": product} | super().first_state(w, group)

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        beta1, beta2 = map(float, group["betas"])
        lr, decay, t = float(group["lr"]), float(group["momentum_decay"]), float(held["step"])
        now = beta1 * (1.0 - 0.5 * 0.96 ** (t * decay))
        after = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * decay))
        held["mu_product"] *= now
        product = float(held["mu_product"])
        mean, square = held["exp_avg"], held["exp_avg_sq"]
        average(mean, g, 1.0 - beta1)
        square *= beta2
        square += (1.0 - beta2) * g * g
        root = np.sqrt(square / (1.0 - beta2**t)) + float(group["eps"])
        w -= lr * (1.0 - now) / (1.0 - product) * (g / root)
        w -= lr * after / (1.0 - product * after) * (mean / root)


class RAdam(FormulaOptimizer):
    """Adam that goes by the mean gradient alone while the mean square is not yet to be trusted.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g²
        most = 2 / (1 - beta2) - 1
        length = most - 2 * t * beta2**t / (1 - beta2**t)
        r = sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
        scale = r * sqrt(1 - beta2**t) / (sqrt(exp_avg_sq) + eps) if length > 5 else 1
        param -= lr * exp_avg / (1 - beta1**t) * scale

    With ``decoupled_weight_decay`` the parameter is multiplied by ``1 - lr * weight_decay`` before
    the step instead. State: ``step`` (0-d), ``exp_avg``, ``exp_avg_sq``. Source: Liu et al., "On
    the variance of the adaptive learning rate and beyond", 2019.

    Raises
    ------
    ValueError
        ``lr``, ``eps`` or ``weight_decay`` is negative or a beta is outside [0, 1).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> radam = optim.RAdam([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> radam.step()
    >>> x.detach()
    tensor([0.8000])
    """

    not_negative = ("lr", "betas", "eps", "weight_decay")
    kept = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        beta1, beta2 = map(float, group["betas"])
        t, mean, square = float(held["step"]), held["exp_avg"], held["exp_avg_sq"]
        average(mean, g, 1.0 - beta1)
        square *= beta2
        square += (1.0 - beta2) * g * g
        left = 1.0 - beta2**t
        step = float(group["lr"]) / (1.0 - beta1**t) * mean
        most = 2.0 / (1.0 - beta2) - 1.0
        length = most - 2.0 * t * beta2**t / left
        if length > 5.0:
            trust = (length - 4.0) * (length - 2.0) * most
            trust /= (most - 4.0) * (most - 2.0) * length
            step *= math.sqrt(trust) * math.sqrt(left) / (np.sqrt(square) + float(group["eps"]))
        w -= step
