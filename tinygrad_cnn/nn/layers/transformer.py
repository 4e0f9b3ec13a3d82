"""Attention with several heads, and the layers of the transformer (Vaswani et al., 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import empty, full
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.layers.checks import factory, integer
from tinygrad_cnn.nn.layers.containers import ModuleList
from tinygrad_cnn.nn.layers.dropout import Dropout
from tinygrad_cnn.nn.layers.linear import Linear
from tinygrad_cnn.nn.layers.normalization import LayerNorm
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

Activation = Callable[[Tensor], Tensor]
_SHORT: dict[str, Activation] = {"relu": F.relu, "gelu": F.gelu}


class MultiheadAttention(Module):
    """Attention of several heads to several projections of keys and values.

    Shapes: query (l, n, embed_dim), key (s, n, kdim), value (s, n, vdim), output (l, n, embed_dim);
    with ``batch_first`` n comes first; without a batch the axis n is left out. Projections start
    from Glorot's uniform distribution, biases from zero, as in PyTorch.

    Parameters
    ----------
    embed_dim, num_heads
        Features, of which each head has an equal share.
    dropout
        The share of weights that is left out in training.
    bias
        Whether the projections have biases.
    add_bias_kv, add_zero_attn
        Whether there is one more key and value, learned or zero.
    kdim, vdim
        Features of keys and values, by default ``embed_dim``.
    batch_first
        Whether the batch's axis comes first.

    Raises
    ------
    ValueError
        ``num_heads`` does not divide ``embed_dim``, or shapes do not fit.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.ones(5, 2, 8)
    >>> y, weights = nn.MultiheadAttention(8, 2)(x, x, x)
    >>> y.shape, weights.shape
    (Size([5, 2, 8]), Size([2, 5, 5]))
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        me = "MultiheadAttention"
        self.embed_dim = e = integer(me, "embed_dim", embed_dim, least=1)
        self.num_heads = integer(me, "num_heads", num_heads, least=1)
        if e % self.num_heads:
            raise ArgumentError(
                f"{me}: `num_heads` is {num_heads} but must divide `embed_dim` = {embed_dim}"
            )
        self.kdim = e if kdim is None else integer(me, "kdim", kdim, least=1)
        self.vdim = e if vdim is None else integer(me, "vdim", vdim, least=1)
        self._qkv_same_embed_dim = self.kdim == e and self.vdim == e
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = e // self.num_heads
        self.add_zero_attn = add_zero_attn
        kind, same = factory(me, device, dtype), self._qkv_same_embed_dim
        for name, shape, wanted in (
            ("q_proj_weight", (e, e), not same),
            ("k_proj_weight", (e, self.kdim), not same),
            ("v_proj_weight", (e, self.vdim), not same),
            ("in_proj_weight", (3 * e, e), same),
            ("in_proj_bias", (3 * e,), bias),
        ):
            self.register_parameter(name, Parameter(empty(shape, dtype=kind)) if wanted else None)
        self.out_proj = Linear(e, e, bias=bias, dtype=kind)
        for name in ("bias_k", "bias_v"):
            value = Parameter(empty(1, 1, e, dtype=kind)) if add_bias_kv else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections anew, set biases to zero."""
        self._reset_as_pytorch()

    def _reset_as_pytorch(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output, and the weights (n, l, s) unless ``need_weights`` is False.

        Parameters
        ----------
        query, key, value
            What attends, to what, and what is averaged.
        key_padding_mask
            (n, s): True, or -inf, where a key is padding.
        need_weights
            Whether the weights are returned. Without them memory grows with l + s only.
        attn_mask
            (l, s) or (n * num_heads, l, s): True, or -inf, where a query may not see a key.
        average_attn_weights
            Whether weights are averaged over the heads, else (n, num_heads, l, s).
        is_causal
            A hint that ``attn_mask``, which must be given then, is causal; it changes nothing.
        """
        flip = self.batch_first and query.ndim == 3
        if flip:
            if query is key and key is value:
                query = key = value = query.transpose(0, 1)
            else:
                query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(0, 1) if flip else output), weights


def _activation(owner: str, activation: str | Activation) -> Activation:
    if not isinstance(activation, str):
        return activation
    if activation not in _SHORT:
        raise ArgumentError(
            f"{owner}: `activation` is {activation!r} but 'relu', 'gelu' or a function is expected"
        )
    return _SHORT[activation]


def _looking(
    attention: Module,
    memory: Tensor | None,
    mask: Tensor | None,
    padding: Tensor | None,
    causal: bool,
) -> Callable[[Tensor], Tensor]:
    """The part of a layer that attends to ``memory``, by default to its own input."""

    def part(x: Tensor) -> Tensor:
        seen = x if memory is None else memory
        masks = {"attn_mask": mask, "key_padding_mask": padding, "is_causal": causal}
        out: Tensor = attention(x, seen, seen, need_weights=False, **masks)[0]
        return out

    return part


class _TransformerLayer(Module):
    """What both kinds of layers share: self-attention, a feed-forward part, norms and dropouts."""

    blocks: int  # how many parts, each with a norm and a dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        kind = factory(type(self).__name__, device, dtype)

        def attend() -> MultiheadAttention:
            return MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, dtype=kind
            )

        self.self_attn = attend()
        if self.blocks == 3:
            self.multihead_attn = attend()
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=kind)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=kind)
        self.norm_first = norm_first
        for i in range(1, self.blocks + 1):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=kind)
            self.register_module(f"norm{i}", norm)
        for i in range(1, self.blocks + 1):
            self.register_module(f"dropout{i}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _added(self, i: int, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        """``x`` plus what part number ``i`` makes of it, normalised before or after."""
        norm, drop = self._modules[f"norm{i}"], self._modules[f"dropout{i}"]
        assert norm is not None
        assert drop is not None
        out: Tensor = x + drop(part(norm(x))) if self.norm_first else norm(x + drop(part(x)))
        return out

    def _feed(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention and two linear layers, each with a shortcut and a `LayerNorm`.

    Shapes: input and output (l, n, d_model), or (n, l, d_model) with ``batch_first``.
    ``norm_first`` normalises before each part, not after. ``activation`` is "relu", "gelu" or a
    function.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)(tg.ones(5, 3, 8)).shape
    Size([5, 3, 8])
    """

    blocks = 2

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor of the input's shape; masks are those of `MultiheadAttention`."""
        attend = _looking(self.self_attn, None, src_mask, src_key_padding_mask, is_causal)
        return self._added(2, self._added(1, src, attend), self._feed)


class TransformerDecoderLayer(_TransformerLayer):
    """A `TransformerEncoderLayer` that also attends to ``memory``, an encoder's output.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> layer(tg.ones(4, 3, 8), tg.ones(5, 3, 8)).shape
    Size([4, 3, 8])
    """

    blocks = 3

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor of the shape of ``tgt``; masks are those of `MultiheadAttention`."""
        attend = _looking(self.self_attn, None, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        look = _looking(
            self.multihead_attn, memory, memory_mask, memory_key_padding_mask, memory_is_causal
        )
        return self._added(3, self._added(2, self._added(1, tgt, attend), look), self._feed)


class _Stack(Module):
    norm: Module | None

    def _hold(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def _run(self, x: Tensor, *args: Tensor, **masks: Tensor | bool | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **masks)
        out: Tensor = x if self.norm is None else self.norm(x)
        return out


class TransformerEncoder(_Stack):
    """``num_layers`` copies of ``encoder_layer``, one after the other, and ``norm`` at the end.

    ``enable_nested_tensor`` and ``mask_check`` are PyTorch's and change nothing.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)
    >>> nn.TransformerEncoder(layer, num_layers=2)(tg.ones(5, 3, 8)).shape
    Size([5, 3, 8])
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self._hold(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Return a tensor of the input's shape; masks are those of `MultiheadAttention`."""
        return self._run(
            src,
            src_mask=mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=bool(is_causal),
        )


class TransformerDecoder(_Stack):
    """``num_layers`` copies of ``decoder_layer``, one after the other, and ``norm`` at the end.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> nn.TransformerDecoder(layer, num_layers=2)(tg.ones(4, 3, 8), tg.ones(5, 3, 8)).shape
    Size([4, 3, 8])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self._hold(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor of the shape of ``tgt``; masks are those of `MultiheadAttention`."""
        return self._run(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal),
            memory_is_causal=memory_is_causal,
        )


class Transformer(Module):
    """An encoder and a decoder (Vaswani et al., "Attention is all you need", 2017).

    Shapes: src (s, n, d_model), tgt and output (t, n, d_model); with ``batch_first`` n comes first.
    All matrices start from Glorot's uniform distribution, as in PyTorch.

    Raises
    ------
    ValueError
        ``nhead`` does not divide ``d_model``, or shapes do not fit.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> net = nn.Transformer(8, 2, 1, 1, dim_feedforward=16)
    >>> net(tg.ones(5, 3, 8), tg.ones(4, 3, 8)).shape
    Size([4, 3, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        kind = factory("Transformer", device, dtype)
        width = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        rest = (batch_first, norm_first, bias, None, kind)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=kind)

        if custom_encoder is None:
            layer = TransformerEncoderLayer(*width, *rest)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if custom_decoder is None:
            below = TransformerDecoderLayer(*width, *rest)
            custom_decoder = TransformerDecoder(below, num_decoder_layers, norm())
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        self._reset_as_pytorch()

    def _reset_as_pytorch(self) -> None:
        for param in self.parameters():
            if param.ndim > 1:
                init.xavier_uniform_(param)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor of the shape of ``tgt``; masks are those of `MultiheadAttention`."""
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(
                f"Transformer: `src` has shape {src.shape} and `tgt` {tgt.shape} but "
                f"{self.d_model} features are expected"
            )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        out: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )
        return out

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: DeviceLike = None, dtype: DTypeLike = None
    ) -> Tensor:
        """Return the causal mask (sz, sz): -inf above the diagonal, 0 elsewhere.

        >>> from tinygrad_cnn import nn
        >>> nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        kind = factory("generate_square_subsequent_mask", device, dtype)
        return full((sz, sz), -math.inf, dtype=kind).triu(1)
