"""Architectures of `models/` in PyTorch, with torchvision's names, written from the papers apart.

PyTorch's functions are called on a state by name, so that no name is there that is not meant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

State = dict[str, Any]


def norm(s: State, name: str, x: Any) -> Any:
    """Batch normalisation by the running statistics."""
    return F.batch_norm(
        x,
        s[f"{name}.running_mean"],
        s[f"{name}.running_var"],
        s[f"{name}.weight"],
        s[f"{name}.bias"],
    )


def resnet(s: State, x: Any, depths: tuple[int, ...], convs: int) -> Any:
    """``convs`` convolutions in a block: 2, or 3, whose second one strides."""
    x = F.relu(norm(s, "bn1", F.conv2d(x, s["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, 1)
    for number, depth in enumerate(depths, 1):
        for each in range(depth):
            at, stride = f"layer{number}.{each}", 2 if number > 1 and each == 0 else 1
            y = x
            for k in range(1, convs + 1):
                weight = s[f"{at}.conv{k}.weight"]
                here = stride if k == convs - 1 else 1
                y = F.conv2d(y, weight, stride=here, padding=weight.shape[-1] // 2)
                y = norm(s, f"{at}.bn{k}", y)
                y = F.relu(y) if k < convs else y
            if f"{at}.downsample.0.weight" in s:
                x = F.conv2d(x, s[f"{at}.downsample.0.weight"], stride=stride)
                x = norm(s, f"{at}.downsample.1", x)
            x = F.relu(x + y)
    return x.mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]


def vgg(s: State, x: Any, stages: tuple[int, ...]) -> Any:
    """So many convolutions before each pooling."""
    at = 0
    for depth in stages:
        for _ in range(depth):
            x = F.conv2d(x, s[f"features.{at}.weight"], s[f"features.{at}.bias"], padding=1)
            x = F.relu(norm(s, f"features.{at + 1}", x))
            at += 3
        x, at = F.max_pool2d(x, 2), at + 1
    x = F.adaptive_avg_pool2d(x, (7, 7)).flatten(1)
    for number in (0, 3, 6):
        x = F.linear(x, s[f"classifier.{number}.weight"], s[f"classifier.{number}.bias"])
        x = F.relu(x) if number < 6 else x
    return x


def mobilenet(s: State, x: Any) -> Any:
    """Strides are where the paper's table 2 has them."""

    def unit(at: str, x: Any, stride: int = 1) -> Any:
        weight = s[f"{at}.0.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        return F.relu6(norm(s, f"{at}.1", x))

    x = unit("features.0", x, 2)
    strides = {2: 2, 4: 2, 7: 2, 14: 2}
    for number in range(1, 18):
        at, stride = f"features.{number}.conv", strides.get(number, 1)
        y = x if number == 1 else unit(f"{at}.0", x)
        first = 0 if number == 1 else 1
        y = unit(f"{at}.{first}", y, stride)
        y = norm(s, f"{at}.{first + 2}", F.conv2d(y, s[f"{at}.{first + 1}.weight"]))
        x = x + y if stride == 1 and x.shape == y.shape else y
    x = unit("features.18", x).mean((2, 3))
    return F.linear(x, s["classifier.1.weight"], s["classifier.1.bias"])


def vit(s: State, x: Any, heads: int) -> Any:
    """Attention is written out."""

    def affine(at: str, x: Any) -> Any:
        return F.linear(x, s[f"{at}.weight"], s[f"{at}.bias"])

    def layer_norm(at: str, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], s[f"{at}.weight"], s[f"{at}.bias"], 1e-6)

    weight = s["conv_proj.weight"]
    x = F.conv2d(x, weight, s["conv_proj.bias"], stride=weight.shape[-1])
    n, dim = x.shape[:2]
    x = torch.cat([s["class_token"].expand(n, 1, dim), x.reshape(n, dim, -1).mT], 1)
    x = x + s["encoder.pos_embedding"]
    number = 0
    while f"encoder.layers.encoder_layer_{number}.ln_1.weight" in s:
        at = f"encoder.layers.encoder_layer_{number}"
        y, own = layer_norm(f"{at}.ln_1", x), f"{at}.self_attention"
        q, k, v = F.linear(y, s[f"{own}.in_proj_weight"], s[f"{own}.in_proj_bias"]).chunk(3, -1)
        q, k, v = (t.reshape(n, -1, heads, dim // heads).transpose(1, 2) for t in (q, k, v))
        y = torch.softmax(q @ k.mT / (dim // heads) ** 0.5, -1) @ v  # (n, heads, l, dim / heads)
        x = x + affine(f"{own}.out_proj", y.transpose(1, 2).reshape(n, -1, dim))
        y = affine(f"{at}.mlp.0", layer_norm(f"{at}.ln_2", x))
        x, number = x + affine(f"{at}.mlp.3", F.gelu(y)), number + 1
    return affine("heads.head", layer_norm("encoder.ln", x)[:, 0])
