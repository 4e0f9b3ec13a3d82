"""Pictures and figures: computation graphs, summaries, gradient diagnosis, runs, layers, images."""

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.difference import Change, Difference
from tinygrad_cnn.viz.graph.doctor import Diagnosis, Finding, Gradient, diagnose
from tinygrad_cnn.viz.graph.recording import Recording
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node
from tinygrad_cnn.viz.graph.table import Layer, Summary, summary
from tinygrad_cnn.viz.graph.tracing import trace

if TYPE_CHECKING:
    from tinygrad_cnn.viz.attribution import grad_cam, grad_cam_map, saliency, saliency_map
    from tinygrad_cnn.viz.layers import feature_maps, filters, gradient_flow, layer_output
    from tinygrad_cnn.viz.plots import class_scores, compare, confusion, curves, reliability
    from tinygrad_cnn.viz.samples import image_grid, show_augmentation

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
    "class_scores",
    "compare",
    "confusion",
    "curves",
    "diagnose",
    "feature_maps",
    "filters",
    "grad_cam",
    "grad_cam_map",
    "gradient_flow",
    "image_grid",
    "layer_output",
    "reliability",
    "saliency",
    "saliency_map",
    "show_augmentation",
    "summary",
    "trace",
]

_FILES = {
    "attribution": ("grad_cam", "grad_cam_map", "saliency", "saliency_map"),
    "layers": ("feature_maps", "filters", "gradient_flow", "layer_output"),
    "plots": ("class_scores", "compare", "confusion", "curves", "reliability"),
    "samples": ("image_grid", "show_augmentation"),
}


def __getattr__(name: str) -> Any:
    """The pictures, imported when first asked for: Matplotlib takes longer than all the rest."""
    for file, names in _FILES.items():
        if name in names:
            return getattr(importlib.import_module(f"tinygrad_cnn.viz.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
