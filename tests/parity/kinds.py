"""Kinds of samples of PyTorch's operators: how they are made, how they are called."""

from __future__ import annotations

import functools
import itertools
import random
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_cnn as tg

FIRST = ("float64", "complex128", "int64", "bool", "float32")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")
# Of two dtypes, here and in PyTorch, in the order in which they are paired.
MIXED = ("float32", "int64", "bool", "float64", "uint8", "int32", "float16", "complex64")
NUMBERS = (2, 1.5, True, 2j)


@dataclass(frozen=True)
class Kind:
    """A kind of samples: how they are made of PyTorch's own, called and compared.

    Attributes
    ----------
    dtypes
        In which samples are drawn; only in the first that an operator has if ``first``.
    orders
        How many derivatives are compared.
    calls
        Whether the function, the method or the method in place is called, or the function with
        ``out``.
    make
        From PyTorch's description of an operator and its samples to those of the kind.
    layout
        Whether the inputs lie in memory in other ways.
    """

    name: str
    says: str
    dtypes: tuple[str, ...]
    first: bool = False
    orders: int = 0
    calls: str = "function"
    make: Callable[[Any, Any, list[Any]], list[Any]] | None = None
    layout: bool = False

    def applies(self, torch: Any, info: Any) -> bool:
        """Whether PyTorch has the form of the call."""
        if self.calls == "method":
            return callable(getattr(torch.Tensor, info.name, None))
        if self.calls == "out":  # which functions of `torch.nn` take without saying so
            return info.supports_out and not info.name.startswith(("nn.", "_"))
        return self.calls == "function" or info.inplace_variant is not None

    def samples(
        self, torch: Any, info: Any, drawn: dict[Any, list[Any]], most: int | None
    ) -> list[Any]:
        """Those of an operator, evenly; ``drawn`` keeps PyTorch's own.

        To take few is to be quick: then not all of the thousand that some operators have are drawn.
        """
        supported = info.supported_dtypes("cpu")
        dtypes = [d for d in (getattr(torch, n) for n in self.dtypes) if d in supported]
        found = []
        for dtype in dtypes[: 1 if self.first else None]:
            if dtype not in drawn:
                seed(torch)
                wants = info.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
                # not by `info.sample_inputs`, which notes the stack for each sample, slowly
                every = iter(info.sample_inputs_func(info, "cpu", dtype, wants))
                drawn[dtype] = list(itertools.islice(every, most and 30 * most))
            found += drawn[dtype]
        seed(torch)
        return evenly(self.make(torch, info, found) if self.make else found, most)

    def function(self, info: Any) -> Callable[..., Any] | None:
        """Ours of an operator; None if there is none."""
        if self.calls in ("function", "out"):
            return with_ours(info.op) or ours(info.name)
        if self.calls == "method":
            return method(info.name)
        written = info.inplace_variant
        if isinstance(written, functools.partial):
            function = ours(f"nn.functional.{written.func.__name__}")
            return function and functools.partial(function, **written.keywords)
        return with_ours(written) or method(getattr(written, "__name__", ""))


def seed(torch: Any) -> None:
    """Start all generators that PyTorch's samples draw from."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  PyTorch's samples draw from it
    torch.default_generator.manual_seed(0)  # not `manual_seed`, which formats the stack


def method(name: str) -> Callable[..., Any] | None:
    """Our method, or property, of a name."""
    found = getattr(tg.Tensor, name, None)
    return found.fget if isinstance(found, property) else found


def ours(name: str) -> Callable[..., Any] | None:
    """Our function of PyTorch's ``name``, or a method or property of `Tensor`."""
    found: Any = tg
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None or isinstance(found, type(tg.float32)) or not callable(found):
        found = method(name)
    if name == "nn.functional.embedding":  # whose samples begin with the weight
        return lambda weight, index, **kwargs: tg.nn.functional.embedding(index, weight, **kwargs)
    if name == "where":
        return lambda input, condition, other: tg.where(condition, input, other)
    if name == "einsum":
        return lambda operands, equation: tg.einsum(equation, *operands)
    if name.endswith("polygamma"):
        return lambda x, n, **kwargs: tg.polygamma(n, x, **kwargs)
    result: Callable[..., Any] | None = found
    return result


def with_ours(op: Any) -> Callable[..., Any] | None:
    """The function of PyTorch's tests that calls it, made to call ours; None for PyTorch's own."""
    if not isinstance(op, types.FunctionType) or "testing" not in op.__module__:
        return None
    known = {**op.__globals__, "torch": tg}
    return types.FunctionType(op.__code__, known, None, op.__defaults__, op.__closure__)


def leaves(value: Any, kind: type) -> Iterator[Any]:
    """The tensors in a result or in arguments, in order."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v, kind)
    elif isinstance(value, dict):
        for v in value.values():
            yield from leaves(v, kind)


def mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Arguments with their tensors changed."""
    if isinstance(value, kind):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(mapped(v, kind, change) for v in value)
    if isinstance(value, dict):
        return {k: mapped(v, kind, change) for k, v in value.items()}
    return value


def changed(torch: Any, sample: Any, change: Callable[[Any], Any]) -> Any:
    """A sample with its tensors changed."""
    from torch.testing._internal.opinfo.core import SampleInput

    parts = (sample.input, tuple(sample.args), dict(sample.kwargs))
    first, args, kwargs = mapped(parts, torch.Tensor, change)
    return SampleInput(first, args=args, kwargs=kwargs)


# ---- how inputs lie in memory ------------------------------------------------------------------


def _transposed(x: Any, zeros: Any) -> Any:
    base = x.detach().transpose(0, -1).clone().contiguous()
    return base, lambda base: base.transpose(0, -1)


def _stepped(x: Any, zeros: Any) -> Any:
    base = zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), dtype=x.dtype)
    base[..., 1::2] = x.detach()
    return base, lambda base: base[..., 1::2]


def _amid(x: Any, zeros: Any) -> Any:
    base = zeros((x.shape[0] + 2, *x.shape[1:]), dtype=x.dtype)
    base[1:-1] = x.detach()
    return base, lambda base: base[1:-1]


def _flipped(x: Any, zeros: Any) -> Any:
    """Backwards in memory, in NumPy's way; PyTorch has no such tensors."""
    if zeros is not tg.zeros:
        return x.detach().clone(), lambda base: base[:]
    return x.detach().flip(0), lambda base: base[::-1]


LAYOUTS = (_transposed, _stepped, _amid, _flipped)


def laid_out(inputs: Any, kind: type, zeros: Any, turn: int) -> Any:
    """Arguments with the same numbers, each a view into memory of another layout.

    Every sixth time all tensors of a dtype are views of one storage.
    """
    if turn % 6 == 5:
        return _of_one_storage(inputs, kind, zeros)
    which = itertools.count(turn)

    def change(x: Any) -> Any:
        if not x.ndim:
            return x
        base, view = LAYOUTS[next(which) % len(LAYOUTS)](x, zeros)
        return view(base.requires_grad_(x.requires_grad))

    return mapped(inputs, kind, change)


def _of_one_storage(inputs: Any, kind: type, zeros: Any) -> Any:
    found = [x for x in leaves(inputs, kind) if x.ndim]
    bases: dict[Any, Any] = {}
    for key in dict.fromkeys((x.dtype, x.requires_grad) for x in found):
        members = [x for x in found if (x.dtype, x.requires_grad) == key]
        base = zeros((sum(x.numel() for x in members),), dtype=key[0])
        start = 0
        for x in members:
            base[start : start + x.numel()] = x.detach().reshape(-1)
            start += x.numel()
        bases[key] = (base.requires_grad_(key[1]), itertools.accumulate(
            [x.numel() for x in members], initial=0))  # fmt: skip

    def change(x: Any) -> Any:
        if not x.ndim:
            return x
        base, starts = bases[x.dtype, x.requires_grad]
        start = next(starts)
        return base[start : start + x.numel()].view(tuple(x.shape))

    return mapped(inputs, kind, change)


# ---- samples that are made of others -----------------------------------------------------------


def _errors(torch: Any, info: Any, drawn: list[Any]) -> list[Any]:
    if info.error_inputs_func is None:
        return []
    return [error.sample_input for error in info.error_inputs_func(info, "cpu")]


def _empty(torch: Any, info: Any, drawn: list[Any]) -> list[Any]:
    """Every sample with one of its sizes made 0, wherever it stands."""
    made: list[Any] = []
    if info.name == "nn.functional.embedding_bag":  # PyTorch reads beyond its memory, and dies
        return made
    for turn, sample in enumerate(drawn):
        parts = (sample.input, tuple(sample.args), dict(sample.kwargs))
        sizes = sorted({n for x in leaves(parts, torch.Tensor) for n in x.shape if n})
        if not sizes:
            continue
        size = sizes[-1 - turn % len(sizes)]

        def narrowed(x: Any, size: int = size) -> Any:
            for axis, n in enumerate(x.shape):
                x = x.narrow(axis, 0, 0) if n == size else x
            return x.detach().clone()

        made.append(changed(torch, sample, narrowed))
    return made


def _promotion(torch: Any, info: Any, drawn: list[Any]) -> list[Any]:
    """Operands of two dtypes, and numbers; a tensor of no dimensions counts less than others."""
    from torch.testing._internal.opinfo.core import BinaryUfuncInfo, SampleInput

    if not isinstance(info, BinaryUfuncInfo):
        return []
    supported = info.supported_dtypes("cpu")
    dtypes = [d for d in (getattr(torch, n) for n in MIXED) if d in supported]
    made = []
    for a, b in itertools.product(dtypes, dtypes):
        x, y = torch.tensor([1, 3, 2], dtype=a), torch.tensor([2, 1, 1], dtype=b)
        made += [(x, y), (x, y[0]), (x[0], y), (x[0], y[1])]
    if info.supports_rhs_python_scalar:
        made += [(torch.tensor([1, 3, 2], dtype=a), n) for a in dtypes for n in NUMBERS]
    return [SampleInput(x, args=(y,)) for x, y in made]


def _with_out(torch: Any, info: Any, drawn: list[Any]) -> list[Any]:
    """Every sample once for each of `OUTS`; the last leaves inputs that require gradients so."""
    constant = [changed(torch, s, lambda x: x.detach()) for s in drawn]
    return [s for pair in zip(constant, drawn, strict=True) for s in [pair[0]] * 6 + [pair[1]]]


NARROWER = {"float64": "float32", "complex128": "complex64", "int64": "int32", "bool": "uint8"}
LOWER = {"float64": "int64", "float32": "int64", "complex128": "float64", "int64": "bool"}
OUTS: tuple[Callable[[Any, tuple[int, ...], str], Any], ...] = (
    lambda full, shape, dtype: full(shape, dtype),
    lambda full, shape, dtype: full((0,), dtype),
    lambda full, shape, dtype: full((*shape, 2), dtype),
    lambda full, shape, dtype: full((*shape, 2), dtype)[..., 1],
    lambda full, shape, dtype: full(shape, NARROWER.get(dtype, "float64")),
    lambda full, shape, dtype: full(shape, LOWER.get(dtype, dtype)),
    lambda full, shape, dtype: full(shape, dtype),
)
"""Memory for a result: right, empty, of another shape, strided, narrower, of a lower kind."""


def memory_for(results: Sequence[Any], m: Any, turn: int) -> list[Any]:
    """Tensors of ``m``, PyTorch or us, for results of PyTorch's: the way of `OUTS` by turns."""

    def full(shape: tuple[int, ...], dtype: str) -> Any:
        return m.full(shape, 1, dtype=getattr(m, dtype))

    way = OUTS[turn % len(OUTS)]
    return [way(full, tuple(x.shape), str(x.dtype).removeprefix("torch.")) for x in results]


def _methods(torch: Any, info: Any, drawn: list[Any]) -> list[Any]:
    return [s for s in drawn if isinstance(s.input, torch.Tensor)]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("float64", "or complex, integers, bools where there is no float64; second derivatives",
             FIRST, first=True, orders=2),
        Kind("complex", "complex128; second derivatives", ("complex128",), orders=2),
        Kind("float32", "first derivatives", ("float32",), orders=1),
        Kind("float16", "values", ("float16",)),
        Kind("integers", "uint8, int8, int16, int32, int64, bool", INTEGERS),
        Kind("promotion", "two dtypes; tensors without dimensions, Python's numbers", (),
             make=_promotion),
        Kind("strided", "transposed, with steps, amid others, backwards, all in one storage; first "
             "derivatives", FIRST, first=True, orders=1, layout=True),
        Kind("empty", "one of the sizes is 0", FIRST, first=True, make=_empty),
        Kind("methods", "of `Tensor`", FIRST, first=True, make=_methods, calls="method"),
        Kind("in place", "in the first dtype, and int64; first derivatives",
             ("float64", "int64", "bool"), orders=1, calls="in place"),
        Kind("out", "`out=` of the right shape and dtype, empty, of another shape, strided, of "
             "another dtype; inputs that require gradients", FIRST, first=True, make=_with_out,
             calls="out"),
        Kind("errors", "arguments that PyTorch refuses", (), make=_errors),
    )
}  # fmt: skip


@functools.cache
def tolerances() -> dict[str, tuple[float, float]]:
    """PyTorch's own, relative and absolute, by dtype."""
    from torch.testing._comparison import _DTYPE_PRECISIONS

    return {str(d).removeprefix("torch."): found for d, found in _DTYPE_PRECISIONS.items()}


def overrides(info: Any) -> dict[str, tuple[float, float]]:
    """The larger tolerances that PyTorch's own tests of an operator have."""
    from torch.testing._internal.common_device_type import precisionOverride, toleranceOverride

    known: dict[str, tuple[float, float]] = {}
    for given in info.decorators:
        if getattr(given, "device_type", None) not in (None, "cpu"):
            continue
        for way in getattr(given, "decorators", ()):
            if isinstance(way, (precisionOverride, toleranceOverride)):
                for dtype, value in way.d.items():
                    absolute, relative = value if isinstance(value, tuple) else (value, 0.0)
                    name = str(dtype).removeprefix("torch.")
                    before = known.get(name, (0.0, 0.0))
                    known[name] = (max(before[0], relative), max(before[1], absolute))
    return known


def evenly(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most ``most`` of the items, the first and the last among them."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]
