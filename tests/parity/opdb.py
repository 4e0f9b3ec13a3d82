"""PyTorch's own operator samples, run here and there: values, first and second derivatives."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from parity import CRYPTIC, ERRORS, UNIMPLEMENTED, array, dtype_name
from parity.kinds import (
    KINDS,
    Kind,
    laid_out,
    leaves,
    mapped,
    memory_for,
    overrides,
    tolerances,
)

# Results of these are random: only shapes and dtypes are compared.
RANDOM = {
    "bernoulli", "cauchy", "empty", "empty_like", "empty_permuted", "empty_strided", "exponential",
    "geometric", "log_normal", "multinomial", "new_empty", "new_empty_strided",
    "nn.functional.alpha_dropout", "nn.functional.dropout", "nn.functional.dropout2d",
    "nn.functional.dropout3d", "nn.functional.feature_alpha_dropout",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d", "normal",
    "pca_lowrank", "rand_like", "randint", "randint_like", "randn", "randn_like", "svd_lowrank",
    "uniform",
}  # fmt: skip
NAMES_OPERATION = re.compile(r"[\w.]+_?(\(\))?:? ")


@dataclass(frozen=True)
class Decision:
    """What differs from PyTorch on purpose: where, what the comparison says of it, and why.

    ``names`` and ``said`` are regular expressions, that the name and what is said begin with;
    ``kinds`` is empty for all.
    """

    why: str
    names: str = ""
    said: str = ""
    kinds: tuple[str, ...] = ()

    def holds(self, name: str, kind: str, said: str) -> bool:
        """Whether it is the reason of a difference."""
        fits = re.match(self.names, name) and re.match(self.said, said, re.DOTALL)
        return bool(fits) and (not self.kinds or kind in self.kinds)


FREE = "fixed up to a factor of absolute value 1"
DROPS = "some samples drop at random"
DECISIONS = (
    Decision(
        "PyTorch's gradient of `input` is not 0 where `src` was written; ours is",
        "as_strided_scatter",
    ),
    Decision(
        "PyTorch's gradient has a part that no Hermitian matrix sees",
        "(linalg.)?cholesky(_ex)?$",
        "order",
        ("complex",),
    ),
    Decision(f"eigenvectors are {FREE}", "linalg.eigh?$"),
    Decision(f"singular vectors are {FREE}", "(linalg.)?svd$"),
    Decision(
        "PyTorch's second derivative at 0 is NaN; ours is 0", "linalg.norm.subgradients", "order 2"
    ),
    Decision("PyTorch's second derivative without a weight is an error", "native_layer_norm"),
    Decision("there is no argument `layout`", "normal.number_mean"),
    Decision("there is no complex32", "complex", ".* is float16, expected float32"),
    Decision(
        "Python calls it with numbers only: by a tensor of another dtype it is `div`",
        "__rdiv__",
        "result 0: dtype",
        ("promotion",),
    ),
    Decision(
        "the order of equal values, and which of them is named, is free; ours is stable",
        "(kthvalue|median|mode|nanmedian|topk|sort|argsort|msort)$",
        "result [01]: values differ in",
    ),
    Decision(
        "a result of nothing, where PyTorch refuses",
        "nn.functional|fft|unique|native_batch_norm|stft",
        "accepted",
        ("empty",),
    ),
    Decision(
        "a number that a dtype cannot hold is none of its numbers; PyTorch wraps it around",
        "nn.functional.cosine_embedding_loss",
        "result 0: values",
        ("integers",),
    ),
    Decision(
        "the bias alone, of as many filters as there are; PyTorch's result has none",
        "nn.functional.conv",
        "result 0: shape",
        ("empty",),
    ),
    Decision(
        "float16 in each step; PyTorch's chunks are float32",
        "nn.functional.linear_cross_entropy",
        "result 0: values",
        ("float16",),
    ),
    Decision(
        "a view of any layout, which PyTorch refuses",
        "kron|take_along_dim",
        "accepted",
        ("strided",),
    ),
    Decision(
        "means of integers are refused; PyTorch cuts off their fractions",
        "nn.functional.(avg_pool|interpolate|upsample|local_response_norm)",
        "DtypeError",
        ("integers",),
    ),
    Decision(
        "a result of nothing, where PyTorch refuses",
        "nn.functional.max_pool",
        "accepted.*(non-batch dim|0 dim batch)",
        ("errors",),
    ),
    Decision(
        "PyTorch leaves the shape of an empty tensor as it is",
        "nn.functional.pixel_unshuffle",
        "result 0: shape",
        ("empty",),
    ),
    Decision(
        "without classes there is no class to ignore",
        "nn.functional.(nll_loss|cross_entropy)",
        "PositionError",
        ("empty",),
    ),
    Decision(
        "an `output_size` that is not that of the result is refused",
        "repeat_interleave",
        "ArgumentError: .*output_size",
        ("empty",),
    ),
    Decision(
        "infinite at poles, where PyTorch's are large numbers",
        "(special.)?polygamma",
        "result 0: values differ by inf",
        ("integers",),
    ),
    Decision(
        "more pivots than rows or columns are refused",
        "lu_unpack",
        "ShapeError: lu_unpack",
        ("empty",),
    ),
    Decision(
        "PyTorch gives a shape that the product has not", "addmv", "result 0: shape", ("empty",)
    ),
    Decision(
        "there are no means of an axis without elements",
        "nn.functional.adaptive_(avg|max)_pool",
        "ShapeError",
        ("empty",),
    ),
    Decision(
        "the mean of no losses is NaN; PyTorch's is 0",
        "nn.functional.(multi(label)?_margin_loss|(linear_)?cross_entropy)",
        "result 0: values differ by nan",
        ("empty",),
    ),
    Decision("PyTorch has no negative strides", "view$", "RuntimeError: view: .*-", ("strided",)),
    Decision(
        "`out` of any dtype that the result can be cast to; PyTorch wants some to be the same",
        said="accepted, PyTorch: .*(dtype|scalar.type|expects? .*tensor|out type|same type)",
        kinds=("out",),
    ),
    Decision(
        "arguments that require gradients are refused with `out`; PyTorch lets some functions pass",
        said="RuntimeError: .* an argument requires gradients",
        kinds=("out",),
    ),
    Decision(
        "`out` gets the shape of the result; PyTorch keeps one of as many numbers, or fails",
        "linspace|logspace|normal|native_batch_norm",
        "result 0: shape|accepted, PyTorch: (The size of|TensorAccessor)",
        ("out",),
    ),
    Decision(
        "PyTorch's result is wrong: that of another shape, or written as if rows followed one "
        "another",
        "fft.ihfft|narrow_copy",
        "result 0",
        ("out",),
    ),
    Decision(
        "PyTorch makes the numbers uint8 first, as `out` is, and so 0.5 false",
        "(all|any)$",
        "result 0: values",
        ("out",),
    ),
    Decision(
        "a result of integers, or of random numbers, has no gradient to lose",
        said="accepted.*automatic differentiation",
        kinds=("out",),
    ),
    Decision(
        "the result is computed before it is written, so that `out` may overlap arguments",
        said="accepted, PyTorch: unsupported operation: some elements of the input",
    ),
    Decision(
        "`out` of any dtype that the result can be cast to; PyTorch wants some to be the same",
        said=r"accepted, PyTorch: .*\bout\b",
        kinds=("errors",),
    ),
    Decision(
        "`out` is resized whatever its memory is; PyTorch refuses some",
        "cat$",
        "accepted.*resiz|ShapeError: as_strided",
        ("errors",),
    ),
    Decision("floats do not fit into integers", "(bernoulli|lu)$", "DtypeError", ("out",)),
    Decision("a tuple for a tuple of results", "nonzero", "accepted.*not tuple", ("out",)),
    Decision(
        "PyTorch refuses inputs that are not row by row, or reads them as if they were",
        "native_group_norm",
        "accepted|result 0: values",
        ("strided",),
    ),
    Decision(
        "new numbers are 0; PyTorch's are whatever the memory held",
        "resize_$",
        "result 0: values",
        ("empty",),
    ),
    Decision(
        "of an input that lies backwards, which PyTorch has not, the memory is another",
        "as_strided(_copy)?$",
        "result 0: values",
        ("strided",),
    ),
    Decision(DROPS, "nn.functional.scaled_dot_product_attention"),
    Decision(DROPS, "nn.functional.multi_head_attention_forward"),
    Decision(
        "SciPy's values; PyTorch's have 6 digits at large arguments",
        "special.bessel",
        "result 0: values",
    ),
    Decision("float16 is refused", said="DtypeError: .* is float16, expected", kinds=("float16",)),
    Decision(
        "complex numbers are refused",
        said=r"DtypeError: .*(not implemented for complex|is complex\d+, expected)",
    ),
    Decision(
        "PyTorch gives the tensor the larger shape", "addbmm", ".* must fit in place", ("in place",)
    ),
    Decision(
        "a number is taken where a tensor is wanted",
        "__r",
        "accepted.*'int' object|1 results",
        ("errors",),
    ),
    Decision(
        "a tensor is taken for the list of its rows",
        "cat$|concat$|concatenate$",
        "accepted.*must be tuple of Tensors",
        ("errors",),
    ),
    Decision(
        "a rank above that of an empty matrix is refused",
        "svd_lowrank",
        "ArgumentError",
        ("empty",),
    ),
    Decision(
        "a number is taken where a tensor is wanted",
        said=r"accepted.*(must be Tensor, not int|got \(int, |got \(Tensor, int\))",
    ),
)


NO_DERIVATIVE = re.compile("not implemented|view size is not|must be contiguous")
"""What PyTorch says where it has no derivative, or none of such inputs."""

ABSENT = re.compile("(unclear error, )?(AttributeError|MissingNameError): .* has no attribute")
"""What a function of PyTorch's tests says that calls one that we have not."""


@dataclass
class Result:
    """What the samples of one kind gave for one operator of PyTorch."""

    name: str
    kind: str
    missing: bool = False
    agreed: int = 0
    decided: list[str] = field(default_factory=list)
    """Why samples differ on purpose."""
    differ: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """How many were run."""
        return self.agreed + len(self.decided) + len(self.differ)


def label(info: Any) -> str:
    """The name of an operator and, if there are several, of its variant."""
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


class Untranslatable(Exception):
    """A sample has arguments of a kind that is PyTorch's alone."""


def _in_its_storage(value: Any) -> Any:
    """A constant as ours; of what is a part of a larger memory, the same part of a copy of it."""
    size, stride, offset = tuple(value.shape), value.stride(), value.storage_offset()
    n = value.untyped_storage().nbytes() // value.element_size()
    if not value.numel() or n == value.numel():
        return tg.tensor(value.numpy().copy())
    memory = tg.tensor(value.as_strided((n,), (1,), 0).numpy().copy())
    return memory.as_strided(size, stride, offset).detach()


def translated(value: Any, torch: Any) -> Any:
    """An argument as ours: tensors by their values, dtypes by their names."""
    if isinstance(value, torch.Tensor):
        known = value.layout == torch.strided and value.device.type == "cpu"
        if not known or value.ndim > 64:
            raise Untranslatable(f"{value.layout} {value.dtype} {value.ndim} dimensions")
        half = value.dtype == torch.bfloat16
        if half and importlib.util.find_spec("ml_dtypes") is None:
            raise Untranslatable("bfloat16: pip install ml_dtypes")
        plain = (value.float() if half else value).detach().resolve_conj().resolve_neg()
        out = _in_its_storage(plain)
        out = out.to(tg.bfloat16) if half else out
        return out.requires_grad_(value.requires_grad)
    if isinstance(value, torch.dtype):
        found = getattr(tg, str(value).removeprefix("torch."), None)
        if found is None:
            raise Untranslatable(value)
        return found
    if callable(value):
        found = getattr(tg.nn.functional, getattr(value, "__name__", ""), None)
        if found is None:
            raise Untranslatable(value)
        return found
    if isinstance(value, torch.device):
        return str(value)
    if type(value) in (list, tuple):
        return type(value)(translated(v, torch) for v in value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {k: translated(v, torch) for k, v in value.items()}
    return value


def largest(values: np.ndarray) -> float:
    """The largest finite size of numbers, at least 1."""
    return float(
        np.abs(values, where=np.isfinite(values), out=np.ones(values.shape)).max(initial=1)
    )


def _differs(a: np.ndarray, b: np.ndarray, tolerance: tuple[float, float]) -> str | None:
    """How two arrays differ, beyond a relative and an absolute tolerance."""
    if a.shape != b.shape:
        return f"shape {a.shape}, PyTorch {b.shape}"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype}, PyTorch {b.dtype}"
    if a.dtype.kind not in "fc":
        return None if np.array_equal(a, b) else f"values differ in {int((a != b).sum())} places"
    wide = np.result_type(a, np.float64)
    a, b = a.astype(wide), b.astype(wide)
    if np.allclose(a, b, *tolerance, equal_nan=True):
        return None
    with np.errstate(invalid="ignore"):
        return f"values differ by {np.nanmax(np.abs(a - b)):.2g}"


def _zero(a: Any, inputs: Sequence[Any]) -> Any:
    """``a``, a constant, as a result that depends on the inputs: its derivatives are zeros."""
    for x in inputs:
        a = a + (x * 0).sum().to(a.dtype)
    return a


def _weights(rng: np.random.Generator, a: Any) -> np.ndarray:
    out = rng.uniform(-1, 1, tuple(a.shape))
    if a.dtype.kind == "c":
        out = out + 1j * rng.uniform(-1, 1, tuple(a.shape))
    exact = a.dtype if a.dtype.kind in "fc" else np.float32  # NumPy has no bfloat16
    return np.asarray(out, exact)


def _raised(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def unclear(error: BaseException) -> str | None:
    """What is wrong with an error of ours: its class, or a message that names no operation."""
    said = _raised(error)
    if not isinstance(error, ERRORS) or any(words in said for words in CRYPTIC):
        return f"unclear error, {said}"
    return None if NAMES_OPERATION.match(str(error)) else f"error without operation, {said}"


def reason(name: str, kind: str, said: str) -> str | None:
    """Why a sample differs on purpose; None if it should not."""
    return next((d.why for d in DECISIONS if d.holds(name, kind, said)), None)


class _Run:
    """One sample, here and in PyTorch."""

    def __init__(self, torch: Any, info: Any, function: Callable[..., Any], kind: Kind) -> None:
        self.torch, self.info, self.function, self.kind = torch, info, function, kind
        self.theirs = info.op
        if kind.calls == "method":
            self.theirs = getattr(torch.Tensor, info.name, info.op)
        elif kind.calls == "in place":
            self.theirs = info.inplace_variant
        self.overrides = overrides(info)

    def tolerance(self, *dtypes: Any) -> tuple[float, float]:
        """Relative and absolute, of the coarsest of the dtypes."""
        names = [str(d).removeprefix("torch.") for d in dtypes]
        found = [known.get(n, (0, 0)) for known in (self.overrides, tolerances()) for n in names]
        return max(f[0] for f in found), max(f[1] for f in found)

    def __call__(self, sample: Any, turn: int) -> str | None:
        torch = self.torch
        sample = sample.transform(self.leaf)
        theirs_in = (sample.input, tuple(sample.args), dict(sample.kwargs))
        ours_in: Any = tuple(translated(v, torch) for v in theirs_in)
        if self.kind.layout:
            theirs_in = laid_out(theirs_in, torch.Tensor, torch.zeros, turn)
            ours_in = laid_out(ours_in, tg.Tensor, tg.zeros, turn)
        if self.kind.calls == "out":
            theirs_in, ours_in = self.with_out(theirs_in, ours_in, turn)
        theirs, their_error = self.attempt(self.theirs, theirs_in)
        if their_error is not None and UNIMPLEMENTED.search(str(their_error)):
            raise Untranslatable(their_error)
        ours_out, error = self.attempt(self.function, ours_in)
        if their_error is not None:
            if error is not None:
                return unclear(error)
            return f"accepted, PyTorch: {' '.join(str(their_error).split())[:150]}"
        if error is not None:
            return _raised(error)
        t, o = self.outputs(theirs, ours_out)
        if len(t) != len(o):
            return f"{len(o)} results, PyTorch {len(t)}"
        if self.info.name in RANDOM or (
            sample.kwargs.get("training") and "rrelu" in self.info.name
        ):
            same = [
                tuple(a.shape) == tuple(b.shape) and dtype_name(a) == dtype_name(b)
                for a, b in zip(o, t, strict=True)
            ]
            return None if all(same) else "shapes or dtypes differ"
        if any(b.dtype == torch.complex32 for b in t):
            raise Untranslatable("complex32")
        inputs = [v.dtype for v in leaves(theirs_in, torch.Tensor)]
        for i, (a, b) in enumerate(zip(o, t, strict=True)):
            bad = _differs(array(a), array(b), self.tolerance(b.dtype, *inputs))
            if bad and not self.nearer(theirs_in, i, array(a), array(b)):
                return f"result {i}: {bad}"
        return self.derivatives(theirs_in, ours_in, t, o)

    def with_out(self, theirs_in: Any, ours_in: Any, turn: int) -> tuple[Any, Any]:
        """The arguments with memory for the results."""
        plain, error = self.attempt(self.theirs, theirs_in)
        results = list(leaves(plain, self.torch.Tensor))
        if error is not None or not results:
            raise Untranslatable("no tensors to write")
        several = not isinstance(plain, self.torch.Tensor)
        given = []
        for m, (first, args, kwargs) in ((self.torch, theirs_in), (tg, ours_in)):
            outs = memory_for(results, m, turn)
            out = tuple(outs) if several else outs[0]
            given.append((first, args, {**kwargs, "out": out}))
        return given[0], given[1]

    def leaf(self, value: Any) -> Any:
        """PyTorch finds no gradient of a view that was made without recording it."""
        if not isinstance(value, self.torch.Tensor) or not (value.is_leaf and value._is_view()):
            return value
        return value.detach().requires_grad_(value.requires_grad)

    def attempt(self, function: Any, inputs: Any) -> tuple[Any, Exception | None]:
        """The result, or the error; of a function in place what it wrote into."""
        first, args, kwargs = inputs
        if self.kind.calls == "in place":
            first = first.clone()
        try:
            out = function(first, *args, **kwargs)
        except Exception as error:  # whatever an operation raises is looked at
            return None, error
        if self.kind.calls == "in place":
            assert out is first, "a function in place returns another tensor"
        if "out" in kwargs:  # some functions of PyTorch's return None
            if function is self.function:
                same = zip(leaves(out, tg.Tensor), leaves(kwargs["out"], tg.Tensor), strict=True)
                assert all(a is b for a, b in same), "another tensor than `out` is returned"
            return kwargs["out"], None
        return out, None

    def nearer(self, theirs_in: Any, i: int, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether ``a``, ours, is about as near to PyTorch's result in float64 as ``b`` is, or to
        within a few roundings of its largest numbers.
        """
        if b.dtype not in (np.float16, np.float32, np.complex64) or a.dtype != b.dtype:
            return False
        wide = mapped(theirs_in, self.torch.Tensor, self.widened)
        exact, error = self.attempt(self.theirs, wide)
        if error is not None:
            return False
        found = array(self.outputs(exact, [])[0][i])
        if not a.shape == b.shape == found.shape:
            return False
        errors = []
        for v in (a, b):
            same = (v == found) | (np.isnan(v) & np.isnan(found))  # as infinities may be
            errors.append(np.abs(np.where(same, 0, v.astype(found.dtype) - found)).max(initial=0))
        error_a, error_b = errors
        return bool(error_a <= max(2 * error_b, 16 * np.finfo(b.dtype).eps * largest(found)))

    def widened(self, x: Any) -> Any:
        """A tensor in float64 or complex128, if it is of such numbers."""
        torch = self.torch
        wide = torch.complex128 if x.is_complex() else torch.float64
        return x.detach().to(wide) if x.is_floating_point() or x.is_complex() else x

    def outputs(self, theirs: Any, ours_out: Any) -> tuple[list[Any], list[Any]]:
        t = list(leaves(theirs, self.torch.Tensor))
        o = list(leaves(ours_out, tg.Tensor))
        if not t and not o:  # numbers, bools
            as_is = [theirs] if not isinstance(theirs, (list, tuple)) else list(theirs)
            mine = [ours_out] if not isinstance(ours_out, (list, tuple)) else list(ours_out)
            return [self.torch.as_tensor(v) for v in as_is], [tg.tensor(v) for v in mine]
        return t, o

    def derivatives(self, theirs_in: Any, ours_in: Any, t: Any, o: Any) -> str | None:
        torch = self.torch
        t_in = [v for v in leaves(theirs_in, torch.Tensor) if v.requires_grad]
        o_in = [v for v in leaves(ours_in, tg.Tensor) if v.requires_grad]
        twice = self.kind.orders > 1 and self.info.supports_gradgrad
        for order in range(1, 1 + self.kind.orders):
            pairs = [(a, b) for a, b in zip(o, t, strict=True) if b.requires_grad]
            pairs = [(a if a.requires_grad else _zero(a, o_in), b) for a, b in pairs]
            if not pairs or not t_in or (order == 2 and not twice):
                return None
            rng = np.random.default_rng(order)
            weights = [_weights(rng, a) for a, _ in pairs]
            theirs = [
                torch.from_numpy(w).to(b.dtype) for w, (_, b) in zip(weights, pairs, strict=True)
            ]
            ours = [tg.tensor(w).to(a.dtype) for w, (a, _) in zip(weights, pairs, strict=True)]
            try:
                t_g = torch.autograd.grad(
                    [b for _, b in pairs], t_in, theirs, allow_unused=True, create_graph=twice
                )
            except RuntimeError as error:
                if NO_DERIVATIVE.search(str(error)):
                    return None  # PyTorch has no such derivative
                raise
            o_g = tg.autograd.grad(
                [a for a, _ in pairs], o_in, ours, allow_unused=True, create_graph=twice
            )
            t, o = [], []
            for i, (a, b) in enumerate(zip(o_g, t_g, strict=True)):
                zero = np.zeros(tuple(t_in[i].shape), dtype_name(t_in[i]))
                mine = zero if a is None else array(a)
                other = zero if b is None else array(b)
                tolerance = self.tolerance(t_in[i].dtype)
                if any(v.dtype in (torch.float32, torch.complex64) for v in t_in):
                    # PyTorch's own tests compare gradients in float64 only
                    tolerance = (1e-3, 1e-3 * largest(other))
                if bad := _differs(mine, other, tolerance):
                    return f"order {order}, input {i}: {bad}"
                if a is not None and b is not None:
                    t, o = [*t, b], [*o, a]
        return None


def results(
    match: Callable[[str], bool], most: int | None, kinds: Sequence[str] = ("float64",)
) -> Iterator[Result]:
    """What ``match`` takes of the operators gives, on at most ``most`` samples of each kind."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    warnings.simplefilter("ignore")
    for info in op_db:
        if not match(info.name):
            continue
        drawn: dict[Any, list[Any]] = {}
        for kind in (KINDS[k] for k in kinds):
            out = Result(label(info), kind.name)
            if not kind.applies(torch, info):
                continue
            function = kind.function(info)
            if function is None:
                out.missing = True
                yield out
                continue
            run = _Run(torch, info, function, kind)
            for turn, sample in enumerate(kind.samples(torch, info, drawn, most)):
                try:
                    bad = run(sample, turn)
                except Untranslatable:
                    continue
                except Exception as error:  # of a gradient, or a conversion
                    bad = _raised(error)
                if bad is None:
                    out.agreed += 1
                elif why := reason(out.name, kind.name, bad):
                    out.decided.append(why)
                else:
                    said = sample.summary() if hasattr(sample, "summary") else ""
                    out.differ.append(f"{bad} | {said}")
            if not out.agreed and out.differ and all(ABSENT.match(why) for why in out.differ):
                out = Result(out.name, kind.name, missing=True)
            yield out
