"""What a program computes of parameters alone is computed again whenever they change."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")


def _step(net):
    net.train()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net(tg.ones(2, 3, 12, 12)).sum().backward()
    optimizer.step()
    net.eval()


def _through_numpy(net):
    net[0].weight.detach().numpy()[...] *= 2


def _data(net):
    net[0].weight.data.mul_(2)


def _set_data(net):
    net[3].weight.data = net[3].weight.data * 2


def _in_place(net):
    with tg.no_grad():
        net[3].weight.add_(1)


def _load(net):
    net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})


def _statistics(net):
    net.train()
    net(tg.ones(2, 3, 12, 12))
    net.eval()


def _buffer(net):
    net[1].running_mean.copy_(tg.ones(16))


def _view(net):
    net[3].weight.detach()[0].zero_()


CHANGES = [
    _step, _through_numpy, _data, _set_data, _in_place, _load, _statistics, _buffer, _view,
    _through_numpy,
]  # fmt: skip


def _net() -> nn.Sequential:
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 4),
    ).eval()  # fmt: skip


def test_changes_of_parameters_are_seen():
    net = _net()
    x = tg.randn(2, 3, 12, 12)
    compiled = tg.compile(tg.no_grad()(net.__call__))
    compiled(x)
    early = _early(compiled)
    assert early
    arrays = [x.numpy() + k for k in range(2)]
    held = net[3].weight.detach().numpy()  # from here on, one of them may change unnoticed
    for change in (*CHANGES, lambda net: np.add(held, 1, out=held)):
        change(net)
        for array in arrays:
            with tg.no_grad():
                wanted = net(tg.tensor(array))
            assert compiled(tg.tensor(array)).numpy().tobytes() == wanted.numpy().tobytes(), change


def test_unchanged_parameters_are_transformed_once(monkeypatch):
    net = _net()
    compiled = tg.compile(tg.no_grad()(net.__call__))
    for _ in range(3):
        compiled(tg.randn(2, 3, 12, 12))
    (recordings,) = compiled.programs.values()
    instance = recordings[0].free[0]
    made = []
    replay = instance.replay
    monkeypatch.setattr(
        instance, "replay", lambda at, first, end: made.append(first) or replay(at, first, end)
    )
    compiled(tg.randn(2, 3, 12, 12))
    assert 0 not in made
    _in_place(net)
    compiled(tg.randn(2, 3, 12, 12))
    assert 0 in made


def test_training_transforms_anew():
    net = _net().train()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    usual, usual_optimizer = copy.deepcopy((net, optimizer))

    def step(net, optimizer, x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = tg.compile(step)
    for k in range(4):
        x = tg.randn(2, 3, 12, 12)
        assert compiled(net, optimizer, x).item() == step(usual, usual_optimizer, x).item(), k


def _early(function) -> int:
    (recordings,) = function.programs.values()
    return recordings[0].free[0].early
