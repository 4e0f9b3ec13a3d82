"""Loss functions as layers.

All take ``reduction``: "mean", "sum" or "none" (a tensor of losses). PyTorch's older arguments
``size_average`` and ``reduce`` mean the same, with a warning. Shapes, formulas and errors are those
of the function of the same name in `nn.functional`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar
from typing import ClassVar, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import cat, from_numpy
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import choice, positive, probability
from tinygrad_cnn.nn.layers.containers import ModuleList, Sequential
from tinygrad_cnn.nn.layers.function_layer import FunctionLayer, calls
from tinygrad_cnn.nn.layers.linear import Linear, PairwiseDistance
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

Flag = bool | None


class _Loss(FunctionLayer):
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    held: ClassVar[tuple[str, ...]] = ()  # the arguments that become buffers
    above_zero: ClassVar[tuple[str, ...]] = ()  # the arguments that must be
    reduction: str

    def __post_init__(self, size_average: Flag = None, reduce: Flag = None) -> None:
        me = type(self).__name__
        if size_average is not None or reduce is not None:
            mean = "sum" if size_average is False else "mean"
            self.reduction = "none" if reduce is False else mean
            warnings.warn(
                f"{me}: `size_average` and `reduce` are old; use reduction={self.reduction!r}",
                stacklevel=4,
            )
        choice(me, "reduction", self.reduction, self.reductions)
        for name in self.above_zero:
            positive(me, name, getattr(self, name))
        self._check()
        for name in self.held:
            tensor = getattr(self, name)
            delattr(self, name)
            self.register_buffer(name, tensor)

    def _check(self) -> None:
        """Refuse arguments that no input goes with."""

    def extra_repr(self) -> str:
        """Return nothing, as PyTorch."""
        return ""


class _TargetLoss(_Loss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Apply the function of the same name in `nn.functional`."""
        out: Tensor = type(self).function(input, target, **self._arguments())
        return out


@calls()
class _PlainLoss(_TargetLoss):
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"


@calls()
class _WeightedLoss(_TargetLoss):
    held: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Tensor | None = None
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"


@calls(F.cross_entropy)
class CrossEntropyLoss(_TargetLoss):
    """Cross-entropy between logits and classes: log-softmax and `NLLLoss` in one.

    Shapes: input (n, c), (c,) or (n, c, ...), target ints (n,), (), (n, ...) or probabilities of
    the input's shape, ``weight`` (c,).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CrossEntropyLoss()(tg.zeros(4, 10), tg.tensor([1, 0, 4, 9]))
    tensor(2.3026)
    """

    held = ("weight",)
    weight: Tensor | None = None
    size_average: InitVar[Flag] = None
    ignore_index: int = -100
    reduce: InitVar[Flag] = None
    reduction: str = "mean"
    label_smoothing: float = 0.0


@calls(F.nll_loss)
class NLLLoss(_TargetLoss):
    """Minus the log-probability of the right class.

    Shapes: input log-probabilities (n, c), (c,) or (n, c, ...), target ints (n,), () or (n, ...).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.NLLLoss()(tg.tensor([[-0.5, -1.0]]), tg.tensor([1]))
    tensor(1.)
    """

    held = ("weight",)
    weight: Tensor | None = None
    size_average: InitVar[Flag] = None
    ignore_index: int = -100
    reduce: InitVar[Flag] = None
    reduction: str = "mean"


@calls(F.mse_loss)
class MSELoss(_PlainLoss):
    """Squared difference. Shapes: input and target alike.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MSELoss()(tg.ones(4), tg.full((4,), 3.0))
    tensor(4.)
    """


@calls(F.l1_loss)
class L1Loss(_PlainLoss):
    """Absolute difference. Shapes: input and target alike.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.L1Loss()(tg.ones(4), tg.full((4,), 3.0))
    tensor(2.)
    """


@calls(F.smooth_l1_loss)
class SmoothL1Loss(_PlainLoss):
    """Squared below a difference of ``beta``, absolute above.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SmoothL1Loss()(tg.ones(4), tg.full((4,), 3.0))
    tensor(1.5000)
    """

    beta: float = 1.0


@calls(F.huber_loss)
class HuberLoss(_TargetLoss):
    """`SmoothL1Loss` times ``delta``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.HuberLoss(delta=2.0)(tg.ones(4), tg.full((4,), 4.0))
    tensor(4.)
    """

    above_zero = ("delta",)
    reduction: str = "mean"
    delta: float = 1.0


@calls(F.kl_div)
class KLDivLoss(_PlainLoss):
    """Kullback-Leibler divergence of log-probabilities from a target distribution.

    ``reduction`` may also be "batchmean", the sum over the number of samples.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> p = tg.tensor([[0.5, 0.5]])
    >>> nn.KLDivLoss(reduction="batchmean")(p.log(), p)
    tensor(0.)
    """

    reductions = ("mean", "sum", "none", "batchmean")
    log_target: bool = False


@calls(F.binary_cross_entropy)
class BCELoss(_WeightedLoss):
    """Cross-entropy of probabilities in [0, 1] and targets in [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.BCELoss()(tg.tensor([0.5, 0.5]), tg.tensor([0.0, 1.0]))
    tensor(0.6931)
    """


@calls(F.binary_cross_entropy_with_logits)
class BCEWithLogitsLoss(_WeightedLoss):
    """`BCELoss` of ``sigmoid(input)``, without overflow. ``pos_weight`` weighs positive targets.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.BCEWithLogitsLoss()(tg.zeros(2), tg.tensor([0.0, 1.0]))
    tensor(0.6931)
    """

    held = ("weight", "pos_weight")
    pos_weight: Tensor | None = None


@calls(F.soft_margin_loss)
class SoftMarginLoss(_PlainLoss):
    """``log(1 + exp(-target * input))`` for targets 1 and -1. Shapes: input and target alike.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SoftMarginLoss()(tg.zeros(2), tg.tensor([1.0, -1.0]))
    tensor(0.6931)
    """


@calls(F.multilabel_margin_loss)
class MultiLabelMarginLoss(_PlainLoss):
    """Hinge loss between every class of a sample and every other one.

    Shapes: input (n, c) or (c,), target ints of the same shape: the classes, ended by -1.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MultiLabelMarginLoss()(tg.tensor([[0.1, 0.2, 0.4, 0.8]]), tg.tensor([[3, 0, -1, 1]]))
    tensor(0.8500)
    """


@calls(F.multilabel_soft_margin_loss)
class MultiLabelSoftMarginLoss(_WeightedLoss):
    """`BCEWithLogitsLoss`, averaged over the classes. Shapes: input and target (n, c).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MultiLabelSoftMarginLoss()(tg.zeros(1, 2), tg.tensor([[0.0, 1.0]]))
    tensor(0.6931)
    """


@calls(F.multi_margin_loss)
class MultiMarginLoss(_TargetLoss):
    """``max(0, margin - input[class] + input[other])**p``, summed over the others, over c.

    Shapes: input (n, c) or (c,), target ints (n,) or (), ``weight`` (c,).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MultiMarginLoss()(tg.tensor([[0.1, 0.2, 0.4, 0.8]]), tg.tensor([3]))
    tensor(0.3250)
    """

    held = ("weight",)
    p: int = 1
    margin: float = 1.0
    weight: Tensor | None = None
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"

    def _check(self) -> None:
        if self.p not in (1, 2):
            raise ArgumentError(f"MultiMarginLoss: `p` is {self.p} but 1 or 2 is expected")
        if self.weight is not None and self.weight.ndim != 1:
            raise ShapeError(
                f"MultiMarginLoss: `weight` has shape {self.weight.shape} but (c,) is expected"
            )


@calls(F.hinge_embedding_loss)
class HingeEmbeddingLoss(_TargetLoss):
    """The distance ``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.HingeEmbeddingLoss()(tg.tensor([0.5, 0.25]), tg.tensor([1.0, -1.0]))
    tensor(0.6250)
    """

    margin: float = 1.0
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"


@calls(F.poisson_nll_loss)
class PoissonNLLLoss(_TargetLoss):
    """Minus the log-likelihood of counts of a Poisson distribution.

    ``input`` is the logarithm of the mean with ``log_input``, else the mean; ``full`` adds
    Stirling's approximation of the constant.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PoissonNLLLoss()(tg.zeros(2), tg.ones(2))
    tensor(1.)
    """

    log_input: bool = True
    full: bool = False
    size_average: InitVar[Flag] = None
    eps: float = 1e-8
    reduce: InitVar[Flag] = None
    reduction: str = "mean"


@calls(F.gaussian_nll_loss)
class GaussianNLLLoss(_Loss):
    """Minus the log-likelihood of a normal distribution of mean ``input`` and variance ``var``.

    Shapes: input and target alike, var alike, or with one value for the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GaussianNLLLoss()(tg.zeros(2), tg.ones(2), tg.ones(2))
    tensor(0.5000)
    """

    _: KW_ONLY
    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """Apply `F.gaussian_nll_loss`."""
        return F.gaussian_nll_loss(input, target, var, **self._arguments())


@calls(F.cosine_embedding_loss)
class CosineEmbeddingLoss(_Loss):
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Shapes: both inputs (n, d) or (d,), target (n,) or ().

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CosineEmbeddingLoss()(tg.ones(1, 2), tg.ones(1, 2), tg.tensor([-1.0]))
    tensor(1.)
    """

    margin: float = 0.0
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Apply `F.cosine_embedding_loss`."""
        return F.cosine_embedding_loss(input1, input2, target, **self._arguments())


@calls(F.margin_ranking_loss)
class MarginRankingLoss(_Loss):
    """``max(0, -target * (input1 - input2) + margin)``: which of two should rank higher.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MarginRankingLoss()(tg.ones(1), tg.zeros(1), tg.tensor([-1.0]))
    tensor(1.)
    """

    margin: float = 0.0
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Apply `F.margin_ranking_loss`."""
        return F.margin_ranking_loss(input1, input2, target, **self._arguments())


@calls(F.triplet_margin_loss)
class TripletMarginLoss(_Loss):
    """``max(0, |anchor - positive| - |anchor - negative| + margin)``, norms of order ``p``.

    With ``swap`` the negative's distance is the smaller one of those to anchor and positive.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.TripletMarginLoss()(tg.zeros(1, 1), tg.ones(1, 1), 2 * tg.ones(1, 1))
    tensor(0.)
    """

    above_zero = ("margin",)
    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    size_average: InitVar[Flag] = None
    reduce: InitVar[Flag] = None
    reduction: str = "mean"

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Apply `F.triplet_margin_loss`."""
        return F.triplet_margin_loss(anchor, positive, negative, **self._arguments())


@calls(F.triplet_margin_with_distance_loss)
class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with a distance of one's own (`PairwiseDistance` unless given).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> loss = nn.TripletMarginWithDistanceLoss(distance_function=nn.L1Loss())
    >>> loss(tg.zeros(1, 1), tg.ones(1, 1), tg.zeros(1, 1))
    tensor(2.)
    """

    above_zero = ("margin",)
    _: KW_ONLY
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance_function is None:
            self.distance_function = PairwiseDistance()

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Apply `F.triplet_margin_with_distance_loss`."""
        return F.triplet_margin_with_distance_loss(anchor, positive, negative, **self._arguments())


@calls(F.ctc_loss)
class CTCLoss(_Loss):
    """Connectionist temporal classification (Graves et al., 2006).

    Shapes: log_probs (t, n, c), targets (n, s) or all joined in one axis, lengths (n,).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> log_probs = tg.zeros(3, 1, 2).log_softmax(2)
    >>> nn.CTCLoss()(log_probs, tg.tensor([[1]]), (3,), (1,))
    tensor(0.2877)
    """

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: bool = False

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor | Sequence[int],
        target_lengths: Tensor | Sequence[int],
    ) -> Tensor:
        """Apply `F.ctc_loss`."""
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, **self._arguments())


class NLLLoss2d(NLLLoss):
    """`NLLLoss` of images (n, c, h, w), under its older name.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.NLLLoss2d()(-tg.ones(1, 2, 1, 1), tg.tensor([[[1]]]))
    tensor(1.)
    """


class LinearCrossEntropyLoss(Module):
    """A `Linear` layer and the `CrossEntropyLoss` of its scores.

    Shapes: input (n, ..., in_features), target of classes (n, ...) or probabilities; ``linear`` is
    the layer, of ``num_classes`` rows for each position of ``out_features``. ``options`` is
    PyTorch's and changes nothing.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LinearCrossEntropyLoss(5, 3)(tg.zeros(2, 5), tg.tensor([0, 2])).detach()
    tensor(1.0986)
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: object = None,
    ) -> None:
        super().__init__()
        me = "LinearCrossEntropyLoss"
        if weight is not None and weight.shape != (num_classes,):
            raise ArgumentError(
                f"{me}: `weight` has shape {weight.shape} but {(num_classes,)} is expected"
            )
        self.register_buffer("weight", weight)
        self.reduction = choice(me, "reduction", reduction, _Loss.reductions)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = probability(me, "label_smoothing", label_smoothing)
        rows = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias, device, dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Apply `F.linear_cross_entropy`."""
        shape, layer = (self.num_classes, *self.out_features), self.linear
        return F.linear_cross_entropy(
            input,
            layer.weight.reshape(*shape, layer.in_features),
            target,
            linear_bias=None if layer.bias is None else layer.bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class AdaptiveLogSoftmaxWithLoss(Module):
    """Cross-entropy of many classes, rare ones in clusters with smaller projections.

    Classes 0 to ``cutoffs[0] - 1`` are scored by the head, those between further cutoffs by
    clusters whose projections are ``div_value`` times smaller each. Source: Grave et al.,
    "Efficient softmax approximation for GPUs", 2017.

    Shapes: input (n, in_features) or (in_features,), target ints (n,) or ().

    Raises
    ------
    ValueError
        ``cutoffs`` do not rise from 1 to below ``n_classes``, or shapes do not fit.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> output, loss = layer(tg.ones(3, 8), tg.tensor([0, 7, 19]))
    >>> output.shape, loss.shape, layer.log_prob(tg.ones(3, 8)).shape
    (Size([3]), Size([]), Size([3, 20]))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        bounds = [0, *cutoffs, n_classes]
        if len(bounds) == 2 or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise ArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: `cutoffs` is {list(cutoffs)} but numbers that rise "
                f"from 1 to below `n_classes` = {n_classes} are expected"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = bounds[1:]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, False, device, dtype),
                    Linear(hidden, size, False, device, dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def _reset_as_pytorch(self) -> None:
        """Nothing of its own: its layers have done so."""

    def forward(self, input: Tensor, target: Tensor) -> AdaptiveLogSoftmax:
        """Return each sample's log-probability of its class, and minus their mean."""
        lone = target.ndim == 0
        rows = input.unsqueeze(0) if lone else input
        if rows.ndim != 2 or target.shape != input.shape[:-1]:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: `input` has shape {input.shape} and `target` "
                f"{target.shape} but (n, {self.in_features}) and (n,) are expected"
            )
        labels = target.reshape(-1)
        if bool(((labels < 0) | (labels >= self.n_classes)).any()):
            raise ArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: `target` holds {labels.min().item()} to "
                f"{labels.max().item()} but classes 0 to {self.n_classes - 1} are expected"
            )
        clusters = np.searchsorted(self.cutoffs, labels._array, side="right")  # 0: the shortlist
        shown = np.where(clusters > 0, self.shortlist_size + clusters - 1, labels._array)
        head = F.log_softmax(self.head(rows), 1)
        output = head.gather(1, from_numpy(shown[:, None])).squeeze(1)
        for i, cluster in enumerate(self.tail):
            members = np.flatnonzero(clusters == i + 1)
            if members.size:  # no others are scored: that is what clusters are for
                at = from_numpy(members)
                within = (labels[at] - self.cutoffs[i]).unsqueeze(1)
                scores = F.log_softmax(cluster(rows[at]), 1)
                output = output.index_add(0, at, scores.gather(1, within).squeeze(1))
        loss = -output.mean()
        return AdaptiveLogSoftmax(output.squeeze(0) if lone else output, loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """Return the log-probabilities of all classes, (n, n_classes)."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            share = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(F.log_softmax(cluster(input), 1) + share)
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """Return the class of the largest probability, (n,)."""
        return self.log_prob(input).argmax(1)


class AdaptiveLogSoftmax(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns.

    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveLogSoftmax._fields
    ('output', 'loss')
    """

    output: Tensor
    loss: Tensor
