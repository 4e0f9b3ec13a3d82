"""Loss functions as layers.

All take ``reduction``: "mean", "sum" or "none" (a tensor of losses). PyTorch's older arguments
``size_average`` and ``reduce`` mean the same, with a warning. Shapes, formulas and errors are those
of the function of the same name in `nn.functional`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar
from typing import ClassVar

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import choice, positive
from tinygrad_cnn.nn.layers.function_layer import FunctionLayer, calls
from tinygrad_cnn.tensor import Tensor

Flag = bool | None


class _Loss(FunctionLayer):
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    held: ClassVar[tuple[str, ...]] = ()  # the arguments that become buffers
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
        for name in self.held:
            tensor = getattr(self, name)
            delattr(self, name)
            self.register_buffer(name, tensor)

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
    held = ("weight",)
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

    reduction: str = "mean"
    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("HuberLoss", "delta", self.delta)


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

    _: KW_ONLY
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

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
