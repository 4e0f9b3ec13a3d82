"""Wrong rules made of right ones: the source of a rule with one thing changed, or its result bent.

`mutants_of` yields operations that are like a registered one but for a mistake in a derivative
rule: a term dropped, operands swapped, a sign flipped, a factor of 2, an axis transposed, the sum
back over broadcast axes left out, the second derivative cut off.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.testing.bent_rules import bent
from tinygrad_cnn.testing.edited_rules import edited
from tinygrad_cnn.testing.mutant import Mutant

__all__ = ["mutants_of"]


def mutants_of(op: Op) -> Iterator[Mutant]:
    """All mutants of one operation."""
    yield from bent(op)
    yield from edited(op)
