"""The exponential moving average of a model's weights, which often does better than the weights."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.kernels.tape import again
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class WeightAverage:
    """``average += (1 - d) * (weights - average)`` after every step, of parameters and statistics.

    ``d`` is ``decay`` or, in the beginning, ``(1 + t) / (10 + t)`` at step ``t``, so that the first
    random weights are soon forgotten. Integers, such as a count of batches, are copied. Source:
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the
    exponential form of TensorFlow's ``ExponentialMovingAverage``.

    Raises
    ------
    ValueError
        ``decay`` is not in [0, 1).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.Linear(1, 1)
    >>> average = WeightAverage(layer, decay=0.5)
    >>> before = layer.weight.item()
    >>> _ = nn.init.constant_(layer.weight, 8.0)
    >>> average.update()
    >>> with average.applied():
    ...     print(round((layer.weight.item() - before) / (8 - before), 3))  # 1 - 2/11
    0.818
    >>> layer.weight.item()
    8.0
    """

    def __init__(self, model: Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ArgumentError(
                f"WeightAverage: `decay` is {decay} but a number in [0, 1) is needed"
            )
        self.model, self.decay, self.steps = model, decay, 0
        self._held = self._copies()

    def _tensors(self) -> dict[str, Tensor]:
        """The model's state but for what is none of arrays (`Module.get_extra_state`)."""
        state = self.model.state_dict().items()
        return {name: value for name, value in state if isinstance(value, Tensor)}

    def _copies(self) -> dict[str, Array]:
        return {name: tensor._array.copy() for name, tensor in self._tensors().items()}

    def update(self) -> None:
        """Take the model's present weights into account."""
        again(self._update)

    def _update(self) -> None:
        self.steps += 1
        share = 1.0 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in self._tensors().items():
            held = self._held[name]
            if held.dtype.kind == "f":
                change = np.subtract(tensor._array, held)
                change *= share
                held += change
            else:
                held[...] = tensor._array

    def weights(self) -> dict[str, Tensor]:
        """The averages by name, as `Module.load_state_dict` takes them."""
        return {**self.model.state_dict(), **{k: from_numpy(v) for k, v in self._held.items()}}

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averages as its weights."""
        state = self.model.state_dict()
        present = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        self.model.load_state_dict(self.weights())
        try:
            yield
        finally:
            self.model.load_state_dict(present)

    def state_dict(self) -> dict[str, object]:
        """The averages and the number of steps."""
        return {"steps": self.steps, "weights": self.weights()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over copies of what `state_dict` returned.

        Raises
        ------
        ValueError
            Names or shapes are another model's.
        """
        saved = state["weights"].items()
        given = {name: t._array for name, t in saved if isinstance(t, Tensor)}
        shapes = {name: a.shape for name, a in given.items()}
        if shapes != {name: a.shape for name, a in self._held.items()}:
            raise ArgumentError("WeightAverage: the state is another model's")
        self._held = {name: array.copy() for name, array in given.items()}
        self.steps = int(state["steps"])
