"""Every operation, function and layer compiled: a replay on other numbers gives the same bits.

Each is called three times, on numbers that are drawn afresh: the first call is recorded, the others
are replays. What cannot be recorded runs as usual, with a warning; `as_usual.txt` lists these calls
and why. ``python -m programs.test_operations``, in the folder of the tests, prints how often each
was replayed, and writes that list.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import kinds, opdb

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.kernels.choice import chosen, has_numba
from tinygrad_cnn.programs import compile
from tinygrad_cnn.testing.draws import GeneratorDraw

AS_USUAL = Path(__file__).parent / "as_usual.txt"
SAMPLES = 2  # of each name with `pytest --slow`; without, one of every fifth
WAYS = (("float32", "auto"), ("float64", "jit" if has_numba() else "auto"))
SEEDS = (0, 1, 2)
WIDE = {"float32": "float64", "complex64": "complex128"}


@dataclass
class Case:
    """What makes a function of tensors, with a state of its own, and arrays for three calls."""

    make: Callable[[], Callable[..., Any]]
    arrays: list[list[np.ndarray]]


@dataclass
class Count:
    """How the calls of a name went."""

    replayed: int = 0
    failed: int = 0
    """Calls that raise the same error."""
    as_usual: set[str] = field(default_factory=set)
    any_nan: bool = False


# ---- one call, compiled and not ----------------------------------------------------------------


def tensors_of(value: Any) -> list[Any]:
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return [value.data]
    return list(kinds.leaves(value, tg.Tensor))


def forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """The results alone, in memory of their own."""

    def call(*tensors: Any) -> Any:
        return own(function(*[t.detach() for t in tensors]))

    return call


def own(value: Any) -> Any:
    """Results, each in memory of its own."""
    if isinstance(value, tg.Tensor):
        return value.detach().clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(own, value))
    if type(value) in (list, tuple):
        return type(value)(map(own, value))
    return {k: own(v) for k, v in value.items()} if isinstance(value, dict) else value


def backward(function: Callable[..., Any], n: int, params: Sequence[Any]) -> Callable[..., Any]:
    """The gradients of the first ``n`` tensors and of ``params``; the others are cotangents."""

    def call(*tensors: Any) -> Any:
        inputs = [t.detach().clone() for t in tensors[:n]]
        leaves = [t.requires_grad_() for t in inputs if t.dtype.kind in "fc"] + list(params)
        results = [y for y in tensors_of(function(*inputs)) if y.requires_grad]
        us = tensors[n:]
        found = tg.autograd.grad(results, leaves, us, allow_unused=True)
        return tuple([None if g is None else g.detach().clone() for g in found])

    return call


def training(function: Callable[..., Any], n: int, params: Sequence[Any]) -> Callable[..., Any]:
    """The results and the same gradients, by a backward pass outside of the function."""

    def call(*tensors: Any) -> Any:
        inputs = [t.detach().clone() for t in tensors[:n]]
        leaves = [t.requires_grad_() for t in inputs if t.dtype.kind in "fc"] + list(params)
        results = [y for y in tensors_of(function(*[t * 1 for t in inputs])) if y.requires_grad]
        found = tg.autograd.grad(results, leaves, tensors[n:], allow_unused=True)
        return [y.detach() for y in results], found

    return call


def cloned(function: Callable[..., Any]) -> Callable[..., Any]:
    """The results, each in memory of its own and with its graph."""

    def call(*tensors: Any) -> Any:
        return tuple([y.clone() for y in tensors_of(function(*tensors))])

    return call


def attempt(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> tuple[Any, str]:
    """The result on copies of arrays, and what was raised."""
    tensors = [tg.tensor(a.copy()) for a in arrays]
    tg.manual_seed(7)
    try:
        return function(*tensors), ""
    except Exception as error:  # compared with that of the other call
        return None, f"{type(error).__name__}: {error}"


def bits(value: Any, any_nan: bool = False) -> Any:
    """What is compared of a result; with ``any_nan`` of a NaN only that it is one."""
    if isinstance(value, tg.Tensor):
        numbers = value.detach().numpy()
        if any_nan and numbers.dtype.kind == "f":
            numbers = np.where(np.isnan(numbers), np.nan, numbers).astype(numbers.dtype)
        return (value.shape, str(value.dtype), numbers.tobytes())
    if isinstance(value, dict):
        return {k: bits(v, any_nan) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(v, any_nan) for v in value]
    return repr(value)


def state(function: Any) -> Any:
    owner = getattr(function, "__self__", function)
    return bits(dict(owner.state_dict())) if isinstance(owner, nn.Module) else None


def compared(case: Case, count: Count) -> list[str]:
    """What differs between a compiled function and itself."""
    found: list[str] = []
    for order in (0, 1, 2):
        plain, recorded = case.make(), case.make()
        arrays = case.arrays
        if order:
            params = [list(getattr(f, "parameters", list)()) for f in (plain, recorded)]
            cotangents = [_cotangents(case.make(), row) for row in arrays]
            if not cotangents[0] or any(map(_shapes_differ, cotangents, cotangents[:1] * 3)):
                break
            n = len(arrays[0])
            arrays = [row + us for row, us in zip(arrays, cotangents, strict=True)]
            if order == 1:
                right = backward(plain, n, params[0])
                compiled = called = compile(backward(recorded, n, params[1]))
            else:
                compiled = compile(cloned(recorded))
                right = training(cloned(plain), n, params[0])
                called = training(compiled, n, params[1])
        else:
            right, compiled = forward(plain), compile(forward(recorded))
            called = compiled
        for turn, row in enumerate(arrays):
            wanted, error = attempt(right, row)
            got, other = attempt(called, row)
            same = bits(wanted, count.any_nan) == bits(got, count.any_nan)
            same = same and state(plain) == state(recorded)
            if error != other or not same:
                found.append(f"order {order}, call {turn}: {error or 'other bits'} {other}")
        count.as_usual |= {re.sub(r" \([^()]*, line \d+\)$", "", w) for w in compiled.told}
        count.failed += bool(error)
        count.replayed += not compiled.told and not error
    return found


def _shapes_differ(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return [x.shape for x in a] != [x.shape for x in b]


def _cotangents(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Random ones of the results that have a gradient."""
    found: list[np.ndarray] = []

    def call(*tensors: Any) -> None:
        inputs = [t.requires_grad_() if t.dtype.kind in "fc" else t for t in tensors]
        for y in tensors_of(function(*[t * 1 if t.requires_grad else t for t in inputs])):
            if y.requires_grad:
                found.append(opdb._weights(np.random.default_rng(len(found)), y))

    attempt(call, arrays)
    return found


# ---- where calls come from ---------------------------------------------------------------------


class Redraw(GeneratorDraw):
    """The choices of a seed, with other numbers in arrays."""

    def __init__(self, seed: int, other: int) -> None:
        super().__init__(seed)
        self.other, self.plain = other, False

    def generator(self) -> np.random.Generator:
        seed = self.integer(0, 2**32 - 1)
        return np.random.default_rng(seed if self.plain else [seed, self.other])

    def index(self, shape: tuple[int, ...]) -> object:
        self.plain = True
        found = super().index(shape)
        self.plain = False
        return found


def of_registry(name: str, dtype: str, most: int | None) -> Iterator[Case]:
    """An operation on samples of its record."""
    op = REGISTRY[name]
    assert op.samples is not None
    for seed in range(most or 10):
        drawn = [op.samples(Redraw(seed, other)) for other in SEEDS]
        if any(repr(s.params) != repr(drawn[0].params) for s in drawn):
            drawn = [drawn[0]] * 3
        rows = [[a for a in s.args if isinstance(a, np.ndarray)] for s in drawn]
        if any(map(_shapes_differ, rows, rows[:1] * 3)):
            rows = rows[:1] * 3
        rows = [[_in(a, dtype) for a in row] for row in rows]

        def call(*tensors: Any, drawn: Any = drawn[0], op: Any = op) -> Any:
            rest = iter(tensors)
            args = [next(rest) if isinstance(a, np.ndarray) else a for a in drawn.args]
            return op(*args, **drawn.params)

        yield Case(lambda call=call: call, rows)


def _in(a: np.ndarray, dtype: str) -> np.ndarray:
    return a.astype(dtype) if a.dtype == np.float64 else a


def _torch() -> Any:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install expecttest")
    return torch


def _drawn(
    torch: Any, draw: Callable[[], Any], most: int | None, parts: Callable[[Any], Any]
) -> Iterator[tuple[Any, list[list[np.ndarray]]]]:
    """Samples of PyTorch's, translated, with the arrays of the same sample drawn three times."""
    lists = []
    for seed in SEEDS:
        kinds.seed(torch)
        torch.default_generator.manual_seed(seed)
        lists.append(kinds.evenly(list(itertools.islice(draw(), most and 30 * most)), most))
    for again in zip(*lists, strict=True):
        try:
            values = [opdb.translated(parts(s), torch) for s in again]
        except opdb.Untranslatable:
            continue
        rows = [[t.detach().numpy().copy() for t in kinds.leaves(v, tg.Tensor)] for v in values]
        if any(map(_shapes_differ, rows, rows[:1] * 3)) or len(set(map(_fixed, values))) > 1:
            rows = rows[:1] * 3
        yield values[0], rows


def _fixed(value: Any) -> str:
    """All of an argument but tensors."""
    return repr(kinds.mapped(value, tg.Tensor, lambda t: "tensor"))


def of_torch(info: Any, kind: str, dtype: str, most: int | None) -> Iterator[Case]:
    """A function, or its form in place, on PyTorch's samples."""
    torch = _torch()
    way = kinds.KINDS[kind]
    function = way.function(info)
    if function is None or not way.applies(torch, info):
        return
    supported = info.supported_dtypes("cpu")
    names = (dtype, WIDE.get(dtype, ""), "complex64", "int64", "bool")
    taken = next((d for n in names if n and (d := getattr(torch, n)) in supported), None)
    if taken is None:
        return

    def draw() -> Any:
        return iter(info.sample_inputs_func(info, "cpu", taken, False))

    def parts(sample: Any) -> Any:
        return (sample.input, tuple(sample.args), dict(sample.kwargs))

    for value, rows in _drawn(torch, draw, most, parts):

        def call(*tensors: Any, value: Any = value) -> Any:
            rest = iter(tensors)
            first, args, kwargs = kinds.mapped(value, tg.Tensor, lambda _: next(rest))
            if kind == "in place":
                first = first.clone()
            return function(first, *args, **kwargs)

        yield Case(lambda call=call: call, rows)


def of_layer(info: Any, dtype: str, most: int | None) -> Iterator[Case]:
    """A layer on PyTorch's samples, in training and in evaluation."""
    torch = _torch()
    for training in (True, False):

        def draw(training: bool = training) -> Any:
            return iter(
                info.module_inputs_func(
                    info,
                    device="cpu",
                    dtype=getattr(torch, dtype),
                    requires_grad=False,
                    training=training,
                )
            )

        def parts(sample: Any) -> Any:
            make, call = sample.constructor_input, sample.forward_input
            return (make.args, make.kwargs, call.args, call.kwargs)

        with contextlib.suppress(opdb.Untranslatable):
            for value, _ in _drawn(torch, draw, most, parts):
                args, kwargs, *given = value
                tg.manual_seed(3)
                try:
                    layer = getattr(nn, info.module_cls.__name__)(*args, **kwargs)
                except (TypeError, ValueError, AttributeError):  # it wants a layer of PyTorch's
                    continue
                layer = layer.to(getattr(tg, dtype)).train(training)
                first = [t.detach().numpy().copy() for t in kinds.leaves(given, tg.Tensor)]
                rows = [first, *[[_shuffled(a, s) for a in first] for s in SEEDS[1:]]]
                yield Case(
                    lambda layer=layer, given=given: Called(copy.deepcopy(layer), given), rows
                )


def _shuffled(a: np.ndarray, seed: int) -> np.ndarray:
    """The same numbers in another order."""
    return np.random.default_rng(seed).permutation(a.reshape(-1)).reshape(a.shape)


class Called(nn.Module):
    """A layer with some arguments."""

    def __init__(self, layer: nn.Module, given: Any) -> None:
        super().__init__()
        self.layer, self.given = layer, given
        self.train(layer.training)

    def forward(self, *tensors: Any) -> Any:
        rest = iter(tensors)
        args, kwargs = kinds.mapped(self.given, tg.Tensor, lambda _: next(rest))
        return self.layer(*args, **kwargs)


# ---- tests -------------------------------------------------------------------------------------


def names() -> Iterator[tuple[str, Callable[[str, int | None], Iterator[Case]]]]:
    """All there is to call, by name."""
    for name, op in sorted(REGISTRY.items()):
        if op.forward.__module__.startswith("tinygrad_cnn") and op.samples is not None:
            yield f"operation {name}", lambda d, m, name=name: of_registry(name, d, m)
    try:
        from torch.testing._internal import common_methods_invocations, common_modules
    except ImportError:
        return
    for info in common_methods_invocations.op_db:
        for kind in ("float64", "in place"):
            if kinds.KINDS[kind].function(info) is not None:
                title = "function" if kind == "float64" else kind
                yield (
                    f"{title} {opdb.label(info)}",
                    lambda d, m, info=info, kind=kind: of_torch(info, kind, d, m),
                )
    for info in common_modules.module_db:
        if "quantized" not in info.name:
            yield f"layer {info.name}", lambda d, m, info=info: of_layer(info, d, m)


def certify(
    source: Callable[[str, int | None], Iterator[Case]], ways: Any, most: int | None, count: Count
) -> list[str]:
    """What differs in all calls of a name."""
    found: list[str] = []
    before = chosen.get()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for dtype, kernels in ways:
            chosen.set(kernels)
            try:
                for number, case in enumerate(source(dtype, most)):
                    bad = compared(case, count)
                    found += [f"{dtype}, {kernels}, sample {number}, {b}" for b in bad]
            finally:
                chosen.set(before)
    return found


ARBITRARY = re.compile(r"(new_)?empty(_|$)|bfloat16")
"""Names of functions whose results are whatever the memory held; once bfloat16 was used in a
process, all functions run as usual."""
EVERY = {k: v for k, v in names() if not ARBITRARY.match(k.partition(" ")[2])}


MEETING_NANS = {"layer nn.KLDivLoss", "operation pow"}
"""Of two NaN that meet, NumPy's loops return one or the other, depending on how many numbers they
get at a time."""


def reasons(name: str, count: Count) -> list[str]:
    """The lines of `as_usual.txt` for a name."""
    return [f"{name}: {why}" for why in sorted(count.as_usual)]


def known(name: str) -> list[str]:
    lines = AS_USUAL.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(f"{name}: ")]


@pytest.mark.parametrize("name", [n for n in EVERY if zlib.crc32(n.encode()) % 5 == 0])
def test_a_replay_gives_the_same_bits(name: str) -> None:
    """As CI has the time for: one sample, of one dtype and set of kernels."""
    count = Count(any_nan=name in MEETING_NANS)
    way = WAYS[zlib.crc32(name.encode()) % 2]
    assert not certify(EVERY[name], [way], 1, count)
    assert set(reasons(name, count)) <= set(known(name)), "it was recorded before"


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_replays_give_the_same_bits_on_all_samples(name: str) -> None:
    count = Count(any_nan=name in MEETING_NANS)
    assert not certify(EVERY[name], WAYS, SAMPLES, count)
    assert reasons(name, count) == known(name), "run python -m programs.test_operations in tests"


def test_a_hidden_dependence_is_seen() -> None:
    """What reads a number where the recorder cannot see it differs when it is replayed."""
    rows = [[np.full(2, k, np.float32)] for k in (1, 2, 3)]

    def hidden(x: Any) -> Any:
        return x * float(x._value[0])

    assert compared(Case(lambda: hidden, rows), Count())


def main() -> None:
    """Print how the calls of each name went, and write those that run as usual."""
    lines: list[str] = []
    replayed = failed = 0
    print("replayed  errors  as usual  name")
    for name, source in EVERY.items():
        count = Count()
        found = certify(source, WAYS, SAMPLES, count)
        lines += reasons(name, count)
        replayed, failed = replayed + count.replayed, failed + count.failed
        numbers = count.replayed, count.failed, len(count.as_usual)
        print("  ".join(f"{n:8}" for n in numbers), name, *found)
    AS_USUAL.write_text("\n".join([*lines, ""]), encoding="utf-8")
    others = len({line.partition(": ")[0] for line in lines})
    print(f"{len(EVERY)} names, {others} as usual; {replayed} programs, {failed} errors")


if __name__ == "__main__":
    main()
