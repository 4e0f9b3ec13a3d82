"""Recorded graphs as data and as pictures: traced, folded, drawn, compared and examined."""

from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.difference import Change, Difference
from tinygrad_cnn.viz.graph.doctor import Diagnosis, Finding, Gradient, diagnose
from tinygrad_cnn.viz.graph.recording import Recording
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node
from tinygrad_cnn.viz.graph.table import Layer, Summary, summary
from tinygrad_cnn.viz.graph.tracing import trace

__all__ = [
    "Change",
    "Diagnosis",
    "Difference",
    "Edge",
    "Finding",
    "Gradient",
    "Graph",
    "Layer",
    "ModuleCall",
    "Node",
    "Recording",
    "Summary",
    "diagnose",
    "summary",
    "trace",
]
