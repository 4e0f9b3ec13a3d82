"""The networks once more, as functions of named arrays, for frameworks that are not written like
PyTorch.

``f`` has the layers and the weights: ``f.conv("c1", x)`` is the convolution whose weights have the
key ``c1.weight`` in the state of the original. `on_jax` and `on_tinygrad` each bring an ``f``, so
that all five networks run there with the weights of the original and must give its results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def lenet5(f: Any, x: Any) -> Any:
    """``models/lenet5.py``: images to scores."""
    x = f.max_pool(f.relu(f.norm("n1", f.conv("c1", x))))
    x = f.max_pool(f.relu(f.norm("n3", f.conv("c3", x))))
    x = f.relu(f.linear("c5", f.flatten(x)))
    return f.linear("output", f.relu(f.linear("f6", x)))


def minivgg(f: Any, x: Any) -> Any:
    """``models/minivgg.py``: images to scores."""
    for block in (0, 1, None, 3, 4, None, 6, 7, None):
        if block is None:
            x = f.max_pool(x)
        else:
            x = f.conv(f"features.{block}.0", x, padding=1)
            x = f.relu(f.norm(f"features.{block}.1", x))
    x = f.dropout(f.relu(f.linear("classifier.1", f.flatten(x))), 0.5)
    return f.linear("classifier.4", x)


def resnet20(f: Any, x: Any) -> Any:
    """``models/resnet20.py``: images to scores."""
    x = f.relu(f.norm("bn1", f.conv("conv1", x, padding=1)))
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            name, first = f"stage{stage}.{block}", stage > 1 and block == 0
            stride = 2 if first else 1
            y = f.conv(f"{name}.conv1", x, stride=stride, padding=1)
            y = f.conv(f"{name}.conv2", f.relu(f.norm(f"{name}.bn1", y)), padding=1)
            if first:
                x = f.widen(x, stride, extra=8 * 2 ** (stage - 1))
            x = f.relu(f.norm(f"{name}.bn2", y) + x)
    return f.linear("fc", f.mean(x))


def depthwise(f: Any, x: Any) -> Any:
    """``benchmarks/networks/depthwise.py``: images to scores."""
    x = f.relu(f.norm("stem.1", f.conv("stem.0", x, padding=1)))
    for block, (channels, stride) in enumerate(
        [(32, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1)]
    ):
        name = f"blocks.{block}"
        x = f.conv(f"{name}.0", x, stride=stride, padding=1, groups=channels)
        x = f.conv(f"{name}.3", f.relu(f.norm(f"{name}.1", x)))
        x = f.relu(f.norm(f"{name}.4", x))
    return f.linear("fc", f.mean(x))


def mlp(f: Any, x: Any) -> Any:
    """``benchmarks/networks/mlp.py``: images to scores."""
    x = f.relu(f.linear("layers.1", f.flatten(x)))
    return f.linear("layers.5", f.relu(f.linear("layers.3", x)))


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "lenet5": lenet5,
    "minivgg": minivgg,
    "resnet20": resnet20,
    "depthwise": depthwise,
    "mlp": mlp,
}
