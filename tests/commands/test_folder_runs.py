"""Runs on a folder of images, and runs that begin with weights."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from tinygrad_cnn.cli.app import main
from tinygrad_cnn.data import Shapes
from tinygrad_cnn.serialization import load_state
from tinygrad_cnn.train.loop.progress import RunProgress, say

MODEL = """
from tinygrad_cnn import nn

class Tiny(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))
"""
SMALL = ["train", "tiny.py", "--epochs", 2, "--batch-size", 8]


def run(*arguments, status=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == status, (result.output, result.exception)
    return result


def draw(place, name, numbers, size=32):
    (place / name).mkdir(parents=True)
    for i in numbers:
        Image.fromarray(Shapes(30).pixels[i]).resize((size + 8, size)).save(
            place / name / f"{i}.png"
        )


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 20)
    monkeypatch.setattr("tinygrad_cnn.train.report.run_page.run_page", lambda *_: "<!DOCTYPE html>")
    (tmp_path / "tiny.py").write_text(MODEL)


@pytest.fixture
def pets(tmp_path):
    for name, start in (("cat", 0), ("dog", 10)):
        draw(tmp_path / "pets", name, range(start, start + 10), 24)
    draw(tmp_path / "pets", "eel", range(20, 25), 30)
    return tmp_path / "pets"


def test_a_folder_is_split_once_and_the_split_is_kept(pets):
    done = run(*SMALL, "--data", "pets", "--out", "run")
    assert "on pets: 18 training, 2 validation and 5 test images" in " ".join(done.stdout.split())
    split = json.loads((pets.parent / "run/split.json").read_text())
    assert split["classes"] == ["cat", "dog", "eel"]
    assert split["size"] == 24  # the usual shorter side
    assert [sum(label == c for _, label in split["test"]) for c in range(3)] == [2, 2, 1]
    assert not {p for p, _ in split["test"]} & {p for p, _ in split["train"]}
    stored = np.stack(
        [np.asarray(Image.open(pets / p)) for p, _ in split["train"] if "eel" not in p]
    )
    assert np.allclose(split["mean"], stored.mean((0, 1, 2)) / 255, atol=0.08)
    line = re.search(r"Test accuracy .*?%", done.stdout)[0]
    draw(pets, "ant", range(3))  # which is not of this run
    assert run("evaluate", "run", "--quiet").stdout.strip() == line
    assert line in run("report", "run").stdout
    assert run("train", "--resume", "run", "--quiet").stdout.startswith(line)
    shown = json.loads(run("predict", "run", "pets/cat/0.png", "--json").stdout)
    assert set(shown["pets/cat/0.png"]) == {"cat", "dog", "eel"}
    run("features", "run", "pets/cat/0.png", "--layer", "body.1", "--out", "maps.png")
    shutil.rmtree(pets / "ant")
    again = run(*SMALL, "--data", "pets", "--out", "same", "--quiet").stdout
    assert again.startswith(line)
    assert json.loads((pets.parent / "same/split.json").read_text()) == split
    pets.rename("moved")
    gone = run("evaluate", "run", status=2)
    assert "--data names it if it has moved" in gone.stderr
    assert run("evaluate", "run", "--data", "moved", "--quiet").stdout.startswith(line)
    assert line in run("report", "run", "--data", "moved").stdout
    assert run("train", "--resume", "run", "--data", "moved", "--quiet").stdout.startswith(line)


def test_parts_that_a_folder_has_are_used_as_they_are(pets):
    for part in ("train", "val", "test"):
        shutil.copytree(pets, f"parts/{part}")
    shutil.rmtree("parts/val/eel")
    wrong = run(*SMALL, "--data", "parts", status=2)
    assert "has the classes cat, dog, expected those of parts/train: cat, dog, eel" in wrong.stderr
    draw(pets.parent / "parts/val", "eel", [1])
    done = run(*SMALL, "--data", "parts", "--out", "run", "--size", 20)
    assert "25 training, 21 validation and 25 test images" in " ".join(done.stdout.split())
    shutil.rmtree("parts/test")
    done = run(*SMALL, "--data", "parts", "--out", "other", "--size", 20)
    assert "23 training, 2 validation and 21 test images" in " ".join(done.stdout.split())
    shutil.rmtree("parts/val")
    assert "no folder test or val" in run(*SMALL, "--data", "parts", status=2).stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pets: shutil.rmtree(pets), "there is no folder pets"),
        (
            lambda pets: [shutil.rmtree(pets / n) for n in ("cat", "dog")],
            "images of one class, eel",
        ),
        (lambda pets: (pets / "fox").mkdir(), "no images in pets of class fox"),
        (lambda pets: draw(pets, "fox", [1]), "pets/fox has one image, expected two or more"),
        (lambda pets: (pets / "cat/2.png").write_text("no"), "2.png is not an image in one of"),
    ],
)
def test_folders_that_cannot_be_learned(pets, make, message):
    make(pets)
    result = run(*SMALL, "--data", "./pets", status=2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(pets.parent.glob("runs/*"))


def test_a_run_begins_with_the_weights_of_another(pets):
    run(*SMALL, "--limit", 40, "--out", "first")
    options = ["--data", "pets", "--init", "first", "--freeze", "body.*.weight,body.*.bias"]
    done = run(*SMALL, *options, "--out", "second", "--schedule", "none", "--val-fraction", 0)
    text = " ".join(done.stdout.split())
    assert "Weights from first: 2 of 4 tensors (the others begin anew)" in text
    assert "of another shape: head.weight 3×4, there 10×4, head.bias 3, there 10" in text
    assert "Frozen: 2 of 4 parameters (body.1.weight, body.1.bias)" in text
    before, after = load_state("first/model.safetensors"), load_state("second/model.safetensors")
    for name in ("body.1.weight", "body.1.bias"):
        assert (before[name] == after[name]).all().item()
    shutil.rmtree("first")  # a run that goes on does not need it, and still freezes
    run("train", "--resume", "second", "--epochs", 3)
    later = load_state("second/model.safetensors")
    assert (before["body.1.weight"] == later["body.1.weight"]).all().item()
    assert not (after["head.weight"] == later["head.weight"]).all().item()
    run(*SMALL, *options[:2], "--init", "second/model.safetensors", "--quiet")
    (pets.parent / "other.py").write_text(MODEL.replace("body", "stem").replace("head", "top"))
    wrong = run("train", "other.py", *options[:2], "--init", "second", status=2)
    assert (
        "has no weights for Tiny; not there: stem.1.weight, stem.1.bias, top.weight and 1 more"
        in (wrong.stderr)
    )
    wrong = run("evaluate", "second", "--model", "other.py", status=2)
    assert "and 1 more; of no use here: body.1.weight" in wrong.stderr


def test_other_images_are_those_of_known_classes(pets):
    run(*SMALL, "--limit", 40, "--out", "run")
    wrong = run("evaluate", "run", "--data", "pets", status=2)
    assert "classes cat, dog, eel, which the model does not know; it knows circle" in wrong.stderr
    draw(pets.parent / "figures", "star", range(6))
    found = run("evaluate", "run", "--data", "figures")
    assert "on 6 images" in found.stdout
    assert "images of figures; the model was trained on shapes" in found.stdout


def test_lines_are_broken_between_words(capsys):
    console = Console(width=40, force_terminal=False)
    say(console, "/a/long/path/that/has/no/blank/but-a-hyphen and words " * 2)
    words = capsys.readouterr().out
    assert "/a/long/path/that/has/no/blank/but-a-hyphen\n" in words
    assert "and words" in words
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 2.0}
    row |= {"val_accuracy": 0.25, "lr": 0.1, "images_per_second": 900.0, "seconds": 3.0}
    for width, last in ((80, "3.0 s"), (60, "0.1"), (31, "50.0%")):
        RunProgress(Console(width=width), 1).end(row)
        head, line = capsys.readouterr().out.splitlines()
        assert max(len(head), len(line)) < width
        assert line.endswith(last)
