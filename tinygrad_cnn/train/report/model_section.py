"""The part of a report that shows the model itself: its summary and its graph.

Both come from `viz` where it has them; a report without them is still a report.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from tinygrad_cnn import viz
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor


def model_summary(model: Module, images: Tensor) -> str | None:
    """An HTML table of the layers that ``images`` (n, c, h, w) pass; None if there is none."""
    summary: Any = getattr(viz, "summary", None)
    return None if summary is None else str(summary(model, images).to_html())


def model_graph(model: Module, images: Tensor, theme: str = "light") -> bytes | None:
    """The graph of the model's forward pass as SVG; None without Graphviz."""
    trace: Any = getattr(viz, "trace", None)
    if trace is None:
        return None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that Graphviz is missing
        place = Path(folder) / "model.svg"
        trace(model, images).render(place, depth=2, theme=theme)
        return place.read_bytes() if place.exists() else None
