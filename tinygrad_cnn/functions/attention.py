"""Attention: of queries to keys, and with several heads and projections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import broadcasts
from tinygrad_cnn.functions.creation import zeros
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import cat
from tinygrad_cnn.functions.linear_algebra import linear, matmul
from tinygrad_cnn.functions.normalization import dropout
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.ops.attention import BLOCK, attention
from tinygrad_cnn.ops.random import numpy_generator
from tinygrad_cnn.ops.reduce import softmax
from tinygrad_cnn.types import FLOATING

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale * query @ key.T + attn_mask) @ value``, in blocks of queries.

    Shapes: query (..., l, e), key (..., s, e), value (..., s, d), result (..., l, d); axes before
    the last two broadcast. ``attn_mask`` broadcasts to (..., l, s): numbers to add, or bools that
    say which keys are seen; a query that sees none gets zeros. ``is_causal`` hides key j from query
    i < j. ``scale`` is ``e ** -0.5`` unless given. A share ``dropout_p`` of the weights is left
    out, always. With ``enable_gqa`` several heads of queries, (..., hq, l, e), share each of fewer
    heads of keys and values. Memory grows with l + s, not with l * s.

    Raises
    ------
    ValueError
        Shapes do not fit, or both a mask and ``is_causal`` are given.
    TypeError
        Dtypes differ.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> q, k, v = tg.zeros(1, 2, 3), tg.ones(1, 2, 3), tg.tensor([[[1.0], [3.0]]])
    >>> scaled_dot_product_attention(q, k, v, is_causal=True)
    tensor([[[1.],
             [2.]]])
    """
    me = "scaled_dot_product_attention"
    if attn_mask is not None and is_causal:
        raise ArgumentError(f"{me}: `attn_mask` is given and `is_causal` set but one is expected")
    if not 0 <= dropout_p <= 1:
        raise ArgumentError(f"{me}: `dropout_p` is {dropout_p} but 0 to 1 is expected")
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(f"{me}: 2 axes or more are expected ({shapes})")
    if not query.dtype == key.dtype == value.dtype or query.dtype.kind not in FLOATING:
        raise DtypeError(
            f"{me}: one floating dtype is expected but query has {query.dtype}, key {key.dtype}, "
            f"value {value.dtype}"
        )
    if enable_gqa:
        if query.ndim < 3 or key.ndim < 3 or query.shape[-3] % key.shape[-3]:
            raise ShapeError(f"{me}: the keys' heads must divide the queries' ({shapes})")
        key, value = (_repeated(t, query.shape[-3] // t.shape[-3]) for t in (key, value))
    fits = key.shape[-1] == query.shape[-1] and key.shape[-2] == value.shape[-2]
    try:
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{me}: (..., l, e), (..., s, e) and (..., s, d) are expected ({shapes})")
    query, key, value = (
        t if t.shape[:-2] == lead else t.expand(*lead, *t.shape[-2:]) for t in (query, key, value)
    )
    if attn_mask is not None:
        wanted = (*lead, query.shape[-2], key.shape[-2])
        if not broadcasts(attn_mask.shape, wanted):
            raise ShapeError(f"{me}: `attn_mask` has shape {attn_mask.shape}, expected {wanted}")
        if attn_mask.dtype not in (np.bool_, query.dtype):
            raise DtypeError(
                f"{me}: `attn_mask` has dtype {attn_mask.dtype} but bool or that of the query, "
                f"{query.dtype}, is expected"
            )
    return attention(
        query,
        key,
        value,
        attn_mask,
        scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
        causal=is_causal,
        dropout_p=float(dropout_p),
        seed=int(numpy_generator(None).integers(1 << 62)) if dropout_p else 0,
        block=BLOCK,
    )


@export(top=False, method=False, nn=True)
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention with several heads; `nn.MultiheadAttention` says what the arguments mean.

    Shapes: query (l, n, e) or (l, e), key and value (s, n, ...) or (s, ...). ``static_k`` and
    ``static_v`` (n * num_heads, s, e / num_heads) replace the projected keys and values.

    Returns
    -------
    output, weights
        (l, n, e), and (n, l, s), or (n, num_heads, l, s) unless averaged; None without
        ``need_weights``.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x, eye = tg.ones(2, 1, 4), tg.eye(4)
    >>> y, weights = multi_head_attention_forward(
    ...     x, x, x, 4, 2, tg.cat([eye, eye, eye]), None, None, None, False, 0.0, eye, None
    ... )
    >>> y.shape, weights
    (Size([2, 1, 4]), tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]]))
    """
    me = "multi_head_attention_forward"
    lone = query.ndim == 2
    if lone:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    for name, t in (("query", query), ("key", key), ("value", value)):
        if t.ndim != 3:
            raise ShapeError(f"{me}: `{name}` has shape {t.shape}, expected (l, n, e) or (l, e)")
    length, n, width = query.shape
    heads = num_heads
    if width != embed_dim_to_check or width % heads or key.shape[:2] != value.shape[:2]:
        raise ShapeError(
            f"{me}: `query` has shape {query.shape}, `key` {key.shape} and `value` {value.shape}, "
            f"expected (l, n, {embed_dim_to_check}), (s, n, ...) and (s, n, ...) for {heads} heads"
        )
    if is_causal and attn_mask is None:
        raise ArgumentError(f"{me}: `is_causal` is set but `attn_mask`, which it is about, is None")
    q, k, v = _projected(
        (query, key, value),
        (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None,
        in_proj_weight,
        in_proj_bias,
    )
    attn_mask = _additive(me, "attn_mask", attn_mask, q)
    padding = _additive(me, "key_padding_mask", key_padding_mask, q)
    extra = 0
    if bias_k is not None and bias_v is not None:
        k, v = (cat([t, b.expand(1, n, width)]) for t, b in ((k, bias_k), (v, bias_v)))
        extra += 1
    q, k, v = (  # (l, n, e) → (n, heads, l, e / heads)
        t.reshape(t.shape[0], n, heads, width // heads).permute(1, 2, 0, 3) for t in (q, k, v)
    )
    k = k if static_k is None else static_k.reshape(n, heads, *static_k.shape[1:])
    v = v if static_v is None else static_v.reshape(n, heads, *static_v.shape[1:])
    if add_zero_attn:
        nothing = zeros((n, heads, 1, width // heads), dtype=q.dtype)
        k, v, extra = cat([k, nothing], 2), cat([v, nothing], 2), extra + 1
    keys = k.shape[2]
    if attn_mask is not None:
        if attn_mask.ndim == 3:
            attn_mask = attn_mask.reshape(n, heads, *attn_mask.shape[1:])
        attn_mask = pad(attn_mask, (0, extra)) if extra else attn_mask
    if padding is not None:
        if padding.shape != (n, keys - extra):
            raise ShapeError(
                f"{me}: `key_padding_mask` has shape {padding.shape}, expected {(n, keys - extra)}"
            )
        padding = (pad(padding, (0, extra)) if extra else padding).reshape(n, 1, 1, keys)
        attn_mask = padding if attn_mask is None else attn_mask + padding
    if attn_mask is not None:
        wanted = (n, heads, length, keys)
        if attn_mask.shape[-1] != keys or attn_mask.shape[-2] not in (1, length):
            raise ShapeError(
                f"{me}: `attn_mask` has shape {attn_mask.shape} with the axes added, expected "
                f"{wanted[-2:]} or {wanted}"
            )
    rate = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = matmul(q * math.sqrt(heads / width), k.transpose(-2, -1))
        scores = scores if attn_mask is None else scores + attn_mask
        weights = softmax(scores, dim=3)
        weights = dropout(weights, rate, True) if rate else weights
        y = matmul(weights, v)
        if average_attn_weights:
            weights = weights.mean(1)
    else:
        y = scaled_dot_product_attention(q, k, v, attn_mask, rate)
    y = y.permute(2, 0, 1, 3).reshape(length, n, width)  # (n, heads, l, e / heads) → (l, n, e)
    y = linear(y, out_proj_weight, out_proj_bias)
    if lone:
        return y.squeeze(1), None if weights is None else weights.squeeze(0)
    return y, weights


def _projected(
    inputs: tuple[Tensor, Tensor, Tensor],
    separate: tuple[Tensor | None, Tensor | None, Tensor | None] | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> list[Tensor]:
    """Queries, keys and values; in one product where they are projected from one tensor."""
    query, key, value = inputs
    width = query.shape[-1]
    if separate is None and query is key and key is value:
        assert weight is not None
        return list(linear(query, weight, bias).chunk(3, -1))
    shifts = (None,) * 3 if bias is None else bias.split(width)
    parts: Sequence[Tensor | None] = separate or ()
    if separate is None and weight is not None:
        parts = weight.split(width)
    projected = []
    for x, w, b in zip(inputs, parts, shifts, strict=True):
        assert w is not None
        projected.append(linear(x, w, b))
    return projected


def _additive(name: str, argument: str, mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as numbers to add: -inf where a bool one is True, which here means hidden."""
    if mask is None:
        return mask
    if mask.dtype.kind == "b":
        return zeros(mask.shape, dtype=like.dtype).masked_fill(mask, -math.inf)
    if mask.dtype.kind not in FLOATING:
        raise DtypeError(
            f"{name}: `{argument}` has dtype {mask.dtype} but bool or floating is expected"
        )
    return mask.to(like.dtype)


def _repeated(t: Tensor, times: int) -> Tensor:
    """Each head for several heads of queries: (..., h, s, e) → (..., h * times, s, e)."""
    *lead, heads, s, e = t.shape
    return t.unsqueeze(-3).expand(*lead, heads, times, s, e).reshape(*lead, heads * times, s, e)
