"""The part of a report that shows the model itself: its summary and its graph."""

from tinygrad_cnn import viz
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.render import Options, svg_of


def model_summary(model: Module, images: Tensor) -> str:
    """An HTML table of the layers that ``images`` (n, c, h, w) pass."""
    return str(viz.summary(model, images).to_html())


def model_graph(model: Module, images: Tensor, theme: str = "light") -> bytes:
    """The graph of the model's forward pass as SVG."""
    return svg_of(Options(depth=2).drawing(viz.trace(model, images)), theme).encode()
