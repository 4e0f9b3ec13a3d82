"""Training runs: settings, loop, metrics, checkpoints, run folder and report."""

from tinygrad_cnn.train.checkpoint import Checkpoint
from tinygrad_cnn.train.config import Config
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.folder import RunFolder
from tinygrad_cnn.train.loop import Totals, evaluate, train_epoch
from tinygrad_cnn.train.metrics import accuracy, confusion_matrix, per_class_accuracy
from tinygrad_cnn.train.report import Report
from tinygrad_cnn.train.run import Run, evaluate_run, fit

__all__ = [
    "Checkpoint",
    "Config",
    "Report",
    "Run",
    "RunFolder",
    "Totals",
    "TrainError",
    "accuracy",
    "confusion_matrix",
    "evaluate",
    "evaluate_run",
    "fit",
    "per_class_accuracy",
    "train_epoch",
]
