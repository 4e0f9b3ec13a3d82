"""The commands ``graph`` and ``summary``."""

import json
import sys

import pytest
from click.testing import CliRunner

from tinygrad_cnn.cli.app import main
from tinygrad_cnn.viz.graph.render import has_dot

MODEL = """
from tinygrad_cnn import nn

class Tiny(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(144, num_classes)

    def forward(self, x):
        return self.head(self.body(x))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 3)

    def forward(self, index, scale):
        return self.table(index) * scale

__all__ = ["Tiny"]
"""
SHAPE = ("--input", "1,3,8,8")
needs_dot = pytest.mark.skipif(
    not has_dot(), reason="needs Graphviz: apt install graphviz && pip install graphviz"
)


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny.py").write_text(MODEL)

    def invoke(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        if result.exit_code == 2:
            assert result.stderr.count("\n") == 1
        return result

    return invoke


@needs_dot
@pytest.mark.parametrize("ending", ["html", "svg", "png", "pdf"])
def test_draws_a_model(cli, tmp_path, ending):
    result = cli("graph", "tiny.py", *SHAPE, "--out", f"net.{ending}", "--depth", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"net.{ending}: <Graph of Tiny: 5 operations")
    start = {"html": b"<!DOCTYPE html>", "svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert (tmp_path / f"net.{ending}").read_bytes().startswith(start[ending])


@needs_dot
def test_the_name_of_the_file_is_the_models(cli, tmp_path):
    assert cli("graph", "tiny.py", *SHAPE).exit_code == 0
    assert (tmp_path / "tiny.html").is_file()


@pytest.mark.parametrize("color", ["kind", "time", "backward", "memory", "flops", "gradient"])
@pytest.mark.parametrize("backward", [False, True])
def test_colours_are_measured(cli, tmp_path, color, backward):
    flags = ["--backward"] * backward
    result = cli("graph", "tiny.py", *SHAPE, "--out", "net.dot", "--color", color, *flags)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "net.dot").read_text()
    assert ("Linear backward" in text) == backward
    known = color != "kind" and not (backward and color in ("memory", "flops"))
    assert ("legend" in text) == known


def test_text_formats(cli, tmp_path):
    assert cli("graph", "tiny.py", *SHAPE, "--out", "net.mmd").exit_code == 0
    assert (tmp_path / "net.mmd").read_text().startswith("flowchart TD\n")
    assert cli("graph", "tiny.py", *SHAPE, "--out", "net.json").exit_code == 0
    assert json.loads((tmp_path / "net.json").read_text())["title"] == "Tiny"


def test_without_graphviz(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    result = cli("graph", "tiny.py", *SHAPE, "--out", "net.svg")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "net.dot instead of net.svg" in result.stderr
    assert "apt install graphviz" in result.stderr
    assert (tmp_path / "net.dot").is_file()


def test_several_inputs_and_integers(cli, tmp_path):
    arguments = ("--input", "2,5:int64<20", "--input", "3", "--out", "net.dot")
    assert cli("graph", "tiny.py:Words", *arguments).exit_code == 0
    text = (tmp_path / "net.dot").read_text()
    assert "input 0" in text
    assert "2×5 int64" in text


def test_lists_the_layers(cli, tmp_path):
    result = cli("summary", "tiny.py", *SHAPE)
    assert result.exit_code == 0, result.output
    assert "body.0" in result.stdout
    assert "parameters: 1,570" in result.stdout
    shallow = cli("summary", "tiny.py", *SHAPE, "--depth", 1)
    assert "body.0" not in shallow.stdout
    assert cli("summary", "tiny.py", *SHAPE, "--out", "t.html").exit_code == 0
    page = (tmp_path / "t.html").read_text()
    assert "<table>" in page
    assert "<style>" in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("command", ["graph", "summary"])
def test_help(cli, command):
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100


WRONG = {
    "ending": (["graph", "tiny.py", "--out", "net.jpg"], "--out net.jpg should end in"),
    "colour": (["graph", "tiny.py", "--color", "red"], "'red' is not one of"),
    "depth": (["graph", "tiny.py", "--depth", -1], "--depth"),
    "shape": (["graph", "tiny.py", "--input", "1,a"], "'1,a' is not a shape"),
    "negative": (["graph", "tiny.py", "--input", "1,-2"], "'1,-2' is not a shape"),
    "kind": (["graph", "tiny.py", "--input", "1:float"], "'1:float' is not a shape"),
    "bound": (["graph", "tiny.py", "--input", "1:int64<0"], "is not a shape"),
    "no file": (["summary", "nothing.py"], "there is no file nothing.py"),
    "does not fit": (["summary", "tiny.py"], "linear: `x` has 3600 features"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(cli, name):
    arguments, message = WRONG[name]
    result = cli(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
