"""Optimisers and learning-rate schedules."""

from tinygrad_cnn.optim import lr_scheduler
from tinygrad_cnn.optim.adam import Adam, AdamW
from tinygrad_cnn.optim.lion import Lion
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.optim.rmsprop import RMSprop
from tinygrad_cnn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop", "lr_scheduler"]
