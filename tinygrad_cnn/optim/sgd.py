"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.optim.formula import Arrays, FormulaOptimizer, average
from tinygrad_cnn.optim.memory import blocks
from tinygrad_cnn.optim.optimizer import Group, How, Optimizer, Params, State
from tinygrad_cnn.optim.together import Form, new_step
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``::

        buffer = momentum * buffer + (1 - dampening) * g     # the first time: buffer = g
        direction = g + momentum * buffer if nesterov else buffer
        param -= lr * direction

    State: ``momentum_buffer``, if there is momentum. Source: Sutskever et al., "On the importance
    of initialization and momentum in deep learning", 2013.

    Raises
    ------
    ValueError
        ``lr``, ``momentum`` or ``weight_decay`` is negative, or ``nesterov`` is set without
        momentum or with dampening.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> sgd = optim.SGD([x], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     sgd.zero_grad()
    ...     (3 * x).sum().backward()
    ...     sgd.step()
    >>> x.detach()
    tensor([0.1300])
    """

    not_negative = ("lr", "momentum", "weight_decay")
    accepts = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
            how,
        )

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(
                f"SGD: `nesterov` needs momentum > 0 and dampening = 0 but they are "
                f"{group['momentum']} and {group['dampening']}"
            )

    def update(self, param: Tensor, grad: Array, state: State, group: Group) -> None:
        """Change ``param`` in place."""
        # Plain floats: a NumPy scalar would lift float32 arithmetic to float64.
        lr, momentum = float(group["lr"]), float(group["momentum"])
        decay, keep = float(group["weight_decay"]), 1.0 - float(group["dampening"])
        nesterov, maximize = group["nesterov"], group["maximize"]
        values = param._array
        if momentum == 0:
            for g, w in blocks(grad, values):
                s = self._scratch.like(w)
                np.multiply(_decayed(w, g, s, decay, maximize), lr, out=s)
                np.subtract(w, s, out=w)
            return
        buffer = state.get("momentum_buffer")
        first = buffer is None
        if buffer is None:
            buffer = state["momentum_buffer"] = from_numpy(np.empty_like(values))
        for g, w, b in blocks(grad, values, buffer._written_by("SGD.step")):
            s = self._scratch.like(w)
            d = _decayed(w, g, s, decay, maximize)
            if first:
                np.copyto(b, d)
            else:
                np.multiply(b, momentum, out=b)
                if keep != 1.0:
                    # Nesterov excludes dampening, so the undamped direction is not needed again.
                    d = np.multiply(d, keep, out=s)
                np.add(b, d, out=b)
            if nesterov:
                t = np.multiply(b, momentum, out=self._scratch.like(w, 1))
                np.add(t, d, out=t)
                np.multiply(t, lr, out=s)
            else:
                np.multiply(b, lr, out=s)
            np.subtract(w, s, out=w)

    def form(self, group: Group) -> Form | None:
        """One pass over all parameters."""
        if type(self).update is not SGD.update:
            return None  # somebody's own formula
        if not float(group["momentum"]):
            return Form("sgd")
        return Form("nesterov" if group["nesterov"] else "momentum", ("momentum_buffer",))

    def numbers(self, group: Group, step: float, first: bool) -> tuple[float, ...]:
        """Sign and decay of the gradient; of the buffer, what comes new and stays; minus rate."""
        keep = 1.0 if first else 1.0 - float(group["dampening"])
        sign = -1.0 if group["maximize"] else 1.0
        momentum, lr = float(group["momentum"]), float(group["lr"])
        return sign, float(group["weight_decay"]), keep, momentum, -lr


class ASGD(FormulaOptimizer):
    """Stochastic gradient descent that also keeps the average of the parameters.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        param = param * (1 - lambd * eta) - eta * g
        ax = ax + mu * (param - ax)             # while mu is 1: ax = param
        eta = lr / (1 + lambd * lr * t) ** alpha
        mu = 1 / max(1, t - t0)

    State: ``step``, ``eta``, ``mu`` (0-d), ``ax``, the average since step ``t0``. Source: Polyak
    and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    Raises
    ------
    ValueError
        ``lr`` or ``weight_decay`` is negative.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> asgd = optim.ASGD([x], lr=0.1, lambd=0.0)
    >>> (x * x).sum().backward()
    >>> asgd.step()
    >>> x.detach()
    tensor([0.8000])
    """

    not_negative = ("lr", "weight_decay")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        options = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options, how)

    def first_state(self, w: Array, group: Group) -> Arrays:
        """The first rate, and no average yet."""
        number = new_step().dtype
        eta, mu = np.full((), float(group["lr"]), number), np.ones((), number)
        return {"eta": eta, "mu": mu, "ax": np.zeros_like(w)}

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter and its state in place."""
        lr, lambd, t = float(group["lr"]), float(group["lambd"]), float(held["step"])
        eta, mu = float(held["eta"]), float(held["mu"])
        w *= 1.0 - lambd * eta
        w -= eta * g
        if mu == 1.0:
            np.copyto(held["ax"], w)
        else:
            average(held["ax"], w, mu)
        held["eta"][...] = lr / (1.0 + lambd * lr * t) ** float(group["alpha"])
        held["mu"][...] = 1.0 / max(1.0, t - float(group["t0"]))


def _decayed(w: Array, g: Array, s: Array, decay: float, maximize: bool) -> Array:
    """The gradient (negated to maximise) plus weight decay: ``g`` itself or in scratch ``s``."""
    if decay:
        np.multiply(w, decay, out=s)
        return np.subtract(s, g, out=s) if maximize else np.add(s, g, out=s)
    return np.negative(g, out=s) if maximize else g
