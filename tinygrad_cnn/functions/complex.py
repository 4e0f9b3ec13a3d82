"""Complex tensors: parts, size and phase, conjugates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.functions.convert import one_dtype, to_tensor, unary
from tinygrad_cnn.functions.elementwise import cos, mul, sign, sin
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.shaping import transpose
from tinygrad_cnn.ops import complex as ops
from tinygrad_cnn.ops import conjugate
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

angle = unary(ops.angle)


@export(inplace=True)
def sgn(input: TensorLike) -> Tensor:
    """``input / abs(input)``, 0 at 0: of real numbers the sign."""
    x = to_tensor(input)
    out: Tensor = ops.sgn(x) if conjugate.is_complex(x) else sign(x)
    return out


@export(method=False)
def is_complex(input: TensorLike) -> bool:
    """Whether the dtype of ``input`` is complex."""
    return conjugate.is_complex(to_tensor(input))


def _complex(name: str, input: TensorLike) -> Tensor:
    x = to_tensor(input)
    if not conjugate.is_complex(x):
        raise DtypeError(f"{name}: `input` is {x.dtype}, expected complex64 or complex128")
    return x


@export(method=False)
def real(input: TensorLike) -> Tensor:
    """The real part, in the memory of ``input``; ``input`` itself where it is real."""
    out: Tensor = ops.real(to_tensor(input))
    return out


@export(method=False)
def imag(input: TensorLike) -> Tensor:
    """The imaginary part, in the memory of ``input``.

    Raises
    ------
    TypeError
        ``input`` is not complex.
    """
    out: Tensor = ops.imag_part(_complex("imag", input))
    return out


@export(numpy=np.conjugate)
def conj(input: TensorLike) -> Tensor:
    """The complex conjugate; ``input`` itself where it is real.

    In PyTorch it is a view which is conjugated when it is read, here it is computed.

    >>> import tinygrad_cnn as tg
    >>> tg.conj(tg.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    out: Tensor = conjugate.conj(to_tensor(input))
    return out


@export(inplace=True)
def conj_physical(input: TensorLike) -> Tensor:
    """The complex conjugate in memory of its own."""
    x = to_tensor(input)
    return conj(x) if conjugate.is_complex(x) else x.clone()


@export()
def resolve_conj(input: TensorLike) -> Tensor:
    """``input`` itself: a conjugate is never left to be computed here."""
    return to_tensor(input)


@export()
def resolve_neg(input: TensorLike) -> Tensor:
    """``input`` itself: a negative is never left to be computed here."""
    return to_tensor(input)


@export()
def is_neg(input: TensorLike) -> bool:
    """False: a negative is never left to be computed here."""
    return False


@export()
def is_conj(input: TensorLike) -> bool:
    """Whether a conjugate is left to be computed: never."""
    to_tensor(input)
    return False


@export()
def adjoint(input: TensorLike) -> Tensor:
    """The conjugate transposes of matrices (..., m, n)."""
    x = to_tensor(input)
    if x._value.ndim < 2:
        raise ShapeError(f"adjoint: `input` has shape {x.shape}, expected (..., m, n)")
    return conj(transpose(x, -2, -1))


@export(method=False)
def complex(real: TensorLike, imag: TensorLike) -> Tensor:
    """``real + 1j * imag``, of one floating dtype.

    >>> import tinygrad_cnn as tg
    >>> tg.complex(tg.tensor([1.0, 0.0]), tg.tensor([2.0, -1.0]))
    tensor([1.+2.j, 0.-1.j])
    """
    x, y = to_tensor(real), to_tensor(imag)
    one_dtype("complex", x, imag=y)
    if x._value.dtype not in (np.float32, np.float64):
        raise DtypeError(f"complex: `real` is {x.dtype}, expected float32 or float64")
    out: Tensor = ops.of_parts(x, y)
    return out


@export(method=False)
def polar(abs: TensorLike, angle: TensorLike) -> Tensor:
    """The complex numbers of size ``abs`` and phase ``angle``, of one floating dtype."""
    size, phase = to_tensor(abs), to_tensor(angle)
    one_dtype("polar", size, angle=phase)
    return complex(mul(size, cos(phase)), mul(size, sin(phase)))


@export(method=False)
def view_as_real(input: TensorLike) -> Tensor:
    """Real and imaginary part side by side, in the memory of ``input``: (...) → (..., 2)."""
    out: Tensor = ops.as_parts(_complex("view_as_real", input))
    return out


@export(method=False)
def view_as_complex(input: TensorLike) -> Tensor:
    """The complex numbers of pairs of floats, in the memory of ``input``: (..., 2) → (...).

    Raises
    ------
    TypeError
        ``input`` is neither float32 nor float64.
    ValueError
        Its last side is not 2, or pairs do not lie together.
    """
    x = to_tensor(input)
    if x._value.dtype not in (np.float32, np.float64):
        raise DtypeError(f"view_as_complex: `input` is {x.dtype}, expected float32 or float64")
    out: Tensor = ops.from_parts(x)
    if x._value.size and not np.shares_memory(out._given, x._given):
        raise ShapeError(
            f"view_as_complex: `input` (shape {x.shape}) does not lie in memory pair by pair; use "
            f"contiguous()"
        )
    return out


@export()
def isreal(input: TensorLike) -> Tensor:
    """Where numbers have no imaginary part."""
    return computed(np.isreal, to_tensor(input))
