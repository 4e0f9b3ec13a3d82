"""Commands of ``tinygrad-cnn`` that look at finished runs; `tinygrad_cnn.cli` registers them."""

from tinygrad_cnn.commands.friendly import console, friendly
from tinygrad_cnn.commands.images import features, predict
from tinygrad_cnn.commands.results import compare, report

__all__ = ["COMMANDS", "compare", "console", "features", "friendly", "predict", "report"]

COMMANDS = (report, compare, predict, features)
