"""Gradients at kinks and limits, where there is no one right answer: PyTorch's, written out.

Numerical derivatives cannot decide there, so these are values: where two are equal, at a bound, at
0, at infinity, of NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

inf, nan = np.inf, np.nan


@dataclass(frozen=True)
class Convention:
    """For these arguments and this gradient of the result, the gradients of the arguments.

    ``smooth`` says that the second derivatives are finite there too.
    """

    why: str
    args: tuple[Any, ...]
    g: Any
    gradients: tuple[Any, ...]
    params: dict[str, Any] = field(default_factory=dict)
    smooth: bool = False


_ROW: dict[str, Any] = {"dim": (1,)}
_WINDOW: dict[str, Any] = {
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (1, 1),
    "ceil_mode": False,
}

CONVENTIONS: dict[str, tuple[Convention, ...]] = {
    "copysign": (
        Convention(
            "0 at 0, for the second argument everywhere",
            ([0.0, 2.0, -2.0], [-1.0, -1.0, 0.0]),
            [3.0, 5.0, 7.0],
            ([0.0, -5.0, -7.0], [0.0, 0.0, 0.0]),
        ),
    ),
    "i1": (Convention("½ at 0", ([0.0],), [3.0], ([1.5],), smooth=True),),
    "i1e": (Convention("½ at 0", ([0.0],), [3.0], ([1.5],), smooth=True),),
    "xlogy": (
        Convention(
            "0 at 0 times the logarithm of what has none",
            ([0.0, 0.0, 1.0], [-1.0, 0.5, -1.0]),
            [3.0, 5.0, 7.0],
            ([0.0, 5.0 * np.log(0.5), nan], [0.0, 0.0, -7.0]),
        ),
    ),
    "xlog1py": (
        Convention(
            "0 at 0 times the logarithm of what has none",
            ([0.0, 0.0, 1.0, 0.0], [-1.5, -0.5, -2.0, 0.5]),
            [3.0, 5.0, 7.0, 9.0],
            ([0.0, 5.0 * np.log(0.5), nan, 9.0 * np.log(1.5)], [0.0, 0.0, -7.0, 0.0]),
        ),
    ),
    "logcumsumexp": (
        Convention(
            "0 where nothing but minus infinity is summed",
            ([-inf, 1.0],),
            [3.0, 5.0],
            ([0.0, 5.0],),
            {"dim": 0},
        ),
    ),
    "abs": (Convention("0 at 0", ([0.0, -1.0, 2.0],), [3.0, 5.0, 7.0], ([0.0, -5.0, 7.0],)),),
    "relu": (Convention("0 at 0", ([0.0, -1.0, 2.0],), [3.0, 5.0, 7.0], ([0.0, 0.0, 7.0],)),),
    "leaky_relu": (
        Convention(
            "the slope of the negative side at 0",
            ([0.0, 2.0],),
            [3.0, 5.0],
            ([0.75, 5.0],),
            {"negative_slope": 0.25},
        ),
    ),
    "elu": (
        Convention(
            "alpha at 0; no overflow far from it",
            ([0.0, 800.0],),
            [3.0, 5.0],
            ([1.5, 5.0],),
            {"alpha": 0.5},
            smooth=True,
        ),
    ),
    "softplus": (
        Convention(
            "1 beyond the threshold, which is compared with beta * x",
            ([0.75, 0.5, 900.0],),
            [3.0, 5.0, 7.0],
            ([3.0, 5.0 / (1 + np.exp(-1.0)), 7.0],),
            {"beta": 2.0, "threshold": 1.25},
            smooth=True,
        ),
        Convention(
            "and not with beta",
            ([-0.5],),
            [5.0],
            ([5.0 / (1 + np.exp(1.0))],),
            {"beta": 2.0, "threshold": 1.25},
        ),
    ),
    "clamp": (
        Convention(
            "1 at both bounds",
            ([-1.0, 0.0, 1.0, 2.0],),
            [3.0, 5.0, 7.0, 9.0],
            ([3.0, 5.0, 7.0, 0.0],),
            {"min": -1.0, "max": 1.0},
        ),
    ),
    "maximum": (
        Convention(
            "equal ones share, and where one is NaN both get all",
            ([1.0, 2.0, 4.0, nan], [1.0, 3.0, 2.0, 1.0]),
            [3.0, 5.0, 7.0, 9.0],
            ([1.5, 0.0, 7.0, 9.0], [1.5, 5.0, 0.0, 9.0]),
        ),
    ),
    "minimum": (
        Convention(
            "equal ones share, and where one is NaN both get all",
            ([1.0, 2.0, 4.0, nan], [1.0, 3.0, 2.0, 1.0]),
            [3.0, 5.0, 7.0, 9.0],
            ([1.5, 5.0, 0.0, 9.0], [1.5, 0.0, 7.0, 9.0]),
        ),
    ),
    "amax": (
        Convention(
            "equal ones share evenly; of NaNs each other",
            ([[1.0, 3.0, 3.0], [nan, 2.0, nan]],),
            [2.0, 4.0],
            ([[0.0, 1.0, 1.0], [2.0, 0.0, 2.0]],),
            _ROW,
        ),
    ),
    "amin": (
        Convention(
            "equal ones share evenly; of NaNs each other",
            ([[3.0, 1.0, 1.0], [nan, 2.0, nan]],),
            [2.0, 4.0],
            ([[0.0, 1.0, 1.0], [2.0, 0.0, 2.0]],),
            _ROW,
        ),
    ),
    "max_pool2d": (
        Convention(
            "the first of equal ones",
            ([[[[1.0, 3.0], [3.0, 2.0]]]],),
            [[[[5.0]]]],
            ([[[[0.0, 5.0], [0.0, 0.0]]]],),
            _WINDOW,
        ),
    ),
    "norm2": (
        Convention(
            "0 at 0", ([[0.0, 0.0], [3.0, 4.0]],), [2.0, 5.0], ([[0.0, 0.0], [3.0, 4.0]],), _ROW
        ),
    ),
    "std": (
        Convention(
            "0 at 0", ([[2.0, 2.0], [0.0, 2.0]],), [3.0, 2.0**0.5], ([[0, 0], [-1, 1]],), _ROW
        ),
    ),
    "var": (
        Convention(
            "NaN where there are no degrees of freedom",
            ([[1.0]],),
            [3.0],
            ([[nan]],),
            {"dim": (1,), "correction": 1},
        ),
        Convention(
            "and where there are fewer than none",
            ([[1.0]],),
            [3.0],
            ([[nan]],),
            {"dim": (1,), "correction": 2},
        ),
    ),
    "logsumexp": (
        Convention(
            "0 where the sum is empty of anything but exp(-inf)",
            ([[-inf, -inf], [0.0, 0.0]],),
            [3.0, 4.0],
            ([[0.0, 0.0], [2.0, 2.0]],),
            _ROW,
        ),
    ),
    "atan2": (Convention("0 at the origin", ([0.0], [0.0]), [3.0], ([0.0], [0.0])),),
    "pow": (
        Convention(
            "a**0 is flat in a, and 0**b in b as long as b is not negative",
            ([0.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, -1.0]),
            [3.0, 5.0, 7.0, 9.0],
            ([0.0, 0.0, 0.0, -inf], [0.0, 0.0, 7.0 * np.log(2.0), -inf]),
        ),
    ),
    "pow_scalar": (
        Convention("x**0 is flat", ([0.0, 2.0],), [3.0, 5.0], ([0.0, 0.0],), {"exponent": 0}),
    ),
}
