"""`FormulaOptimizer`: an optimiser whose step is one formula on whole arrays."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.optim.optimizer import Group, Optimizer, State
from tinygrad_cnn.optim.together import new_step
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Arrays = dict[str, Array]


class FormulaOptimizer(Optimizer):
    """Base class: subclasses name their state and define `move`.

    The gradient is negated if the option ``maximize`` is set. ``weight_decay * param`` is added to
    it, or, with the option ``decoupled_weight_decay``, the parameter is shrunk before the step.
    State begins with ``step`` (0-d), if steps are counted, and zeros.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    """The names of state that begins with zeros, of the parameter's shape."""

    counts: ClassVar[bool] = True
    """Whether steps are counted."""

    decoupled: ClassVar[bool] = False
    """Whether weight decay shrinks the parameter, where there is no option that says so."""

    def first_state(self, w: Array, group: Group) -> Arrays:
        """The state of a parameter before its first step, beside ``step``."""
        return {name: np.zeros_like(w) for name in self.kept}

    def begin(self, w: Array, group: Group) -> State:
        """The state of a parameter before its first step, as tensors."""
        counted: State = {"step": new_step()} if self.counts else {}
        return counted | {k: from_numpy(a) for k, a in self.first_state(w, group).items()}

    def update(self, param: Tensor, grad: Array, state: State, group: Group) -> None:
        """Change ``param`` in place."""
        w = param._array
        if not state:
            state.update(self.begin(w, group))
        by = f"{self._name()}.step"
        held = {name: tensor._written_by(by) for name, tensor in state.items()}
        if self.counts:
            held["step"] += 1
        g = -grad if group.get("maximize") else grad
        self.move(w, self.decayed(w, g, group), held, group)

    def decayed(self, w: Array, g: Array, group: Group) -> Array:
        """The gradient with weight decay, unless that is done to the parameter here."""
        # Plain floats: a NumPy scalar would lift float32 arithmetic to float64.
        decay = float(group.get("weight_decay", 0.0))
        if not decay:
            return g
        if not group.get("decoupled_weight_decay", self.decoupled):
            return g + decay * w
        w *= 1.0 - float(group["lr"]) * decay
        return g

    def move(self, w: Array, g: Array, held: Arrays, group: Group) -> None:
        """Change the parameter ``w`` and its state ``held`` in place, given the gradient ``g``."""
        raise NotImplementedError(f"{self._name()}: define `move`")


def average(mean: Array, new: Array, weight: float) -> None:
    """Move a running average towards ``new``, in place."""
    mean += weight * (new - mean)
