"""Building a graph of the runs of a model, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.op import Op, Rule
from tinygrad_cnn.autograd.promotion import common_dtype, get_default_dtype
from tinygrad_cnn.nn import Module
from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.graph import Graph, Symbol
from tinygrad_cnn.onnx.sides import Side, Unlike, mapped, merged
from tinygrad_cnn.onnx.trace import Ref, Step, Trace, Value
from tinygrad_cnn.onnx.units import FUNCTIONS, MODULES
from tinygrad_cnn.types import INEXACT


class Builder:
    """Builds the graph of several runs of a model, step by step."""

    def __init__(
        self, graph: Graph, sizes: list[int], traces: list[Trace], names: list[str]
    ) -> None:
        self.graph, self.sizes, self.traces = graph, sizes, traces
        self.symbols: dict[int, Symbol] = {}
        self.inputs: dict[int, int] = {}
        self.named: dict[str, Any] = {"inputs": [], "weights": {}, "sizes": sizes}
        steps = [trace.steps for trace in traces]
        for number, step in enumerate(steps[0]):
            others = [s[number] if number < len(s) else None for s in steps]
            if any(o is None or o.function is not step.function for o in others):
                raise self._unlike(step, "it does not happen in every run")
        if any(len(s) != len(steps[0]) for s in steps):
            most = max(steps, key=len)
            raise self._unlike(most[len(steps[0])], "it does not happen in every run")
        for number, value in enumerate(traces[0].values):
            if isinstance(value.source, int):
                self._input(number, value, names)
        for symbol in self.named["inputs"]:
            graph.name(symbol.name)

    def _input(self, number: int, value: Value, names: list[str]) -> None:
        assert isinstance(value.source, int)
        shape = merged(self.sizes, [t.values[number].shape for t in self.traces])
        symbol = Symbol(self.graph, names[value.source], shape, value.array.dtype)
        self.inputs[value.source] = number
        self.symbols[number] = symbol
        self.named["inputs"].append(symbol)

    def _unlike(self, step: Step, why: str) -> OnnxError:
        what = "the batch's size or the input's" if self.sizes[0] else "the input's"
        return OnnxError(
            f"onnx.export: what the model does depends on {what} numbers: operation "
            f"`{step.name}`: {why} ({step.place})"
            + ("; perhaps it can be exported with dynamic_batch=False" if self.sizes[0] else "")
        )

    # ---- values ----------------------------------------------------------------------------

    def symbol(self, ref: Ref, step: Step) -> Symbol:
        """The symbol of a value."""
        if ref.number not in self.symbols:
            self.symbols[ref.number] = self._leaf(ref.number, step)
        return self.symbols[ref.number]

    def _leaf(self, number: int, step: Step) -> Symbol:
        """A parameter, a buffer or a constant."""
        values = [trace.values[number] for trace in self.traces]
        name, array = values[0].source, values[0].array
        if isinstance(name, str):
            self.graph.name(name)
            self.named["weights"][name] = array
            return Symbol(self.graph, name, array.shape, array.dtype)
        try:
            return self.graph.constant(merged(self.sizes, [v.array for v in values]))
        except Unlike:
            pass
        try:  # the same along the batch, whatever its size is
            shape = merged(self.sizes, [v.array.shape for v in values])
            small = [
                v.array[tuple(slice(0, 1) if isinstance(n, Side) else slice(None) for n in shape)]
                for v in values
            ]
            one = merged(self.sizes, small)
            if all(bool((v.array == one).all()) for v in values):
                made = self.graph.node("Expand", self.graph.constant(one), self.graph.vector(shape))
                made.shape = shape
                return made  # type: ignore[no-any-return]
        except Unlike:
            pass
        raise self._unlike(
            step,
            f"it gets an array of shape {array.shape} that was computed, in a way that is not "
            f"seen, from the input (as by numpy() or item())",
        )

    def build(self, number: int) -> None:
        """Add the nodes of a step."""
        steps = [trace.steps[number] for trace in self.traces]
        step, graph = steps[0], self.graph
        graph.place, graph.step = step.place, step
        try:
            args, params = merged(self.sizes, [(s.args, s.params) for s in steps])
            shapes = [
                merged(self.sizes, [t.values[r.number].shape for t in self.traces])
                for r in step.results
            ]
        except Unlike as error:
            why = self._why((step.args, step.params))  # which may be why
            unlike = self._unlike(step, f"{error} in runs of different batches")
            return self._poison(step, OnnxError(why) if why else unlike)
        results = [
            Symbol(graph, "", shape, self.traces[0].values[r.number].array.dtype)
            for shape, r in zip(shapes, step.results, strict=True)
        ]
        try:
            made = self._form(step, args, params, results)
        except OnnxError as error:
            return self._poison(step, error)
        for ref, result, symbol in zip(step.results, results, made, strict=True):
            if symbol.shape == () and symbol.name not in graph.constants:
                symbol.shape = result.shape
            assert symbol.dtype == result.dtype, (step.name, symbol.dtype, result.dtype)
            self.symbols[ref.number] = graph.known[symbol.name] = symbol
        return None

    def _why(self, given: Any) -> str:
        """Why the graph does not have some of what a step is given; nothing if it has."""
        whys: list[str] = []

        def look(x: Any) -> None:
            if isinstance(x, Ref) and x.number in self.symbols:
                whys.append(self.symbols[x.number].why)

        mapped(given, look)
        return next(filter(None, whys), "")

    def _poison(self, step: Step, error: Exception) -> None:
        """Have an error raised when a result of the step is used."""
        for ref in step.results:
            value = self.traces[0].values[ref.number]
            poison = Symbol(self.graph, "", value.shape, value.array.dtype)
            poison.step = step
            poison.why = str(error).removeprefix("onnx.export: ")
            self.symbols[ref.number] = poison

    def _form(
        self, step: Step, args: Any, params: dict[str, Any], results: list[Symbol]
    ) -> list[Symbol]:
        """What the form of a step gives."""
        function = step.function
        given, named = mapped(
            (args, params), lambda x: self.symbol(x, step) if isinstance(x, Ref) else x
        )
        if isinstance(function, Op):
            return [self._operation(function, given, named, results[0])]
        form = MODULES.get(type(function)) or FUNCTIONS.get(function)
        if form is None:
            step.args = given  # for `Graph.made_by`
            self.graph.refuse(
                "it has no form in ONNX, being neither an operation nor one of the functions that "
                "have one"
            )
        if isinstance(function, Module):
            made = form(self.graph, function, results, *given, **named)
        else:
            made = form(self.graph, results[0], *given, **named)
        return list(made) if isinstance(made, (tuple, list)) else [made]

    def _operation(self, op: Op, args: Any, params: dict[str, Any], result: Symbol) -> Symbol:
        graph = self.graph
        if op.onnx is None:
            graph.refuse("it has no form in ONNX, as its record has no `onnx=`")
        if any(s.dtype.kind == "c" for s in (result, *filter(_is_symbol, args))):
            graph.refuse("complex numbers have no form in ONNX")
        if op.promotes:
            args = self._promoted(op, args)
        if isinstance(op.onnx, str):
            made = graph.node(op.onnx, *args)
        else:
            assert isinstance(op.onnx, Rule)
            have: dict[str, Any] = {**op.defaults, **params, "params": {**op.defaults, **params}}
            have["y"] = result
            if op.variadic:
                fixed = len(op.args) - 1
                have |= {**dict(zip(op.args, args[:fixed], strict=False))}
                have[op.args[-1]] = list(args[fixed:])
            else:
                have |= dict.fromkeys(op.args) | dict(zip(op.args, args, strict=False))
            made = op.onnx.function(graph, *[have.get(n) for n in op.onnx.names])
        if made.dtype != result.dtype:
            made = graph.cast(made, result.dtype)
        return made  # type: ignore[no-any-return]

    def _promoted(self, op: Op, args: Any) -> list[Any]:
        """The arguments in one dtype, as `Op` brings them to it."""
        stand_ins = [
            np.empty((1,) * len(a.shape), a.dtype) if isinstance(a, Symbol) else a
            for a in args
            if a is not None
        ]
        common = common_dtype(stand_ins)
        if op.promotes == "float" and common.kind not in INEXACT:
            common = get_default_dtype()
        out: list[Any] = []
        for a in args:
            if isinstance(a, Symbol):
                out.append(self.graph.cast(a, common))
            elif isinstance(a, Side):
                out.append(self.graph.number(a, Symbol(self.graph, "", (), common)))
            else:
                out.append(None if a is None else self.graph.constant(a, common))
        return out

    # ---- the end ---------------------------------------------------------------------------

    def outputs(self, refs: list[Any], wanted: Sequence[str] | None) -> list[Symbol]:
        """The graph's outputs, with their names."""
        for number in range(len(self.traces[0].steps)):
            self.build(number)
        graph = self.graph
        try:
            result = merged(self.sizes, refs)
        except Unlike as error:
            raise OnnxError(f"onnx.export: outputs of several runs differ: {error}") from None
        found: list[tuple[str, Ref]] = []
        _collect(result, "", found)
        if not found:
            raise OnnxError("onnx.export: the model returns no tensor, expected one or more")
        names = [name or "output" for name, _ in found]
        if wanted is not None:
            if len(wanted) != len(names) or len({*wanted}) != len(names):
                raise OnnxError(
                    f"onnx.export: `output_names` is {list(wanted)}, expected {len(names)} "
                    f"different names"
                )
            names = list(wanted)
        taken = {s.name for s in self.named["inputs"]}
        clash = next((n for n in names if n in taken), None)
        if clash is not None:
            raise OnnxError(
                f"onnx.export: {clash!r} is the name of an input and of an output; give others as "
                f"`output_names`"
            )
        end = Step(None, "output", (), {}, [], self.traces[0].place())
        graph.place, graph.step = end.place, end
        out = []
        for name, (_, ref) in zip(names, found, strict=True):
            symbol = self.symbol(ref, end)
            node = graph.node("Identity", symbol)
            node.shape, node.name = symbol.shape, graph.name(name)
            graph.nodes[-1].outputs = [node.name]
            out.append(node)
        return out


def _is_symbol(x: Any) -> bool:
    return isinstance(x, Symbol)


def _collect(value: Any, name: str, out: list[tuple[str, Ref]]) -> None:
    """All values that a model returned, with names for them."""
    if isinstance(value, Ref):
        out.append((name, value))
    elif isinstance(value, dict):
        for key, part in value.items():
            _collect(part, f"{name}_{key}" if name else str(key), out)
    elif isinstance(value, (tuple, list)):
        for i, part in enumerate(value):
            _collect(part, f"{name or 'output'}_{i}", out)
