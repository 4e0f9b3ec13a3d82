"""Mutants that are no mistakes: their rules compute the same, or differ where nothing is read."""

from __future__ import annotations

_BROADCASTS = "the product with an array of the full shape stretches it just the same"
_NOT_READ = "the value goes where it is masked out; it only has to be finite"
_TIMES_ZERO = "it is multiplied by x, or by x minus its mean, which is 0 there"
_OVERWRITTEN = "every place that is read is written first"
_TWO_AXES = "linear's arrays have two axes, whose numbers these are too"

_UNKNOWN_LENGTH = "reshape takes any negative length for the one to be found out"
_LAZY = "differs only for values yet to be computed, which compiled kernels for float32 make"

_SPREAD = (
    "_spread: `expand(g if keepdim else reshape(g, shape=_kept(shape, dim)), shape=shape)` → "
    "`g if keepdim else reshape(g, shape=_kept(shape, dim))`"
)

EQUIVALENT: dict[str, str] = {
    **{
        f"{name}: {_SPREAD}": _BROADCASTS
        for name in ("amax", "amin", "logsumexp", "norm2", "std", "var")
    },
    "atan2: _square_distance: `1.0` → `2.0`": "at the origin the numerator is 0",
    "cast: vjp: `cast(g, dtype=dtypes[0])` → `g`": "the walk brings gradients to the input's dtype",
    **{
        f"{rule}: `len(needs) > 2 and needs[2]` → `len(needs) > 2 or needs[2]`": (
            "a gradient that nobody wants is dropped"
        )
        for rule in ("conv2d: _conv2d_joint", "linear: _linear_gradients")
    },
    "eig: _differences: `s[..., None, :] - s[..., None] + _eye(s)` → "
    "`s[..., None, :] - s[..., None] - _eye(s)`": "what is divided there is 0",
    "elu: _elu_rule: `0.0` → `1`": _NOT_READ,
    "half_dft: _weighted: `1` → `2` (3)": _UNKNOWN_LENGTH,
    "lu: _lu_rule: `True` → `False` (2)": "the diagonal, which is then read, is of ones",
    "sgn: _sgn_rule: `1.0` → `2.0`": _NOT_READ,
    "angle: _angle_rule: `1.0` → `2.0`": _NOT_READ,
    "floor_divide: sums over broadcast axes left out": "its gradients are all 0",
    **{
        f"linear: _mT: {change}": _TWO_AXES
        for change in (
            "`n - 1` → `1`",
            "`n - 1` → `1 - n`",
            "`n - 2` → `2 - n`",
            "`n - 2` → `2 - n` (2)",
            "`2` → `4`",
            "`2` → `4` (2)",
        )
    },
    "gather: _zeros: `made(np.zeros(shape, like._value.dtype))` → "
    "`np.zeros(shape, like._value.dtype)`": "only who records a program asks",
    **{
        f"gather: {change}": "two ways to the same numbers: which one is taken is about time"
        for change in (
            "_gather_gradients: `g.dtype.kind == 'f'` → `g.dtype.kind != 'f'`",
            "_on_lines: `index.size > 0` → `index.size <= 0`",
            "_on_lines: `len(shape) - 1` → `len(shape)`",
            "_on_lines: `len(shape) - 1` → `len(shape) + 1`",
            "_on_lines: `len(shape) - 1` → `1 - len(shape)`",
            "_on_lines: `0` → `1`",
            "_on_lines: `-1` → `1`",
            "_on_lines: `-1` → `1` (2)",
            "_on_lines: `1` → `2` (2)",
            "_on_lines: `1` → `2` (3)",
        )
    },
    "logsumexp: _logsumexp_rule: `0.0` → `1`": "exp(-inf) is 0 whatever finite is taken away",
    **{
        f"{name}: {rule}: {change}": _TIMES_ZERO
        for name, rule, mask in (
            ("norm2", "_norm2_rule", "at_zero"),
            ("std", "_std_rule", "flat"),
        )
        for change in (
            f"`where({mask}, 0.0, g)` → `where(0.0, {mask}, g)`",
            "`0.0` → `1`",
            "`1.0` → `2.0`",
        )
    },
    "permute: _inverse: `0` → `1`": _OVERWRITTEN,
    "pow: _pow_exponent: `where(flat, 0.0, g * conj(y * log(base)))` → "
    "`where(0.0, flat, g * conj(y * log(base)))`": "log(1) is 0 there already",
    "pow: _pow_exponent: `1.0` → `2.0`": _NOT_READ,
    "pow: _pow_exponent: `base + 0j` → `base - 0j`": "0 is 0 with either sign",
    "put: is_basic: `any((isinstance(p, (np.ndarray, list, bool, np.bool_)) for p in parts))` → "
    "`(isinstance(p, (np.ndarray, list, bool, np.bool_)) for p in parts)`": (
        "basic indices are then multiplied by a mask of ones"
    ),
    **{
        f"{name}: _winners: {change}": _OVERWRITTEN
        for name in ("put", "scatter")
        for change in ("`-1` → `1`", "`1` → `2`")
    },
    "scatter: vjp: `1` → `2`": "the index and the source have one shape",
    "std: _var_rule: `max(_count(shapes[0], dim) - correction, 0)` → "
    "`_count(shapes[0], dim) - correction`": "the deviation itself is NaN there",
    "std: _var_rule: `0` → `1`": "the deviation itself is NaN there",
}
"""By mutant's name (operation and change): why it is no mistake."""

_REAL_SAMPLES = "samples are real; complex ones are in tests/functions/test_linalg.py"
_NO_REAL = "samples are complex; the gradient at real numbers is compared with PyTorch's"
_NO_ZERO = "samples are not 0; the gradient there is in tests/functions/test_complex.py"
_SGN = "where(zero, 0.0, (g - y * real_part(conj(y) * g)) / size)"
_ANGLE = "where(zero, 0.0, g * 1j / conj(where(zero, 1.0, x)))"

ELSEWHERE: dict[str, str] = {
    **{
        f"layer_norm: {change}": "samples are float64; tests/numerics has those that become it"
        for change in (
            "_backward: `if mean.dtype == x.dtype or mean.dtype != np.float64:\n    found: Gradients = kernel(g, x, weight, mean, invstd, **how)\n    return found` → `if not (mean.dtype == x.dtype or mean.dtype != np.float64):\n    found: Gradients = kernel(g, x, weight, mean, invstd, **how)\n    return found`",  # noqa: E501
            "_backward: `mean.dtype == x.dtype or mean.dtype != np.float64` → `mean.dtype == x.dtype and mean.dtype != np.float64`",  # noqa: E501
            "_backward: `zip(found, dtypes, strict=True)` → `zip(dtypes, found, strict=True)`",
            "_backward: `zip(found, dtypes, strict=True)` → `found`",
            "_backward: `mean.dtype == x.dtype` → `mean.dtype != x.dtype`",
            "_backward: `mean.dtype != np.float64` → `mean.dtype == np.float64`",
            "_backward: `kernel(g, x, weight, mean, invstd, **how)` → `kernel(x, g, weight, mean, invstd, **how)`",  # noqa: E501
            "_backward: `kernel(g, x, weight, mean, invstd, **how)` → `g`",
            "_backward: `(x.dtype if weight is None else weight.dtype,) * 2` → `(x.dtype if weight is None else weight.dtype,)`",  # noqa: E501
            "_backward: `(x.dtype if weight is None else weight.dtype,) * 2` → `2`",
            "_backward: `(x.dtype if weight is None else weight.dtype,) * 2` → `(x.dtype if weight is None else weight.dtype,) / 2`",  # noqa: E501
            "_backward: `_wide(realize(g), realize(x), weight, mean, invstd)` → `_wide(realize(x), realize(g), weight, mean, invstd)`",  # noqa: E501
            "_backward: `_wide(realize(g), realize(x), weight, mean, invstd)` → `realize(g)`",
            "_backward: `a.astype(dtype)` → `dtype`",
            "_backward: `2` → `4`",
            "_backward: `realize(g)` → `g`",
            "_backward: `realize(x)` → `x`",
            "_backward: `x.dtype if weight is None else weight.dtype` → `weight.dtype if weight is None else x.dtype`",  # noqa: E501
            "_backward: `weight is None` → `weight is not None`",
            "_wide: `None if a is None else a.astype(np.float64)` → `a.astype(np.float64) if a is None else None`",  # noqa: E501
            "_wide: `a is None` → `a is not None`",
            "_wide: `a.astype(np.float64)` → `np.float64`",
        )
    },
    **{
        f"{name}: {change}": _NO_ZERO
        for name, rule in (("sgn: _sgn_rule", _SGN), ("angle: _angle_rule", _ANGLE))
        for change in (
            f"`{rule}` → `{rule.replace('where(zero, 0.0', 'where(0.0, zero', 1)}`",
            "`0.0` → `1`",
            "`0` → `1`",
        )
    },
    "angle: _angle_rule: `zeros_like(g)` → `g`": _NO_REAL,
    "conv2d: _conv2d_joint: `realize(g)` → `g`": _LAZY,
    "elu: _elu_rule: `0` → `1` (2)": "a second derivative at a kink, see tests/nn/test_limits.py",
    "gelu: _gelu_rule: `x.to(np.float32)` → `np.float32`": "samples are not float16",
    "eigh: eigh_parts: `real(y[..., 0, :])` → `y[..., 0, :]`": _REAL_SAMPLES,
    **{
        f"{name}: _differences: `s[..., None, :] - s[..., None] + _eye(s)` → `{changed}`": (
            "what is divided by it is 0 for real samples, and over() makes 0 of 0 / 0"
        )
        for name in ("eigh", "svd")
        for changed in (
            "s[..., None, :] - s[..., None]",
            "s[..., None, :] - s[..., None] - _eye(s)",
        )
    },
    "log_det: vjp: `False` → `True`": "no sample is singular; then the gradient is not finite",
    **{
        f"{name}: _{name}_rule: `check_phases('{name}', {inner})` → `{changed}`": _REAL_SAMPLES
        for name, inner, changed in (
            ("eig", "inner", "'eig'"),
            ("eig", "inner", "check_phases(inner, 'eig')"),
            ("eigh", "inner", "'eigh'"),
            ("eigh", "inner", "check_phases(inner, 'eigh')"),
            ("svd", "of_u, of_v", "'svd'"),
        )
    },
    **{
        f"svd: _svd_rule: {change}": _REAL_SAMPLES
        for change in (
            "`inner + phase_term(skew_u, s)` → `inner`",
            "`inner + phase_term(skew_u, s)` → `inner - phase_term(skew_u, s)`",
            "`phase_term(skew_u, s)` → `phase_term(s, skew_u)`",
        )
    },
    "svd: svd_parts: `real(y[..., m, :])` → `y[..., m, :]`": _REAL_SAMPLES,
    **{
        f'qr: _qr_rule: `ArgumentError("{text}")` → `"{text}"`': (
            "samples have derivatives; the errors are in tests/functions/test_linalg.py"
        )
        for text in (
            "qr: the derivative of mode 'r' needs Q; use mode 'reduced'",
            "qr: the derivative of mode 'complete' is not defined for more rows than columns, as "
            "the last columns of Q are free; use mode 'reduced'",
        )
    },
}
"""By mutant's name: why certification, which draws plain arrays, cannot reach it."""


def why_equivalent(name: str) -> str | None:
    """The reason why a mutant is equivalent, or none of certification's business; or None."""
    return EQUIVALENT.get(name) or ELSEWHERE.get(name)
