"""Arrays that are not computed until somebody reads them.

Batch normalisation, and the ReLU after it, are one multiply-add per number: a pass over memory
that costs far more than its arithmetic. They therefore answer with an `Affine`, and a convolution
or a pooling that takes one computes it on the numbers that it loads anyway. Anybody else calls
`compute`.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Affine",
    "Gated",
    "Held",
    "Masked",
    "NormGradient",
    "Pending",
    "Scattered",
    "Total",
    "Weighed",
    "computed",
]

Array = npt.NDArray[Any]


class Pending:
    """What stands for an array (n, c, h, w) until its numbers are needed."""

    __slots__ = ("__weakref__", "made")

    made: Array | None
    """The numbers, once `compute` was called."""

    def __init__(self) -> None:
        self.made = None

    def like(self) -> Array | Pending:
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
        self.promises: list[weakref.ref[Affine] | weakref.ref[Total]] = []

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


class Scattered(Pending):
    """``g`` at its places in images of ``extent`` (h, w), else 0: the gradient of a max pooling
    whose windows tile the image.

    g and index are (n, c, h/kh, w/kw), channels last in memory; index is uint8, ``i*kw + j``.

    >>> g, index = np.float32([[[[5, 6]]]]), np.uint8([[[[1, 2]]]])
    >>> Scattered(g, index, (2, 4), (2, 2)).compute().tolist()
    [[[[0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0]]]]
    """

    __slots__ = ("extent", "g", "index", "kernel_size")

    def __init__(
        self, g: Array, index: Array, extent: tuple[int, int], kernel_size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.g, self.index, self.extent, self.kernel_size = g, index, extent, kernel_size

    def like(self) -> Array:
        """What is scattered; only its dtype and number of axes are those of the result."""
        return self.g

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides of the array."""
        return (*self.g.shape[:2], *self.extent)

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it would take."""
        return self.size * self.g.itemsize

    def evaluate(self) -> Array:
        """One pass over the images."""
        from . import dispatch

        kernel = self.kernel_size
        return dispatch.max_pool2d_scatter(
            self.g, self.index, size=self.extent, kernel_size=kernel, stride=kernel,
            padding=(0, 0), dilation=(1, 1), ceil_mode=False,
        )  # fmt: skip


class Total(Pending):
    """``a + b``, of the same shape and dtype: a residual block's sum, or two gradients of an array.

    ``names`` says which operations it stands for.

    >>> Total(np.float32([[[[1, 2]]]]), np.float32([[[[3, 5]]]])).compute().tolist()
    [[[[4.0, 7.0]]]]
    """

    __slots__ = ("held", "names", "parts")

    def __init__(self, a: Array | Pending, b: Array | Pending, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.parts: tuple[Array | Pending, ...] = (a, b)
        before = [name for part in self.parts for name in getattr(part, "names", ())]
        self.names = (*before, *names)
        self.held: list[Held] = []

    def hold(self, held: Held) -> None:
        """Rely on ``held`` for one of both to stay as it is."""
        self.held.append(held)
        held.promises.append(weakref.ref(self))

    def like(self) -> Array | Pending:
        """One of both, or the sum."""
        return self.parts[0] if self.made is None else self.made

    def compute(self) -> Array:
        """The sum; keeps the two no longer."""
        made = super().compute()
        self.parts, self.held = (), []
        return made

    def evaluate(self) -> Array:
        """One pass over both."""
        from . import dispatch

        a, b = (part if isinstance(part, Affine) else computed(part) for part in self.parts)
        with np.errstate(all="ignore"):  # as the operation does, see `Op.quiet`
            return dispatch.add(a, b)  # type: ignore[arg-type]  # which computes what it must


class Gated(Pending):
    """``g`` where ``y``, a ReLU's output that is there, is positive or NaN, else 0.

    >>> g, y = np.float32([[[[5, 5]]]]), np.float32([[[[2, 0]]]])
    >>> Gated(g, y).compute().tolist(), Gated(Total(g, g), y).compute().tolist()
    ([[[[5.0, 0.0]]]], [[[[10.0, 0.0]]]])
    """

    __slots__ = ("inputs",)

    def __init__(self, g: Array | Total, y: Array) -> None:
        super().__init__()
        self.inputs: tuple[Array | Total, Array] | None = (g, y)

    def like(self) -> Array:
        """The ReLU's output, or the gradient."""
        if self.inputs is None:
            assert self.made is not None
            return self.made
        return self.inputs[1]

    def settle(self, made: Array) -> None:
        """Take ``made`` for the numbers, and keep no longer what they were made from."""
        self.made, self.inputs = made, None

    def compute(self) -> Array:
        """The gradient; keeps no longer what it was made from."""
        if self.made is None:
            self.settle(self.evaluate())
        assert self.made is not None
        return self.made

    def evaluate(self) -> Array:
        """One pass over all."""
        from . import dispatch

        assert self.inputs is not None
        g, y = self.inputs
        return dispatch.relu_backward(g, y)  # type: ignore[arg-type]  # a `Total` too


class Weighed(Pending):
    """``g``, a gradient that is there, with the sums that a normalisation before it will need.

    ``sums`` are those of ``g``, masked by ``by``, and of its products with ``by.x - centre`` over
    each channel, float64 (c,), and the centre.
    """

    __slots__ = ("by", "g", "sums")

    def __init__(self, g: Array, by: Affine, sums: tuple[Array, ...]) -> None:
        super().__init__()
        self.g, self.by, self.sums = g, by, sums

    def like(self) -> Array:
        """The gradient."""
        return self.g

    def evaluate(self) -> Array:
        """The gradient."""
        return self.g


class Masked(Pending):
    """``g`` where ``by``, a ReLU's pending output, is positive, else 0: that ReLU's gradient.

    ``sums``, if they were taken when g was made, are those of `Weighed`.

    >>> by = Affine(np.float32([[[[1, -1]]]]), np.float32([1]), np.float32([0]), relu=True)
    >>> Masked(np.float32([[[[5, 5]]]]), by).compute().tolist()
    [[[[5.0, 0.0]]]]
    """

    __slots__ = ("by", "g", "sums")

    def __init__(
        self, g: Array | Scattered, by: Affine, sums: tuple[Array, ...] | None = None
    ) -> None:
        super().__init__()
        self.g, self.by, self.sums = g, by, sums

    def like(self) -> Array:
        """The array that the mask is computed from."""
        return self.by.x

    def evaluate(self) -> Array:
        """One pass over both."""
        from . import dispatch

        return dispatch.relu_backward(computed(self.g), self.by.compute())


class NormGradient(Pending):
    """``g*scale + x*slope + shift``: the gradient of batch normalisation in its input x.

    g (n, c, h, w) may be `Masked` by an affine function of the same x; the others are (c,). The
    three numbers of a channel follow from its sums, which must have been taken before.

    >>> x, one = np.float32([[[[1, 2]]]]), np.float32([1])
    >>> NormGradient(np.float32([[[[5, 5]]]]), x, one, -one, one).compute().tolist()
    [[[[5.0, 4.0]]]]
    """

    __slots__ = ("g", "scale", "shift", "slope", "x")

    def __init__(
        self, g: Array | Scattered | Masked, x: Array, scale: Array, slope: Array, shift: Array
    ) -> None:
        super().__init__()
        self.g, self.x, self.scale, self.slope, self.shift = g, x, scale, slope, shift

    def like(self) -> Array:
        """The input."""
        return self.x

    def evaluate(self) -> Array:
        """Three passes; a compiled kernel has a single one."""
        from . import dispatch

        out = dispatch.channel_affine(self.x, self.slope, self.shift)
        out += dispatch.channel_affine(computed(self.g), self.scale, np.zeros_like(self.scale))
        return out


def computed(x: Array | Pending) -> Array:
    """The array itself, or the one that is pending."""
    return x.compute() if isinstance(x, Pending) else x
