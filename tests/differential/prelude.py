"""What the statements of programs call. What a program needs of it is printed with its script.

A run executes the functions and classes below with names of its own for `T` (either library), `D`
(the dtype of numbers), `log` (writes down a value) and `numbers`.
"""

import numpy as np

import tinygrad_cnn as T

D = T.float32


def log(name, value):
    print(name, value)


def numbers(seed, *shape):
    """On a grid of eighths, so that float32 holds them and some are equal, or 0."""
    return np.random.default_rng([seed, *shape]).integers(-16, 17, shape) / 8


def tensor(seed, *shape):
    return T.tensor(numbers(seed, *shape), dtype=D)


def spread(seed, *shape):
    """No two alike, none 0."""
    x = np.random.default_rng([seed, *shape]).permutation(np.arange(np.prod(shape, dtype=int)))
    return T.tensor(numbers(seed, *shape) + (x.reshape(shape) * 2 + 1) / 4096, dtype=D)


def like(x, seed):
    """A gradient for x."""
    return tensor(seed, *x.shape).to(x.dtype)


def hook(name, action=None):
    """For a tensor: writes down the gradient and returns what `action` makes of it."""

    def called(g):
        log(name, g)
        return None if action is None else action(g)

    return called


def after(name, action=None):
    """For a module, after its forward pass."""

    def called(module, inputs, output):
        log(name, output)
        return None if action is None else action(output)

    return called


def before(name, action=None):
    """For a module, before its forward pass."""

    def called(module, inputs):
        log(name, inputs[0])
        return None if action is None else action(inputs[0])

    return called


def forget(*names):
    """No gradient is stored any more: how far a backward pass came that raised, nobody promises."""
    for name in names:
        x = globals().get(name)
        for part in x.parameters() if hasattr(x, "parameters") else [x]:
            if getattr(part, "grad", None) is not None:
                part.grad = None


def fail(*_):
    raise RuntimeError("on purpose")


def build(seed, kind, *args, **kwargs):
    """A module whose parameters are the same in both libraries."""
    module = getattr(T.nn, kind)(*args, **kwargs).to(D)
    for i, (name, parameter) in enumerate(module.named_parameters()):
        scale = spread(seed + i, *parameter.shape) / 2
        parameter.data.copy_(scale.abs() + 0.5 if "Norm" in kind and name == "weight" else scale)
    return module


class Residual(T.nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = T.nn.Sequential(*inner)

    def forward(self, x):
        return (x + self.inner(x)).relu()


class Failing(T.nn.Module):
    def forward(self, x):
        raise RuntimeError("on purpose")


class Product(T.autograd.Function):
    """``x * w``; what it saved is read when it is differentiated."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        log("Product backward", g)
        x, w = ctx.saved_tensors
        return (g * w).sum_to_size(x.shape), (g * x).sum_to_size(w.shape)


class AddInPlace(T.autograd.Function):
    """``x += b``, and says that x was changed."""

    @staticmethod
    def forward(ctx, x, b):
        ctx.mark_dirty(x)
        ctx.b_shape = b.shape
        return x.add_(b)

    @staticmethod
    def backward(ctx, g):
        return g, (g * 1).sum_to_size(ctx.b_shape)


class Halves(T.autograd.Function):
    """``x / 2`` twice; the second has no gradient where `constant`."""

    @staticmethod
    def forward(ctx, x, constant):
        first, second = x / 2, x / 2 + 1
        ctx.set_materialize_grads(False)
        if constant:
            ctx.mark_non_differentiable(second)
        return first, second

    @staticmethod
    def backward(ctx, g, h):
        log("Halves backward", [part is None for part in (g, h)])
        parts = [part for part in (g, h) if part is not None]
        return (sum(parts) / 2 if parts else None), None
