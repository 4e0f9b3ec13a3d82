"""PyTorch's own samples of its operators in bfloat16: values and gradients to one rounding.

A result that differs from PyTorch's by more than that must be as near to the exact one, which
PyTorch computes in float64, as PyTorch's: many of its kernels round several times.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install expecttest")
pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")

import torch
from torch.testing._internal.common_methods_invocations import op_db

from parity import kinds, opdb

TIES = {"argsort", "kthvalue", "median", "mode", "msort", "nanmedian", "sort", "topk"}
"""Which of equal values is taken is not the same."""

DIFFERENT = {
    "as_strided": "as with other dtypes",
    "as_strided_scatter": "as with other dtypes",
    "corrcoef": "a quotient of differences",
    "nn.functional.multi_head_attention_forward": "drops at random",
    "nn.functional.scaled_dot_product_attention": "drops at random",
    "nn.functional.max_unpool3d": "places are taken twice",
    "nn.functional.binary_cross_entropy_with_logits": "several roundings of small numbers",
    "nn.functional.linear_cross_entropy": "as above",
    "nn.functional.cosine_embedding_loss": "as above",
    "nn.functional.softsign": "as above",
    "nn.functional.triplet_margin_with_distance_loss": "its samples hold PyTorch's layers",
    "special.ndtr": "PyTorch's is 0 where it is small, in float64 too",
    **dict.fromkeys(
        [
            "chalf",
            "max_pool2d_with_indices_backward",
            "resize_",
            "resize_as_",
            "to_sparse",
            "zero_",
        ],
        "its samples call what is not here",
    ),
}


def _names() -> list[str]:
    """Every sixth operator that both libraries have, in one order."""
    found = []
    for info in op_db:
        function = kinds.with_ours(info.op) or kinds.ours(info.name)
        runs = torch.bfloat16 in info.supported_dtypes("cpu")
        known = info.name in opdb.RANDOM | TIES or info.name in DIFFERENT
        if runs and function is not None and not known and info.name not in found:
            found.append(info.name)
    return [*sorted(found)[::6], "bfloat16", "matmul", "nn.functional.conv2d", "softmax"]


def exact(value: Any) -> Any:
    """Arguments in float64."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
        return value.detach().double().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(map(exact, value))
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    return torch.float64 if value is torch.bfloat16 else value


def array(t: Any) -> np.ndarray:
    name = str(t.dtype).removeprefix("torch.")
    return (t.float() if name == "bfloat16" else t).detach().numpy()


def differs(ours: Any, theirs: Any, best: Any) -> str | None:
    if str(ours.dtype) != str(theirs.dtype).removeprefix("torch."):
        return f"dtype {ours.dtype}, PyTorch {theirs.dtype}"
    if tuple(ours.shape) != tuple(theirs.shape):
        return f"shape {ours.shape}, PyTorch {theirs.shape}"
    a, b, c = array(ours), array(theirs), array(best)
    if a.dtype.kind in "biu":
        return None if (a == b).all() else "integers differ"
    with np.errstate(all="ignore"):
        a, b, c = (v.astype(np.complex128) for v in (a, b, c))
        near = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= 2.0**-7 * np.abs(b))
        worst = np.nanmax(np.where(np.isfinite(b), np.abs(b - c), 0), initial=0.0)
        as_good = np.abs(a - c) <= np.maximum(1.01 * 2.0**-8 * np.abs(c), worst)
    bad = ~(near | as_good)
    some = f"{a[bad][:3]}, PyTorch {b[bad][:3]}"
    return f"{bad.sum()} of {bad.size} values, {some}" if bad.any() else None


def sample_differs(info: Any, function: Any, sample: Any) -> str | None:
    given = (sample.input, tuple(sample.args), dict(sample.kwargs))
    mine, best = tuple(opdb.translated(v, torch) for v in given), exact(given)
    outs = []
    for call, (x, args, kwargs), kind in (
        (function, mine, tg.Tensor), (info.op, given, torch.Tensor), (info.op, best, torch.Tensor),
    ):  # fmt: skip
        outs.append(list(opdb.leaves(call(x, *args, **kwargs), kind)))
    if len({len(o) for o in outs}) != 1:
        return f"{len(outs[0])} results, PyTorch {len(outs[1])}"
    for found in zip(*outs, strict=True):
        if bad := differs(*found):
            return bad
    wants = [
        [v for v in opdb.leaves(g, kind) if v.requires_grad]
        for g, kind in ((mine, tg.Tensor), (given, torch.Tensor), (best, torch.Tensor))
    ]
    live = [i for i, t in enumerate(outs[1]) if t.requires_grad and outs[0][i].requires_grad]
    if not live or not wants[1] or len(wants[0]) != len(wants[1]):
        return None
    rng, grads = np.random.default_rng(1), []
    drawn = [rng.uniform(-1, 1, tuple(outs[1][i].shape)) for i in live]
    weights = [torch.tensor(u, dtype=torch.bfloat16) for u in drawn]
    for out, leaves, lib in zip(outs, wants, (tg, torch, torch), strict=True):
        ys = [out[i] for i in live]
        us = [opdb.translated(u, torch) for u in weights] if lib is tg else weights
        us = [u.to(y.dtype) for u, y in zip(us, ys, strict=True)]
        grads.append(lib.autograd.grad(ys, leaves, us, allow_unused=True))
    for i, found in enumerate(zip(*grads, strict=True)):
        if all(g is not None for g in found) and (bad := differs(*found)):
            return f"gradient {i}: {bad}"
    return None


@pytest.mark.parametrize("name", _names())
def test_samples_agree_to_one_rounding(name: str) -> None:
    warnings.simplefilter("ignore")
    ran = 0
    for info in op_db:
        if info.name != name or torch.bfloat16 not in info.supported_dtypes("cpu"):
            continue
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002  PyTorch's samples draw from it
        torch.manual_seed(0)
        wants = info.supports_autograd and torch.bfloat16 in info.supported_backward_dtypes("cpu")
        samples = list(info.sample_inputs("cpu", torch.bfloat16, requires_grad=wants))
        function = kinds.with_ours(info.op) or kinds.ours(info.name)
        for sample in kinds.evenly(samples, 2):
            try:
                bad = sample_differs(info, function, sample)
            except opdb.Untranslatable:
                continue
            assert bad is None, f"{bad} | {sample.summary()}"
            ran += 1
    assert ran
