"""The array API standard 2024.12 on tensors: what ``tensor.__array_namespace__()`` returns.

Libraries that are written for the standard (SciPy, scikit-learn, array-api-extra…) compute on
tensors through it, and what has a derivative keeps it. Dtypes are promoted by the standard's rules,
which are NumPy's; Python's operators keep PyTorch's. `linalg` and `fft` are its extensions.

>>> import tinygrad_cnn as tg
>>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
>>> xp = x.__array_namespace__(api_version="2024.12")
>>> xp.sum(xp.linalg.vector_norm(x, axis=1)).backward()
>>> x.grad
tensor([[0.4472, 0.8944],
        [0.6000, 0.8000]])
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from tinygrad_cnn.array_api import fft as fft
from tinygrad_cnn.array_api import linalg as linalg
from tinygrad_cnn.array_api import own
from tinygrad_cnn.array_api.info import __array_namespace_info__ as __array_namespace_info__
from tinygrad_cnn.array_api.info import finfo as finfo
from tinygrad_cnn.array_api.info import iinfo as iinfo
from tinygrad_cnn.array_api.own import from_dlpack as from_dlpack
from tinygrad_cnn.array_api.translated import translated
from tinygrad_cnn.errors import ArgumentError

__array_api_version__ = "2024.12"
_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")

bool = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)
e, inf, nan, newaxis, pi = np.e, np.inf, np.nan, None, np.pi

_ELEMENTWISE = """
abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite
isinf isnan log log10 log1p log2 logical_not negative positive real reciprocal round sign signbit
sin sinh sqrt square tan tanh trunc"""
_OF_TWO = """
add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide
equal floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or
logical_xor maximum minimum multiply nextafter not_equal pow remainder subtract"""
_OTHERS = """
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
argsort(x, /, *, axis=-1, descending=False, stable=True)
asarray(obj, /, *, dtype=None, device=None, copy=None)
astype(x, dtype, /, *, copy=True, device=None)
broadcast_arrays(*arrays)
broadcast_shapes(*shapes)
broadcast_to(x, /, shape)
can_cast(from_, to, /)
clip(x, /, min=None, max=None)
concat(arrays, /, *, axis=0)
count_nonzero(x, /, *, axis=None, keepdims=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
expand_dims(x, /, axis)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
flip(x, /, *, axis=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
isdtype(dtype, kind)
isin(x1, x2, /, *, invert=False)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
matmul(x1, x2, /)
matrix_transpose(x, /)
max(x, /, *, axis=None, keepdims=False)
mean(x, /, *, axis=None, keepdims=False)
meshgrid(*arrays, indexing='xy')
min(x, /, *, axis=None, keepdims=False)
moveaxis(x, source, destination, /)
nonzero(x, /)
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
permute_dims(x, /, axes)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
result_type(*arrays_and_dtypes)
roll(x, /, shift, *, axis=None)
searchsorted(x1, x2, /, *, side='left', sorter=None)
sort(x, /, *, axis=-1, descending=False, stable=True)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
tensordot(x1, x2, /, *, axes=2)
tile(x, repetitions, /)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
unstack(x, /, *, axis=0)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
vecdot(x1, x2, /, *, axis=-1)
where(condition, x1, x2, /)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
"""
_TABLE = "\n".join(
    [f"{name}(x, /)" for name in _ELEMENTWISE.split()]
    + [f"{name}(x1, x2, /)" for name in _OF_TWO.split()]
    + [_OTHERS]
)
_FUNCTIONS = translated(_TABLE, "", own.OWN, __name__)
globals().update(_FUNCTIONS)
_CONSTANTS = """
__array_api_version__ __array_namespace_info__ bool complex128 complex64 e fft finfo float32 float64
from_dlpack iinfo inf int16 int32 int64 int8 linalg nan newaxis pi uint16 uint32 uint64 uint8"""
__all__ = sorted([*_FUNCTIONS, *_CONSTANTS.split()])


def checked(api_version: str | None = None) -> ModuleType:
    """The namespace, if it follows that version of the standard.

    Raises
    ------
    ValueError
        It does not.
    """
    if api_version not in (None, *_VERSIONS):
        raise ArgumentError(
            f"__array_namespace__: `api_version` is {api_version!r}, expected one of {_VERSIONS}"
        )
    return sys.modules[__name__]
