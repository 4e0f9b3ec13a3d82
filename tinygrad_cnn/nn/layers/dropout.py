"""Dropout layers: active in training only. Draws come from the library's default generator."""

from __future__ import annotations

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import probability
from tinygrad_cnn.nn.layers.function_layer import UnaryLayer, calls


@calls(None, "p={p}, inplace={inplace}", also=("training",))
class _Dropout(UnaryLayer):
    p: float = 0.5
    inplace: bool = False

    def __post_init__(self) -> None:
        probability(type(self).__name__, "p", self.p)


@calls(F.dropout, also=("training",))
class Dropout(_Dropout):
    """Zero each value with probability ``p`` and scale the rest by ``1 / (1 - p)``, in training.

    With ``inplace`` the result is written into the input.

    Raises
    ------
    ValueError
        ``p`` is outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> sorted(set(nn.Dropout(0.5)(tg.ones(100)).tolist()))
    [0.0, 2.0]
    >>> nn.Dropout(0.5).eval()(tg.ones(2))
    tensor([1., 1.])
    """


@calls(F.dropout1d, also=("training",))
class Dropout1d(_Dropout):
    """`Dropout` of whole channels (n, c, :).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y = nn.Dropout1d(0.5)(tg.ones(1, 20, 4))
    >>> bool((y.amax(2) == y.amin(2)).all())
    True
    """


@calls(F.dropout2d, also=("training",))
class Dropout2d(_Dropout):
    """`Dropout` of whole channels (n, c, :, :).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y = nn.Dropout2d(0.5)(tg.ones(1, 20, 2, 2))
    >>> bool((y.amax((2, 3)) == y.amin((2, 3))).all())
    True
    """


@calls(F.dropout3d, also=("training",))
class Dropout3d(_Dropout):
    """`Dropout` of whole channels (n, c, :, :, :).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y = nn.Dropout3d(0.5)(tg.ones(1, 20, 2, 2, 2))
    >>> bool((y.amax((2, 3, 4)) == y.amin((2, 3, 4))).all())
    True
    """


@calls(F.alpha_dropout, also=("training",))
class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for `SELU` (Klambauer et al., 2017).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AlphaDropout(0.5).eval()(tg.ones(2))
    tensor([1., 1.])
    """


@calls(F.feature_alpha_dropout, also=("training",))
class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels (n, c, ...).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.FeatureAlphaDropout(0.5).eval()(tg.ones(1, 2))
    tensor([[1., 1.]])
    """
