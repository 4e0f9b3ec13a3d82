"""Checks that draw nothing: gradients at kinks that are written down, errors to be raised."""

from __future__ import annotations

import re

import numpy as np

from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.gradcheck.compare import PASS
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.testing.certify.running import NOT_APPLICABLE, Wrong, leaves_of, require_close
from tinygrad_cnn.testing.certify.subject import Subject
from tinygrad_cnn.testing.oracles.conventions import CONVENTIONS


def check_conventions(subject: Subject) -> tuple[str, int]:
    """Whether the gradients at kinks are those written down; the verdict and how many there were.

    The walk is recorded and unrecorded; where the point is smooth, the second derivatives are
    finite.
    """
    known = CONVENTIONS.get(subject.name, ()) if subject.registered else ()
    for c in known:
        args = [np.array(a, np.float64) for a in c.args]
        every, leaves, where = leaves_of(subject, args)
        y = subject(every, c.params)
        u = wrap(np.array(c.g, np.float64))
        plain = grad(y, leaves, u, retain_graph=True, materialize_grads=True)
        recorded = grad(y, leaves, u, create_graph=True, materialize_grads=True)
        for i, a, b in zip(where, plain, recorded, strict=True):
            expected = np.array(c.gradients[i], np.float64)
            require_close(f"{c.why}: gradient {i}", a._array, expected, 1e-12, 1e-13)
            require_close(f"{c.why}: the recorded gradient {i}", b._array, expected, 1e-12, 1e-13)
        if c.smooth:
            for h in grad(sum(g.sum() for g in recorded), leaves, materialize_grads=True):
                if not np.isfinite(h._array).all():
                    raise Wrong(f"{c.why}: a second derivative is not finite: {h._array.tolist()}")
    return (PASS if known else NOT_APPLICABLE), len(known)


def check_errors(subject: Subject) -> tuple[str, int]:
    """Whether every error sample raises as it says; the verdict and how many there were."""
    for number, e in enumerate(subject.errors):
        try:
            subject(e.args, e.params)
        except e.error as error:
            if re.search(e.match, str(error)) is None:
                raise Wrong(
                    f"error sample {number} raised {error!r}, which does not match {e.match!r}"
                ) from error
        except Exception as error:
            raise Wrong(
                f"error sample {number} raised {error!r}, expected {e.error.__name__}"
            ) from error
        else:
            raise Wrong(f"error sample {number} was accepted, expected {e.error.__name__}")
    return (PASS if subject.errors else NOT_APPLICABLE), len(subject.errors)
