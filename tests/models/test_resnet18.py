"""ResNet-18: its size, its shapes, and that its blocks are residual."""

from pathlib import Path

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg

module = load(Path(__file__).parents[2] / "models/resnet18.py")


def test_parameters_and_shapes():
    net = module.ResNet18().eval()
    assert sum(p.numel() for p in net.parameters()) == 11_173_962
    # Figure 3 of the paper: 17 convolutions and a linear layer, and three shortcuts with weights.
    weights = [name for name, p in net.named_parameters() if p.ndim == 4]
    assert len([name for name in weights if "downsample" not in name]) == 17
    assert [name for name in weights if "downsample" in name] == [
        f"layer{i}.0.downsample.0.weight" for i in (2, 3, 4)
    ]
    with tg.no_grad():
        assert net(tg.randn(1, 3, 32, 32)).shape == (1, 10)
        assert module.ResNet18(num_classes=7).eval()(tg.randn(1, 3, 16, 16)).shape == (1, 7)


@pytest.mark.parametrize(
    ("channels", "stride", "shape"), [((4, 4), 1, (2, 4, 6, 6)), ((4, 8), 2, (2, 8, 3, 3))]
)
def test_a_block_whose_branch_is_off_is_its_shortcut(channels, stride, shape):
    block = module.BasicBlock(*channels, stride)
    with tg.no_grad():
        block.bn2.weight.fill_(0.0)
    x = tg.randn(2, 4, 6, 6)
    y = block(x)
    assert y.shape == shape
    expected = np.maximum(block.downsample(x).detach().numpy(), 0)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
