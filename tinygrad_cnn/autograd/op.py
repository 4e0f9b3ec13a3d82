"""`Op`: a differentiable operation, its forward pass and its derivative rules."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.modes import is_anomaly_enabled, is_recording
from tinygrad_cnn.autograd.node import Node, Saved, SavedValue
from tinygrad_cnn.autograd.observe import observer, watching
from tinygrad_cnn.autograd.quiet import quietly
from tinygrad_cnn.autograd.variable import (
    Variable,
    View,
    boxed,
    memory_of,
    wrap,
)
from tinygrad_cnn.autograd.waiting import mark_fused, rely, waits
from tinygrad_cnn.kernels.pending import Affine, Pending, Total

__all__ = ["Op", "isolate"]

_AMBIENT = ("y", "params", "shapes", "dtypes", "needs")
_SHAPED = (np.ndarray, Pending)
_ARRAY, _ARRAYS = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL


class Rule:
    """A derivative rule and the names it asks for."""

    __slots__ = ("function", "names")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.names = tuple(inspect.signature(function).parameters)[1:]  # the first is always `g`


class Op:
    """A differentiable operation. Call it with tensors (or numbers, or None where optional).

    Made by the decorator `op`; its docstring is the forward function's.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        vjp: Callable[..., Any] | tuple[Callable[..., Any] | None, ...] | None,
        *,
        joint: Callable[..., Any] | None = None,
        fused: Callable[..., Any] | None = None,
        reference: Callable[..., Any] | None = None,
        broadcasts: bool = False,
        promotes: str = "",
        quiet: bool = False,
        view: bool = False,
        waits: bool = False,
        takes: tuple[str, ...] = (),
        takes_sums: bool = False,
        offers: tuple[str, ...] = (),
        samples: Callable[..., Any] | None = None,
        errors: tuple[Any, ...] = (),
    ) -> None:
        functools.update_wrapper(self, forward)
        self.name: str = forward.__name__
        self.forward, self.reference = forward, reference
        self.broadcasts, self.promotes, self.view = broadcasts, promotes, view
        self.quiet, self.waits = quiet, waits
        self.samples, self.errors = samples, errors
        signature = inspect.signature(forward).parameters.values()
        self.args = tuple(p.name for p in signature if p.kind in (_ARRAY, _ARRAYS))
        self.variadic = any(p.kind is _ARRAYS for p in signature)
        self.defaults = {
            p.name: p.default
            for p in signature
            if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not p.empty
        }
        assert forward.__doc__, f"{self.name}: an operation needs a docstring"
        assert not {*self.args, *self.defaults}.intersection(("g", *_AMBIENT)), self.name
        assert (fused is None) == (reference is None), f"{self.name}: fused needs a reference"
        assert (fused is None) != (vjp is None), f"{self.name}: either vjp or fused"
        assert joint is None or isinstance(vjp, tuple), f"{self.name}: joint goes with vjp"

        # What runs on raw arrays while gradients are not recorded: one rule for all inputs.
        self.fused = Rule(fused) if fused is not None else None
        self.joint = Rule(joint) if joint is not None else self.fused
        rules = vjp if isinstance(vjp, tuple) else (vjp,) * (vjp is not None)
        self.rules = tuple(Rule(r) if r is not None else None for r in rules)
        if self.fused is None:
            assert len(self.rules) == len(self.args), f"{self.name}: one rule for every argument"
        wanted = {n for r in (*self.rules, self.fused) if r is not None for n in r.names}
        if self.joint is not None:
            assert wanted.issuperset({*self.joint.names} - {*_AMBIENT}), self.name
        # Every kept value with the inputs whose rules name it: if none of these inputs wants a
        # gradient, it is not kept. A joint rule, and a reference, which is run on the inputs,
        # serve all of them.
        together = self.variadic or fused is not None
        self.output_users = () if together else self._users("y")
        self.keeps_output = "y" in wanted
        self.kept = tuple(
            (i, n, () if together else self._users(n))
            for i, n in enumerate(self.args)
            if n in wanted or reference is not None
        )
        self.residual_names = wanted.union(offers) - {*self.args, *_AMBIENT}
        # The arguments, and the gradient `g`, that may come uncomputed.
        self.takes, self.takes_sums = frozenset(takes), takes_sums
        self.pending_args = frozenset(i for i, n in enumerate(self.args) if n in takes)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def _users(self, name: str) -> tuple[int, ...]:
        """The inputs whose rules name ``name``."""
        return tuple(i for i, r in enumerate(self.rules) if r is not None and name in r.names)

    # ---- forward ---------------------------------------------------------------------------

    def __call__(self, *args: Any, **params: Any) -> Any:
        if watching and (observe := observer.get()) is not None:
            return observe(self.name, self, args, params)
        arrays: list[Any] = []
        parents: list[Any] = []
        result: Any
        live = False
        for a in args:
            if isinstance(a, Variable):
                arrays.append(a.array if a.pending is None else self._pending(a, len(arrays)))
                node = a.node if a.view_of is None else a.current_node()
                parents.append(node)
                if node is not None:
                    live = True
            else:  # a constant: a number, an array, or None for an argument left out
                arrays.append(a)
                parents.append(None)
        if self.promotes and not _one_float_dtype(arrays):
            args = self._promoted(args, arrays)
            arrays = [a.array if isinstance(a, Variable) else a for a in args]
            parents = [a.node if isinstance(a, Variable) else None for a in args]
        try:
            if self.quiet:  # as in PyTorch, 1/0 is inf, not a warning
                result = quietly(self.forward, arrays, params)
            else:
                result = self.forward(*arrays, **params)
        except ValueError as error:
            if self.broadcasts and "broadcast" in str(error):
                shapes = " and ".join(str(np.shape(a)) for a in arrays)
                raise ValueError(f"{self.name}: shapes {shapes} do not broadcast") from None
            raise
        residuals = None
        if type(result) is Saved:
            result, residuals = result.out, result.residuals
        if live and is_recording() and result.dtype.kind == "f":
            out = self.record(result, args, arrays, tuple(parents), params, residuals)
        else:
            out = wrap(result)
        if self.waits and type(result) in (Affine, Total):
            rely(result, out, args)
        if self.pending_args or out.pending is not None:
            mark_fused(out, arrays)
        if self.view:
            self._track_view(out, args[0], params)
        return out

    def _pending(self, a: Variable, i: int) -> Any:
        """The values of argument ``i``, or what stands for them if this operation takes that."""
        pending = a.pending
        if i in self.pending_args and waits(pending):
            if self.takes_sums or type(pending) is not Total:
                return pending
        return a.array

    def record(
        self,
        result: Any,
        args: Sequence[Any],
        arrays: Sequence[Any],
        parents: tuple[Any, ...],
        params: dict[str, Any],
        residuals: dict[str, Any] | None = None,
    ) -> Any:
        """A tensor around ``result`` with a node that says how it came to be."""
        saved: dict[str, Any] = {}
        for i, name, users in self.kept:
            if users and not _any_lives(users, parents):
                continue
            if self.variadic and i == len(self.args) - 1:
                saved[name] = [
                    _keep(a, x, p)
                    for a, x, p in zip(args[i:], arrays[i:], parents[i:], strict=True)
                ]
            elif i < len(args):
                saved[name] = _keep(args[i], arrays[i], parents[i])
        if residuals is not None:
            for name in self.residual_names:
                if name in residuals:
                    saved[name] = residuals[name]
        shapes = tuple([x.shape if isinstance(x, _SHAPED) else () for x in arrays])
        dtypes = tuple([x.dtype if isinstance(x, _SHAPED) else None for x in arrays])
        node = Node(self, parents, shapes, dtypes, params, saved)
        if is_anomaly_enabled():
            node.trace = "".join(traceback.format_stack()[:-2])
        out = wrap(result, node)
        if self.keeps_output and (not self.output_users or _any_lives(self.output_users, parents)):
            saved["y"] = _kept(out, result, None)
        return out

    def _promoted(self, args: tuple[Any, ...], arrays: list[Any]) -> tuple[Any, ...]:
        """The arguments in one dtype, as PyTorch promotes them."""
        common = promotion.common_dtype([x for x in arrays if x is not None])
        if self.promotes == "float" and common.kind != "f":
            common = promotion.get_default_dtype()
        return tuple(None if a is None else _cast(a, common) for a in args)

    def _track_view(self, out: Any, source: Any, params: dict[str, Any]) -> None:
        """Let ``out`` share its source's version, and know how to be replayed from its base."""
        if not isinstance(source, Variable) or memory_of(out.array) is not memory_of(source.array):
            return
        out.version = source.version
        tracked = is_recording()
        before = source.view_of
        if before is None:
            out.view_of = View(source, ((self, params),), tracked)
        else:
            steps = (*before.steps, (self, params))
            out.view_of = View(before.base, steps, tracked and before.tracked)

    # ---- backward --------------------------------------------------------------------------

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> tuple[Any, ...]:
        """Gradients for the inputs that are ``wanted``, in the order of the arguments."""
        if self.joint is not None and not recording:
            values = [self._for_joint(n, node, wanted) for n in self.joint.names]
            late = g.pending is not None and "g" in self.takes and waits(g.pending)
            gradients = self.joint.function(g.pending if late else g.array, *values)
            return tuple([None if a is None else wrap(a) for a in gradients])
        if self.fused is not None:
            return self._through_reference(node, g, wanted)
        have = {}
        if self.variadic:  # one joint rule for all of them
            rule = self.rules[0]
            assert rule is not None
            values = [self._fetch(n, node, wanted) for n in rule.names]
            return tuple(rule.function(g, *values))
        out: list[Any] = []
        for rule, want in zip(self.rules, wanted, strict=False):
            if rule is None or not want:
                out.append(None)
                continue
            for n in rule.names:
                if n not in have:
                    have[n] = self._fetch(n, node, wanted)
            out.append(rule.function(g, *[have[n] for n in rule.names]))
        return tuple(out)

    def _for_joint(self, name: str, node: Node, wanted: tuple[bool, ...]) -> Any:
        """The value a rule on raw arrays asks for; None if no wanted gradient depends on it."""
        if self.fused is None and (name in self.args or name == "y"):
            if not any(u < len(wanted) and wanted[u] for u in self._users(name)):
                return None
        return self._fetch(name, node, wanted, arrays=True)

    def _fetch(self, name: str, node: Node, wanted: tuple[bool, ...], arrays: bool = False) -> Any:
        """The value a rule asks for by ``name``: a tensor (an array for a fused rule)."""
        if name == "params":
            return {**self.defaults, **node.params}
        if name == "shapes":
            return node.shapes
        if name == "dtypes":
            return node.dtypes
        if name == "needs":
            return wanted
        assert node.saved is not None
        if name in node.saved:
            value = node.saved[name]
            if type(value) is SavedValue:
                return self._restore(value, name, node, arrays)
            if type(value) is list:
                return [
                    self._restore(v, name, node, arrays) if type(v) is SavedValue else v
                    for v in value
                ]
            if isinstance(value, Variable):
                return value.array if arrays else value
            return wrap(value) if isinstance(value, np.ndarray) and not arrays else value
        if name in node.params:
            return node.params[name]
        return self.defaults.get(name)  # an optional array that was left out is None

    def _restore(self, value: SavedValue, name: str, node: Node, arrays: bool) -> Any:
        value.check(self.name, "its output" if name == "y" else name)
        array = value.array
        if isinstance(array, Pending):
            taken = not arrays or name in self.takes
            array = array if taken and array.made is None else array.compute()
        if arrays:
            return array
        tensor = wrap(array, node if name == "y" else value.node)
        tensor.version = value.version
        return tensor

    def _through_reference(
        self, node: Node, g: Variable, wanted: tuple[bool, ...]
    ) -> tuple[Any, ...]:
        """The gradients by differentiating the reference, which can be differentiated again."""
        from tinygrad_cnn.autograd.walk import grad  # the walk calls pullbacks, and here one walks

        assert self.reference is not None
        inputs = [self._fetch(n, node, wanted) for n in self.args[: len(node.parents)]]
        # Each input behind a node of its own: if one was made from another, the path between them
        # must not be counted here.
        apart = [isolate(t) if w else t for t, w in zip(inputs, wanted, strict=True)]
        out = self.reference(*apart, **node.params)
        found = grad(
            out,
            [t for t, w in zip(apart, wanted, strict=True) if w],
            g,
            create_graph=True,
            allow_unused=True,
        )
        rest = iter(found)
        return tuple(next(rest) if w else None for w in wanted)


class _Isolate:
    """The identity with a node of its own."""

    name = "isolate"
    broadcasts = False

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> tuple[Any, ...]:
        return (g,)


_isolate = _Isolate()


def isolate(tensor: Variable) -> Any:
    """``tensor`` behind a new node, so that a walk can stop there."""
    array = tensor.array
    node = Node(_isolate, (tensor.current_node(),), (array.shape,), (array.dtype,), {}, {})
    return wrap(array, node)


def _one_float_dtype(arrays: list[Any]) -> bool:
    """Whether NumPy computes these as PyTorch does: floats of one dtype and Python numbers."""
    first = None
    for a in arrays:
        if type(a) is np.ndarray:
            dtype = a.dtype
            if first is None:
                if dtype.kind != "f":
                    return False
                first = dtype
            elif dtype is not first and dtype != first:
                return False
        elif isinstance(a, Pending):  # always of one float dtype; the others must have the same
            if first is None:
                first = a.dtype
            elif a.dtype != first:
                return False
        elif isinstance(a, np.generic):
            return False
    return first is not None


def _any_lives(users: tuple[int, ...], parents: tuple[Any, ...]) -> bool:
    """Whether one of the inputs ``users`` wants a gradient."""
    for u in users:
        if u < len(parents) and parents[u] is not None:
            return True
    return False


def _keep(arg: Any, array: Any, parent: Any) -> Any:
    """What a node keeps of an input for its rules."""
    if isinstance(arg, Variable):
        return _kept(arg, array, parent)
    return wrap(arg) if isinstance(arg, (np.ndarray, np.generic)) else arg


def _kept(tensor: Variable, array: Any, node: Any) -> SavedValue:
    box = boxed(tensor) if tensor.pending is None and tensor.array is array else None
    return SavedValue(array, node, tensor.version, box)


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, Variable):
        return value if value.array.dtype == dtype else value.to(dtype)  # type: ignore[attr-defined]
    if isinstance(value, np.ndarray):
        return value.astype(dtype, copy=False)
    return np.asarray(value).astype(dtype)  # wraps around as PyTorch does
