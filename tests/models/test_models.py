"""The models: their layers and shapes, and that they can learn."""

from pathlib import Path

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim

FOLDER = Path(__file__).parents[2] / "models"


LeNet5, MiniVGG, ResNet20 = (
    getattr(load(FOLDER / f"{name.lower()}.py"), name) for name in ("LeNet5", "MiniVGG", "ResNet20")
)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(LeNet5, 62_050), (MiniVGG, 815_018), (ResNet20, 269_722)],
    ids=["lenet5", "minivgg", "resnet20"],
)
def test_parameters_and_shapes(model, parameters):
    net = model()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(tg.randn(2, 3, 32, 32)).shape == (2, 10)
    assert model(num_classes=7).eval()(tg.randn(1, 3, 32, 32)).shape == (1, 7)


def test_minivgg_dropout():
    assert [m.p for m in MiniVGG(dropout=0.2).modules() if isinstance(m, nn.Dropout)] == [0.2]
    assert [m.p for m in MiniVGG().modules() if isinstance(m, nn.Dropout)] == [0.5]


@pytest.mark.parametrize("model", [LeNet5, MiniVGG, ResNet20])
def test_learns_eight_images_by_heart(model):
    tg.manual_seed(0)
    net, images, labels = model(), tg.randn(8, 3, 32, 32), tg.arange(8)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        scores = net(images)
        F.cross_entropy(scores, labels).backward()
        optimizer.step()
    assert scores.argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("name", ["lenet5", "minivgg", "resnet20"])
def test_only_public_names_of_the_framework_are_imported(name):
    source = (FOLDER / f"{name}.py").read_text()
    imports = [line for line in source.splitlines() if "import" in line.split()]
    assert imports == ["from tinygrad_cnn import Tensor, nn"]


def test_lenet5_is_what_a_composition_of_functions_gives():
    tg.manual_seed(1)
    net = LeNet5().eval()
    for module in (net.n1, net.n3):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
    x = tg.randn(3, 3, 32, 32)
    y = x
    for conv, norm in ((net.c1, net.n1), (net.c3, net.n3)):
        y = F.conv2d(y, conv.weight, conv.bias)
        scale = norm.weight / tg.sqrt(norm.running_var + norm.eps)
        y = (y - norm.running_mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
        y = F.relu(y + norm.bias.view(1, -1, 1, 1))
        n, c, h, w = y.shape
        y = y.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))
    y = y.flatten(1)
    for linear in (net.c5, net.f6):
        y = F.relu(y @ linear.weight.T + linear.bias)
    y = y @ net.output.weight.T + net.output.bias
    np.testing.assert_allclose(net(x).detach().numpy(), y.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_resnet20_has_the_layers_of_the_paper():
    net = ResNet20()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [16] * 7 + [32] * 6 + [64] * 6
    assert [c.stride[0] for c in convs] == [1] * 7 + [2] + [1] * 5 + [2] + [1] * 5
    assert {c.kernel_size for c in convs} == {(3, 3)}
    assert all(c.bias is None for c in convs)


def test_the_shortcut_of_resnet20_takes_every_second_pixel_and_adds_zeros():
    block = ResNet20().stage2[0].eval()
    for conv in (block.conv1, block.conv2):
        conv.weight.data.zero_()
    x = tg.randn(2, 16, 8, 6)
    y = block(x).detach().numpy()
    assert y.shape == (2, 32, 4, 3)
    np.testing.assert_array_equal(y[:, :16], np.maximum(x.numpy()[:, :, ::2, ::2], 0))
    np.testing.assert_array_equal(y[:, 16:], 0)


def test_a_block_of_resnet20_is_what_a_composition_of_functions_gives():
    block = ResNet20().stage1[0].eval()
    for module in (block.bn1, block.bn2):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
    x = tg.randn(2, 16, 5, 5)
    y = x
    for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        y = F.conv2d(F.relu(y) if conv is block.conv2 else y, conv.weight, padding=1)
        scale = norm.weight / tg.sqrt(norm.running_var + norm.eps)
        y = (y - norm.running_mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
        y = y + norm.bias.view(1, -1, 1, 1)
    expected = F.relu(x + y).detach().numpy()
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
