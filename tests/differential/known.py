"""Differences that stay (docs/differences.md), by what their smallest program has."""

from __future__ import annotations

import re

import numpy as np

from .compare import Difference
from .programs import Statement

__all__ = ["known"]

ROUNDING = (
    "a normalisation of numbers that are all but equal, or gradients that cancel in one: what is "
    "left is rounding"
)
# Why; what all must be found in the program; what is found in the event.
KNOWN = (
    (
        "whether gradients that are zero or constant have a graph, and what is there to be walked",
        (r"create_graph=True",),
        r"requires_grad\n|does not require grad and does not have|raised\n  found .* log seen",
    ),
    (
        "zeros as second derivatives: by inputs, not by the result that PyTorch's rule keeps",
        (r"create_graph=True", r"autograd\.grad\("),
        r"'NoneType' object has no attribute",
    ),
    (
        "`data =` of another shape, on what a graph was made of",
        (r"\.data = ",),
        r"raised|backward shape",
    ),
    (
        "a leaf that wants no gradient any more: when its hooks run, once it is changed",
        (r"requires_grad_\(False\)", r"register_\w*hook"),
        r"log seen|raised",
    ),
    (
        "the order of hooks on ways that do not depend on each other",
        ("hook",),
        r"expected \d+ log seen \d+ shape\n  found    \d+ log seen",
    ),
    (
        "whether the rule of a function runs whose gradient nobody asked for",
        (r"materialize_grads|allow_unused", "Product|AddInPlace"),
        "backward shape",
    ),
    (
        "the order of equal numbers, which get different gradients",
        (r"\.sort\(", r"backward\(|autograd\.grad\("),
        "value",
    ),
    (
        ROUNDING,
        (r"BatchNorm|batch_norm", r"= -?[\d.]+$|fill_|\.sum\(\)\.backward|^b\d+ ="),
        "value",
    ),
    (
        "writes past the graph (NumPy, `.data`): what a derivative of second order reads again",
        (r"np\.asarray|from_dlpack|numpy\(|\.data", "create_graph=True"),
        "value",
    ),
    (
        "what is forgotten by detach_()",
        (r"detach_\(\)", r"hook|Product|AddInPlace"),
        r"log seen|raised|backward shape",
    ),
    ("how far a backward pass came that raised", (r", fail\)",), r"grad value"),
    (
        "a leaf that nobody holds gets no gradient, which its former `grad` would show",
        (r"^del ", r"\.grad\b", r"backward\("),
        r"value",
    ),
    (
        "a normalisation by running statistics keeps weight / std, not the weight: a write past "
        "the graph (`.data`) between forward and backward is not seen",
        (r"\.eval\(\)|training=False", r"\.data\b"),
        r" value",
    ),
    (
        "grad() and retain_grad() hand out one tensor in PyTorch",
        (r"retain_grad\(", r"autograd\.grad\("),
        "value",
    ),
)


def small(difference: Difference) -> bool:
    """Whether two tensors differ by rounding only, or in comparisons of what does."""
    expected, found = np.asarray(difference.expected), np.asarray(difference.found)
    if expected.dtype.kind == "b":
        return True
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return bool(np.abs(expected - found).max(initial=0.0) <= 1e-3 * scale)


def known(statements: list[Statement], difference: Difference) -> str | None:
    """Why a difference, made small, stays; None if it is to be mended."""
    text = "\n".join(s.text for s in statements)
    for why, needed, event in KNOWN:
        found = all(re.search(part, text, re.MULTILINE) for part in needed)
        if found and re.search(event, str(difference)) and (why != ROUNDING or small(difference)):
            return why
    return None
