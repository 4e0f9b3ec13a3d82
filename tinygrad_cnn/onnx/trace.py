"""Watching a model run: which operation made which value from which, and where in the model.

Values are known by the memory they lie in. What operations do is told by `autograd.events`; what
functions on arrays do, and writes in place, by `kernels.tape`.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.events import Call, unwatch, watch
from tinygrad_cnn.autograd.layout import channels_last, moved
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.instrument.places import line_above
from tinygrad_cnn.instrument.running import tensors_in, unchanged
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.nn import Module, running_modules
from tinygrad_cnn.nn.module.location import path_of
from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.module import RECURRENT, Scope
from tinygrad_cnn.onnx.sides import mapped
from tinygrad_cnn.types import Array


@dataclass(frozen=True)
class Ref:
    """A value of the trace, by number."""

    number: int


class Place(NamedTuple):
    """Where something runs: the module's path and class, and the user's line."""

    path: str
    kind: str
    line: str

    def __str__(self) -> str:
        module = f"{self.path} ({self.kind})" if self.path else self.kind
        return f"in {module}" + (f", {self.line}" if self.line else "")


@dataclass
class Step:
    """Something that was done: an `Op`, a module's call, or a function on arrays."""

    function: Any
    name: str
    args: tuple[Any, ...]
    params: dict[str, Any]
    results: list[Ref]
    place: Place


@dataclass
class Value:
    """An array, and where it is from: an input's number, a parameter's name, a step, or itself."""

    array: Array
    source: int | str | Step | None
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = self.array.shape


def _key(array: Array) -> tuple[Any, ...]:
    """What tells one array from another while both live: the memory it shows, and how."""
    if not array.size:
        return id(array), array.shape
    steps = tuple(s if n > 1 else 0 for s, n in zip(array.strides, array.shape, strict=True))
    return array.ctypes.data, array.shape, steps, array.dtype.str


_COPIES = np.ascontiguousarray, np.ndarray.copy, kernels.in_rows


class Trace:
    """The steps of one run. A context manager, in which this thread is watched."""

    def __init__(self, model: Module, leaves: Mapping[type, Any]) -> None:
        self.values: list[Value] = []
        self.steps: list[Step] = []
        self.known: dict[tuple[Any, ...], tuple[int, Array]] = {}  # the array keeps the memory
        self.flat: dict[tuple[int, int], int] = {}  # by address and bytes, what lies row by row
        self.leaves = leaves  # classes of modules that are steps as a whole
        self.inside = 0  # of something that is a step, or that is none
        self.thread = threading.get_ident()
        self.stale: dict[tuple[Any, ...], str] = {}  # memory that was written to, and by what
        self.paths: dict[tuple[int, ...], str] = {}
        self.model = model
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if _key(tensor._array) not in self.known:  # else it is tied, and has the first name
                self.add(tensor._array, name)

    def __enter__(self) -> Trace:
        watch(self.observe)
        taping.insert(0, self)
        return self

    def __exit__(self, *error: object) -> None:
        taping.remove(self)
        unwatch(self.observe)

    # ---- values ----------------------------------------------------------------------------

    def add(self, array: Array, source: int | str | Step | None) -> Ref:
        """A new value, which its memory stands for from now on."""
        self.values.append(Value(array, source))
        return self._stands_for(array, len(self.values) - 1)

    def _stands_for(self, array: Array, number: int) -> Ref:
        key = _key(array)
        self.known[key] = number, array
        if array.flags.c_contiguous and array.size:
            self.flat[array.ctypes.data, array.nbytes] = number
        self.stale.pop(key, None)
        return Ref(number)

    def ref(self, x: Any) -> Any:
        """The value that a tensor or an array is; what is neither as it is."""
        if isinstance(x, Variable):
            x = x._array
        if isinstance(x, np.generic):
            return x.item()
        if not isinstance(x, np.ndarray):
            return x
        key = _key(x)
        if key in self.stale:
            raise OnnxError(
                f"onnx.export: a tensor of shape {x.shape} is used after {self.stale[key]} "
                f"changed memory that it shares in place, which ONNX has no form for; use the "
                f"out-of-place form ({self.place()})"
            )
        if key in self.known:
            return Ref(self.known[key][0])
        same = self.flat.get((x.ctypes.data, x.nbytes))
        if same is not None and x.flags.c_contiguous and self.values[same].array.dtype == x.dtype:
            # a view that NumPy made of it, which no operation tells of
            step = self.step(REGISTRY["reshape"], "reshape", (Ref(same),), {}, self.place())
            step.params = {"shape": x.shape}
            step.results = [self.add(x, step)]
            return step.results[0]
        found = self.add(x, None)
        self.values[found.number].array = x.copy()  # it may be written to
        return found

    def param(self, x: Any) -> Any:
        """A parameter of an operation: the value that an array is, if it is one of the model's."""
        if isinstance(x, np.ndarray) and _key(x) not in self.known:
            return x
        return self.ref(x)

    def place(self) -> Place:
        """Where the model is now."""
        modules = running_modules()
        key = tuple(map(id, modules))
        if key not in self.paths:
            self.paths[key] = path_of(modules)
        line = line_above(sys._getframe(1))
        where = f"{line.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{line.line}" if line else ""
        kind = type(modules[-1] if modules else self.model).__name__
        return Place(self.paths[key], kind, where)

    def step(self, function: Any, name: str, args: Any, params: Any, place: Place) -> Step:
        """A new step; its results are to be added."""
        new = Step(function, name, args, params, [], place)
        self.steps.append(new)
        return new

    def _give(self, step: Step, results: Any) -> None:
        arrays: list[Array] = []
        mapped(results, lambda r: arrays.append(r) if isinstance(r, np.ndarray) else None)
        step.results = [self.add(array, step) for array in arrays]

    def _wrote(self, step: Step, array: Array) -> None:
        """Have the memory of ``array`` stand for what a step made, what overlaps for nothing."""
        key, (low, high) = _key(array), byte_bounds(array)
        former = self.known.get(key, (-1, array))[0]
        if isinstance(name := self.values[former].source, str) and former >= 0:
            raise OnnxError(
                f"onnx.export: {step.name} changes `{name}`, which a graph cannot keep; expected "
                f"a model that changes none of its parameters and buffers in eval() ({step.place})"
            )
        for other, (_, memory) in self.known.items():
            if other != key and memory.size:
                start, stop = byte_bounds(memory)
                if start < high and low < stop:
                    self.stale[other] = step.name
        step.results.append(self.add(array, step))

    # ---- what is told ----------------------------------------------------------------------

    def observe(self, call: Call, go: Callable[..., Any]) -> Any:
        """An observer (`autograd.events`)."""
        if self.inside:
            return go()
        leaf = call.kind == "module" and self._is_leaf(call.run.__self__, *call.args[0])  # type: ignore[attr-defined]
        if call.kind != "operation" and not leaf:
            return go()
        place = self.place()
        function: Any = call.run
        args, params = call.args, call.params
        if leaf:
            function, (args, params) = call.run.__self__, call.args  # type: ignore[attr-defined]
        elif not hasattr(function, "onnx"):
            function = REGISTRY.get(call.name, function)
        found = mapped(tuple(args), self.ref)
        named = mapped(dict(params), self.ref if leaf else self.param)
        if leaf:
            named["weights"] = {n: self.ref(t) for n, t in function.named_parameters()}
        self.inside += 1
        try:
            result = go(blind=True)
        finally:
            self.inside -= 1
        if not leaf and self._is_constant((found, named), result, args):
            return result
        step = self.step(function, call.name, found, named, place)
        if args and isinstance(args[0], Variable) and result is args[0]:
            self._wrote(step, result._array)
        else:
            self._give(step, [t._array for t in tensors_in(result)])
        return result

    def _is_leaf(self, module: Module, *args: Any) -> bool:
        """Whether a module is a step as a whole: if its weights are parameters, not computed."""
        if isinstance(module, Scope):
            return args[0].kind in RECURRENT
        return type(module) in self.leaves and not hasattr(module, "parametrizations")

    def unit(
        self,
        function: Callable[..., Any],
        arrays: Sequence[Any],
        params: Mapping[str, Any],
        writes: tuple[Array, ...],
    ) -> Any:
        """Return ``function(*arrays, **params)`` (`kernels.tape`)."""
        if self.inside or threading.get_ident() != self.thread:
            return ignoring_fp_errors(function, arrays, params)
        name, given = function, (tuple(arrays), dict(params))
        if function is ignoring_fp_errors:
            name, given = arrays[0], (tuple(arrays[1]), dict(arrays[2]))
        place = self.place()
        args = mapped(given[0], self.ref)
        named = mapped(given[1], self.param)
        self.inside += 1
        try:
            result = ignoring_fp_errors(function, arrays, params)
        finally:
            self.inside -= 1
        if not writes and self._is_constant((args, named), result, ()):
            return result
        step = self.step(name, getattr(name, "__name__", repr(name)), args, named, place)
        if name in _COPIES:
            self.steps.remove(step)
            self._copied(arrays[0], result, args[0].number)
        elif writes:
            self._writes(step, writes)
        else:
            self._give(step, result)
        return result

    def _is_constant(self, given: Any, result: Any, args: Any) -> bool:
        """Whether what something gives follows from constants alone; it is one itself then."""
        numbers: list[int] = []
        mapped(given, lambda x: numbers.append(x.number) if isinstance(x, Ref) else None)
        if any(self.values[n].source is not None for n in numbers):
            return False
        tensors = [t._array for t in tensors_in(result)]
        arrays: list[Array] = []
        mapped(result, lambda r: arrays.append(r) if isinstance(r, np.ndarray) else None)
        if any(result is a for a in args):  # it was written to
            return False
        for array in (*tensors, *arrays):
            found = self.add(array, None)
            self.values[found.number].array = array.copy()
        return True

    def _copied(self, array: Array, copy: Array, number: int) -> None:
        """Have a copy stand for the same value, and what moves there with it for what it was."""
        low, high = byte_bounds(array)
        for other, memory in list(self.known.values()) if array.size else ():
            start, stop = byte_bounds(memory)
            if memory is not array and low <= start and stop <= high and channels_last(array):
                view = moved(memory, array, copy)
                if view is not None:
                    self._stands_for(view, other)
        self._stands_for(copy, number)

    def _writes(self, step: Step, writes: tuple[Array, ...]) -> None:
        """Note what a function wrote: as an operation would give it."""
        if step.function is np.copyto:
            step.function, step.args = REGISTRY["cast"], (step.args[1],)
            step.params = {"dtype": writes[0].dtype}
        elif step.function is operator.setitem:
            x, index, value = step.args
            step.function, step.args = REGISTRY["put"], (x, value)
            step.params = {"index": index}
        for array in writes:
            self._wrote(step, array)

    def again(self, function: Callable[..., Any], args: Sequence[Any]) -> None:
        """Call ``function(*args)``."""
        function(*args)

    def launched(self, kernel: Any, parts: int, args: tuple[Any, ...]) -> None:
        """Nothing is noted of a kernel's launch."""

    def counted(self, array: Array) -> None:
        """Nothing is noted of a counter."""

    def placed(self, table: Array, rows: Sequence[tuple[Array, ...]]) -> None:
        """Nothing is noted of addresses."""

    def looked(self, array: Array) -> None:
        """Nothing is noted of a look at numbers: runs are compared."""

    def made(self, array: Array) -> None:
        """Nothing is noted of a constant: it is one when it is used."""

    def drawn(self, source: Any, stream: Stream | None = None) -> None:
        """Refuse to export what is random."""
        if threading.get_ident() == self.thread:
            raise OnnxError(
                "onnx.export: random numbers are drawn in eval(), and a graph has none "
                f"({self.place()})"
            )

    def left_out(self, what: str) -> None:
        """Nothing but results is exported."""

    def dropped(self, tensor: Any) -> None:
        """There are no gradients."""

    def walked(self, roots: Any, useful: Any) -> None:
        """Nor walks of interest."""


def run(
    model: Module, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: Mapping[type, Any]
) -> tuple[Trace, Any]:
    """Run a model in eval() without gradients; its trace, and what it returns, with `Ref`."""
    modes = [(m, m.training) for m in model.modules()]
    former = kernels.set_kernels("reference")
    try:
        model.eval()
        with no_grad(), unchanged(model):
            trace = Trace(model, leaves)
            for number, tensor in enumerate(tensors_in((args, kwargs))):
                trace.add(tensor._array, number)
            with trace:
                result = model(*args, **kwargs)
            refs = mapped(result, lambda x: trace.ref(x) if isinstance(x, Variable) else x)
        return trace, refs
    finally:
        kernels.set_kernels(former)
        for module, training in modes:
            module.training = training
