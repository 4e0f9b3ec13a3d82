"""Loss functions as layers.

All take ``reduction``: "mean", "sum" or "none" (a tensor of losses). PyTorch's older arguments
``size_average`` and ``reduce`` mean the same, with a warning. Shapes, formulas and errors are those
of the function of the same name in `nn.functional`.
"""

from __future__ import annotations

import warnings
from dataclasses import InitVar
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
