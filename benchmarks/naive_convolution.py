"""A convolution that loops over pixels, forward and backward, timed beside ours.

    python benchmarks/naive_convolution.py [--batch 4] [--rounds 3]

`NaiveConv2d` and `NaiveMaxPool2d` are what the definition says, one window at a time, as they are
first written in a course. They serve as yardsticks: results and gradients are compared, then both
are timed in turn, layer by layer for LeNet-5's two convolutions and its poolings.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from turns import median_seconds

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F

Array = np.ndarray


class NaiveConv2d:
    """Weights (f, c, kh, kw), biases (f,); images (n, c, h, w), one window at a time."""

    def __init__(self, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> None:
        self.weight, self.bias, self.stride, self.padding = weight, bias, stride, padding

    def forward(self, x: Array) -> Array:
        """Result (n, f, oh, ow)."""
        p, s = self.padding, self.stride
        self.padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        n, _, h, w = self.padded.shape
        f, _, kh, kw = self.weight.shape
        out = np.empty((n, f, (h - kh) // s + 1, (w - kw) // s + 1), x.dtype)
        for i, k, y, x_ in np.ndindex(out.shape):
            window = self.padded[i, :, y * s : y * s + kh, x_ * s : x_ * s + kw]
            out[i, k, y, x_] = (window * self.weight[k]).sum() + self.bias[k]
        return out

    def backward(self, g: Array) -> tuple[Array, Array, Array]:
        """Gradients of the images, weights and biases, given that of the result."""
        p, s = self.padding, self.stride
        gx, gw = np.zeros_like(self.padded), np.zeros_like(self.weight)
        _, _, kh, kw = self.weight.shape
        for i, k, y, x in np.ndindex(g.shape):
            window = np.s_[i, :, y * s : y * s + kh, x * s : x * s + kw]
            gx[window] += g[i, k, y, x] * self.weight[k]
            gw[k] += g[i, k, y, x] * self.padded[window]
        inner = np.s_[:, :, p : gx.shape[2] - p, p : gx.shape[3] - p]
        return gx[inner], gw, g.sum(axis=(0, 2, 3))


class NaiveMaxPool2d:
    """The largest value of each ``size`` x ``size`` square; its gradient goes to that value."""

    def __init__(self, size: int = 2) -> None:
        self.size = size

    def forward(self, x: Array) -> Array:
        """Result (n, c, h / size, w / size)."""
        s = self.size
        self.x, self.places = x, {}
        out = np.empty((*x.shape[:2], x.shape[2] // s, x.shape[3] // s), x.dtype)
        for place in np.ndindex(out.shape):
            i, c, y, x_ = place
            window = x[i, c, y * s : y * s + s, x_ * s : x_ * s + s]
            dy, dx = divmod(int(window.argmax()), s)
            self.places[place] = (i, c, y * s + dy, x_ * s + dx)
            out[place] = window[dy, dx]
        return out

    def backward(self, g: Array) -> Array:
        """Gradient of the images."""
        gx = np.zeros_like(self.x)
        for place, source in self.places.items():
            gx[source] += g[place]
        return gx


def compared(name: str, naive: Callable[[], list[Array]], ours: Callable[[], list[Array]]) -> None:
    """Stop if two ways to compute the same arrays differ."""
    for a, b in zip(naive(), ours(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=name)


def convolution(batch: int, c: int, f: int, k: int, size: int, padding: int) -> tuple[str, ...]:
    """Name and the two functions of a convolution, each a forward and a backward pass."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, c, size, size), np.float32)
    weight = rng.standard_normal((f, c, k, k), np.float32)
    bias = rng.standard_normal(f, np.float32)
    out = size + 2 * padding - k + 1
    g = rng.standard_normal((batch, f, out, out), np.float32)

    def naive() -> list[Array]:
        layer = NaiveConv2d(weight, bias, padding=padding)
        return [layer.forward(x), *layer.backward(g)]

    def ours() -> list[Array]:
        leaves = [tg.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
        y = F.conv2d(*leaves, padding=padding)
        y.backward(tg.from_numpy(g))
        return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]

    return f"convolution {c} to {f}, {k} x {k}, {size} x {size}", naive, ours


def pooling(batch: int, c: int, size: int) -> tuple[str, ...]:
    """The same of a max pooling by 2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, c, size, size), np.float32)
    g = rng.standard_normal((batch, c, size // 2, size // 2), np.float32)

    def naive() -> list[Array]:
        layer = NaiveMaxPool2d()
        return [layer.forward(x), layer.backward(g)]

    def ours() -> list[Array]:
        leaf = tg.from_numpy(x).requires_grad_()
        y = F.max_pool2d(leaf, 2)
        y.backward(tg.from_numpy(g))
        return [y.detach().numpy(), leaf.grad.numpy()]

    return f"max pooling by 2, {c} x {size} x {size}", naive, ours


def main() -> None:
    """Compare and time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    args = parser.parse_args()
    print(f"forward and backward, batch {args.batch}, float32, milliseconds")
    print(f"{'':40}{'loop over pixels':>18}{'ours':>10}{'ratio':>10}")
    for name, naive, ours in (
        convolution(args.batch, 3, 6, 5, 32, 0),
        pooling(args.batch, 6, 28),
        convolution(args.batch, 6, 16, 5, 14, 0),
        pooling(args.batch, 16, 10),
        convolution(args.batch, 32, 32, 3, 32, 1),
    ):
        compared(name, naive, ours)
        pairs = [(median_seconds(naive, 1), median_seconds(ours, 10)) for _ in range(args.rounds)]
        slow, fast = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:40}{slow:18,.0f}{fast:10.2f}{ratio:10,.0f}")


if __name__ == "__main__":
    main()
