"""The commands that look at finished runs, and the page in a real browser."""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tinygrad_cnn.cli.app import main
from tinygrad_cnn.data import Shapes

MODEL = """
from tinygrad_cnn import nn

class Tiny(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(196, num_classes))
"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


def run(*arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two finished runs, ``a`` and ``b``, and image files."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tiny.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 60)
        common = ["train", "tiny.py", "--epochs", 2, "--limit", 80, "--batch-size", 20]
        assert run(*common, "--out", "a", "--augment", "flip,cutout:6").exit_code == 0
        assert run(*common, "--out", "b", "--lr", 0.1, "--flip-test").exit_code == 0
    shapes = Shapes(3)
    Image.fromarray(shapes.pixels[0]).resize((64, 64)).save(place / "one.png")
    Image.fromarray(shapes.pixels[1]).convert("L").save(place / "two.jpg")
    Image.new("RGBA", (40, 90), (255, 0, 0, 0)).save(place / "clear.webp")
    (place / "no.png").write_text("no image")
    return place


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 60)


class Balance(html.parser.HTMLParser):
    """Tags that are open, and everything that is fetched."""

    void = frozenset({"meta", "img", "br", "link", "hr", "source"})

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_fetches_nothing(folder):
    text = (folder / "a/report.html").read_text()
    page = Balance()
    page.feed(text)
    assert not page.open
    assert len(page.sources) > 15
    assert all(source.startswith(("#", "data:image/")) for source in page.sources)
    assert "<script" not in text
    assert "prefers-color-scheme: dark" in text
    accuracy = json.loads((folder / "a/report.json").read_text())["test_accuracy"]
    assert f"Tiny on shapes: {accuracy:.2%} of 60 test images right" in text
    assert "not drawn" not in text
    for words in ("Grad-CAM", "Feature maps of 1", "hourglass", "calibration error"):
        assert words in text
    assert "tinygrad-cnn train tiny.py --epochs 2 --batch-size 20 --augment flip,cutout:6" in text
    assert "<tr><td>workers</td><td>1</td></tr>" in text
    assert "<tr><td>flip test</td><td>no</td></tr>" in text


def test_report_writes_the_same_page_again(folder):
    before = (folder / "a/report.html").read_text()
    (folder / "a/report.html").unlink()
    done = run("report", "a")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "a/report.html"
    after = (folder / "a/report.html").read_text()

    def pictures(text):
        return re.findall(r'src="(data:[^"]*)"', text)

    assert len(pictures(after)) == len(pictures(before)) >= 10
    assert pictures(after) == pictures(before)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 1200, 500])
def test_the_page_in_a_real_browser(folder, tmp_path, width):
    probe = """<script>addEventListener("load", () => {
      const images = [...document.images], root = document.documentElement;
      const wide = images.filter(i => i.getBoundingClientRect().right > innerWidth + 1);
      root.dataset.probe = [images.length, images.filter(i => i.naturalWidth > 40).length,
        wide.length, root.scrollWidth - innerWidth, document.querySelectorAll("h2").length,
        [...document.querySelectorAll("#classes .scroll")].filter(
          t => t.scrollWidth > t.clientWidth + 1).length].join();
    });</script></body>"""
    page = tmp_path / "page.html"
    page.write_text((folder / "a/report.html").read_text().replace("</body>", probe))
    common = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    common += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run(
        [*common, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'data-probe="([-\d,]+)"', done.stdout)
    images, loaded, wide, overflow, headings, cut_off = map(int, found.group(1).split(","))
    assert images == loaded >= 10
    assert wide == 0
    assert overflow <= 0
    assert headings == 8
    assert cut_off == 0 or width < 1200  # the table of classes
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*common, f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
    )
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[1] == width
    assert 0.01 < (pixels < 128).mean() < 0.5  # text and curves on a light page


def test_compare_draws_and_tabulates(folder, tmp_path):
    done = run("compare", "a", "b", "--out", tmp_path / "both.png")
    assert done.exit_code == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][0] == "run"
    assert lines[4:8] == [
        ["setting", "a", "b"],
        ["lr", "0.05", "0.1"],
        ["augment", "flip,cutout:6", "flip"],
        ["flip", "test", "False", "True"],
    ]
    rows = {line[0]: line for line in lines[1:3]}
    for name in "ab":
        accuracy = json.loads((folder / name / "report.json").read_text())["test_accuracy"]
        assert f"{accuracy:.2%}" in rows[name]
        assert "2/2" in rows[name]
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_predict_names_classes(folder):
    done = run("predict", "b", "one.png", "two.jpg", "clear.webp", "--top", 2)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["one.png", "two.jpg", "clear.webp"]
    assert re.fullmatch(r"one\.png +[a-z]+ \d+\.\d%, [a-z]+ \d+\.\d%", lines[0])
    values = json.loads(run("predict", "b", "one.png", "--top", 10, "--json").stdout)
    assert sum(values["one.png"].values()) == pytest.approx(1)
    assert max(values["one.png"], key=values["one.png"].get) == lines[0].split()[1]


def test_an_image_of_the_data_set_is_predicted_as_in_the_test(folder, tmp_path):
    from tinygrad_cnn.train import RunFolder, evaluate_run

    place, config = RunFolder.open(folder / "a")
    report = evaluate_run(config, place)
    mistake = report.mistakes[0]
    path = tmp_path / "mistake.png"
    Image.fromarray(Shapes(60, train=False).pixels[mistake.image]).save(path)
    shares = json.loads(run("predict", "a", path, "--top", 10, "--json").stdout)[str(path)]
    assert shares[Shapes.classes[mistake.predicted]] == pytest.approx(mistake.confidence, rel=1e-4)
    assert shares[Shapes.classes[mistake.label]] == pytest.approx(mistake.label_share, rel=1e-4)


def test_features_draws_a_layer(folder, tmp_path):
    done = run("features", "a", "one.png", "--layer", "1", "--out", tmp_path / "f.png")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert run("features", "b", "one.png", "--layer", "5").stdout.strip() == (
        "b/features-5-one.png"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "a", "none.png"], "there is no file none.png"),
        (["predict", "a", "no.png"], "no.png is not an image in one of the formats BMP"),
        (["predict", "a"], "Missing argument 'IMAGE...'"),
        (["predict", "nowhere", "one.png"], "there is no run folder nowhere"),
        (["features", "a", "one.png", "--layer", "9"], "no layer '9'; there are 0, 1, 2, 3, 4, 5"),
        (["features", "a", "one.png"], "Missing option '--layer'"),
        (["compare", "nowhere"], "there is no run folder nowhere"),
        (["compare", "a", "--out", "a.txt"], "--out a.txt should end in .png"),
        (["report", "nowhere"], "there is no run folder nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("tinygrad-cnn: ")


def test_damaged_metrics_and_truncated_images(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    (tmp_path / "a/metrics.csv").write_text("epoch,train_loss\n1,fast\n")
    assert "metrics.csv is damaged" in run("report", tmp_path / "a").stderr
    (tmp_path / "a/metrics.csv").unlink()
    assert "has no metrics.csv yet" in run("compare", tmp_path / "a").stderr
    data = (folder / "one.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    result = run("predict", "a", tmp_path / "half.png")
    assert "half.png cannot be read as an image" in result.stderr
    assert os.listdir(tmp_path / "a")
