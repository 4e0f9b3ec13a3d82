"""Where the time and the memory go: by operation, by module, by line of the model's source."""

import sys

from tinygrad_cnn.instrument.flops import FLOPS
from tinygrad_cnn.instrument.places import Line
from tinygrad_cnn.missing.attributes import attach
from tinygrad_cnn.profiler.averages import Averages, Row
from tinygrad_cnn.profiler.events import Event
from tinygrad_cnn.profiler.lines import Cost, LineProfile, profile_lines
from tinygrad_cnn.profiler.ranges import (
    ProfilerAction,
    ProfilerActivity,
    record_function,
    schedule,
)
from tinygrad_cnn.profiler.recording import profile

__all__ = [
    "FLOPS",
    "Averages",
    "Cost",
    "Event",
    "Line",
    "LineProfile",
    "ProfilerAction",
    "ProfilerActivity",
    "Row",
    "profile",
    "profile_lines",
    "record_function",
    "schedule",
]

attach(sys.modules[__name__])
