"""PyTorch's own samples, evenly taken, of every operator that we have; what differs is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg
from parity import require_torch

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install expecttest")

from torch.testing._internal.common_methods_invocations import op_db

from parity import opdb

ROOT = Path(__file__).parents[2]

# Families that are whole: every sample that is taken must agree.
FAMILIES = (
    "nn.functional.conv", "nn.functional.max_", "nn.functional.avg_pool", "nn.functional.adaptive",
    "nn.functional.fractional", "nn.functional.lp_pool", "nn.functional.pad",
    "nn.functional.interpolate", "nn.functional.upsample", "nn.functional.grid_sample",
    "nn.functional.affine_grid", "nn.functional.channel_shuffle", "nn.functional.pixel",
    "nn.functional.fold", "nn.functional.unfold", "nn.functional.group_norm",
    "nn.functional.instance_norm", "nn.functional.rms_norm", "nn.functional.local_response",
    "nn.functional.layer_norm", "nn.functional.dropout", "nn.functional.alpha_dropout",
    "nn.functional.feature_alpha", "nn.functional.bilinear", "nn.functional.pdist",
    "nn.functional.linear_cross_entropy", "nn.functional.rrelu", "nn.functional.threshold",
    "acosh", "asinh", "atanh", "as_strided", "atleast_", "bitwise_left", "bitwise_right",
    "block_diag", "bucketize", "cdist", "column_stack", "copysign", "cross", "cummax", "cummin",
    "deg2rad", "diag_embed", "diagflat", "diagonal_scatter", "digamma", "dsplit", "dstack", "erf",
    "float_power", "fliplr", "flipud", "fmax", "fmin", "frexp", "gcd", "heaviside", "histc",
    "hsplit", "hypot", "i0", "igamma", "index_reduce", "isneginf", "isposinf", "isreal", "kron",
    "kthvalue", "lcm", "ldexp", "lgamma", "logaddexp", "logcumsumexp", "logit", "mode", "msort",
    "mvlgamma", "nanmedian", "nanquantile", "nextafter", "polygamma", "positive", "put",
    "quantile", "rad2deg", "rot90", "scatter_reduce", "searchsorted", "select_scatter", "sgn",
    "signbit", "slice_scatter", "special.", "take", "tensor_split", "trace", "unfold", "unique",
    "vsplit", "xlogy",
    "grid_sampler", "istft", "masked.", "native_batch_norm", "native_group_norm", "signal.", "stft",
    "add", "alias_copy", "baddbmm", "cartesian_prod", "cauchy", "combinations", "constant_pad",
    "corrcoef", "cov", "cumulative_trapezoid", "diagonal_copy", "diff", "dist", "empty_permuted",
    "empty_strided", "expand_copy", "exponential", "fill", "geometric", "gradient", "inner",
    "log_normal", "narrow_copy", "new_empty_strided", "nonzero_static", "permute_copy",
    "randint_like", "renorm", "repeat_interleave", "scalar_tensor", "split_with", "squeeze_copy",
    "t_copy", "transpose_copy", "trapezoid", "tril_indices", "triu_indices", "unbind_copy",
    "unravel_index", "unsafe_", "unsqueeze_copy", "vdot", "view_copy", "broadcast_shapes",
    "bool", "byte", "cdouble", "cfloat", "char", "double", "float", "half", "int", "long", "short",
)  # fmt: skip
LOSSES = tuple(
    info.name for info in op_db if info.name.startswith("nn.functional.") and "loss" in info.name
)
DIFFERENT = {
    "as_strided_scatter": "PyTorch's gradient of what is written over is not 0",
    "as_strided": "a copy of the elements in their order, not of the storage under a view",
    "special.bessel_j0": "SciPy's values; PyTorch's have 6 digits at large arguments",
    "special.bessel_j1": "as above",
    "special.bessel_y0": "as above",
    "special.bessel_y1": "as above",
}
NOTHING = ("nn.functional.pad", "nn.functional.triplet_margin_with_distance_loss")
"""Samples of another variant, or that hold PyTorch's own layers, are not run."""


def _names() -> list[str]:
    found = {i.name for i in op_db if i.name.startswith(FAMILIES) or i.name in LOSSES}
    return sorted(n for n in found if opdb.ours(n) is not None and n not in DIFFERENT)


@pytest.mark.parametrize("name", _names())
def test_samples_agree(name: str) -> None:
    with np.errstate(all="ignore"):
        found = list(opdb.results(lambda n: n == name, 4))
    assert sum(r.agreed for r in found) or name in NOTHING
    assert not [why for r in found for why in r.differ]


def test_the_page_lists_every_operator_where_it_belongs() -> None:
    rows = load(ROOT / "docs/make_parity.py").written((ROOT / "docs/parity.md").read_text("utf-8"))
    assert set(rows) == {opdb.label(info) for info in op_db}
    for info in op_db:
        agreed, samples, why = rows[opdb.label(info)]
        found = opdb.with_ours(info.op) or opdb.ours(info.name)
        assert found is not None or not samples, f"{info.name} is missing"
        if samples and agreed < samples:
            assert why, info.name
        direct = opdb.ours(info.name) if opdb.with_ours(info.op) is None else None
        if direct and not samples and info.supported_dtypes("cpu"):
            assert info.name in NOTHING, f"run python docs/make_parity.py {info.name}"


def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(input: Any, other: Any) -> Any:
        return tg.hypot(input, other) + (input - input.detach())

    for function, said in ((wrong, "order 1"), (lambda a, b: tg.hypot(a, b) * 2, "result 0")):
        monkeypatch.setattr(opdb, "ours", lambda name, function=function: function)
        (found,) = opdb.results(lambda n: n == "hypot", 2)
        assert found.differ
        assert all(said in why for why in found.differ)


def test_fractional_pooling_of_given_places() -> None:
    torch = require_torch()
    rng = np.random.default_rng(3)
    for n, name in ((2, "fractional_max_pool2d"), (3, "fractional_max_pool3d")):
        x, places = rng.normal(size=(2, 3, *(9, 8, 7)[:n])), rng.random((2, 3, n))
        kwargs = {"kernel_size": 2, "output_size": (4, 3, 2)[:n], "return_indices": True}
        theirs = getattr(torch.nn.functional, name)(
            torch.tensor(x), **kwargs, _random_samples=torch.tensor(places)
        )
        ours = getattr(tg.nn.functional, name)(
            tg.tensor(x), **kwargs, _random_samples=tg.tensor(places)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
