"""Optimisers and learning-rate schedules."""

from tinygrad_cnn.optim import lr_scheduler, optimizer, swa_utils
from tinygrad_cnn.optim.adam import Adam, AdamW
from tinygrad_cnn.optim.adam_family import Adamax, NAdam, RAdam
from tinygrad_cnn.optim.adaptive import Adadelta, Adagrad, Rprop
from tinygrad_cnn.optim.lbfgs import LBFGS
from tinygrad_cnn.optim.lion import Lion
from tinygrad_cnn.optim.matrix import Adafactor, Muon
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.optim.rmsprop import RMSprop
from tinygrad_cnn.optim.sgd import ASGD, SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "optimizer",
    "swa_utils",
]
