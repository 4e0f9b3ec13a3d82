"""Where a long graph is wrapped, so that it fits on a page."""

from __future__ import annotations

from tinygrad_cnn.viz.graph.fold import Drawing

_TALL = 18
"""Items in a column that still fit on a page."""
_MOST = 6


def first_of_columns(drawing: Drawing, columns: int | None) -> list[int]:
    """The items that begin the second column and those after it.

    Columns are about equally long; where few tensors cross from one to the next, and few boxes are
    cut in two, a somewhat longer or shorter one is better.
    """
    count = len(drawing.items)
    if columns is None:
        columns = min(-(-count // _TALL), _MOST)
    if columns < 2 or count < 2:
        return []
    crossing = [0] * (count + 1)  # links over the gap before each item
    for link in drawing.links:
        low, high = sorted((link.source, link.target))
        crossing[low + 1] += 1
        crossing[high + 1] -= 1
    for i in range(1, count + 1):
        crossing[i] += crossing[i - 1]
    found: list[int] = []
    for column in range(1, columns):
        ideal = count * column / columns
        costs = [
            (abs(i - ideal) + 3 * max(crossing[i] - 1, 0) + 2 * _shared(drawing, i), i)
            for i in range(found[-1] + 2 if found else 2, count)
        ]
        if costs:
            found.append(min(costs)[1])
    return found


def _shared(drawing: Drawing, i: int) -> int:
    """How many boxes stand around both sides of the gap before item ``i``."""
    here, before = (drawing.around(drawing.items[at].box) for at in (i, i - 1))
    return len(set(here) & set(before))
