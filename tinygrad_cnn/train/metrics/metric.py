"""What all metrics are: sums that batches are added to, and a value that is computed from them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Values = Tensor | Array | list[Any] | tuple[Any, ...] | float | int
"""What metrics take: tensors, arrays, lists, numbers."""


def array(values: Values) -> Array:
    """The numbers of a tensor, an array, a list or a number."""
    return values._array if isinstance(values, Tensor) else np.asarray(values)


class Metric:
    """Base class: ``update`` adds a batch, ``compute`` gives the value of all, ``reset`` forgets.

    ``metric(outputs, targets)`` adds a batch as well and returns the value of this batch alone. A
    subclass names its sums in ``empty``: arrays of which those of two parts of the data are added,
    or joined along the first axis where ``joins``. ``higher_is_better`` says which values are good.
    The interface is torchmetrics'.

    Examples
    --------
    >>> class Largest(Metric):
    ...     joins = True
    ...     def empty(self):
    ...         return {"largest": np.zeros(0)}
    ...     def update(self, outputs, targets):
    ...         self.add(largest=np.max(array(outputs), keepdims=True))
    ...     def value(self):
    ...         return self.sums["largest"].max()
    >>> metric = Largest()
    >>> metric([1.0, 3.0], [0, 0]).item(), metric([2.0, 0.0], [0, 0]).item()
    (3.0, 2.0)
    >>> metric.compute().item()
    3.0
    """

    higher_is_better = True
    joins = False

    def __init__(self) -> None:
        self.sums = self.empty()

    def empty(self) -> dict[str, Array]:
        """The sums of no data."""
        raise NotImplementedError

    def update(self, outputs: Values, targets: Values) -> None:
        """Count a batch."""
        raise NotImplementedError

    def value(self) -> Array | float:
        """What `compute` returns, of ``self.sums``."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """The value of everything since `reset`, in float64 (counts in int64); nan of nothing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return from_numpy(np.array(self.value()))

    def reset(self) -> None:
        """Forget everything."""
        self.sums = self.empty()

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        alone = self.fresh()
        alone.update(*args, **kwargs)
        self.merge(alone)
        return alone.compute()

    def fresh(self) -> Self:
        """Another one with the same settings, of no data."""
        other = copy.copy(self)
        other.reset()
        return other

    def add(self, **sums: Array) -> None:
        """Add to the sums; of two sizes, the smaller is filled up with zeros."""
        for name, more in sums.items():
            held = self.sums[name]
            if self.joins:
                self.sums[name] = np.concatenate([held, more]) if len(held) else np.array(more)
            else:
                shape = tuple(map(max, held.shape, more.shape))
                self.sums[name] = np.asarray(_filled(held, shape) + _filled(more, shape))

    def merge(self, *others: Self) -> None:
        """Take over what others have counted, of other parts of the data."""
        for other in others:
            self.add(**other.sums)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums."""
        return {name: from_numpy(value.copy()) for name, value in self.sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over copies of the sums that `state_dict` returned.

        Raises
        ------
        ArgumentError
            They are another metric's.
        """
        if set(state) != set(self.sums):
            given, names = ", ".join(state), ", ".join(self.sums)
            raise ArgumentError(f"{type(self).__name__}: `state` has {given}, expected {names}")
        self.sums = {name: array(value).copy() for name, value in state.items()}

    def __repr__(self) -> str:
        settings = {k: v for k, v in vars(self).items() if k != "sums" and k[:1] != "_"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"


def _filled(values: Array, shape: tuple[int, ...]) -> Array:
    if values.shape == shape:
        return values
    return np.pad(values, [(0, n - m) for n, m in zip(shape, values.shape, strict=True)])


class Mean(Metric):
    """The mean of numbers, with weights: ``update(value, weight=1)``.

    Examples
    --------
    >>> loss = Mean()
    >>> loss.update(2.0, weight=3)
    >>> loss.update([4.0, 8.0])
    >>> loss.compute().item()
    3.6
    """

    def empty(self) -> dict[str, Array]:
        """The sums of no data."""
        return {"total": np.zeros(()), "weight": np.zeros(())}

    def update(self, value: Values, weight: Values = 1.0) -> None:
        """Count numbers, each with its weight."""
        numbers, weights = np.broadcast_arrays(array(value), array(weight))
        total = np.sum(numbers * weights, dtype=np.float64)
        self.add(total=np.asarray(total), weight=np.asarray(np.sum(weights, dtype=np.float64)))

    def value(self) -> Array:
        """Of the sums."""
        return np.divide(self.sums["total"], self.sums["weight"])


class MeanOf(Mean):
    """The mean of a function ``(outputs, targets) -> number`` over batches, weighted by their size.

    Examples
    --------
    >>> spread = MeanOf(lambda outputs, targets: outputs.max() - outputs.min())
    >>> spread.update(np.array([1.0, 3.0]), np.zeros(2))
    >>> spread.compute().item()
    2.0
    """

    def __init__(self, function: Callable[[Any, Any], Tensor | float]) -> None:
        super().__init__()
        self.function = function

    def update(self, outputs: Values, targets: Values) -> None:  # type: ignore[override]
        """Count a batch (n, …) by its value, n times."""
        value = self.function(outputs, targets)
        super().update(float(value), weight=len(array(targets)))


_M = TypeVar("_M", bound=Metric)


def same_shapes(metric: _M, outputs: Values, targets: Values) -> tuple[Array, Array]:
    """The numbers of both.

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    a, b = array(outputs), array(targets)
    if a.shape != b.shape:
        raise ArgumentError(
            f"{type(metric).__name__}: `outputs` have shape {tuple(a.shape)}, `targets` "
            f"{tuple(b.shape)}, expected the same"
        )
    return a, b
