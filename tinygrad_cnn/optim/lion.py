"""Lion: steps of one size, their signs from an average of the gradients."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.optim.memory import blocks
from tinygrad_cnn.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class Lion(Optimizer):
    """Steps of size ``lr`` in every coordinate, with the sign of an interpolated momentum.

    With g the gradient (negated if ``maximize``)::

        param *= 1 - lr * weight_decay
        param -= lr * sign(beta1 * exp_avg + (1 - beta1) * g)
        exp_avg = beta2 * exp_avg + (1 - beta2) * g

    Every step moves every weight by ``lr``: learning rates are 3 to 10 times smaller than Adam's
    and ``weight_decay`` as much larger. State: ``exp_avg``. Source: Chen et al., "Symbolic
    discovery of optimization algorithms", 2023.

    Raises
    ------
    ValueError
        ``lr`` or ``weight_decay`` is negative or a beta is outside [0, 1).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([1.0, -5.0], requires_grad=True)
    >>> lion = optim.Lion([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> lion.step()
    >>> x.detach()
    tensor([ 0.9000, -4.9000])
    """

    not_negative = ("lr", "betas", "weight_decay")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, param: Tensor, grad: Array, state: State, group: Group) -> None:
        """Change ``param`` in place."""
        values = param._array
        if not state:
            state["exp_avg"] = from_numpy(np.zeros_like(values))
        # Plain floats: a NumPy scalar would lift float32 arithmetic to float64.
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        beta1, beta2 = (float(beta) for beta in group["betas"])
        for g, w, m in blocks(grad, values, state["exp_avg"]._written_by("Lion.step")):
            s = self._scratch.like(w)
            if group["maximize"]:
                g = np.negative(g, out=self._scratch.like(w, 1))
            if decay:
                np.multiply(w, 1.0 - lr * decay, out=w)
            np.subtract(m, g, out=s)  # beta * m + (1 - beta) * g = g + beta * (m - g)
            np.multiply(s, beta2, out=m)
            np.multiply(s, beta1, out=s)
            np.add(s, g, out=s)
            np.add(m, g, out=m)
            np.sign(s, out=s)
            np.multiply(s, lr, out=s)
            np.subtract(w, s, out=w)
