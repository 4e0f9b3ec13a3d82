"""The model's summary and graph in a report, with Graphviz and without."""

import xml.etree.ElementTree as ElementTree

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.train.report.model_section import model_graph, model_summary
from tinygrad_cnn.viz.graph import render


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x) + x)


@pytest.fixture
def no_dot(monkeypatch):
    monkeypatch.setattr(render, "has_dot", lambda: False)


def groups(svg):
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    return {g.get("id"): g for g in root.iter(f"{space}g") if g.get("id")}, space


def test_a_report_has_summary_and_graph(no_dot):
    model, images = Residual(), tg.zeros(1, 4)
    assert "body" in model_summary(model, images)
    found, _ = groups(model_graph(model, images))
    assert {g.get("class") for g in found.values()} == {"graph", "cluster", "node", "edge"}
    words = {part.text for g in found.values() for part in g.iter() if part.text}
    assert {"input", "Linear", "head", "output"} <= words


def test_the_drawing_without_graphviz_has_the_same_parts(no_dot):
    graph = tg.viz.trace(Residual(), tg.zeros(1, 4))
    drawing = render.Options().drawing(graph)
    found, space = groups(render.svg_of(drawing))
    for item in drawing.items:
        assert found[item.key].find(f"{space}path") is not None
    for i in range(len(drawing.links)):
        assert found[f"e{i}"].find(f"{space}polygon") is not None
    for call in drawing.boxes:
        assert found[f"b{call}"].find(f"{space}text") is not None
    assert render.svg_of(drawing) == render.svg_of(drawing)


def test_the_page_needs_no_graphviz(no_dot, tmp_path):
    graph = tg.viz.trace(Residual(), tg.zeros(1, 4))
    place = tmp_path / "x.html"
    assert graph.render(place) == str(place)
    assert '<g id="graph0" class="graph">' in place.read_text()
