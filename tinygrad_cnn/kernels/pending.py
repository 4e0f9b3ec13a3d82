"""Arrays that are not computed until somebody reads them.

Batch normalisation, and the ReLU after it, are one multiply-add per number: a pass over memory
that costs far more than its arithmetic. They therefore answer with an `Affine`, and a convolution
or a pooling that takes one computes it on the numbers that it loads anyway. Anybody else calls
`compute`.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Affine", "Held", "Masked", "Pending"]

Array = npt.NDArray[Any]


class Pending:
    """What stands for an array (n, c, h, w) until its numbers are needed."""

    __slots__ = ("__weakref__", "made")

    made: Array | None
    """The numbers, once `compute` was called."""

    def __init__(self) -> None:
        self.made = None

    def like(self) -> Array:
        """An array of the same shape and dtype."""
        raise NotImplementedError

    def evaluate(self) -> Array:
        """The numbers, in a new array."""
        raise NotImplementedError

    def compute(self) -> Array:
        """The numbers; the second time the same array."""
        if self.made is None:
            self.made = self.evaluate()
        return self.made

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides of the array."""
        return self.like().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype."""
        return self.like().dtype

    @property
    def ndim(self) -> int:
        """Number of its sides."""
        return self.like().ndim

    @property
    def size(self) -> int:
        """Number of its elements."""
        return self.like().size

    @property
    def nbytes(self) -> int:
        """Bytes that it would take."""
        return self.like().nbytes


class Held(Pending):
    """An array that others were promised to be computed from: they are, before anybody has it."""

    __slots__ = ("array", "promises")

    def __init__(self, array: Array) -> None:
        super().__init__()
        self.array = array
        self.promises: list[weakref.ref[Affine]] = []

    def like(self) -> Array:
        """The array itself."""
        return self.array

    def evaluate(self) -> Array:
        """The array itself, which may now be written to."""
        for promise in self.promises:
            pending = promise()
            if pending is not None:
                pending.compute()
        return self.array


class Affine(Pending):
    """``x*scale + shift``, and 0 where that is negative if ``relu``.

    x (n, c, h, w) lies channels last; scale and shift (c,) are float32 like x. ``names`` says which
    operations it stands for.

    >>> x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    >>> y = Affine(x, np.float32([2]), np.float32([-3]), relu=True)
    >>> y.shape, y.compute().tolist()
    ((1, 1, 2, 2), [[[[0.0, 0.0], [1.0, 3.0]]]])
    """

    __slots__ = ("held", "names", "relu", "scale", "shift", "x")

    def __init__(
        self, x: Array, scale: Array, shift: Array, relu: bool, names: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.x, self.scale, self.shift, self.relu = x, scale, shift, relu
        self.names = names
        self.held: Held | None = None

    def like(self) -> Array:
        """The array it is computed from."""
        return self.x

    def hold(self, held: Held) -> None:
        """Rely on ``held`` for x to stay as it is."""
        self.held = held
        held.promises.append(weakref.ref(self))

    def clipped(self, name: str) -> Affine:
        """What a ReLU makes of it."""
        out = Affine(self.x, self.scale, self.shift, True, (*self.names, name))
        if self.held is not None:
            out.hold(self.held)
        return out

    def evaluate(self) -> Array:
        """One pass over x."""
        from . import dispatch  # whose kernels take pending arrays

        return dispatch.channel_affine(self.x, self.scale, self.shift, relu=self.relu)


class Masked(Pending):
    """``g`` where ``by``, a ReLU's pending output, is positive, else 0: that ReLU's gradient."""

    __slots__ = ("by", "g")

    def __init__(self, g: Array, by: Affine) -> None:
        super().__init__()
        self.g, self.by = g, by

    def like(self) -> Array:
        """The array that is masked."""
        return self.g

    def evaluate(self) -> Array:
        """One pass over both."""
        from . import dispatch

        return dispatch.relu_backward(self.g, self.by.compute())
