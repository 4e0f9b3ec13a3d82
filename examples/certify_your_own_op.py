"""Certify an operation of your own: a subtle mistake is found, put right, and certified.

cosine(a, b) of two vectors, row by row. Run it: python examples/certify_your_own_op.py
"""

import math

import numpy as np

from tinygrad_cnn.autograd import ErrorSample, Op, Sample
from tinygrad_cnn.testing import certify


def cosine(a, b):
    """Cosine of the angle between the rows of ``a`` and ``b``, both (n, k) → (n, 1)."""
    if a.shape != b.shape:
        raise ValueError(f"cosine: `a` has shape {a.shape} but `b` {b.shape}")
    lengths = np.sqrt((a * a).sum(1, keepdims=True) * (b * b).sum(1, keepdims=True))
    return (a * b).sum(1, keepdims=True) / lengths


def slope(g, x, other, y):
    """D cos / dx = (other / |other| - cos x / |x|) / |x|."""
    length = x.square().sum(1, keepdim=True).sqrt()
    unit = other / other.square().sum(1, keepdim=True).sqrt()
    return g * (unit - y * x / length) / length


def slope_for_training(g, x, other, y):
    """The same, with the lengths taken as constants "because it is faster"."""
    length = x.square().sum(1, keepdim=True).sqrt().detach()
    unit = other / other.square().sum(1, keepdim=True).sqrt().detach()
    return g * (unit - y * x / length) / length


def samples(draw):
    """Valid arguments: two arrays of one shape, away from 0."""
    shape = (draw.integer(1, 3), draw.integer(1, 4))
    return Sample((draw.array(shape, 0.5, 2.0), draw.array(shape, 0.5, 2.0)))


def make(rule):
    """The operation with ``rule`` for both arguments."""
    return Op(cosine, (lambda g, a, b, y: rule(g, a, b, y), lambda g, a, b, y: rule(g, b, a, y)))


rows = lambda a, b: zip(a, b, strict=True)
oracle = lambda a, b: [[p @ q / math.hypot(*p) / math.hypot(*q)] for p, q in rows(a, b)]
refused = [ErrorSample((np.ones((2, 3)), np.ones((2, 4))), {}, ValueError, "cosine: `a`")]
known = {"samples": samples, "oracle": oracle, "errors": refused, "examples": 20}

first = certify(make(slope_for_training), **known)
print(first)  # training works; a gradient penalty, or Newton's method, would silently be wrong
assert not first.certified
assert {r.check for r in first.results if r.verdict == "fail"} == {"second order"}

second = certify(make(slope), **known)
print(f"\n{second}")
second.raise_unless_certified()
