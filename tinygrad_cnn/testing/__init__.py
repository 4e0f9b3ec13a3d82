"""Property tests of derivatives: sources of sample arguments, checks by finite differences."""

from tinygrad_cnn.testing.draws import GeneratorDraw, HypothesisDraw
from tinygrad_cnn.testing.gradients import GradientError, check_adjoint, check_gradients

__all__ = ["GeneratorDraw", "GradientError", "HypothesisDraw", "check_adjoint", "check_gradients"]
