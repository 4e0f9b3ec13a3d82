"""The part of a report that `viz` may fill."""

import warnings

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, viz
from tinygrad_cnn.train.report.model_section import model_graph, model_summary


class Table:
    def to_html(self):
        return "<table></table>"


class Graph:
    def __init__(self, svg):
        self.svg = svg

    def render(self, path, depth):
        if self.svg is None:
            warnings.warn("install Graphviz", UserWarning, stacklevel=2)
        else:
            path.write_bytes(self.svg)


@pytest.mark.parametrize("svg", [b"<svg/>", None])
def test_summary_and_graph_come_from_viz(monkeypatch, svg):
    model, images = nn.Linear(2, 2), tg.zeros(1, 2)
    monkeypatch.setattr(viz, "summary", lambda m, x: Table(), raising=False)
    monkeypatch.setattr(viz, "trace", lambda m, x: Graph(svg), raising=False)
    assert model_summary(model, images) == "<table></table>"
    assert model_graph(model, images) == svg


def test_a_report_without_them_is_still_a_report(monkeypatch):
    for name in ("summary", "trace"):
        monkeypatch.delattr(viz, name, raising=False)
    assert model_summary(nn.Linear(2, 2), tg.zeros(1, 2)) is None
    assert model_graph(nn.Linear(2, 2), tg.zeros(1, 2)) is None
