"""The mutation run: does certification find every mistake that is seeded into a rule?"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.testing.certify.certification import first_failure
from tinygrad_cnn.testing.mutation.mutant import Mutant
from tinygrad_cnn.testing.mutation.mutators import mutants_of
from tinygrad_cnn.testing.oracles.equivalents import why_equivalent


@dataclass(frozen=True)
class Mutation:
    """What became of the mutants of some operations.

    Attributes
    ----------
    killed
        By mutant: the check that found it, and what it said.
    survivors
        Mutants that passed every check.
    equivalent
        Survivors that are no mistakes, or out of certification's reach, with the reason.
    """

    killed: dict[str, str] = field(default_factory=dict)
    survivors: list[str] = field(default_factory=list)
    equivalent: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many mistakes there were: mutants but equivalent ones."""
        return len(self.killed) + len(self.survivors)

    def __add__(self, other: Mutation) -> Mutation:
        return Mutation(
            {**self.killed, **other.killed},
            [*self.survivors, *other.survivors],
            {**self.equivalent, **other.equivalent},
        )

    def __str__(self) -> str:
        lines = [f"no mistake  {name}  ({why})" for name, why in self.equivalent.items()]
        lines += [f"SURVIVED    {name}" for name in self.survivors]
        score = 100 * len(self.killed) / max(self.total, 1)
        lines.append(
            f"{len(self.killed)} of {self.total} mutants found ({score:.1f} %), "
            f"{len(self.survivors)} survived; {len(self.equivalent)} more are no mistakes"
        )
        return "\n".join(lines)


def mutate(names: Sequence[str] = (), *, jobs: int = 1, examples: int = 80) -> Mutation:
    """Seed mistakes into the rules of operations, one at a time, and see which are found.

    Parameters
    ----------
    names
        Registered operations; default all.
    jobs
        How many processes share the work, by operation.
    examples
        How many samples each mutant must pass to survive.

    Examples
    --------
    >>> from tinygrad_cnn.testing import mutate
    >>> mutate(["neg"]).survivors
    []
    """
    for name in names:
        if name not in REGISTRY:
            raise KeyError(f"mutate: no operation named `{name}` is registered")
    work = functools.partial(_mutate_one, examples=examples)
    wanted = list(names) or sorted(REGISTRY)
    if jobs == 1:
        return sum(map(work, wanted), start=Mutation())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return sum(pool.map(work, wanted), start=Mutation())


def _mutate_one(name: str, examples: int) -> Mutation:
    out = Mutation()
    for mutant in mutants_of(REGISTRY[name]):
        found = _finding(mutant, examples)
        why = why_equivalent(mutant.name)
        if found is not None:
            out.killed[mutant.name] = found
        elif not mutant.acted:
            continue  # it changed nothing on any sample
        elif why is not None:
            out.equivalent[mutant.name] = why
        else:
            out.survivors.append(mutant.name)
    return out


def _finding(mutant: Mutant, examples: int) -> str | None:
    try:
        operation = mutant.make()
    except Exception as error:  # a rule that cannot even be made is seen by everybody
        return f"{type(error).__name__}: {error}"
    return first_failure(operation, examples=examples)
