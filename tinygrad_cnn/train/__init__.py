"""Training runs: settings, loop, metrics, checkpoints, run folder and report."""

from tinygrad_cnn.train.average import WeightAverage
from tinygrad_cnn.train.callbacks import Callback, EarlyStopping, KeepBest, SaveRun
from tinygrad_cnn.train.checkpoint import Checkpoint
from tinygrad_cnn.train.config import Config
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.folder import RunFolder
from tinygrad_cnn.train.loop import Totals, evaluate, train_epoch
from tinygrad_cnn.train.metrics import (
    Calibration,
    accuracy,
    calibration,
    class_scores,
    confident_mistakes,
    confusion_matrix,
    most_confused,
    per_class_accuracy,
    probabilities,
    top_k_accuracy,
)
from tinygrad_cnn.train.report import Report
from tinygrad_cnn.train.results import evaluate_run, report_run
from tinygrad_cnn.train.run import Run, train_run
from tinygrad_cnn.train.step import TrainingStep
from tinygrad_cnn.train.trainer import Trainer, fit

__all__ = [
    "Calibration",
    "Callback",
    "Checkpoint",
    "Config",
    "EarlyStopping",
    "KeepBest",
    "Report",
    "Run",
    "RunFolder",
    "SaveRun",
    "Totals",
    "TrainError",
    "Trainer",
    "TrainingStep",
    "WeightAverage",
    "accuracy",
    "calibration",
    "class_scores",
    "confident_mistakes",
    "confusion_matrix",
    "evaluate",
    "evaluate_run",
    "fit",
    "most_confused",
    "per_class_accuracy",
    "probabilities",
    "report_run",
    "top_k_accuracy",
    "train_epoch",
    "train_run",
]
