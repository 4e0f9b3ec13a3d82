"""L-BFGS, with or without a line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd import enable_grad
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.optim.optimizer import Closure, Group, Optimizer, Params, State
from tinygrad_cnn.types import Array, DType

_VECTORS = ("d", "prev_flat_grad")


class LBFGS(Optimizer):
    """Newton's method with a Hessian that is guessed from the last gradients.

    `step` needs a closure, which clears the gradients, computes the loss, calls ``backward`` and
    returns the loss: one step takes up to ``max_iter`` iterations, and calls it up to ``max_eval``
    times (default ``1.25 * max_iter``). It ends where the largest gradient is at most
    ``tolerance_grad``, or loss and parameters change by less than ``tolerance_change``. Each
    iteration goes ``lr`` times the direction or, with ``line_search_fn="strong_wolfe"``, as far as
    Wolfe's conditions say. There is one group of parameters, and ``history_size`` pairs of vectors
    of the size of all parameters are kept.

    State, that of the first parameter: ``func_evals``, ``n_iter``, and vectors of all parameters:
    ``d`` (the direction), ``prev_flat_grad``, lists ``old_dirs`` (differences of gradients),
    ``old_stps`` (of parameters), and ``ro``, ``al``, ``t``, ``H_diag``, ``prev_loss``. Source:
    Nocedal and Wright, "Numerical optimization", 2006, algorithms 3.5, 3.6, 7.4 and 7.5.

    Raises
    ------
    ValueError
        ``lr`` is negative, there are several groups, or ``line_search_fn`` is unknown.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> x = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> lbfgs = optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     lbfgs.zero_grad()
    ...     loss = (x**2 + x**4).sum()
    ...     loss.backward()
    ...     return loss
    >>> first_loss = lbfgs.step(closure)
    >>> first_loss.item(), bool((x.abs() < 1e-4).all())
    (362.0, True)
    """

    not_negative = ("lr",)  # tolerances below 0 are never met
    other_shapes = frozenset(_VECTORS)

    def __init__(
        self,
        params: Params,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, options)

    def add_param_group(self, param_group: Group) -> None:
        """Add the only group of parameters."""
        if self.param_groups:
            raise ArgumentError("LBFGS: there are several groups but one is expected")
        super().add_param_group(param_group)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option is out of range."""
        super().check_options(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ArgumentError(
                f"LBFGS: `line_search_fn` is {group['line_search_fn']!r} but None or "
                f"'strong_wolfe' is expected"
            )

    def step(self, closure: Closure | None = None) -> Any:
        """Take up to ``max_iter`` iterations; returns the loss before them.

        Raises
        ------
        TypeError
            There is no ``closure``.
        """
        if closure is None:
            raise DtypeError("LBFGS: step needs a `closure` that computes the loss and gradients")
        self.step_count += 1
        return self._iterate(enable_grad()(closure))

    @ignore_fp_errors
    def _iterate(self, closure: Closure) -> Any:
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        lr, most, history = float(group["lr"]), group["max_eval"], group["history_size"]
        loss, g = self._losses(closure)
        first_loss, evaluations = loss, 1
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        if np.abs(g).max(initial=0.0) <= group["tolerance_grad"]:
            return first_loss
        value = float(loss)
        memory = _Memory.of(state, history)
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = -g if state["n_iter"] == 1 else memory.direction(g)
            t = min(1.0, 1.0 / float(np.abs(g).sum())) * lr if state["n_iter"] == 1 else lr
            memory.last_g, memory.d, memory.t, before = g, d, t, value
            memory.loss = before
            slope = float(g @ d)
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                start = self._flat()
                here = _Point(0.0, value, g, slope)

                def at(t: float, start: Array = start, d: Array = d) -> _Point:
                    self._write(start + t * d)
                    loss, g = self._losses(closure)
                    return _Point(t, float(loss), g, float(g @ d))

                found, used = _strong_wolfe(at, here, t, float(np.abs(d).max()), most - evaluations)
                t = memory.t = found.t
                value, g = found.loss, found.g
                self._write(start + t * d)
            else:
                self._write(self._flat() + t * d)
                if iteration < group["max_iter"]:  # the last one's gradient is not needed
                    loss, g = self._losses(closure)
                    value, used = float(loss), 1
            evaluations += used
            state["func_evals"] += used
            if (
                iteration == group["max_iter"]
                or evaluations >= most
                or np.abs(g).max() <= group["tolerance_grad"]
                or np.abs(t * d).max() <= group["tolerance_change"]
                or abs(value - before) < group["tolerance_change"]
            ):
                break
        memory.keep(state)
        return first_loss

    def _losses(self, closure: Closure) -> tuple[Any, Array]:
        """The loss, and the gradients of all parameters as a vector."""
        loss = closure()
        parts = [
            np.zeros(p._value.shape, p.dtype) if p._grad is None else p._grad._array
            for p in self.param_groups[0]["params"]
        ]
        return loss, np.concatenate([_numbers(g) for g in parts])

    def _flat(self) -> Array:
        """All parameters as a vector."""
        return np.concatenate([_numbers(p._array) for p in self.param_groups[0]["params"]])

    def _write(self, values: Array) -> None:
        """Have the parameters of a vector."""
        at = 0
        for p in self.param_groups[0]["params"]:
            here = p._written_by("LBFGS.step")
            n = here.size * (2 if here.dtype.kind == "c" else 1)
            np.copyto(
                here, values[at : at + n].astype(_real(here)).view(here.dtype).reshape(here.shape)
            )
            at += n


def _real(a: Array) -> DType:
    """The dtype of an array's real parts."""
    return a.real.dtype


def _numbers(a: Array) -> Array:
    """An array as a vector of real numbers."""
    return np.ascontiguousarray(a).reshape(-1).view(_real(a))


class _Memory:
    """What is known of the Hessian: the last changes of the gradient and of the parameters."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.changes: list[Array] = []  # of the gradient
        self.moves: list[Array] = []  # of the parameters
        self.weights: list[float] = []
        self.al: list[float | None] = []
        self.scale = 1.0
        self.d = self.last_g = np.zeros(0)
        self.t = self.loss = 0.0

    @classmethod
    def of(cls, state: State, size: int) -> _Memory:
        """What an optimiser's state holds."""
        self = cls(size)
        if "d" in state:
            self.changes, self.moves = _arrays(state["old_dirs"]), _arrays(state["old_stps"])
            self.weights = [float(w) for w in state["ro"]]
            self.al = list(state.get("al", []))
            self.scale, self.t = float(state["H_diag"]), float(state["t"])
            self.d, self.last_g = _arrays([state["d"], state["prev_flat_grad"]])
        return self

    def keep(self, state: State) -> None:
        """Write it to an optimiser's state."""
        state["d"], state["prev_flat_grad"] = from_numpy(self.d), from_numpy(self.last_g)
        state["old_dirs"] = [from_numpy(y) for y in self.changes]
        state["old_stps"] = [from_numpy(s) for s in self.moves]
        state["ro"], state["H_diag"] = list(self.weights), self.scale
        state["t"], state["prev_loss"] = self.t, self.loss
        if self.al:
            state["al"] = list(self.al)

    def direction(self, g: Array) -> Array:
        """Take note of the gradient ``g``, and return the direction to go."""
        y, s = g - self.last_g, self.d * self.t
        ys = float(y @ s)
        if ys > 1e-10:
            if len(self.changes) == self.size:
                del self.changes[0], self.moves[0], self.weights[0]
            self.changes.append(y)
            self.moves.append(s)
            self.weights.append(1.0 / ys)
            self.scale = ys / float(y @ y)
        self.al = self.al or [None] * self.size
        q, along = -g, [0.0] * len(self.changes)
        for i in reversed(range(len(self.changes))):
            self.al[i] = along[i] = float(self.moves[i] @ q) * self.weights[i]
            q -= along[i] * self.changes[i]
        q *= self.scale
        for i, y in enumerate(self.changes):
            q += (along[i] - float(y @ q) * self.weights[i]) * self.moves[i]
        return q


def _arrays(tensors: Sequence[Any]) -> list[Array]:
    """The vectors of a state: tensors, or arrays as a file may have them."""
    return [np.array(getattr(t, "_array", t)) for t in tensors]


class _Point(NamedTuple):
    """A place on the line: how far along, the loss, the gradient, the slope of the line."""

    t: float
    loss: float
    g: Array
    slope: float


def _strong_wolfe(
    at: Callable[[float], _Point], start: _Point, t: float, largest: float, most: int
) -> tuple[_Point, int]:
    """A place where Wolfe's strong conditions hold, and how often the function was called.

    ``largest`` is the largest change of a parameter for t = 1.
    """
    before, here, used, rounds = start, at(t), 1, 0

    def rises(p: _Point) -> bool:
        return p.loss > start.loss + 1e-4 * p.t * start.slope

    def is_flat(p: _Point) -> bool:
        return abs(p.slope) <= -0.9 * start.slope

    # Outwards, until there is a minimum between two places.
    ends = [start, here]
    while rounds < most:
        if rises(here) or (rounds > 1 and here.loss >= before.loss):
            ends = [before, here]
            break
        if is_flat(here):
            return here, used
        if here.slope >= 0:
            ends = [before, here]
            break
        bounds = here.t + 0.01 * (here.t - before.t), here.t * 10
        before, here = here, at(_lowest(before, here, *bounds))
        used, rounds = used + 1, rounds + 1
        ends = [start, here]
    # Inwards, to a place that is flat enough.
    low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
    stuck = False
    while rounds < most and abs(ends[1].t - ends[0].t) * largest >= 1e-9:
        left, right = sorted((ends[0].t, ends[1].t))
        t = _lowest(ends[0], ends[1], left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) >= margin:
            stuck = False
        elif stuck or t >= right or t <= left:
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            stuck = False
        else:
            stuck = True
        here, used, rounds = at(t), used + 1, rounds + 1
        if rises(here) or here.loss >= ends[low].loss:
            ends[high] = here
            low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
            continue
        done = is_flat(here)
        if not done and here.slope * (ends[high].t - ends[low].t) >= 0:
            ends[high] = ends[low]
        ends[low] = here
        if done:
            break
    return ends[low], used


def _lowest(a: _Point, b: _Point, least: float, most: float) -> float:
    """Where the cubic through two places, with their slopes, is lowest within bounds."""
    lean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = lean**2 - a.slope * b.slope
    if square < 0:
        return (least + most) / 2
    left, right = (a, b) if a.t <= b.t else (b, a)
    root = math.sqrt(square)
    part = (right.slope + root - lean) / (right.slope - left.slope + 2 * root)
    return min(max(right.t - (right.t - left.t) * part, least), most)
