"""Every operation in the registry is certified, on the samples of its own record."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.testing import Certificates, certify

TABLE = Path(__file__).parents[2] / "docs" / "certificates.md"
OPS = sorted(name for name, op in REGISTRY.items() if op.forward.__module__.startswith("tinygrad"))


@pytest.mark.parametrize("name", OPS)
def test_has_samples_and_docstring(name: str) -> None:
    op = REGISTRY[name]
    assert op.samples is not None, "an operation without samples cannot be certified"
    assert op.__doc__


@pytest.mark.parametrize("name", OPS)
def test_is_certified(name: str) -> None:
    profile = settings()
    seed = None if profile.derandomize else 1  # another sequence than the one of every day
    certificate = certify(name, examples=profile.max_examples, seed=seed)
    certificate.raise_unless_certified()
    for check in ("forward", "first order", "second order", "layouts", "dtypes", "no mutation"):
        assert certificate[check].verdict == "pass", check
    if profile.derandomize:  # the samples of the table
        (row,) = Certificates([certificate]).markdown().splitlines()[2:]
        assert row in TABLE.read_text(encoding="utf-8").splitlines(), (
            "run: python docs/make_certificates.py"
        )


def test_the_table_has_a_row_for_every_operation_and_no_other() -> None:
    rows = [r for r in TABLE.read_text(encoding="utf-8").splitlines() if r.startswith("| `")]
    assert [r.split("`")[1] for r in rows] == OPS
