"""The networks on JAX: one jitted function per training step, channels last, as Flax has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from functional import FUNCTIONS
from jax import lax

Arrays = dict[str, Any]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
EPSILON, KEEP = 1e-5, 0.9  # of batch normalisation; share of the running statistics that stays
RATE, MOMENTUM, DECAY = 1e-6, 0.9, 5e-4  # as in `competitors`


class Layers:
    """The layers of one pass, for `functional`; images are (n, h, w, c)."""

    def __init__(self, weights: Arrays, statistics: Arrays, key: Any, *, training: bool) -> None:
        self.weights, self.statistics, self.key = weights, statistics, key
        self.training = training
        self.updated: Arrays = {}  # running statistics after this pass

    def conv(self, name: str, x: Any, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        y = lax.conv_general_dilated(
            x,
            self.weights[f"{name}.weight"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=DIMENSIONS,
            feature_group_count=groups,
        )
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    def norm(self, name: str, x: Any) -> Any:
        keys = f"{name}.running_mean", f"{name}.running_var"
        mean, variance = (self.statistics[k] for k in keys)
        if self.training:
            count = x.size // x.shape[-1]
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            for key, new in zip(keys, (mean, variance * count / (count - 1)), strict=True):
                self.updated[key] = KEEP * self.statistics[key] + (1 - KEEP) * new
        scale = self.weights[f"{name}.weight"] * lax.rsqrt(variance + EPSILON)
        return (x - mean) * scale + self.weights[f"{name}.bias"]

    def linear(self, name: str, x: Any) -> Any:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def relu(self, x: Any) -> Any:
        return jax.nn.relu(x)

    def max_pool(self, x: Any) -> Any:
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    def mean(self, x: Any) -> Any:
        return x.mean((1, 2))  # (n, c)

    def flatten(self, x: Any) -> Any:
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # (n, c * h * w), as in the original

    def widen(self, x: Any, stride: int, extra: int) -> Any:
        return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, extra)))

    def dropout(self, x: Any, p: float) -> Any:
        if not self.training:
            return x
        self.key, key = jax.random.split(self.key)
        return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def _channels_last(name: str, array: np.ndarray) -> Any:
    return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


class Network:
    """One network with its weights and what SGD remembers."""

    def __init__(self, name: str, state: dict[str, np.ndarray]) -> None:
        self.function = FUNCTIONS[name]
        arrays = {k: _channels_last(k, v) for k, v in state.items() if "num_batches" not in k}
        self.statistics = {k: v for k, v in arrays.items() if "running" in k}
        self.weights = {k: v for k, v in arrays.items() if "running" not in k}
        self.velocity = jax.tree.map(jnp.zeros_like, self.weights)
        self.key = jax.random.key(0)

    def _scores(self, weights: Arrays, statistics: Arrays, x: Any) -> Any:
        return self.function(Layers(weights, statistics, None, training=False), x)

    def inference(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a function that returns scores (n, classes) for images (n, c, h, w)."""
        x = jnp.asarray(images.transpose(0, 2, 3, 1))  # (n, h, w, c)
        run = jax.jit(self._scores)
        return lambda: np.asarray(run(self.weights, self.statistics, x))

    def training(self, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
        """Return a function that trains for one step of SGD with momentum and returns the loss."""
        x, y = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels)

        def loss(weights: Arrays, statistics: Arrays, key: Any) -> Any:
            f = Layers(weights, statistics, key, training=True)
            log = jax.nn.log_softmax(self.function(f, x))
            return -jnp.take_along_axis(log, y[:, None], 1).mean(), (f.updated, f.key)

        def step(weights: Arrays, velocity: Arrays, statistics: Arrays, key: Any) -> Any:
            (value, (statistics, key)), g = jax.value_and_grad(loss, has_aux=True)(
                weights, statistics, key
            )
            velocity = jax.tree.map(
                lambda v, gw, w: MOMENTUM * v + gw + DECAY * w, velocity, g, weights
            )
            weights = jax.tree.map(lambda w, v: w - RATE * v, weights, velocity)
            return value, weights, velocity, statistics, key

        compiled = jax.jit(step, donate_argnums=(0, 1, 2))

        def run() -> float:
            value, self.weights, self.velocity, self.statistics, self.key = compiled(
                self.weights, self.velocity, self.statistics, self.key
            )
            jax.block_until_ready(self.weights)
            return float(value)

        return run
