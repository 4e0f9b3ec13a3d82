"""Convolution and pooling, with PyTorch's arguments. Images are (n, c, h, w), or (c, h, w)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import one_dtype, own, pair, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.functions.shaping import reshape, squeeze, unsqueeze
from tinygrad_cnn.ops import conv as ops
from tinygrad_cnn.ops import pool as pooling

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Border = tuple[tuple[int, int], tuple[int, int]]


def _border(
    name: str,
    padding: Any,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Border:
    """``padding`` as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0), (0, 0))
        if padding != "same":
            raise ArgumentError(
                f"{name}: `padding` is {padding!r}, expected 'same', 'valid' or integers"
            )
        if stride != (1, 1):
            raise ArgumentError(f"{name}: `padding` 'same' needs stride 1, not {stride}")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = total[0] // 2, total[1] // 2
        return ((top, total[0] - top), (left, total[1] - left))
    ph, pw = pair(name, "padding", padding)
    if ph < 0 or pw < 0:
        raise ArgumentError(f"{name}: `padding` is {padding!r}, which must not be negative")
    return ((ph, ph), (pw, pw))


def _images(name: str, x: Any, rank: int = 4) -> tuple[Tensor, bool]:
    """``x`` with a batch axis, and whether it came without one."""
    x = to_tensor(x)
    if x.ndim == rank - 1:
        return unsqueeze(x, 0), True
    if x.ndim != rank:
        form = "(n, c, h, w) or (c, h, w)" if rank == 4 else "(n, c, l) or (c, l)"
        raise ShapeError(f"{name}: `input` has shape {x.shape}, expected {form}")
    return x, False


def _weights(name: str, x: Tensor, weight: Any, bias: Any, rank: int = 4) -> tuple[Tensor, Any]:
    weight = to_tensor(weight)
    bias = None if bias is None else to_tensor(bias)
    if weight._value.ndim != rank:
        raise ShapeError(f"{name}: `weight` has shape {weight.shape}, expected {rank} dimensions")
    one_dtype(name, x, weight=weight, bias=bias)
    return weight, bias


@export(method=False, nn=True)
def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with filters.

    Parameters
    ----------
    x
        (n, c, h, w) or (c, h, w).
    weight
        (f, c / groups, kh, kw).
    bias
        (f,) or None.
    stride, padding, dilation
        An integer or one for height and one for width; ``padding`` also ``"same"`` or ``"valid"``.

    Returns
    -------
    (n, f, oh, ow) with ``oh = (h + 2 padding - dilation (kh - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        Shapes that do not fit, a kernel larger than the padded image, a stride below 1.
    TypeError
        Different dtypes.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.ones(1, 3, 5, 5)
    >>> tg.nn.functional.conv2d(x, tg.ones(2, 3, 3, 3), padding=1).shape
    Size([1, 2, 5, 5])
    """
    x, single = _images("conv2d", input)
    weight, bias = _weights("conv2d", x, weight, bias)
    strides = pair("conv2d", "stride", stride)
    spread = pair("conv2d", "dilation", dilation)
    border = _border("conv2d", padding, weight._value.shape[2:], strides, spread)
    spec = kernels.conv_spec(strides, border, spread, groups)
    out = ops.conv2d(x, weight, bias, spec=spec)
    return own(squeeze(out, 0)) if single else out


@export(method=False, nn=True)
def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of signals (n, c, l) or (c, l) with filters (f, c / groups, k)."""
    x, single = _images("conv1d", input, 3)
    weight, bias = _weights("conv1d", x, weight, bias, 3)
    (s,), (d,) = pair("conv1d", "stride", stride, 1), pair("conv1d", "dilation", dilation, 1)
    if not isinstance(padding, str):
        padding = (0, *pair("conv1d", "padding", padding, 1))
    border = _border_1d(padding, weight._value.shape[2], s, d)
    spec = kernels.conv_spec((1, s), border, (1, d), groups)
    out = ops.conv2d(unsqueeze(x, 2), unsqueeze(weight, 2), bias, spec=spec)
    out = own(squeeze(out, 2))
    return own(squeeze(out, 0)) if single else out


def _border_1d(padding: Any, k: int, stride: int, dilation: int) -> Border:
    if padding == "same" and stride != 1:
        raise ArgumentError(f"conv1d: `padding` 'same' needs stride 1, not {stride}")
    return _border("conv1d", padding, (1, k), (1, 1), (1, dilation))


@export(method=False, nn=True)
def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of `conv2d`, which spreads every pixel over a kernel.

    ``input`` (n, c, h, w), ``weight`` (c, f / groups, kh, kw) → (n, f, oh, ow) with
    ``oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1``.
    """
    x, single = _images("conv_transpose2d", input)
    weight, bias = _weights("conv_transpose2d", x, weight, bias)
    strides = pair("conv_transpose2d", "stride", stride)
    spread = pair("conv_transpose2d", "dilation", dilation)
    extra = pair("conv_transpose2d", "output_padding", output_padding)
    kernel = weight._value.shape[2:]
    if isinstance(padding, str):
        raise TypeError(f"conv_transpose2d: `padding` is {padding!r}, expected integers")
    border = _border("conv_transpose2d", padding, kernel, strides, spread)
    if x.shape[1] != weight._value.shape[0]:
        raise ShapeError(
            f"conv_transpose2d: `input` has {x.shape[1]} channels but `weight` expects "
            f"{weight._value.shape[0]} (x {x.shape}, weight {weight.shape})"
        )
    # What `output_padding` adds is cut off less at the far end; beyond the padding it is zeros.
    far = tuple(max(0, o - after) for o, (_, after) in zip(extra, border, strict=True))
    (top, bottom), (left, right) = border
    border = ((top, max(0, bottom - extra[0])), (left, max(0, right - extra[1])))
    for o, s, d in zip(extra, strides, spread, strict=True):
        if not 0 <= o < max(s, d):
            raise ArgumentError(
                f"conv_transpose2d: `output_padding` is {output_padding!r}, which must be smaller "
                f"than stride {strides} or dilation {spread}"
            )
    size = tuple(
        (n - 1) * s - sum(p) + d * (k - 1) + 1
        for n, s, p, d, k in zip(x.shape[2:], strides, border, spread, kernel, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(
            f"conv_transpose2d: the output would have size {size} (x {x.shape}, weight "
            f"{weight.shape}, padding {padding})"
        )
    spec = kernels.conv_spec(strides, border, spread, groups, "conv2d_input")
    out = ops.conv2d_input(x, weight, size=size, spec=spec)
    if any(far):
        out = pad(out, (0, far[1], 0, far[0]))
    if bias is not None:
        f = out._value.shape[1]
        if bias._value.shape != (f,):
            raise ShapeError(f"conv_transpose2d: `bias` has shape {bias.shape}, expected ({f},)")
        out = out + reshape(bias, (f, 1, 1))
    return own(squeeze(out, 0)) if single else out


@export(method=False, nn=True)
def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of `conv1d`: signals (n, c, l), weight (c, f / groups, k)."""
    x, single = _images("conv_transpose1d", input, 3)
    weight, bias = _weights("conv_transpose1d", x, weight, bias, 3)
    name = "conv_transpose1d"
    out = conv_transpose2d(
        unsqueeze(x, 2),
        unsqueeze(weight, 2),
        bias,
        (1, *pair(name, "stride", stride, 1)),
        (0, *pair(name, "padding", padding, 1)),
        (0, *pair(name, "output_padding", output_padding, 1)),
        groups,
        (1, *pair(name, "dilation", dilation, 1)),
    )
    out = own(squeeze(out, 2))
    return own(squeeze(out, 0)) if single else out


# ---- pooling -------------------------------------------------------------------------------


@export(method=False, nn=True)
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window; the first of equal ones gets the gradient.

    With ``return_indices`` also where it was, as ``row * w + column`` of the input plane.

    >>> import tinygrad_cnn as tg
    >>> x = tg.arange(16.0).reshape(1, 1, 4, 4)
    >>> tg.nn.functional.max_pool2d(x, 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    x, single = _images("max_pool2d", input)
    kernel = pair("max_pool2d", "kernel_size", kernel_size)
    params: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": kernel
        if stride is None or stride in ([], ())
        else pair("max_pool2d", "stride", stride),
        "padding": pair("max_pool2d", "padding", padding),
        "dilation": pair("max_pool2d", "dilation", dilation),
        "ceil_mode": bool(ceil_mode),
    }
    out = pooling.max_pool2d(x, **params)
    result = own(squeeze(out, 0)) if single else out
    if not return_indices:
        return result
    _, chosen = kernels.max_pool2d(x._array, **params)
    where = kernels.max_pool2d_plane_index(chosen, size=x._array.shape[2:], **params)
    return result, wrap(where[0] if single else where)


def _averages(name: str, x: Tensor) -> None:
    if x.dtype.kind != "f":
        raise DtypeError(f"{name}: `input` is {x.dtype}, expected a floating dtype")


@export(method=False, nn=True)
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window; zeros in the padding count unless ``count_include_pad`` is False."""
    x, single = _images("avg_pool2d", input)
    _averages("avg_pool2d", x)
    kernel = pair("avg_pool2d", "kernel_size", kernel_size)
    out = pooling.avg_pool2d(
        x,
        kernel_size=kernel,
        stride=kernel
        if stride is None or stride in ([], ())
        else pair("avg_pool2d", "stride", stride),
        padding=pair("avg_pool2d", "padding", padding),
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        divisor_override=divisor_override,
    )
    return own(squeeze(out, 0)) if single else out


@export(method=False, nn=True)
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over a grid of ``output_size`` near-equal windows; None keeps a side."""
    x, single = _images("adaptive_avg_pool2d", input)
    _averages("adaptive_avg_pool2d", x)
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    sides = x.shape[2:] if len(given) == 2 else given
    wanted = tuple(n if s is None else s for s, n in zip(given, sides, strict=True))
    size = pair("adaptive_avg_pool2d", "output_size", wanted)
    out = pooling.adaptive_avg_pool2d(x, output_size=size)
    return own(squeeze(out, 0)) if single else out
