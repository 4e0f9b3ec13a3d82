"""Models as ONNX files: what onnxruntime makes of them, their structure, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from models import resnet
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.mobilenetv2 import MobileNetV2
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from models.vgg import VGG11
from models.vit import ViT
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.onnx import OnnxError
from tinygrad_cnn.testing.architectures import Architecture, architectures

onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime onnx"
)
import onnx  # noqa: E402
from onnx_running import Calls, agrees, run, session  # noqa: E402


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with running statistics and affine parameters away from 0 and 1."""
    rng = np.random.default_rng(seed)
    with tg.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.ndim == 1 and not name.endswith("bias"):
                tensor.copy_(tg.from_numpy(rng.uniform(0.6, 1.4, tensor.shape)))
    return net


def exported(net: nn.Module, example: Any, path: Path, **options: Any) -> Any:
    tg.onnx.export(net, example, path, **options)
    return session(path)


@pytest.mark.parametrize(
    ("kind", "size"), [(LeNet5, 32), (MiniVGG, 32), (ResNet18, 12), (ResNet20, 16)]
)
def test_models_at_other_batch_sizes(kind: Any, size: int, tmp_path: Path) -> None:
    net = settled(kind())
    there = exported(net, tg.randn(1, 3, size, size), tmp_path / "net.onnx")
    for batch in (1, 4):
        agrees(there, net, tg.randn(batch, 3, size, size))
    assert there.get_inputs()[0].shape == ["batch", 3, size, size]
    assert there.get_outputs()[0].shape == ["batch", 10]


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: MobileNetV2(10, width_mult=0.25), 32),
        (lambda: resnet.ResNet50(10, width=8), 32),
        (lambda: VGG11(10, width=8, hidden=16), 32),
        (lambda: ViT(depth=2, dim=24, mlp_dim=32), 32),
    ],
)
def test_larger_families_in_small(make: Any, size: int, tmp_path: Path) -> None:
    net = settled(make())
    there = exported(net, tg.randn(1, 3, size, size), tmp_path / "net.onnx")
    agrees(there, net, tg.randn(3, 3, size, size))
    again = tg.onnx.load(tmp_path / "net.onnx").eval()
    x = tg.randn(2, 3, size, size)
    with tg.no_grad():
        ours, theirs = net.eval()(x).numpy(), again(x).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(ours).max())


@settings(max_examples=max(settings().max_examples // 4, 5))
@given(architectures(), st.integers(0, 99))
def test_random_architectures(architecture: Architecture, seed: int) -> None:
    import tempfile

    net = settled(architecture.build(), seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        there = exported(net, tg.randn(*architecture.input_shape), path)
        for batch in (1, 3):
            agrees(there, net, tg.randn(batch, *architecture.input_shape[1:]))


class Sides(nn.Module):
    """Reshapes, flattening and states that follow the batch's size."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        n, t, _ = x.shape  # (n, t, 6)
        y = self.fc(x.reshape(n * t, 6)).view(n, t, 2, 2)
        y = y.transpose(1, 2).reshape(n, -1)  # (n, 4 t)
        start = tg.zeros(n, 3)
        return tg.cat([y, start + y.mean(1, keepdim=True), y.new_ones(n, 1).expand(n, 2)], 1)


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "sides": (Sides(), (2, 3, 6)),
    "heads": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "flatten": (nn.Sequential(nn.Flatten(0, 1), nn.Unflatten(0, (-1, 3))), (1, 3, 4)),
    "shuffle": (nn.Sequential(nn.PixelShuffle(2), nn.ChannelShuffle(1)), (1, 4, 3, 3)),
    "upsample": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 4, 5)),
    "nearest": (nn.Upsample(size=(5, 7)), (1, 2, 4, 5)),
    "reflect": (nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(2, 3, 3)), (1, 2, 5, 5)),
    "1d": (nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool1d(2), nn.PReLU(4)), (1, 2, 9)),
    "3d": (nn.Sequential(nn.Conv3d(1, 2, 2), nn.AdaptiveAvgPool3d(1)), (1, 1, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, 2, 1, output_padding=1), (1, 2, 4, 4)),
    "instance": (nn.InstanceNorm2d(3, affine=True), (1, 3, 4, 4)),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.AdaptiveMaxPool2d(2)), (1, 2, 7, 5)),
}


@pytest.mark.parametrize("name", NETS)
def test_layers_at_other_batch_sizes(name: str, tmp_path: Path) -> None:
    net, shape = NETS[name]
    there = exported(net, tg.randn(*shape), tmp_path / "net.onnx")
    for batch in (1, 4):
        agrees(there, net, tg.randn(batch, *shape[1:]))


def test_comparisons_choices_and_writes(tmp_path: Path) -> None:
    def choose(x: tg.Tensor) -> tuple[tg.Tensor, ...]:
        y = tg.where((x > 0) & ~(x >= 1.5), x, -x)
        y[:, 1] = 7.0
        y = y.masked_fill(y == 7, 0.5).clamp(-1, 1)
        z = y.relu().add_(1).mul_(x)
        top = z.topk(2, dim=1)
        return z, top.values, top.indices, z.argmax(1), F.one_hot(z.argmin(1), 4), x.isnan().any(1)

    net = Calls(choose)
    there = exported(net, tg.randn(2, 4), tmp_path / "net.onnx")
    agrees(there, net, tg.randn(5, 4))
    assert [o.name for o in there.get_outputs()] == [f"output_{i}" for i in range(6)]


def test_names_and_structure(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

        def forward(self, image: tg.Tensor, scale: tg.Tensor) -> dict[str, tg.Tensor]:
            y = self.features(image)
            return {"maps": y * scale, "mean": y.mean((2, 3))}

    net = Two()
    example = {"image": tg.randn(2, 3, 6, 6), "scale": tg.ones(1)}
    path = tg.onnx.export(net, example, tmp_path / "net.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    assert [i.name for i in graph.input] == ["image", "scale"]
    assert [o.name for o in graph.output] == ["maps", "mean"]
    assert [n.name for n in graph.node if n.op_type != "Constant"] == [
        "/features/0/Conv", "/features/1/BatchNormalization", "/features/2/Relu", "/Mul",
        "/ReduceMean",
    ]  # fmt: skip
    assert graph.node[1].doc_string == "features.0 (Conv2d)"
    weights = {i.name for i in graph.initializer}
    assert {"features.0.weight", "features.0.bias", "features.1.running_var"} < weights
    maps = next(v for v in graph.value_info if v.name == "/features/0/Conv_output_0")
    sides = [d.dim_param or d.dim_value for d in maps.type.tensor_type.shape.dim]
    assert sides == ["batch", 4, 4, 4]
    assert model.opset_import[0].version == 18
    assert model.producer_name == "tinygrad_cnn"


def test_names_that_are_given(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    there = exported(
        net, tg.randn(4, 3), tmp_path / "a.onnx", input_names=["in"], output_names=["out"],
        dynamic_batch=False,
    )  # fmt: skip
    assert (there.get_inputs()[0].name, there.get_inputs()[0].shape) == ("in", [4, 3])
    assert there.get_outputs()[0].name == "out"
    time_first = exported(
        Calls(lambda x: x.mean(0)), tg.randn(5, 2, 3), tmp_path / "b.onnx",
        input_names=["x"], dynamic_batch={"x": 1},
    )  # fmt: skip
    assert time_first.get_inputs()[0].shape == [5, "batch", 3]


def test_the_same_bytes_and_the_model_as_it_was(tmp_path: Path) -> None:
    net = LeNet5().train()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    tg.onnx.export(net, tg.randn(1, 3, 32, 32), tmp_path / "a.onnx")
    tg.onnx.export(net, tg.randn(1, 3, 32, 32), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert all(m.training for m in net.modules())
    for key, value in net.state_dict().items():
        assert np.array_equal(value.numpy(), before[key]), key


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    net = MiniVGG()
    x = tg.randn(2, 3, 32, 32)
    there = exported(net, x, tmp_path / "net.onnx", external_data=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert (tmp_path / "net.onnx").stat().st_size < 60_000
    agrees(there, net, x)


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    agrees(exported(net, tg.randn(2, 3), tmp_path / "net.onnx"), net, tg.randn(4, 3))
    names = [i.name for i in onnx.load(tmp_path / "net.onnx").graph.initializer]
    assert sorted(names) == ["0.bias", "0.weight", "2.bias"]


def test_float64_and_integers(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).to(tg.float64)
    there = exported(net, tg.randint(9, (1, 3)), tmp_path / "net.onnx")
    agrees(there, net, tg.randint(9, (4, 3)), within=1e-12)


# ---- what is refused -----------------------------------------------------------------------


class Reads(nn.Module):
    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x * float(x.numpy().max())


class Branches(nn.Module):
    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x.exp() if x.shape[0] > 2 else x


class Draws(nn.Module):
    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return F.dropout(x, 0.5, training=True)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", tg.zeros(1))

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        self.calls += 1
        return x + self.calls


REFUSED: list[tuple[Any, str]] = [
    (
        nn.Sequential(nn.Identity(), Calls(tg.lgamma)),
        r"operation `lgamma`: it has no form in ONNX, .*\(in 1 \(Calls\), ",
    ),
    (Calls(lambda x: tg.linalg.svd(x)[1]), r"operation `svd`: .*test_onnx_export.py:\d+"),
    (Reads(), r"depends on the batch's size or the input's numbers: operation `mul`"),
    (Branches(), "depends on the batch's size"),
    (Calls(lambda x: x.repeat(x.shape[0], 1)[: x.shape[0] ** 2]), "depends on the batch"),
    (Draws(), "random numbers are drawn in eval"),
    (Counts(), "changes `calls`, which a graph cannot keep"),
    (Calls(lambda x: x.to(tg.complex64)), "complex numbers have no form in ONNX"),
    (Calls(lambda x: 3), "returns no tensor"),
    (Calls(lambda x: x[x > 0]), "depends on"),
]


@pytest.mark.parametrize(("net", "text"), REFUSED)
def test_what_cannot_be_exported(net: nn.Module, text: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=text):
        tg.onnx.export(net, tg.randn(2, 4), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"opset_version": 17}, "`opset_version` is 17, expected 18 to"),
        ({"input_names": ["a", "b"]}, r"`input_names` is \['a', 'b'\], expected 1 different"),
        ({"output_names": []}, "`output_names`"),
        ({"output_names": ["input"]}, "name of an input and of an output"),
        ({"dynamic_batch": {"y": 0}}, "`dynamic_batch` names 'y'"),
        ({"dynamic_batch": {"input": 2}}, "axis 2 of 'input'"),
    ],
)
def test_arguments_that_do_not_fit(options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        tg.onnx.export(nn.Linear(2, 2), tg.randn(1, 2), tmp_path / "net.onnx", **options)
    with pytest.raises(ValueError, match="`example`"):
        tg.onnx.export(nn.Linear(2, 2), (), tmp_path / "net.onnx")


def test_batch_sizes_that_python_reads_without_use(tmp_path: Path) -> None:
    """What differs between runs and leads nowhere does no harm."""
    net = Calls(lambda x: (tg.lgamma(x), tg.tensor(float(x.shape[0])) + 1, x * 2)[2])
    there = exported(net, tg.randn(2, 4), tmp_path / "net.onnx")
    assert np.array_equal(run(there, np.ones((3, 4), np.float32))[0], np.full((3, 4), 2.0))
