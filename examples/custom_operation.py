"""A new operation, written twice: as an `@op` record and as a PyTorch-style `autograd.Function`.

swish(x, β) = x σ(βx), from P. Ramachandran, B. Zoph and Q. Le, 2017, arXiv:1710.05941.
Run it: python examples/custom_operation.py
"""

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import Function, op


def slope(x, beta):
    """σ'(βx), in operations, so that it can be differentiated again."""
    s = tg.sigmoid(beta * x)
    return s * (1 - s)


# A rule names what it needs: `g` is the gradient of the result, `x` and `beta` are the inputs.
@op(
    vjp=(
        lambda g, x, beta: g * (tg.sigmoid(beta * x) + beta * x * slope(x, beta)),
        lambda g, x, beta: g * x * x * slope(x, beta),
    ),
    broadcasts=True,
)
def swish(x, beta):
    """``x * sigmoid(beta * x)``; the body is the forward pass on NumPy arrays."""
    return x / (1 + np.exp(-beta * x))


class Swish(Function):
    """The same as people write it for PyTorch."""

    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return x * tg.sigmoid(beta * x)

    @staticmethod
    def backward(ctx, g):
        x, beta = ctx.saved_tensors
        gx = g * (tg.sigmoid(beta * x) + beta * x * slope(x, beta))
        return gx, g * x * x * slope(x, beta)


rng = np.random.default_rng(0)
x, beta, u, v = (tg.tensor(rng.standard_normal((4, 3))) for _ in range(4))  # float64
x.requires_grad_(), beta.requires_grad_()
for name, f in (("@op swish", swish), ("Function Swish", Swish.apply)):
    first = lambda x, f=f: (f(x, beta) * u).sum()  # u: a random cotangent
    second = lambda x, f=first: (tg.autograd.grad(f(x), [x], create_graph=True)[0] * u).sum()
    for order, function in (("first", first), ("second", second)):
        exact = (tg.autograd.grad(function(x), [x])[0] * v).sum().item()  # along v
        h = 1e-5 * v.detach()
        numeric = (function(x + h) - function(x - h)).item() / 2e-5
        print(f"{name:15} {order:6} derivative {exact:+.8f}, by differences {numeric:+.8f}")
        assert abs(exact - numeric) < 1e-7
