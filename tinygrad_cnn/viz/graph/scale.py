"""The colour scale of measured figures, and its legend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tinygrad_cnn.viz.graph.labels import UNITS
from tinygrad_cnn.viz.graph.quoting import label_escaped
from tinygrad_cnn.viz.graph.theme import Theme

_TITLES = {
    "time": "forward time",
    "backward": "backward time",
    "memory": "kept for backward",
    "flops": "FLOPs",
    "gradient": "norm of the gradient",
    "zeros": "fraction of zeros",
}


@dataclass(frozen=True)
class Scale:
    """From numbers to colours: from 0 to the largest, gradients by their logarithm.

    ``known`` is whether there is any number at all.
    """

    color: str
    low: float
    high: float
    known: bool

    @classmethod
    def of(cls, color: str, values: Iterable[float | None]) -> Scale:
        """The scale for these values, of which some may be unknown or not finite."""
        known = [v for v in values if v is not None and math.isfinite(v)]
        return cls(color, min(known, default=0.0), max(known, default=0.0), bool(known))

    def position(self, value: float) -> float:
        """Where on the scale a value stands, from 0 to 1."""
        if not math.isfinite(value):
            return 1.0
        if self.color == "zeros":
            return value
        if self.color == "gradient":
            low, high, at = (math.log10(max(v, 1e-30)) for v in (self.low, self.high, value))
            return (at - low) / (high - low) if high > low else 1.0
        return value / self.high if self.high else 0.0

    def shade(self, value: float | None, theme: Theme) -> str:
        """The colour of a value; that of a box for an unknown one."""
        if value is None:
            return theme.box[0]
        steps = theme.scale
        return steps[min(int(self.position(value) * len(steps)), len(steps) - 1)]

    def ends(self) -> tuple[str, str]:
        """The least and the largest value as text."""
        if self.color == "zeros":
            return "0 %", "100 %"
        if self.color == "gradient":
            return f"{self.low:.2g}", f"{self.high:.2g}"
        return "0", UNITS[self.color](self.high)

    def legend(self, theme: Theme) -> str:
        """The legend as one of Graphviz's HTML-like labels."""
        cells = "".join(
            f'<td bgcolor="{c}" width="22" height="10" fixedsize="true"></td>' for c in theme.scale
        )
        low, high = self.ends()
        small = f'<font point-size="8" color="{theme.muted}">'
        return (
            f'<table border="0" cellspacing="0" cellpadding="2"><tr>'
            f'<td colspan="{len(theme.scale) + 2}">{small}{_TITLES[self.color]}</font></td>'
            f"</tr><tr><td>{small}{label_escaped(low)}</font></td>{cells}"
            f"<td>{small}{label_escaped(high)}</font></td></tr></table>"
        )
