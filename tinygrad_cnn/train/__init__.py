"""Training runs: settings, loop, metrics, checkpoints, run folder and report."""

from tinygrad_cnn.train import callbacks, metrics
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.average import WeightAverage
from tinygrad_cnn.train.loop.callbacks import Callback, EarlyStopping, KeepBest, SaveRun
from tinygrad_cnn.train.loop.epochs import Totals, evaluate, train_epoch
from tinygrad_cnn.train.loop.fit import fit
from tinygrad_cnn.train.loop.step import TrainingStep
from tinygrad_cnn.train.loop.trainer import Trainer
from tinygrad_cnn.train.metrics.functions import (
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
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.report.results import evaluate_run, report_run
from tinygrad_cnn.train.run.checkpoint import Checkpoint
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.runner import Run, train_run

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
    "callbacks",
    "class_scores",
    "confident_mistakes",
    "confusion_matrix",
    "evaluate",
    "evaluate_run",
    "fit",
    "metrics",
    "most_confused",
    "per_class_accuracy",
    "probabilities",
    "report_run",
    "top_k_accuracy",
    "train_epoch",
    "train_run",
]
