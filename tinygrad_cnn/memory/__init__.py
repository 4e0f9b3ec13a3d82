"""Where memory goes, how much of it there is, and training in less.

>>> import tinygrad_cnn as tg
>>> with tg.memory.record() as m:
...     x = tg.ones(1000, 250) * 2
...     y = x.exp()
>>> m.peak, m.by_operation()
(2000000, {'inputs': 1000000, 'mul': 1000000})
"""

from tinygrad_cnn.amounts import parse_size
from tinygrad_cnn.kernels.memory import max_memory_allocated as max_allocated
from tinygrad_cnn.kernels.memory import memory_allocated as allocated
from tinygrad_cnn.kernels.memory import memory_stats as stats
from tinygrad_cnn.kernels.memory import reset_peak_memory_stats as reset_peak
from tinygrad_cnn.memory.budget import MemoryPlan, fit_into
from tinygrad_cnn.memory.growth import GrowingGraph, watch
from tinygrad_cnn.memory.recording import record, report

__all__ = [
    "GrowingGraph",
    "MemoryPlan",
    "allocated",
    "fit_into",
    "max_allocated",
    "parse_size",
    "record",
    "report",
    "reset_peak",
    "stats",
    "watch",
]
