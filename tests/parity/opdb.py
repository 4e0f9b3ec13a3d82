"""PyTorch's own operator samples, run here and there: values, first and second derivatives."""

from __future__ import annotations

import importlib.util
import random
import re
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_cnn as tg

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
RTOL, ATOL = 1e-7, 1e-9


# Why samples of an operator differ; prefixes of names. Printed in docs/parity.md.
REASONS = {
    "as_strided_scatter": "PyTorch's gradient of `input` is not 0 where `src` was written; ours is",
    "linalg.eig": "eigenvectors are fixed up to a factor of absolute value 1",
    "linalg.norm.subgradients": "PyTorch's second derivative at 0 is NaN; ours is 0",
    "native_layer_norm": "PyTorch's second derivative without a weight is an error",
    "normal.number_mean": "there is no argument `layout`",
    "linalg.svd": "singular vectors are fixed up to a factor of absolute value 1",
    "svd": "singular vectors are fixed up to a factor of absolute value 1",
    "nn.functional.scaled_dot_product_attention": "some samples drop at random",
    "nn.functional.multi_head_attention_forward": "some samples drop at random",
    "special.bessel": "SciPy's values; PyTorch's have 6 digits at large arguments",
}


ABSENT = re.compile("AttributeError: .* has no attribute")
"""What a function of PyTorch's tests says that calls one that we have not."""


@dataclass
class Result:
    """What the samples of one operator of PyTorch gave."""

    name: str
    missing: bool = False
    agreed: int = 0
    differ: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return self.agreed + len(self.differ)


def label(info: Any) -> str:
    """The name of an operator and, if there are several, of its variant."""
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


def ours(name: str) -> Callable[..., Any] | None:
    """Our function of PyTorch's ``name``, or a method or property of `Tensor`."""
    found: Any = tg
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None or isinstance(found, type(tg.float32)) or not callable(found):
        found = getattr(tg.Tensor, name, None)
    if name == "nn.functional.embedding":  # whose samples begin with the weight
        return lambda weight, index, **kwargs: tg.nn.functional.embedding(index, weight, **kwargs)
    if name == "where":
        return lambda input, condition, other: tg.where(condition, input, other)
    if name == "einsum":
        return lambda operands, equation: tg.einsum(equation, *operands)
    if name.endswith("polygamma"):
        return lambda x, n, **kwargs: tg.polygamma(n, x, **kwargs)
    return found.fget if isinstance(found, property) else found


def with_ours(op: Any) -> Callable[..., Any] | None:
    """The function of PyTorch's tests that calls it, made to call ours; None for PyTorch's own."""
    if not isinstance(op, types.FunctionType) or "testing" not in op.__module__:
        return None
    known = {**op.__globals__, "torch": tg}
    return types.FunctionType(op.__code__, known, None, op.__defaults__, op.__closure__)


def evenly(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most ``most`` of the items, the first and the last among them."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]


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
        if value.layout != torch.strided:
            raise Untranslatable(value.layout)
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


def _differs(a: np.ndarray, b: np.ndarray, single: bool = False) -> str | None:
    """How two arrays differ; ``single`` says that their digits are those of float32."""
    if a.shape != b.shape:
        return f"shape {a.shape}, PyTorch {b.shape}"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype}, PyTorch {b.dtype}"
    single = single or a.dtype in (np.float32, np.float16, np.complex64)
    rtol, atol = (1e-3, 1e-5) if single else (RTOL, ATOL)
    if a.dtype.kind not in "fc":
        return None if np.array_equal(a, b) else f"values differ in {int((a != b).sum())} places"
    if np.allclose(a, b, rtol, atol, equal_nan=True):
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
    return np.asarray(out, a.dtype)


class _Run:
    """One sample, here and in PyTorch."""

    def __init__(self, torch: Any, info: Any, function: Callable[..., Any]) -> None:
        self.torch, self.info, self.function = torch, info, function

    def __call__(self, sample: Any) -> str | None:
        torch = self.torch
        sample = sample.transform(self.leaf)
        theirs_in = (sample.input, tuple(sample.args), dict(sample.kwargs))
        ours_in = tuple(translated(v, torch) for v in theirs_in)
        theirs = self.info.op(theirs_in[0], *theirs_in[1], **theirs_in[2])
        ours_out = self.function(ours_in[0], *ours_in[1], **ours_in[2])
        t, o = self.outputs(theirs, ours_out)
        if len(t) != len(o):
            return f"{len(o)} results, PyTorch {len(t)}"
        if self.info.name in RANDOM or (
            sample.kwargs.get("training") and "rrelu" in self.info.name
        ):
            same = [tuple(a.shape) == tuple(b.shape) for a, b in zip(o, t, strict=True)]
            return None if all(same) else "shapes differ"
        for i, (a, b) in enumerate(zip(o, t, strict=True)):
            if bad := _differs(a.detach().numpy(), b.detach().resolve_conj().resolve_neg().numpy()):
                return f"result {i}: {bad}"
        return self.derivatives(theirs_in, ours_in, t, o)

    def leaf(self, value: Any) -> Any:
        """PyTorch finds no gradient of a view that was made without recording it."""
        if not isinstance(value, self.torch.Tensor) or not (value.is_leaf and value._is_view()):
            return value
        return value.detach().requires_grad_(value.requires_grad)

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
        for order in (1, 2):
            pairs = [(a, b) for a, b in zip(o, t, strict=True) if b.requires_grad]
            pairs = [(a if a.requires_grad else _zero(a, o_in), b) for a, b in pairs]
            if not pairs or not t_in:
                return None
            if order == 2 and not self.info.supports_gradgrad:
                return None
            rng = np.random.default_rng(order)
            weights = [_weights(rng, a) for a, _ in pairs]
            twice = self.info.supports_gradgrad
            single = any(v.dtype in (torch.float32, torch.complex64) for v in t_in)
            try:
                t_g = torch.autograd.grad(
                    [b for _, b in pairs], t_in, [torch.from_numpy(w) for w in weights],
                    allow_unused=True, create_graph=twice,
                )  # fmt: skip
            except RuntimeError as error:
                if order == 2 and "not implemented" in str(error):
                    return None  # PyTorch has no second derivative
                raise
            o_g = tg.autograd.grad(
                [a for a, _ in pairs], o_in, [tg.tensor(w) for w in weights],
                allow_unused=True, create_graph=twice,
            )  # fmt: skip
            t, o = [], []
            for i, (a, b) in enumerate(zip(o_g, t_g, strict=True)):
                zero = np.zeros(tuple(t_in[i].shape))
                mine = zero if a is None else a.detach().numpy()
                # not a lazy zero
                other = zero if b is None else b.detach().clone().resolve_conj().numpy()
                wide = np.result_type(mine, other, float)
                if bad := _differs(mine.astype(wide), other.astype(wide), single):
                    return f"order {order}, input {i}: {bad}"
                if a is not None and b is not None:
                    t, o = [*t, b], [*o, a]
        return None


def results(
    match: Callable[[str], bool], most: int | None, use_complex: bool = False
) -> Iterator[Result]:
    """The result of every operator that ``match`` takes, on at most ``most`` samples each.

    Samples are of float64 or, where there are none, of complex numbers, integers or bools; with
    ``use_complex`` complex ones come first.
    """
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    warnings.simplefilter("ignore")
    for info in op_db:
        if not match(info.name):
            continue
        out = Result(label(info))
        function = with_ours(info.op) or ours(info.name)
        kinds = info.supported_dtypes("cpu")
        order = (torch.float64, torch.complex128, torch.int64, torch.bool, torch.float32)
        order = (torch.complex128,) if use_complex else order
        dtype = next((d for d in order if d in kinds), None)
        if use_complex and dtype is None:
            continue
        if function is None or dtype is None:
            out.missing = True
            yield out
            continue
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002  PyTorch's samples draw from it
        torch.manual_seed(0)
        wants = info.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
        samples = list(info.sample_inputs("cpu", dtype, requires_grad=wants))
        run = _Run(torch, info, function)
        for sample in evenly(samples, most):
            try:
                bad = run(sample)
            except Untranslatable:
                continue
            except Exception as error:  # whatever the operation raises is a difference
                bad = f"{type(error).__name__}: {error}"
            if bad is None:
                out.agreed += 1
            else:
                said = sample.summary() if hasattr(sample, "summary") else ""
                out.differ.append(f"{bad} | {said}")
        if not out.agreed and all(ABSENT.match(why) for why in out.differ):
            out = Result(out.name, missing=True)
        yield out
