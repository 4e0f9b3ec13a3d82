"""Small networks for images (n, 3, 32, 32), of the kinds that people bring from elsewhere."""

import math
from itertools import pairwise

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn


def conv_bn(i, o, k=3, stride=1, groups=1, act=nn.ReLU):
    layers = [nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, act()) if act else nn.Sequential(*layers)


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def vgg():
    layers, i = [], 3
    for o in (16, 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        layers += [nn.MaxPool2d(2)] if o == "M" else [conv_bn(i, o)]
        i = i if o == "M" else o
    return nn.Sequential(*layers, head(64))


class Residual(nn.Module):
    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, c):
        super().__init__()
        self.down, self.up = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)

    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


def resnet(gated=False):
    def block(i, o, stride):
        body = [conv_bn(i, o, 3, stride), conv_bn(o, o, act=None), *[Gate(o)] * gated]
        same = stride == 1 and i == o
        shortcut = None if same else conv_bn(i, o, 1, stride, act=None)
        return [Residual(nn.Sequential(*body), shortcut), nn.ReLU()]

    blocks = [m for i, o, s in ((16, 16, 1), (16, 32, 2), (32, 64, 2)) for m in block(i, o, s)]
    return nn.Sequential(conv_bn(3, 16), *blocks, head(64))


class Dense(nn.Module):
    def __init__(self, i, growth):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, growth, 3, padding=1, bias=False)
        )

    def forward(self, x):
        return tg.cat([self.body(x), x], 1)


def densenet():
    layers, c = [nn.Conv2d(3, 16, 3, padding=1)], 16
    for _ in range(3):
        layers += [Dense(c + 8 * i, 8) for i in range(3)]
        c += 24
        squeeze = [nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c // 2, 1, bias=False)]
        layers += [*squeeze, nn.AvgPool2d(2)]
        c //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(c), nn.ReLU(), head(c))


def mobilenet():
    def block(i, o, stride):
        wide = 4 * i
        body = nn.Sequential(
            conv_bn(i, wide, 1, act=nn.ReLU6),
            conv_bn(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            conv_bn(wide, o, 1, act=None),
        )
        return Residual(body) if stride == 1 and i == o else body

    settings = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1))
    return nn.Sequential(
        conv_bn(3, 16), *(block(*s) for s in settings), conv_bn(32, 64, 1), head(64)
    )


class Inception(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b = conv_bn(i, o, 1), nn.Sequential(conv_bn(i, o // 2, 1), conv_bn(o // 2, o))
        self.c = nn.Sequential(conv_bn(i, o // 4, 1), conv_bn(o // 4, o, 5))
        self.d = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv_bn(i, o, 1))

    def forward(self, x):
        return tg.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1)


def inception():
    stages = [Inception(16, 16), nn.MaxPool2d(2), Inception(64, 24), nn.MaxPool2d(2)]
    return nn.Sequential(conv_bn(3, 16), *stages, nn.Dropout(0.2), head(96))


def convmixer():
    layers = [nn.Conv2d(3, 32, 4, 4), nn.GELU(), nn.BatchNorm2d(32)]
    for _ in range(4):
        mix = nn.Sequential(
            nn.Conv2d(32, 32, 5, padding=2, groups=32), nn.GELU(), nn.BatchNorm2d(32)
        )
        layers += [Residual(mix), nn.Conv2d(32, 32, 1), nn.GELU(), nn.BatchNorm2d(32)]
    return nn.Sequential(*layers, head(32))


def mlp(act=nn.ReLU):
    sides = (3072, 128, 64, 32)
    layers = [m for i, o in pairwise(sides) for m in (nn.Linear(i, o), act())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(32, 10))


class Net(nn.Module):
    """The first network of many a tutorial, without normalisation."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        return self.fc3(x)


ZOO = {
    "vgg": vgg,
    "resnet": resnet,
    "se": lambda: resnet(gated=True),
    "densenet": densenet,
    "mobilenet": mobilenet,
    "inception": inception,
    "convmixer": convmixer,
    "mlp": mlp,
    "tanh": lambda: mlp(nn.Tanh),
    "net": Net,
}


def as_pytorch(model):
    """The same model with the weights that PyTorch's layers begin with."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound)
    return model
