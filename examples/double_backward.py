"""Derivatives of derivatives: Newton's method on a valley, curvature of a convolutional network.

Run it: python examples/double_backward.py
"""

import numpy as np

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn
from tinygrad_cnn.autograd import grad


def rosenbrock(x):  # a long curved valley, lowest at (1, 1) (H. Rosenbrock, 1960)
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def hessian(f, x):
    """All second derivatives of ``f`` at ``x`` (n,): the gradient's gradients, row by row."""
    (g,) = grad(f(x), [x], create_graph=True)
    rows = [grad(g[i], [x], retain_graph=True)[0] for i in range(len(g))]
    return g.detach(), tg.stack(rows)


x = tg.tensor([-1.2, 1.0], dtype=tg.float64, requires_grad=True)
for step in range(8):
    g, h = hessian(rosenbrock, x)
    print(f"step {step}: f = {rosenbrock(x).item():.3e} at ({x[0].item():.6f}, {x[1].item():.6f})")
    with tg.no_grad():
        x -= tg.from_numpy(np.linalg.solve(h.numpy(), g.numpy()))
assert np.allclose(x.detach().numpy(), [1, 1], atol=1e-12)  # gradient descent takes thousands

# The curvature of a network's loss along a direction v, without ever forming its Hessian: the
# gradient of (gradient · v). Compared with the difference of two gradients.
tg.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))
net = net.to(tg.float64)
images, labels = tg.randn(6, 3, 8, 8, dtype=tg.float64), tg.tensor([0, 1, 2, 3, 4, 0])
parameters = list(net.parameters())
directions = [tg.randn(*p.shape, dtype=tg.float64) for p in parameters]


def slope(create_graph=False):
    """How fast the loss changes along the directions."""
    gradients = grad(F.cross_entropy(net(images), labels), parameters, create_graph=create_graph)
    return sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))


products = grad(slope(create_graph=True), parameters)  # Hessian times v
exact = sum((p * v).sum() for p, v in zip(products, directions, strict=True)).item()
ends = []
for side in (1e-5, -2e-5):  # a step ahead, then as far behind
    with tg.no_grad():
        for p, v in zip(parameters, directions, strict=True):
            p += side * v
    ends.append(slope().item())
numeric = (ends[0] - ends[1]) / 2e-5
print(f"curvature along v: {exact:.6f}, by differences {numeric:.6f}")
assert abs(exact - numeric) < 1e-6 * max(1, abs(exact))
