"""
An autograd engine in a hundred lines
=====================================

From the derivative of one number to a convolution, with nothing but NumPy; each step is compared
with tinygrad_cnn. The ideas are those of the real engine, in ``tinygrad_cnn/autograd/``.
"""

# %%
# One number
# ----------
# A value remembers which values it was computed from, and for each of them a rule: what to make of
# the gradient ``g`` of the result to get the gradient of that input. This is all that a graph is.

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn.nn import functional as F


class Value:
    """An array that knows how it came to be: ``inputs`` are pairs of a value and its rule."""

    def __init__(self, data, inputs=()):
        self.data = np.asarray(data, dtype=np.float64)
        self.inputs = inputs
        self.grad = None

    def backward(self):
        """Visit every value after all that were computed from it, and hand gradients on."""
        order, seen = [], set()

        def visit(value):  # inputs first: the result is last
            if id(value) not in seen:
                seen.add(id(value))
                for other, _ in value.inputs:
                    visit(other)
                order.append(value)

        visit(self)
        self.grad = np.ones_like(self.data)
        for value in reversed(order):
            for other, rule in value.inputs:
                g = rule(value.grad)
                other.grad = g if other.grad is None else other.grad + g  # used twice: added

    def __add__(self, other):
        return Value(self.data + other.data, [
            (self, lambda g: fit(g, self)),
            (other, lambda g: fit(g, other)),
        ])  # fmt: skip

    def __mul__(self, other):
        return Value(self.data * other.data, [
            (self, lambda g: fit(g * other.data, self)),
            (other, lambda g: fit(g * self.data, other)),
        ])  # fmt: skip


def fit(g, value):
    """Sum a gradient over what was broadcast, so that it has the shape of ``value``."""
    shape = value.data.shape
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = [i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1]
    return g.sum(axis=tuple(stretched), keepdims=True)


x, y = Value(3.0), Value(4.0)
z = x * y + x  # x is used twice
z.backward()
print(x.grad, y.grad)  # dz/dx = y + 1, dz/dy = x

# %%
# The same here:

a, b = tg.tensor(3.0, requires_grad=True), tg.tensor(4.0, requires_grad=True)
(a * b + a).backward()
print(a.grad.item(), b.grad.item())

# %%
# Why in reverse?
# ---------------
# Each rule turns the gradient of a result into that of an input: a product of a row vector with a
# Jacobian, which is never written down. Starting from *one* number, the loss, one walk gives the
# gradients of all inputs; forwards it would take a walk for each input.
#
# Arrays
# ------
# The engine does not change at all. Only operations are added: a matrix product, a sum, ReLU.


def matmul(a, b):
    """(n, k) @ (k, m) → (n, m)."""
    return Value(a.data @ b.data, [
        (a, lambda g: g @ b.data.T),  # (n, m) @ (m, k)
        (b, lambda g: a.data.T @ g),  # (k, n) @ (n, m)
    ])  # fmt: skip


def relu(x):
    return Value(np.maximum(x.data, 0), [(x, lambda g: g * (x.data > 0))])


def total(x):
    return Value(x.data.sum(), [(x, lambda g: np.full(x.data.shape, g))])


# %%
# Convolution
# -----------
# A convolution is a matrix product too: every window of the image becomes a row. So its gradients
# are those of the product, and of taking windows, whose rule adds each window's gradient back to
# the pixels that it came from.


def windows(x, kh, kw):
    """(n, c, h, w) → (n * oh * ow, c * kh * kw)."""
    n, c, h, w = x.data.shape
    oh, ow = h - kh + 1, w - kw + 1
    view = np.lib.stride_tricks.sliding_window_view(x.data, (kh, kw), axis=(2, 3))
    rows = view.transpose(0, 2, 3, 1, 4, 5).reshape(n * oh * ow, c * kh * kw)

    def rule(g):
        g = g.reshape(n, oh, ow, c, kh, kw)
        gx = np.zeros_like(x.data)
        for i in range(kh):
            for j in range(kw):
                gx[:, :, i : i + oh, j : j + ow] += g[..., i, j].transpose(0, 3, 1, 2)
        return gx

    return Value(rows, [(x, rule)])


def rearranged(x, shape, axes, back):
    """Reshape, then permute; ``back`` undoes the permutation."""
    data = x.data.reshape(shape).transpose(axes)
    return Value(data, [(x, lambda g: g.transpose(back).reshape(x.data.shape))])


def conv2d(x, w):
    """(n, c, h, w) with filters (f, c, kh, kw) → (n, f, oh, ow)."""
    n, _, h, width = x.data.shape
    f, c, kh, kw = w.data.shape
    matrix = rearranged(w, (f, c * kh * kw), (1, 0), (1, 0))  # (c * kh * kw, f)
    rows = matmul(windows(x, kh, kw), matrix)  # (n * oh * ow, f)
    shape = (n, h - kh + 1, width - kw + 1, f)
    return rearranged(rows, shape, (0, 3, 1, 2), (0, 2, 3, 1))


# %%
# Is it right?
# ------------
# A small network, and its gradients compared with tinygrad_cnn's. The weights ``k`` of the sum are
# random: with ones some mistakes would go unseen.

rng = np.random.default_rng(0)
arrays = {
    "images": rng.standard_normal((2, 3, 6, 6)),
    "filters": rng.standard_normal((4, 3, 3, 3)),
    "bias": rng.standard_normal((4, 1, 1)),
    "k": rng.standard_normal((2, 4, 4, 4)),
}
ours = {name: Value(array) for name, array in arrays.items()}
loss = total(relu(conv2d(ours["images"], ours["filters"]) + ours["bias"]) * ours["k"])
loss.backward()

theirs = {name: tg.tensor(array, requires_grad=True) for name, array in arrays.items()}
out = F.relu(F.conv2d(theirs["images"], theirs["filters"]) + theirs["bias"])
(out * theirs["k"]).sum().backward()

for name in arrays:
    gap = np.abs(ours[name].grad - theirs[name].grad.numpy()).max()
    print(f"{name:8} {gap:.0e}")
    assert gap < 1e-12

# %%
# What the real engine adds
# -------------------------
# * Rules are written in operations, so that gradients have gradients
#   (``autograd.grad(create_graph=True)``).
# * The walk goes without recursion, frees what is no longer needed, and knows hooks.
# * A change in place is noticed: what a rule has kept must not have changed since.
# * Views share memory, and a write to one is seen by the others, in the graph too.
# * Each rule keeps only what it names, and kernels do the arithmetic.
