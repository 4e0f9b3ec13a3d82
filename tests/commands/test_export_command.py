"""``tinygrad-cnn export``, and ``predict`` with what it wrote."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tinygrad_cnn as tg
from tinygrad_cnn.cli.app import main
from tinygrad_cnn.data import Shapes

pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")

MODEL = """
from tinygrad_cnn import nn

class Tiny(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.AvgPool2d(4), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Flatten(), nn.Linear(144, num_classes))
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny.py").write_text(MODEL)

    def invoke(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return invoke


def test_a_run_is_exported_and_predicts_the_same(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 20)
    train = ["train", "tiny.py", "--epochs", 1, "--limit", 20, "--batch-size", 10, "--out", "run"]
    assert cli(*train).exit_code == 0
    images = []
    for i, pixels in enumerate(Shapes(3).pixels):
        images.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(images[-1])
    result = cli("export", "run", "net.onnx")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("net.onnx: Tiny, 0.0 MB")
    found = [
        json.loads(cli("predict", source, *images, "--json").stdout)
        for source in ("run", "net.onnx")
    ]
    assert found[0].keys() == found[1].keys()
    for image, classes in found[0].items():
        assert list(classes) == list(found[1][image])
        assert list(classes.values()) == pytest.approx(list(found[1][image].values()), abs=1e-5)


def test_a_model_with_weights_of_a_file(cli, tmp_path):
    sys.path.insert(0, str(tmp_path))
    from tiny import Tiny

    net = Tiny().eval()
    tg.save(net.state_dict(), "weights.safetensors")
    options = ["--weights", "weights.safetensors", "--input", "2,3,32,32", "--opset", 20]
    assert cli("export", "tiny.py", "net.onnx", *options).exit_code == 0
    x = tg.randn(3, 3, 32, 32)
    with tg.no_grad():
        ours, again = net(x).numpy(), tg.onnx.load("net.onnx").eval()(x).numpy()
    np.testing.assert_allclose(ours, again, rtol=1e-5, atol=1e-6)
    assert cli("export", "tiny.py", "fixed.onnx", "--fixed-batch", "--external-data").exit_code == 0
    assert (tmp_path / "fixed.onnx.data").is_file()
    with pytest.raises(ValueError, match=r"expected \(1, 3, 32, 32\)"):
        tg.onnx.load("fixed.onnx")(x)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["export", "none.py", "a.onnx"], "none.py"),
        (["export", "tiny.py", "no/a.onnx"], "there is no folder no"),
        (["export", ".", "a.onnx", "--input", "1,3,8,8"], "--input and --weights are for a MODEL"),
        (["export", "tiny.py", "a.onnx", "--opset", 3], "`opset_version` is 3, expected 18 to"),
        (["export", "tiny.py", "a.onnx", "--input", "1,3,7,7"], "tiny.py: "),
        (["predict", "tiny.onnx", "a.png"], "tiny.onnx"),
    ],
)
def test_what_does_not_fit_is_one_line(cli, arguments, text):
    result = cli(*arguments)
    assert result.exit_code in (1, 2)
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
