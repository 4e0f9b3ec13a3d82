"""Gradients against finite differences, to second order, with verdicts."""

from tinygrad_cnn.autograd.gradcheck.check import gradcheck as gradcheck
from tinygrad_cnn.autograd.gradcheck.check import gradgradcheck as gradgradcheck
