"""Pictures: training curves and confusion matrices."""

from tinygrad_cnn.viz.plots import confusion, curves

__all__ = ["confusion", "curves"]
