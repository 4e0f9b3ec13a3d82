"""Models with torchvision's names: weights come in a `.pt` file and give PyTorch's scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.serialization import load_state

FOLDER = Path(__file__).parents[2] / "models"
RESNET, VGG, MOBILENET, VIT = (
    load(FOLDER / f"{name}.py") for name in ("resnet", "vgg", "mobilenetv2", "vit")
)
SMALL = {
    "resnet18": (lambda: RESNET.ResNet18(7, width=8), 33, ("resnet", (2, 2, 2, 2), 2)),
    "resnet34": (lambda: RESNET.ResNet34(7, width=4), 33, ("resnet", (3, 4, 6, 3), 2)),
    "resnet50": (lambda: RESNET.ResNet50(7, width=4), 33, ("resnet", (3, 4, 6, 3), 3)),
    "vgg11": (lambda: VGG.VGG11(7, width=4, hidden=16), 40, ("vgg", (1, 1, 2, 2, 2))),
    "vgg16": (lambda: VGG.VGG16(7, width=4, hidden=9), 40, ("vgg", (2, 2, 3, 3, 3))),
    "mobilenetv2": (lambda: MOBILENET.MobileNetV2(7, width_mult=0.25), 40, ("mobilenet",)),
    "vit": (lambda: VIT.ViT(7, 16, depth=2, dim=12, mlp_dim=20), 16, ("vit", 3)),
}
"""A small one of each kind, the side of its images, and its re-creation in `in_torch`."""


@pytest.fixture(autouse=True)
def numpys_kernels():
    """None is compiled for sizes that nobody uses; `conftest.py` sets others again."""
    tg.set_kernels("reference")


def drawn(net):
    """Weights and statistics that no layer would be right without."""
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            positive = name.endswith("running_var") or (value.ndim == 1 and "weight" in name)
            value.uniform_(0.5, 1.5) if positive else value.normal_(std=0.3)
    return net


@pytest.mark.parametrize("name", SMALL)
def test_scores_are_pytorchs(name, tmp_path):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    from tests.models import in_torch

    make, side, (function, *arguments) = SMALL[name]
    tg.manual_seed(0)
    state = {k: torch.tensor(v.numpy()) for k, v in drawn(make()).state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    net = make().eval()
    assert repr(net.load_state_dict(load_state(tmp_path / "weights.pt"))).startswith("<All keys")
    x = tg.randn(2, 3, side, side)
    with torch.no_grad():
        double = {k: v.double() for k, v in state.items()}
        expected = getattr(in_torch, function)(double, torch.tensor(x.numpy()).double(), *arguments)
    scale = expected.abs().max().item()
    with tg.no_grad():
        np.testing.assert_allclose(net(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("make", "parameters", "names"),
    [
        (RESNET.ResNet18, 11_689_512, ["conv1.weight", "layer4.1.bn2.num_batches_tracked"]),
        (RESNET.ResNet34, 21_797_672, ["layer3.5.conv2.weight", "layer2.0.downsample.1.bias"]),
        (RESNET.ResNet50, 25_557_032, ["layer1.0.downsample.0.weight", "layer4.2.bn3.bias"]),
        (MOBILENET.MobileNetV2, 3_504_872, ["features.1.conv.0.0.weight", "features.18.1.bias",
                                            "features.17.conv.3.running_var", "classifier.1.bias"]),
        (VIT.ViT, 2_693_578, ["class_token", "encoder.pos_embedding", "encoder.ln.bias",
                              "encoder.layers.encoder_layer_5.self_attention.in_proj_weight",
                              "encoder.layers.encoder_layer_0.mlp.3.bias", "heads.head.weight"]),
    ],
    ids=["resnet18", "resnet34", "resnet50", "mobilenetv2", "vit"],
)  # fmt: skip
def test_size_and_names_are_torchvisions(make, parameters, names):
    net = make()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert {*names} <= {*net.state_dict()}


@pytest.mark.parametrize(
    ("make", "parameters", "last"),
    [(VGG.VGG11, 132_868_840, "features.26.bias"), (VGG.VGG16, 138_365_992, "features.41.bias")],
)
def test_size_of_vgg_is_torchvisions(make, parameters, last):
    net = make(hidden=4)
    found = sum(p.numel() for p in net.features.parameters())
    linear = 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert found + linear == parameters
    names = [name for name in net.state_dict() if name.startswith("features") and "bias" in name]
    assert names[-1] == last
    assert net.classifier[6].weight.shape == (1000, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg11", "mobilenetv2", "vit"])
def test_they_learn_six_images(name):
    make, side, _ = SMALL[name]
    tg.manual_seed(0)
    net, images, labels = make(), tg.randn(6, 3, side, side), tg.arange(6)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.Linear) and name == "vgg11":
            module.reset_parameters()  # those of the paper are for thousands of inputs
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(30 if name == "vgg11" else 12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_vit_names_images_of_another_size():
    with pytest.raises(ValueError, match=r"ViT: `x` is of shape \(1, 3, 8, 8\), expected images"):
        VIT.ViT(image_size=16, depth=1)(tg.ones(1, 3, 8, 8))
