"""ONNX files as modules: what they compute, that they train, that they are exported again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.onnx import OnnxError

pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime onnx"
)
import onnx
from node_tests import cases, verdict
from onnx import TensorProto, helper, numpy_helper
from onnx_running import agrees, session
from test_onnx_export import NETS, settled

IMAGES = (1, 3, 32, 32)
MODELS = {"LeNet5": (LeNet5, IMAGES), "MiniVGG": (MiniVGG, IMAGES)}
MODELS |= {"ResNet18": (ResNet18, (1, 3, 9, 9)), "ResNet20": (ResNet20, (1, 3, 12, 12))}
ALL = {**NETS, **MODELS}


@pytest.mark.parametrize("name", ALL)
def test_there_and_back_and_there_again(name: str, tmp_path: Path) -> None:
    net, shape = ALL[name]
    net = settled(net() if isinstance(net, type) else net).eval()
    again = tg.onnx.load(tg.onnx.export(net, tg.randn(*shape), tmp_path / "a.onnx")).eval()
    keys = {k for k in net.state_dict() if not k.endswith("num_batches_tracked")}
    assert set(again.state_dict()) == keys
    assert {k for k, _ in again.named_parameters()} == {k for k, _ in net.named_parameters()}
    x = tg.randn(3, *shape[1:])
    with tg.no_grad():
        y, z = net(x).numpy(), again(x).numpy()
    np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-5 * np.abs(y).max())
    tg.onnx.export(again, tg.randn(*shape), tmp_path / "b.onnx")
    agrees(session(tmp_path / "b.onnx"), net, x)
    names = [[i.name for i in onnx.load(tmp_path / f"{f}.onnx").graph.input] for f in "ab"]
    assert names[0] == names[1]


def test_it_trains_as_the_model_does(tmp_path: Path) -> None:
    """Losses, gradients and running statistics of the first steps are those of the model."""
    net = settled(nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ))  # fmt: skip
    again = tg.onnx.load(tg.onnx.export(net, tg.randn(1, 3, 6, 6), tmp_path / "net.onnx"))
    x, labels = tg.randn(8, 3, 6, 6), tg.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    losses: list[list[float]] = []
    for model in (net, again):
        step = tg.optim.SGD(model.parameters(), lr=0.05)
        losses.append([])
        for _ in range(5):
            step.zero_grad()
            loss = F.cross_entropy(model.train()(x), labels)
            loss.backward()
            step.step()
            losses[-1].append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[1][-1] < losses[1][0]
    for key, value in again.state_dict().items():
        np.testing.assert_allclose(value.numpy(), net.state_dict()[key].numpy(), 1e-4, 1e-5, key)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 2, 1]])
def test_gradients_of_columns_and_places(pads: list[int], tmp_path: Path) -> None:
    """Finite differences through `Col2Im`, uneven borders too, and `GridSample`."""
    top, left, bottom, right = pads
    rows, sides = 3 + top + bottom, 4 + left + right
    nodes = [
        helper.make_node("Unsqueeze", ["x", "first"], ["c"]),
        helper.make_node("Col2Im", ["c", "size", "block"], ["image"], pads=pads),
        helper.make_node("GridSample", ["image", "grid"], ["y"]),
    ]
    grid = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 3, 3, 2)).astype(np.float32)
    path = _file(
        tmp_path,
        nodes,
        first=np.array([0]),
        size=np.array([3, 4]),
        block=np.array([2, 2]),
        grid=grid,
    )
    net = tg.onnx.load(path)
    x = tg.randn(8, (rows - 1) * (sides - 1), requires_grad=True)
    u = tg.randn(1, 2, 3, 3)
    (net(x) * u).sum().backward()
    step = tg.randn(*x.shape)
    with tg.no_grad():  # linear in x, so that any step will do
        change = ((net(x + step) - net(x)) * u).sum()
    assert float((x.grad * step).sum()) == pytest.approx(float(change), rel=1e-4, abs=1e-4)


def test_dropout_drops_in_training_only(tmp_path: Path) -> None:
    again = tg.onnx.load(
        _file(tmp_path, [helper.make_node("Dropout", ["x", "p"], ["y"])], p=np.float32(0.5))
    )
    x = tg.ones(40, 40)
    assert (again.eval()(x) == x).all()
    assert 0.3 < float((again.train()(x) == 0).to(tg.float32).mean()) < 0.7


def test_errors_name_the_module(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    again = tg.onnx.load(tg.onnx.export(net, tg.randn(1, 3, 2, 2), tmp_path / "net.onnx"))
    assert "x" in repr(again)
    with pytest.raises(OnnxError, match=r"`input` has shape \(1, 3, 2\), expected \(any, 3, 2, 2"):
        again(tg.randn(1, 3, 2))
    with pytest.raises(OnnxError, match=r"`input` is a tensor of float64, expected .* float32"):
        again(tg.randn(1, 3, 2, 2).to(tg.float64))
    with pytest.raises(OnnxError, match=r"called with 0 inputs and \['y'\], expected input"):
        again(y=tg.ones(1))
    assert again(input=tg.randn(5, 3, 2, 2)).shape == (5, 2)


def test_weights_beside_the_file(tmp_path: Path) -> None:
    net = MiniVGG().eval()
    path = tg.onnx.export(net, tg.randn(*IMAGES), tmp_path / "net.onnx", external_data=True)
    again = tg.onnx.load(path).eval()
    x = tg.randn(2, 3, 32, 32)
    with tg.no_grad():
        assert np.array_equal(net(x).numpy(), again(x).numpy())
    (tmp_path / "net.onnx.data").write_bytes(b"0" * 5000)
    with pytest.raises(OnnxError, match="missing or too short"):
        tg.onnx.load(path)


def test_the_tests_of_onnx_itself() -> None:
    """Those with operators and types that are read pass, all of them."""
    counts: Counter[str] = Counter()
    wrong = []
    for case in cases():
        found = verdict(case)
        counts[found] += 1
        if found not in ("passed", "operator", "type"):
            wrong.append(f"{case.name}: {found}")
    known = ("test_not_", "test_identity_sequence", "test_identity_opt")  # opset 1, no tensors
    known += ("test_gru_", "test_lstm_with_peepholes", "test_col2im_5d")
    assert not [w for w in wrong if not w.startswith(known) or "refused: " not in w]
    assert counts["passed"] >= 1100


# ---- what is refused -----------------------------------------------------------------------


def _file(folder: Path, nodes: list[Any], sides: Any = ("n", "m"), **weights: Any) -> Path:
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", float32, list(sides))],
        [helper.make_tensor_value_info("y", float32, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "f.onnx"
    )
    return folder / "f.onnx"


def _node(kind: str, inputs: list[str], **attributes: Any) -> list[Any]:
    return [helper.make_node(kind, inputs, ["y"], name="/a/b", **attributes)]


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (_node("NonZeroes", ["x"]), r"operator NonZeroes \('/a/b'\) is not read"),
        (_node("Relu", ["x"], domain="com.mine"), "operator com.mine.Relu"),
        (_node("If", ["x"]), r"operator If \('/a/b'\) is not read"),
        (_node("Relu", ["x"], color=1), "Relu .* has the attribute 'color', expected one of"),
        (_node("Relu", []), "has 0 inputs, expected 1"),
        (_node("Relu", ["z"]), "reads 'z', which nothing before it gives"),
        ([*_node("Relu", ["x"]), *_node("Abs", ["x"])], "'y' is given twice"),
        ([helper.make_node("Relu", ["x"], ["z"])], "the output 'y' is given by no node"),
    ],
)
def test_files_that_are_refused(nodes: list[Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=text):
        tg.onnx.load(_file(tmp_path, nodes))


@pytest.mark.parametrize("name", ["../w", "/etc/passwd", "..", "a\\b", ""])
def test_weights_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    path = _file(tmp_path, _node("Add", ["x", "w"]), w=np.ones(4, np.float32))
    model = onnx.load(path)
    (w,) = model.graph.initializer
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value=name)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(OnnxError, match=r"expected a file beside f\.onnx"):
        tg.onnx.load(path)


def test_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\3\4 something else")
    with pytest.raises(OnnxError, match="not an ONNX file"):
        tg.onnx.load(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OnnxError, match="empty graph"):
        tg.onnx.load(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        tg.onnx.load(tmp_path / "b")
