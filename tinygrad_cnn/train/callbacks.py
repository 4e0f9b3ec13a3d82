"""What `fit` can do besides training: ``fit(..., callbacks=[CSV("figures.csv")])``."""

from tinygrad_cnn.train.loop.callbacks import Callback, EarlyStopping, KeepBest, SaveRun
from tinygrad_cnn.train.loop.trackers import CSV, Log, TensorBoard

__all__ = ["CSV", "Callback", "EarlyStopping", "KeepBest", "Log", "SaveRun", "TensorBoard"]
