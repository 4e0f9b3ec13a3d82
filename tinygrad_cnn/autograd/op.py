"""`Op`: a differentiable operation, its forward pass and its derivative rules."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.anomaly import record_of
from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.graph import Packed, pack_all, packing
from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.modes import is_anomaly_enabled, is_recording
from tinygrad_cnn.autograd.node import Gradients, GraphNode, Node, Parents, Saved, SavedValue
from tinygrad_cnn.autograd.pieces import flat_in_inputs
from tinygrad_cnn.autograd.variable import Variable, View, depend, operand, wrap
from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.lazy import Lazy, realize
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.types import FLOATING, INEXACT, AnyFunction, Args, Array, DType, Params

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

lowering: list[AnyFunction] = []
"""Holds a function once bfloat16 or autocast is in use: ``lowering[0](op, args, params)`` is the
result of an operation that is to run in another dtype, None for others (`rounding`)."""

_AMBIENT = ("y", "params", "shapes", "dtypes", "needs")
_SHAPE, _NO_SHAPE = itertools.repeat("shape"), itertools.repeat(())
_DTYPE, _NONE = itertools.repeat("dtype"), itertools.repeat(None)
_NUMPYS = itertools.repeat(np.generic)
_ARRAY, _ARRAYS = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL


class Rule:
    """A derivative rule, or a form in ONNX, and the names it asks for."""

    __slots__ = ("function", "names")

    def __init__(self, function: AnyFunction) -> None:
        self.function = function
        self.names = tuple(inspect.signature(function).parameters)[1:]  # the first is `g`, or `o`


class _Needs(NamedTuple):
    """What the rules of an operation need for the gradients of some of its inputs."""

    kept: tuple[tuple[int, str], ...]
    output: bool
    values: tuple[tuple[str, bool, bool], ...]
    """Of `array_vjp`: the name, whether it may come as `Lazy`, and whether it is needed."""


class Op:
    """A differentiable operation. Call it with tensors (or numbers, or None where optional).

    Made by the decorator `op`; its docstring is the forward function's.
    """

    def __init__(
        self,
        forward: AnyFunction,
        vjp: AnyFunction | tuple[AnyFunction | None, ...] | None,
        *,
        array_vjp: AnyFunction | None = None,
        fused: AnyFunction | None = None,
        reference: AnyFunction | None = None,
        broadcasts: bool = False,
        promotes: str = "",
        ignore_fp_errors: bool = False,
        view: bool = False,
        piecewise: bool | Callable[[Params], bool] = False,
        lazy: tuple[str, ...] = (),
        samples: AnyFunction | None = None,
        oracle: AnyFunction | None = None,
        complex: str = "",
        errors: Args = (),
        onnx: str | AnyFunction | None = None,
    ) -> None:
        functools.update_wrapper(self, forward)
        self.name: str = forward.__name__
        self.forward, self.reference = forward, reference
        self.broadcasts, self.promotes, self.view = broadcasts, promotes, view
        self.ignore_fp_errors = ignore_fp_errors
        self.piecewise = piecewise  # linear in pieces: second derivatives are zeros
        self.samples, self.errors, self.oracle = samples, errors, oracle
        self.complex = complex  # whether, and how, complex arrays are supported
        self.onnx = Rule(onnx) if callable(onnx) else onnx  # its form in ONNX (`autograd.forms`)
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
        assert array_vjp is None or isinstance(vjp, tuple), f"{self.name}: array_vjp goes with vjp"

        # What runs on raw arrays while gradients are not recorded: one rule for all inputs.
        self.fused = Rule(fused) if fused is not None else None
        self.array_vjp = Rule(array_vjp) if array_vjp is not None else self.fused
        rules = vjp if isinstance(vjp, tuple) else (vjp,) * (vjp is not None)
        self.rules = tuple(Rule(r) if r is not None else None for r in rules)
        if self.fused is None:
            assert len(self.rules) == len(self.args), f"{self.name}: one rule for every argument"
        wanted = {n for r in (*self.rules, self.fused) if r is not None for n in r.names}
        if self.array_vjp is not None:
            assert wanted.issuperset({*self.array_vjp.names} - {*_AMBIENT}), self.name
        # Every kept value with the inputs whose rules name it: if none of these inputs wants a
        # gradient, it is not kept. An array_vjp rule, and a reference, which is run on the inputs,
        # serve all of them.
        together = self.variadic or fused is not None
        self.output_users = () if together else self._users("y")
        self.keeps_output = "y" in wanted
        self.kept = tuple(
            (i, n, () if together else self._users(n))
            for i, n in enumerate(self.args)
            if n in wanted or reference is not None
        )
        self.residual_names = wanted - {*self.args, *_AMBIENT}
        # The arguments, and what the array_vjp rule asks for, that may come as `Lazy`.
        self.lazy = frozenset(lazy)
        self.may_wait = tuple(n in lazy for n in self.args) if lazy else itertools.repeat(False)
        # What `array_vjp` asks for: the name, whether it may come as `Lazy`, and, if it is not
        # needed for every gradient, for those of which inputs.
        self.array_vjp_values = tuple(
            (n, n in lazy, self._users(n) if not together and n in ("y", *self.args) else ())
            for n in (self.array_vjp.names if self.array_vjp is not None else ())
        )
        self._needs: dict[tuple[bool, ...], _Needs] = {}

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def _users(self, name: str) -> tuple[int, ...]:
        """The inputs whose rules name ``name``."""
        return tuple(i for i, r in enumerate(self.rules) if r is not None and name in r.names)

    def needs(self, wanted: tuple[bool, ...]) -> _Needs:
        """What the rules need for the gradients of the inputs that are ``wanted``."""
        if self.variadic:  # all of it, for any number of inputs
            wanted = ()
        found = self._needs.get(wanted)
        if found is None:

            def needed(users: tuple[int, ...]) -> bool:
                return not users or any(wanted[u : u + 1] == (True,) for u in users)

            found = self._needs[wanted] = _Needs(
                tuple([(i, n) for i, n, users in self.kept if needed(users)]),
                self.keeps_output and needed(self.output_users),
                tuple([(n, lazy, needed(users)) for n, lazy, users in self.array_vjp_values]),
            )
        return found

    def forget(self) -> None:
        """Work out anew what rules need: this is a copy, and its rules are others."""
        self._needs = {}

    # ---- forward ---------------------------------------------------------------------------

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        out: Tensor
        if lowering:
            lowered: Tensor | None = lowering[0](self, args, params)
            if lowered is not None:
                return lowered
        if watching and observed(self):
            out = observe("operation", self.name, self, args, params)
            return out
        if params and any(map(isinstance, params.values(), _NUMPYS)):
            for name, value in params.items():
                if isinstance(value, np.generic):  # a number, which widens no array
                    params[name] = value.item()
        arrays: list[Any] = []
        parents: list[GraphNode | None] = []
        operands: list[Variable] = []  # those that may come as `Lazy`
        result: Any
        for a, may_wait in zip(args, self.may_wait, strict=False):
            if isinstance(a, Variable):
                value = a._value
                if may_wait:
                    value = operand(value, a.storage)
                    operands.append(a)
                elif type(value) is Lazy:
                    value = a._array
                arrays.append(value)
                parents.append(a.node if a.view_of is None else a.current_node())
            else:  # a constant: a number, an array, or None for an argument left out
                arrays.append(a)
                parents.append(None)
        if self.promotes and not _one_float_dtype(arrays):
            args = self._promoted(args, arrays)
            arrays = [a._array if isinstance(a, Variable) else a for a in args]
            parents = [a.node if isinstance(a, Variable) else None for a in args]
            operands = [a for a in args if isinstance(a, Variable)]
        try:
            if taping:
                result = taping[0].unit(self.forward, arrays, params, ())
            elif self.ignore_fp_errors:  # as in PyTorch, 1/0 is inf, not a warning
                result = ignoring_fp_errors(self.forward, arrays, params)
            else:
                result = self.forward(*arrays, **params)
        except ValueError as error:
            if self.broadcasts and "broadcast" in str(error):
                shapes = " and ".join(str(np.shape(a)) for a in arrays)
                names = " and ".join(f"`{name}`" for name in self.args[: len(arrays)])
                raise ShapeError(
                    f"{self.name}: shapes {shapes} do not broadcast: {names} are expected to have "
                    "equal sides, counted from the last, or sides of 1"
                ) from None
            raise
        except TypeError:
            if not self.complex and any(np.iscomplexobj(a) for a in arrays if type(a) is not Lazy):
                raise self._not_for_complex(arrays) from None
            raise
        residuals = None
        if type(result) is Saved:
            result, residuals = result.out, result.residuals
        kind = result.dtype.kind
        if kind == "c" and not self.complex:
            raise self._not_for_complex(arrays)
        if any(parents) and is_recording() and kind in INEXACT:
            out = self.record(result, args, arrays, tuple(parents), params, residuals)
        else:
            out = wrap(result)
        if operands:
            if type(out._value) is Lazy:
                depend(out._value, self.name, operands)
            if type(out.node) is Node:
                out.node.fused = _fused(out._value, arrays)
        if self.view:
            self._track_view(out, args[0], params)
        return out

    def _not_for_complex(self, arrays: Sequence[Any]) -> DtypeError:
        found = [
            f"`{self.args[min(i, len(self.args) - 1)]}` is {a.dtype}, expected real numbers: "
            for i, a in enumerate(arrays)
            if isinstance(a, np.ndarray) and a.dtype.kind == "c"
        ]
        return DtypeError(
            f"{self.name}: {''.join(found[:1])}it is not implemented for complex numbers"
        )

    def record(
        self,
        result: Any,
        args: Sequence[object],
        arrays: Sequence[object],
        parents: Parents,
        params: Params,
        residuals: Params | None = None,
    ) -> Tensor:
        """A tensor around ``result`` with a node that says how it came to be."""
        saved: Params = {}
        shapes = tuple(map(getattr, arrays, _SHAPE, _NO_SHAPE))
        dtypes = tuple(map(getattr, arrays, _DTYPE, _NONE))
        node = Node(self, parents, shapes, dtypes, params, saved)
        needs = self.needs(node.wanted)
        for i, name in needs.kept:
            if self.variadic and i == len(self.args) - 1:
                saved[name] = [_keep(a, p) for a, p in zip(args[i:], parents[i:], strict=True)]
            elif i < len(args):
                saved[name] = _keep(args[i], parents[i])
        if residuals is not None:
            for name in self.residual_names:
                if name in residuals:
                    saved[name] = residuals[name]
        if is_anomaly_enabled():
            node.trace = record_of(self.args, arrays)
        out = wrap(result, node)
        if needs.output:
            saved["y"] = SavedValue(out._value, None, out.storage)
        if packing() is not None:
            pack_all(saved)
        return out

    def _promoted(self, args: Args, arrays: list[Any]) -> Args:
        """The arguments in one dtype, as PyTorch promotes them."""
        common = promotion.common_dtype([x for x in arrays if x is not None])
        if self.promotes == "float" and common.kind not in INEXACT:
            common = promotion.get_default_dtype()
        return tuple(None if a is None else _cast(a, common) for a in args)

    def _track_view(self, out: Tensor, source: object, params: Params) -> None:
        """Let ``out`` share its source's version, and know how to be replayed from its base."""
        if not isinstance(source, Variable):
            return
        if memory_of(out._array) is not memory_of(source._array):
            return
        out.storage = source.storage
        out.storage.shared_by(source, out)
        tracked = is_recording()
        before = source.view_of
        if before is None:
            out.view_of = View(source, ((self, params),), tracked)
        else:
            steps = (*before.steps, (self, params))
            out.view_of = View(before.base, steps, tracked and before.tracked)
            out.view_of.several, out.view_of.detour = before.several, before.detour

    # ---- backward --------------------------------------------------------------------------

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        """Gradients for the inputs that are ``wanted``, in the order of the arguments."""
        if self.array_vjp is not None and not recording:
            return self._on_arrays(node, g, wanted)
        if self.fused is not None:
            return self._depending(node, self._through_reference(node, g, wanted))
        have = {}
        if self.variadic:  # one array_vjp rule for all of them
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
        return self._depending(node, tuple(out)) if recording else tuple(out)

    def _depending(self, node: Node, gradients: Args) -> Args:
        """The gradients, which are recorded, made to depend on all inputs where they should."""
        flat = self.piecewise
        if not (flat(node.params) if callable(flat) else flat):
            return gradients
        return tuple([None if gx is None else flat_in_inputs(gx, node) for gx in gradients])

    def _on_arrays(self, node: Node, g: Variable, wanted: tuple[bool, ...]) -> Args:
        """The gradients by the rule on raw arrays."""
        assert self.array_vjp is not None
        saved, params = node.saved, node.params
        assert saved is not None
        values: list[Any] = [operand(g._value, g.storage) if "g" in self.lazy else g._array]
        operands: list[Any] = [g]
        for name, lazy, needed in self.needs(wanted).values:
            if not needed:
                values.append(None)
                continue
            value = saved.get(name)
            if value is None and name in params:
                value = params[name]
                if isinstance(value, Variable):
                    value = value._array
            elif type(value) is SavedValue:
                if value.seen != value.storage.version:
                    value.fail(self.name, name)
                if lazy:
                    operands.append(value)
                    value = operand(value._value, value.storage)
                else:
                    value = realize(value._value)
            elif type(value) is not np.ndarray:
                value = self._fetch(name, node, wanted)
                if isinstance(value, Variable):
                    value = value._array
            values.append(value)
        out: list[Any] = []
        rule = self.array_vjp.function
        for found in taping[0].unit(rule, values, {}, ()) if taping else rule(*values):
            if found is None:
                out.append(None)
                continue
            if type(found) is Lazy and found.expr[0] != "load":
                depend(found, f"{self.name}'s gradient", operands)
            out.append(wrap(found))
        return tuple(out)

    def _fetch(self, name: str, node: Node, wanted: tuple[bool, ...]) -> Any:
        """The value a rule asks for by ``name``; arrays as tensors."""
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
            kind = type(value)
            if kind is SavedValue or kind is Packed:
                return self._restore(value, name, node)
            if kind is list:
                return [
                    self._restore(v, name, node) if isinstance(v, (SavedValue, Packed)) else v
                    for v in value
                ]
            return wrap(value) if isinstance(value, np.ndarray) else value
        if name in node.params:
            return node.params[name]
        return self.defaults.get(name)  # an optional array that was left out is None

    def _restore(self, saved: SavedValue | Packed, name: str, node: Node) -> Tensor:
        if type(saved) is Packed:
            return saved.unpack(self.name, name, node if name == "y" else saved.node)
        assert type(saved) is SavedValue
        if saved.seen != saved.storage.version:
            saved.fail(self.name, name)
        return wrap(saved._value, node if name == "y" else saved.node, saved.storage)

    def _through_reference(self, node: Node, g: Variable, wanted: tuple[bool, ...]) -> Args:
        """The gradients by differentiating the reference, which can be differentiated again."""
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
    ) -> Gradients:
        return (g,)  # type: ignore[return-value]  # every Variable is a Tensor


_isolate = _Isolate()


def isolate(tensor: Variable) -> Tensor:
    """``tensor`` behind a new node, so that a walk can stop there."""
    value = tensor._value
    node = Node(_isolate, (tensor.current_node(),), (value.shape,), (value.dtype,), {}, {})
    return wrap(value, node, tensor.storage)


def _one_float_dtype(arrays: list[object]) -> bool:
    """Whether NumPy computes these as PyTorch does: floats of one dtype and Python numbers.

    Complex numbers are floats here.
    """
    first = None
    for a in arrays:
        if type(a) is np.ndarray:
            dtype = a.dtype
            if first is None:
                if dtype.kind not in INEXACT:
                    return False
                first = dtype
            elif dtype is not first and dtype != first:
                return False
        elif type(a) is Lazy:
            if first is None:
                first = a.dtype
            if a.dtype != first or first.kind not in FLOATING:
                return False
        elif isinstance(a, np.generic):
            return False
    return first is not None


def _fused(out: object, arrays: Sequence[Any]) -> str | None:
    """What is computed together with an operation, in words."""
    if type(out) is Lazy:
        return "computed by what reads it"
    names = []
    for a in arrays:
        if type(a) is Lazy and a.expr[0] != "load":
            names.append(" and ".join(a.names))
    return f"computes {', '.join(names)} of its input" if names else None


def _keep(arg: object, parent: GraphNode | None) -> object:
    """What a node keeps of an input for its rules."""
    if isinstance(arg, Variable):
        return arg.kept(parent)
    return wrap(arg) if isinstance(arg, (np.ndarray, np.generic)) else arg


def _cast(value: Any, dtype: DType) -> Tensor | Array:
    if isinstance(value, Variable):
        same = value._value.dtype == dtype
        return value if same else value.to(dtype)  # type: ignore[attr-defined,return-value]
    if isinstance(value, np.ndarray):
        return value.astype(dtype, copy=False)
    return np.asarray(value).astype(dtype)  # wraps around as PyTorch does
