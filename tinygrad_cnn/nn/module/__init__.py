"""`Module`: attributes, state, tree of submodules, hooks."""

from tinygrad_cnn.nn.module.core import Module as Module
