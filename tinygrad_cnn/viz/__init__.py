"""Pictures and figures: computation graphs, summaries, gradient diagnosis, training curves."""

from typing import TYPE_CHECKING, Any

from tinygrad_cnn.viz.graph import (
    Change,
    Diagnosis,
    Difference,
    Edge,
    Finding,
    Gradient,
    Graph,
    Layer,
    ModuleCall,
    Node,
    Recording,
    Summary,
    diagnose,
    summary,
    trace,
)

if TYPE_CHECKING:
    from tinygrad_cnn.viz.plots import confusion, curves

__all__ = [
    "Change",
    "Diagnosis",
    "Difference",
    "Edge",
    "Finding",
    "Gradient",
    "Graph",
    "Layer",
    "ModuleCall",
    "Node",
    "Recording",
    "Summary",
    "confusion",
    "curves",
    "diagnose",
    "summary",
    "trace",
]


def __getattr__(name: str) -> Any:
    """The plots, imported when first asked for: Matplotlib takes longer than all the rest."""
    if name in ("confusion", "curves"):
        from tinygrad_cnn.viz import plots

        return getattr(plots, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
