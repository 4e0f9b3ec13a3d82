"""The networks on tinygrad: training step and inference under TinyJit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from functional import FUNCTIONS
from tinygrad import Tensor, TinyJit, nn


class Network:
    """One network with its weights; also the layers, for `functional`. Images are (n, c, h, w)."""

    def __init__(self, name: str, state: dict[str, np.ndarray]) -> None:
        self.function = FUNCTIONS[name]
        self.norms: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}
        for key in state:
            if key.endswith(".running_mean"):
                layer = key.removesuffix(".running_mean")
                norm = self.norms[layer] = nn.BatchNorm(len(state[key]))
                for part in ("weight", "bias", "running_mean", "running_var"):
                    getattr(norm, part).assign(Tensor(state[f"{layer}.{part}"])).realize()
        for key, array in state.items():
            if key.rpartition(".")[0] not in self.norms:
                self.weights[key] = Tensor(array).realize()

    def conv(self, name: str, x: Any, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        w, b = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return x.conv2d(w, b, groups=groups, stride=stride, padding=padding)

    def norm(self, name: str, x: Any) -> Any:
        return self.norms[name](x)

    def linear(self, name: str, x: Any) -> Any:
        return x.linear(self.weights[f"{name}.weight"].T, self.weights[f"{name}.bias"])

    def relu(self, x: Any) -> Any:
        return x.relu()

    def max_pool(self, x: Any) -> Any:
        return x.max_pool2d((2, 2))

    def mean(self, x: Any) -> Any:
        return x.mean((2, 3))  # (n, c)

    def flatten(self, x: Any) -> Any:
        return x.flatten(1)

    def widen(self, x: Any, stride: int, extra: int) -> Any:
        return x[:, :, ::stride, ::stride].pad((None, (0, extra), None, None))

    def dropout(self, x: Any, p: float) -> Any:
        return x.dropout(p)

    def inference(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a function that returns scores (n, classes) for images (n, c, h, w)."""
        x = Tensor(images).realize()
        run = TinyJit(lambda: self.function(self, x).realize())
        return lambda: run().numpy()

    def training(self, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
        """Return a function that trains for one step of SGD with momentum and returns the loss."""
        x, y = Tensor(images).realize(), Tensor(labels.astype(np.int32)).realize()
        parameters = [*self.weights.values()]
        for norm in self.norms.values():
            parameters += [norm.weight, norm.bias]
        for parameter in parameters:
            parameter.requires_grad = True
        optimizer = nn.optim.SGD(parameters, lr=1e-6, momentum=0.9, weight_decay=5e-4)

        @TinyJit
        def step() -> Tensor:
            optimizer.zero_grad()
            loss = self.function(self, x).sparse_categorical_crossentropy(y)
            loss.backward()
            return loss.realize(*optimizer.schedule_step())

        def run() -> float:
            with Tensor.train():
                return float(step().item())

        return run
