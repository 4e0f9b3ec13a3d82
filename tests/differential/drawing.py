"""How what stands in braces in an instruction is drawn, from what there is at that point."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from .indices import Indices
from .run import Run

_LARGEST = 4096  # numbers in a tensor that is still used


class Drawing:
    """A program being drawn.

    Parameters
    ----------
    draw
        The source of choices: one of `tinygrad_cnn.testing.draws`.
    run
        The program so far: what is drawn depends on which tensors there are.
    off
        Groups and forms of indices not to use.
    """

    def __init__(self, draw: Any, run: Run, off: Collection[str] = ()) -> None:
        self.draw, self.run = draw, run
        self._indices = Indices(draw, off)
        self._channels = draw.choice((4, 3, 8, 16))
        self._count: dict[str, int] = {}
        self._expanded: list[Any] = []
        self._name = ""  # of the tensor that was drawn last
        self._at: Any = None  # what the next choices must fit: it, or a part of it
        self._whole: Any = None  # it
        self._axis, self._chosen, self._module = 0, 0, ""

    def fill(self, template: str) -> str | None:
        """A statement, which may well raise: some choices are wrong on purpose. None where there
        is nothing yet that the instruction could use.
        """
        known: dict[str, str] = {}
        out = []
        count = dict(self._count)
        for text, hole, _, _ in string.Formatter().parse(template):
            out.append(text)
            if hole is None:
                continue
            if hole not in known:
                drawn = self._drawn(hole.rstrip("0123456789"))
                if drawn is None:
                    self._count = count
                    return None
                known[hole] = str(drawn)
            out.append(known[hole])
        return "".join(out)

    def _drawn(self, hole: str) -> object:
        if hole.startswith("new"):
            return self._new(hole.removeprefix("new"))
        if hole in ("a", "b", "h", "o"):  # arrays, booleans, handles, optimisers
            return self._pick(self._named(hole))
        return getattr(self, hole)()

    # ---- choices that need nothing ---------------------------------------------------------

    def rarely(self) -> bool:
        return bool(self.draw.integer(0, 39) == 39)

    def seed(self) -> int:
        return int(self.draw.integer(0, 99))

    def small(self) -> int:
        return int(self.draw.integer(1, 3))

    def number(self) -> str:
        return str(self.draw.choice(("2", "-1.5", "0.5", "0", "1", "-3")))

    def scalar(self) -> str:
        return f"tensor({self.seed()}){self.draw.choice(('', '.requires_grad_()'))}"

    def c(self) -> int:
        return int(self._channels)

    def _shape(self) -> tuple[int, ...]:
        sides = self.draw.integer(0, 3)
        return tuple(self.draw.choice((3, 2, 1, 4, 3, 2, 1, 0)) for _ in range(sides))

    def shape(self) -> str:
        return ", ".join(map(str, self._shape()))

    def size(self) -> str:
        return str(self._shape())

    def image_shape(self) -> str:
        n, h, w = self.draw.choice((2, 1, 3)), *(self.draw.choice((4, 6, 8, 5, 9)) for _ in "hw")
        return f"{n}, {self.c()}, {h}, {w}"

    def integers(self) -> str:
        return str([self.draw.integer(0, 2) for _ in range(self.draw.integer(1, 3))])

    # ---- names -----------------------------------------------------------------------------

    def _new(self, prefix: str) -> str:
        count = self._count[prefix] = self._count.get(prefix, -1) + 1
        return f"{prefix}{count}"

    def label(self) -> str:
        return f'"{self._new("seen ")}"'

    def _named(self, prefix: str) -> list[str]:
        return [name for name in self.run.variables() if name[0] == prefix][::-1]

    def _pick(self, names: list[str]) -> str | None:
        """The newer the likelier."""
        if not names:
            return None
        places = [self.draw.integer(0, len(names) - 1) for _ in "ab"]
        return names[min(places)]

    def i(self) -> str | None:
        """An index for the last axis chosen, or the first."""
        side = self._side() if self._name else 3
        names = [i for i in self._named("i") if _array(self.run.names[i]).max(initial=0) < side]
        return self._pick(names)

    def m(self) -> str | None:
        name = self._pick(self._named("m"))
        self._module = name or self._module
        return name

    def any(self) -> str | None:
        return self._pick(list(self.run.variables())[::-1])

    # ---- tensors ---------------------------------------------------------------------------

    def _tensors(self, fits: Callable[[Any], Any] = lambda x: True) -> list[str]:
        """The names of floating tensors, the newest first."""
        return [
            name
            for name in self._named("x")
            if _holds(lambda x: x.numel() <= _LARGEST and fits(x), self.run.names[name])
        ]

    def _one(self, fits: Callable[[Any], Any] = lambda x: True) -> str | None:
        name = self._pick(self._tensors(fits))
        if name is not None:
            self._name, self._at = name, self.run.names[name]
            self._whole, self._axis = self._at, 0
        return name

    def x(self) -> str | None:
        return self._one()

    def w(self) -> str | None:
        """One that can probably be changed in place."""
        if self.draw.integer(0, 9) == 9:
            return self._one(lambda x: self._is_full(x) and not (x.is_leaf and _is_view(x)))
        return self._one(lambda x: not (x.is_leaf and x.requires_grad) and self._is_full(x))

    def v(self) -> str | None:
        """One whose shape can probably be changed in place, and is no gradient: see `LEFT_OUT`."""
        named = [self.run.names[name] for name in self._tensors(lambda x: x.is_leaf)]
        gradients = {id(x.grad) for x in named}
        return self._one(
            lambda x: (
                id(x) not in gradients
                and not x.retains_grad
                and not (x.is_leaf and (x.requires_grad or _is_view(x)))
            )
        )

    def rows(self) -> str | None:
        """One whose elements lie in their order in memory."""
        return self._one(lambda x: x.is_contiguous() and x.numel() > 0)

    def leaf(self) -> str | None:
        return self._one(lambda x: x.is_leaf and x.requires_grad)

    def graph(self) -> str | None:
        return self._one(lambda x: not x.is_leaf) or (self._one() if self.rarely() else None)

    def needs(self) -> str | None:
        return self._one(lambda x: x.requires_grad and not _is_view(x))

    def hooked(self) -> str | None:
        """Its hooks stay where they are: see `LEFT_OUT`."""
        return self._one(lambda x: x.requires_grad and not _is_view(x) and not _is_part(x))

    def full(self) -> str | None:
        """Every number in a place of its own."""
        return self._one(self._is_full)

    def _is_full(self, x: Any) -> bool:
        seen = self._expanded if _is_view(x) else ()
        return not _is_expanded(x) and not any(_share(x, other) for other in seen)

    def note_expanded(self) -> None:
        """Remember the tensors of which one number stands for many: no view of theirs is full."""
        known = {id(x) for x in self._expanded}
        for name in self._named("x"):
            x = self.run.names[name]
            if id(x) not in known and _holds(_is_expanded, x):
                self._expanded.append(x)

    def base(self) -> str | None:
        return self._one(lambda x: not _is_view(x))

    def constant(self) -> str | None:
        return self._one(lambda x: not x.requires_grad and not _is_view(x))

    def alone(self) -> str | None:
        """No other has its memory."""
        names = self.run.names
        others = [names[name] for name in self._tensors()]

        def fits(x: Any) -> bool:
            return all(x is other or not (_share(x, other) or _is_view(other)) for other in others)

        return self._one(fits)

    def twin(self) -> str | None:
        """A module that was built like the last."""
        state = {k: v.shape for k, v in self.run.names[self._module].state_dict().items()}
        names = [
            name
            for name in self._named("m")
            if state == {k: v.shape for k, v in self.run.names[name].state_dict().items()}
        ]
        return self._pick(names)

    def known(self) -> str | None:
        """One whose gradient is there."""
        return self._one(lambda x: (x.is_leaf or x.retains_grad) and x.grad is not None)

    def matrix(self) -> str | None:
        return self._one(lambda x: x.ndim == 2)

    def image(self) -> str | None:
        c = self._channels
        return self._one(lambda x: x.ndim == 4 and (x.shape[1] == c or self.rarely()))

    def filters(self) -> str:
        c = self._channels
        found = self._pick(self._tensors(lambda x: tuple(x.shape) == (c, c, 3, 3)))
        return found or f"tensor({self.seed()}, {c}, {c}, 3, 3).requires_grad_()"

    def bias(self) -> str:
        found = self._pick(self._tensors(lambda x: tuple(x.shape) == (self._channels,)))
        return found or f"tensor({self.seed()}, {self._channels})"

    def mean(self) -> str:
        return f"{self.bias()}.detach()"

    # ---- what fits the last tensor -----------------------------------------------------------

    def _fitting(self, write: bool) -> list[str]:
        shape = tuple(self._at.shape)

        def fits(x: Any) -> bool:
            try:
                wide = np.broadcast_shapes(tuple(x.shape), shape) == shape
            except ValueError:
                return False
            return wide and not (write and _overlaps(x, self._at, self._whole))

        return self._tensors(fits)

    def _tensor(self, write: bool) -> str:
        if self.rarely() and not write:
            return self._pick(self._tensors()) or "tensor(0)"
        found = self._pick(self._fitting(write))
        if found is None or self.draw.integer(0, 4) == 4:
            shape = tuple(self._at.shape)[self.draw.integer(0, self._at.ndim) :]
            sides = ", ".join(map(str, shape))
            return f"tensor({self.seed()}, {sides}){self.draw.choice(('', '.requires_grad_()'))}"
        return found

    def tensor(self) -> str:
        return self._tensor(False)

    def operand(self) -> str:
        return self.number() if self.draw.integer(0, 5) == 5 else self._tensor(False)

    def source_tensor(self) -> str:
        """For a write: its memory does not overlap the target's in part."""
        return self._tensor(True)

    def source(self) -> str:
        return self.number() if self.draw.integer(0, 5) == 5 else self._tensor(True)

    def alike(self) -> str | None:
        shape = tuple(self._at.shape)
        return self._pick(self._tensors(lambda x: tuple(x.shape) == shape))

    def mask(self) -> str:
        compared = f"{self._name} > {self.number()}"
        shape = tuple(self._at.shape)
        if not shape or self.draw.choice((False, True)):
            return compared
        return f"tensor({self.seed()}, {', '.join(map(str, shape[-1:]))}) > 0"

    def numel(self) -> int:
        return int(self._at.numel())

    def columns(self) -> int:
        return int(self._at.shape[1])

    def axis(self) -> int:
        n = self._at.ndim
        self._axis = self.draw.integer(-n, n - 1) if n else self.draw.choice((0, -1))
        return n + 1 if self.rarely() else self._axis

    def axis_or_end(self) -> int:
        n = self._at.ndim
        return int(self.draw.integer(-n - 1, n))

    def _side(self) -> int:
        return int(self._at.shape[self._axis]) if self._at.ndim else 1

    def window(self) -> int:
        return min(self.small(), self._side()) + self.rarely()

    def strided(self) -> str:
        """A size and strides that reach no further than the last tensor."""
        left, size, stride = self.numel() - 1, [], []
        for _ in range(self.draw.integer(0, 2)):
            size.append(self.draw.integer(1, 3))
            stride.append(self.draw.integer(1, 4))
            if (size[-1] - 1) * stride[-1] > left:
                size[-1] = 1
            left -= (size[-1] - 1) * stride[-1]
        return f"{size}, {stride}"

    def position(self) -> int:
        return int(self.draw.integer(0, max(self._side() - 1, 0) + self.rarely()))

    def positions(self) -> str:
        chosen = self._indices.positions(self._side(), self.draw.integer(1, 2))
        self._chosen = len(chosen)
        side = self._side()
        return f"T.tensor({[i % side for i in chosen] if side else []}, dtype=T.int64)"

    def slices(self) -> str:
        """The shape of the chosen slices along the axis."""
        sides = list(self._at.shape)
        if sides:
            sides[self._axis] = self._chosen
        return ", ".join(map(str, sides))

    def vector(self) -> str:
        n = int(self._at.shape[0]) if self._at.ndim else 1
        chosen = [i % n for i in self._indices.positions(n, 2)] if n else []
        return f"T.tensor({chosen}, dtype=T.int64)"

    def permutation(self) -> str:
        left = list(range(self._at.ndim))
        order = [left.pop(self.draw.integer(0, len(left) - 1)) for _ in range(len(left))]
        return ", ".join(map(str, order)) if order else "()"

    def reshaped(self) -> str:
        shape = tuple(self._at.shape)
        n = math.prod(shape)
        forms = ["-1", "1, -1", "-1, 1", ", ".join(map(str, (*shape, 1)))]
        forms += [f"{k}, -1" for k in (2, 3, 4) if n and n % k == 0]
        if len(shape) > 1:
            forms.append(", ".join(map(str, (shape[0] * shape[1], *shape[2:]))))
            forms.append(", ".join(map(str, (*shape[:-2], shape[-2] * shape[-1]))))
        return str(self.draw.choice(forms))

    def expanded(self) -> str:
        sides = [self.draw.choice((3, 1, -1)) if n == 1 else -1 for n in self._at.shape]
        if self.draw.choice((False, True)) or not sides:
            sides.insert(0, 2)
        return ", ".join(map(str, sides))

    def basic(self) -> str:
        return self._indices.basic(tuple(self._at.shape))

    def index(self) -> str:
        return self._indices.any(tuple(self._at.shape))

    def unique(self) -> str:
        return self._indices.any(tuple(self._at.shape), unique=True)

    def target(self) -> str | None:
        """``x[index]`` to write to; what is drawn next fits it."""
        return self._part(self.w())

    def named(self) -> str | None:
        """The same, for ``+=``: see `LEFT_OUT`."""
        return self._part(
            self._one(lambda x: not _is_view(x) and not (x.is_leaf and x.requires_grad))
        )

    def _part(self, name: str | None) -> str | None:
        if name is None:
            return None
        text = f"{name}[{self.unique()}]"
        part = self.run.look(text)
        self._at = self._at if part is None else part
        return text


def _array(x: Any) -> Any:
    return np.asarray(x.detach())


def _share(x: Any, other: Any) -> bool:
    return bool(np.may_share_memory(_array(x), _array(other)))


def _overlaps(x: Any, target: Any, whole: Any) -> bool:
    """Whether writing x to the target reads what is being written, but not number by number."""
    a, b = _array(x), _array(target)
    if not a.size:
        return True
    same = a.__array_interface__["data"] == b.__array_interface__["data"]
    if same and a.shape == b.shape and a.strides == b.strides:
        return False
    return _share(x, whole)


def gradients_share_memory(run: Run) -> bool:
    """Whether what is added to one leaf's gradient is added to another's."""
    values = run.variables().values()
    leaves = {id(x): x for x in values if _holds(lambda x: x.is_leaf and x.grad is not None, x)}
    found = [x.grad for x in leaves.values()]
    return any(_share(a, b) for i, a in enumerate(found) for b in found[:i] if a is not b)


def _holds(fits: Callable[[Any], Any], x: Any) -> bool:
    """Whether it fits: no tensor does not, nor a view that PyTorch has cut off."""
    try:
        return bool(fits(x))
    except (AttributeError, RuntimeError):
        return False


def _is_view(x: Any) -> bool:
    return bool(x._is_view() if hasattr(x, "_is_view") else x.view_of is not None)


def _is_expanded(x: Any) -> bool:
    """Whether several of its elements are one in memory."""
    places = np.zeros((), int)
    for n, step in zip(x.shape, x.stride(), strict=True):
        places = places[..., None] + np.arange(n) * step
    return not x.is_contiguous() and len(np.unique(places)) < places.size


def _is_part(x: Any) -> bool:
    """Whether it is one of several results of one operation."""
    return type(x.grad_fn).__name__.startswith(("Split", "Unbind", "Halves"))
