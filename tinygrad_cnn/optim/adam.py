"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import numpy as np

from tinygrad_cnn.optim.memory import blocks
from tinygrad_cnn.optim.optimizer import Group, How, Optimizer, Params, State
from tinygrad_cnn.optim.together import Form
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class Adam(Optimizer):
    """Steps scaled by running averages of the gradient and of its square.

    With g the gradient (negated if ``maximize``) plus ``weight_decay * param``, and t the number of
    the step::

        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g²
        param -= lr / (1 - beta1**t) * exp_avg / (sqrt(exp_avg_sq / (1 - beta2**t)) + eps)

    With ``amsgrad`` the largest ``exp_avg_sq`` so far is used, and with ``decoupled_weight_decay``
    the parameter is multiplied by ``1 - lr * weight_decay`` before the step instead. State:
    ``step`` (0-d), ``exp_avg``, ``exp_avg_sq`` and, with ``amsgrad``, ``max_exp_avg_sq``. Sources:
    Kingma and Ba, "Adam", 2014; Reddi et al., "On the convergence of Adam and beyond", 2018.

    Raises
    ------
    ValueError
        ``lr``, ``eps`` or ``weight_decay`` is negative or a beta is outside [0, 1).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> adam = optim.Adam([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> adam.step()
    >>> x.detach()
    tensor([ 0.9000, -0.9000])
    """

    not_negative = ("lr", "betas", "eps", "weight_decay")
    decoupled: ClassVar[bool] = False
    accepts = (*Optimizer.accepts, "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **how: Unpack[How],
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
            how,
        )

    def update(self, param: Tensor, grad: Array, state: State, group: Group) -> None:
        """Change ``param`` in place."""
        values = param._array
        if not state:
            state.update(_form(group).first_state(values))
        by = f"{self._name()}.step"
        t = _next_step(state, by)
        # Plain floats: a NumPy scalar would lift float32 arithmetic to float64.
        lr, eps, decay = float(group["lr"]), float(group["eps"]), float(group["weight_decay"])
        beta1, beta2 = (float(beta) for beta in group["betas"])
        decoupled = self.decoupled or group["decoupled_weight_decay"]
        size = lr / (1.0 - beta1**t)
        root = math.sqrt(1.0 - beta2**t)
        moments = [state["exp_avg"], state["exp_avg_sq"]]
        if group["amsgrad"]:
            moments.append(state["max_exp_avg_sq"])
        for g, w, m, v, *largest in blocks(grad, values, *(x._written_by(by) for x in moments)):
            s = self._scratch.like(w)
            if group["maximize"] or (decay and not decoupled):
                g = self._decayed(w, g, 0.0 if decoupled else decay, group["maximize"])
            if decay and decoupled:
                np.multiply(w, 1.0 - lr * decay, out=w)
            np.subtract(g, m, out=s)
            np.multiply(s, 1.0 - beta1, out=s)
            np.add(m, s, out=m)
            np.multiply(g, 1.0 - beta2, out=s)
            np.multiply(s, g, out=s)  # the square alone overflows earlier
            np.multiply(v, beta2, out=v)
            np.add(v, s, out=v)
            if largest:
                v = np.maximum(largest[0], v, out=largest[0])
            np.sqrt(v, out=s)
            np.divide(s, root, out=s)
            np.add(s, eps, out=s)
            np.divide(m, s, out=s)
            np.multiply(s, size, out=s)
            np.subtract(w, s, out=w)

    def form(self, group: Group) -> Form | None:
        """One pass over all parameters."""
        if type(self).update is not Adam.update:
            return None  # somebody's own formula
        return _form(group)

    def numbers(self, group: Group, step: float, first: bool) -> tuple[float, ...]:
        """Sign and decay of the gradient, what stays of the parameter; of both averages, what
        comes new and stays; root and eps of the divisor, minus the size; what is counted.
        """
        lr, decay, eps = (float(group[name]) for name in ("lr", "weight_decay", "eps"))
        beta1, beta2 = (float(beta) for beta in group["betas"])
        sign = -1.0 if group["maximize"] else 1.0
        decoupled = self.decoupled or group["decoupled_weight_decay"]
        decay, keep = (0.0, 1.0 - lr * decay) if decoupled else (decay, 1.0)
        size, root = lr / (1.0 - beta1**step), math.sqrt(1.0 - beta2**step)
        return sign, decay, keep, 1.0 - beta1, beta2, 1.0 - beta2, root, eps, -size, 1.0

    def _decayed(self, w: Array, g: Array, decay: float, maximize: bool) -> Array:
        """The gradient (negated to maximise) plus weight decay, in scratch of its own."""
        out = self._scratch.like(w, 1)
        np.multiply(w, decay, out=out)
        return np.subtract(out, g, out=out) if maximize else np.add(out, g, out=out)


class AdamW(Adam):
    """`Adam` whose weight decay shrinks the parameters instead of joining the gradient.

    Before each step ``param *= 1 - lr * weight_decay``. Source: Loshchilov and Hutter, "Decoupled
    weight decay regularization", 2019. Arguments, state and errors are those of `Adam`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> adamw = optim.AdamW([x], lr=0.1, weight_decay=0.5)
    >>> (0 * x).sum().backward()
    >>> adamw.step()
    >>> x.detach()
    tensor([0.9500])
    """

    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            **how,
        )


def _form(group: Group) -> Form:
    if group["amsgrad"]:
        return Form("amsgrad", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"))
    return Form("adam", ("exp_avg", "exp_avg_sq", "step"))


def _next_step(state: State, by: str) -> float:
    """Count one step more, and return the count."""
    step = state["step"]._written_by(by)
    step += 1
    return float(step)
