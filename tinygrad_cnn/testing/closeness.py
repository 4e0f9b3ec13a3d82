"""`assert_close`, as ``torch.testing`` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.tensor import Tensor

_ROUNDING = {
    "float16": (1e-3, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_dtype: bool = True,
    msg: str | None = None,
    **how: Any,
) -> None:
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|``.

    Parameters
    ----------
    actual, expected
        Tensors, arrays, numbers, or sequences and mappings of them.
    rtol, atol
        By default 1.3e-6 and 1e-5 for float32, 1e-7 both for float64, 1e-3 and 1e-5 for float16,
        0 for integers; of two dtypes the larger.
    equal_nan
        NaN is close to NaN.
    check_dtype
        Dtypes must be the same.
    msg
        What the error says instead.
    how
        PyTorch's other arguments (devices, layouts), which change nothing.

    Raises
    ------
    AssertionError
        Something differs.
    ValueError
        Only one of ``rtol`` and ``atol`` is given.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> assert_close(tg.tensor([1.0]), tg.tensor([1.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"assert_close: `rtol` is {rtol} and `atol` {atol}, expected both or none")
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype}
    found = _difference(actual, expected, "", options)
    if found:
        raise AssertionError(msg or f"assert_close: {found}")


def _difference(actual: Any, expected: Any, place: str, options: dict[str, Any]) -> str:
    """The first difference, in words; nothing where there is none."""
    kinds = (Tensor, np.ndarray, np.generic, bool, int, float, complex)
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            return f"the keys{place} are {sorted(actual)}, expected {sorted(expected)}"
        pairs = [(f"{place}[{key!r}]", actual[key], expected[key]) for key in expected]
    elif isinstance(actual, kinds) and isinstance(expected, kinds):
        return _unlike(actual, expected, place or " values", **options)
    elif isinstance(actual, Sequence) and isinstance(expected, Sequence):
        if len(actual) != len(expected):
            return f"there are {len(actual)} items{place}, expected {len(expected)}"
        both = zip(actual, expected, strict=True)
        pairs = [(f"{place}[{i}]", a, e) for i, (a, e) in enumerate(both)]
    else:
        return f"{place or 'it'} is a {type(actual).__name__}, expected {type(expected).__name__}"
    differences = (_difference(a, e, where, options) for where, a, e in pairs)
    return next(filter(None, differences), "")


def _unlike(
    actual: Any,
    expected: Any,
    place: str,
    *,
    rtol: float | None,
    atol: float | None,
    equal_nan: bool,
    check_dtype: bool,
) -> str:
    a, e = to_tensor(actual).detach().numpy(), to_tensor(expected).detach().numpy()
    if a.shape != e.shape:
        return f"the shape of{place} is {a.shape}, expected {e.shape}"
    if check_dtype and isinstance(actual, Tensor) and a.dtype != e.dtype:
        return f"the dtype of{place} is {a.dtype}, expected {e.dtype}"
    if rtol is None or atol is None:
        defaults = [_ROUNDING.get(x.dtype.name, (0.0, 0.0)) for x in (a, e)]
        rtol, atol = (max(column) for column in zip(*defaults, strict=True))
    wide = np.promote_types(np.result_type(a, e), np.float64)
    close = np.isclose(a.astype(wide), e.astype(wide), rtol, atol, equal_nan)
    if close.all():
        return ""
    at = tuple(int(i) for i in np.argwhere(~np.atleast_1d(close))[0][: a.ndim])
    return (
        f"{int((~close).sum())} of {close.size}{place} differ; at {at} there is {a[at]}, expected "
        f"{e[at]} (rtol {rtol}, atol {atol})"
    )
