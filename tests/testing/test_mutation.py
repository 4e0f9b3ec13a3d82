"""The mutation run: mistakes are made, found, and counted; what is listed as equivalent exists."""

from __future__ import annotations

import pytest

from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.testing import Mutation, mutate
from tinygrad_cnn.testing.mutation.mutators import mutants_of
from tinygrad_cnn.testing.oracles.equivalents import ELSEWHERE, EQUIVALENT, why_equivalent

# one of each kind: broadcasting, reduction, product, choice, index, an array_vjp rule, a fused one
# with as many samples as find all; what is no mistake passes every one of them
SAMPLES = {"mul": 80, "sum": 80, "matmul": 80, "where": 80, "gather": 20, "cat": 80}
SAMPLES |= {"layer_norm": 40}


@pytest.mark.parametrize("name", SAMPLES)
def test_no_mutant_survives(name: str) -> None:
    found = mutate([name], examples=SAMPLES[name])
    assert not found.survivors, str(found)
    assert found.total >= 10


def test_every_kind_of_mistake_is_made() -> None:
    changes = {m.change for m in mutants_of(REGISTRY["div"])}
    for change in (
        "rule 0: its result times 2",
        "rule 1: its result with the sign flipped",
        "rule 0: two axes of its result transposed",
        "rule 0: its result cut off from the graph",
        "sums over broadcast axes left out",
        "rules 0 and 1 swapped",
        "vjp: `g / conj(b)` → `g`",  # a factor dropped
        "vjp: `g / conj(b)` → `conj(b) / g`",  # operands swapped
        "vjp: `-(g / conj(b))` → `g / conj(b)`",  # a sign flipped
    ):
        assert change in changes
    # in helpers that a rule uses, and in the reference of a fused rule
    assert any(m.change.startswith("_spread: ") for m in mutants_of(REGISTRY["mean"]))
    norm = [m.change for m in mutants_of(REGISTRY["batch_norm"])]
    assert any(c.startswith("_batch_norm_reference: ") for c in norm)
    assert "gradient 1 of the array_vjp rule: its result times 2" in norm


def test_mutants_leave_the_registered_operation_alone() -> None:
    rules, broadcasts = REGISTRY["mul"].rules, REGISTRY["mul"].broadcasts
    for mutant in mutants_of(REGISTRY["mul"]):
        assert mutant.make() is not REGISTRY["mul"]
    assert REGISTRY["mul"].rules is rules
    assert REGISTRY["mul"].broadcasts is broadcasts
    assert all(op.name == name for name, op in REGISTRY.items())


def test_equivalent_mutants_exist_and_give_a_reason() -> None:
    listed = {**EQUIVALENT, **ELSEWHERE}
    operations = {name.split(":")[0] for name in listed}
    there = {m.name for name in operations for m in mutants_of(REGISTRY[name])}
    assert set(listed) <= there, set(listed) - there
    assert all(listed.values())
    assert why_equivalent("mul: rule 0: its result times 2") is None


def test_counts_and_text() -> None:
    one = Mutation({"a": "first order: wrong"}, ["b"], {"c": "the same"})
    both = one + Mutation({"d": "errors: none"})
    assert both.total == 3
    assert str(both) == (
        "no mistake  c  (the same)\n"
        "SURVIVED    b\n"
        "2 of 3 mutants found (66.7 %), 1 survived; 1 more are no mistakes"
    )


def test_processes_share_the_work() -> None:
    assert mutate(["neg", "clone"], jobs=2).killed == mutate(["neg", "clone"]).killed


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="no operation named `sine`"):
        mutate(["sine"])
