"""Wrong rules made of right ones: the source of a rule with one thing changed, or its result bent.

`mutants_of` yields operations that are like a registered one but for a mistake in a derivative
rule: a term dropped, operands swapped, a sign flipped, a factor of 2, an axis transposed, the sum
back over broadcast axes left out, the second derivative cut off.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.testing.mutation.mutant import Mutant
from tinygrad_cnn.testing.mutation.rule_mutators import bent
from tinygrad_cnn.testing.mutation.source_mutators import edited


def mutants_of(op: Op) -> Iterator[Mutant]:
    """All mutants of one operation."""
    yield from bent(op)
    yield from edited(op)
