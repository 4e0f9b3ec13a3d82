"""
Your own operation, certified
=============================

An operation is a function on arrays with a rule for each argument. The same checks that hold for
all built-in operations then say whether the rules are right: to second order, in all dtypes,
under broadcasting and at kinks.
"""

# %%
# The record
# ----------
# Softsign, ``x / (1 + |x|)``. Its rule is written in operations on tensors, so it can itself be
# differentiated; its parameters say what it needs: ``g`` is the gradient of the result, ``x`` the
# argument. Only what is named is kept until the backward pass.

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import Op, Sample
from tinygrad_cnn.testing import certify


def softsign(x):
    """Elementwise ``x / (1 + |x|)``."""
    return x / (1 + np.abs(x))


def samples(draw):
    """Valid arguments, drawn at random: what the checks are run on. The kink at 0 is left out."""
    return Sample((draw.array((draw.integer(1, 3), draw.integer(1, 4)), 0.1, 3.0),))


operation = Op(softsign, (lambda g, x: g / (1 + x.abs()).square(),))

x = tg.tensor([-2.0, 0.5, 3.0], requires_grad=True)
y = operation(x)
y.sum().backward()
print(y)
print(x.grad)

# %%
# The certificate
# ---------------
# Rules are compared with differences of the function itself, gradients of gradients with
# differences of gradients, float32 with float64, and so on. An oracle is the result computed in
# another way, here with Python's numbers; errors are arguments that must be refused (here there are
# none).

known = {
    "samples": samples,
    "oracle": lambda x: [[each / (1 + abs(each)) for each in row] for row in x.tolist()],
    "errors": [],
    "examples": 20,
}
certificate = certify(operation, **known)
print(certificate)
certificate.raise_unless_certified()

# %%
# A mistake is found
# ------------------
# A square forgotten: the result looks like a gradient, and training would go on, only worse.

wrong = Op(softsign, (lambda g, x: g / (1 + x.abs()),))
report = certify(wrong, **known)
print(report)
assert not report.certified
