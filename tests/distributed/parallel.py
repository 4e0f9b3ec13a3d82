"""`DistributedDataParallel` and `SyncBatchNorm`, checked on each rank against one process."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tg
from tests.distributed.ranks import main
from tinygrad_cnn import distributed as dist
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.parallel import DistributedDataParallel

rank, size = dist.get_rank, dist.get_world_size


def _net(norm: bool = True) -> nn.Module:
    tg.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)).double()


def _batch(n: int, seed: int = 0) -> tuple[tg.Tensor, tg.Tensor]:
    rng = np.random.default_rng(seed)
    images = rng.normal(2.0, 3.0, (n, 3, 8, 8))
    return tg.tensor(images), tg.tensor(rng.integers(0, 5, n))


def _part(t: tg.Tensor) -> tg.Tensor:
    """A rank's part of a batch; the parts differ by one at most, and may be empty."""
    edges = np.linspace(0, len(t), size() + 1).astype(int)
    return t[int(edges[rank()]) : int(edges[rank() + 1])]


def _loss(model: nn.Module, x: tg.Tensor, y: tg.Tensor, whole: int) -> tg.Tensor:
    """The mean over the whole batch, as a mean over ranks."""
    return F.cross_entropy(model(x), y, reduction="sum") * (size() / whole)


def _gradients(model: nn.Module) -> dict[str, np.ndarray]:
    named = model.named_parameters()
    return {n.removeprefix("module."): p.grad.numpy().copy() for n, p in named}


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], rtol: float = 1e-9) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=rtol, err_msg=name)


def _parallel(model: nn.Module, **options) -> DistributedDataParallel:
    return DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(model), **options)


def check_gradients_are_those_of_one_process():
    for n in (12, 13, 3, 2):  # uneven, and with nothing for some ranks
        x, y = _batch(n)
        alone = _net()
        F.cross_entropy(alone(x), y).backward()
        for cap in (25.0, 1e-4):  # one bucket, or many
            model = _parallel(_net(), bucket_cap_mb=cap)
            for _ in range(2):  # buckets are made anew after the first
                model.zero_grad()
                _loss(model, _part(x), _part(y), n).backward()
                _same(_gradients(model), _gradients(alone))
        alone(x)
        for (name, ours), (_, theirs) in zip(
            model.module.named_buffers(), alone.named_buffers(), strict=True
        ):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, err_msg=name)


def check_float32_too():
    x, y = _batch(16)
    alone, model = _net().float(), _parallel(_net().float())
    F.cross_entropy(alone(x.float()), y).backward()
    _loss(model, _part(x).float(), _part(y), 16).backward()
    _same(_gradients(model), _gradients(alone), 2e-5)


def check_second_order():
    def penalty(model, x, y):
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(model(x), y, reduction="sum")
        (g,) = tg.autograd.grad(loss, x, create_graph=True)
        return (g * g).sum()

    x, y = _batch(7)
    alone = _net()
    penalty(alone, x, y).backward()
    model = nn.SyncBatchNorm.convert_sync_batchnorm(_net())
    penalty(model, _part(x), _part(y)).backward()
    for p in model.parameters():
        if p.grad is None:
            p.grad = tg.zeros_like(p)
        dist.all_reduce(p.grad)
    expected = {n: p.grad for n, p in alone.named_parameters()}
    for name, p in model.named_parameters():
        theirs = expected[name]
        theirs = np.zeros(p.shape) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(p.grad.numpy(), theirs, rtol=1e-8, atol=1e-8, err_msg=name)


def check_sync_batch_norm_in_evaluation_and_inputs():
    model = nn.SyncBatchNorm(4).eval()
    x = tg.randn(2, 4, 3)
    assert tg.equal(model(x), nn.BatchNorm1d(4).eval()(x))
    with pytest.raises(ValueError, match="SyncBatchNorm: `input` has shape"):
        nn.SyncBatchNorm(4)(tg.randn(4))
    whole = tg.tensor(np.random.default_rng(0).normal(1e4, 1.0, (8 * size(), 2, 5)))
    out = nn.SyncBatchNorm(2, affine=False, momentum=None).double()(_part(whole))
    expected = nn.BatchNorm1d(2, affine=False).double()(whole)
    np.testing.assert_allclose(out.numpy(), _part(expected).numpy(), rtol=1e-7, atol=1e-7)


def check_rank_0_gives_the_weights_and_buffers():
    model = _net()
    with tg.no_grad():
        for t in (*model.parameters(), *model.buffers()):
            t.add_(rank())
    model = DistributedDataParallel(model)
    expected = _net()
    for ours, theirs in zip(model.module.parameters(), expected.parameters(), strict=True):
        assert tg.equal(ours, theirs)
    x, y = _batch(4 * size())
    for _ in range(2):
        F.cross_entropy(model(_part(x)), _part(y)).backward()
    means = [tg.zeros(4, dtype=tg.float64) for _ in range(size())]
    model(_part(x))
    dist.all_gather(means, model.module[1].running_mean)
    assert size() == 1 or not tg.equal(means[0], means[1])  # since the last broadcast
    assert model.module[1].num_batches_tracked.item() == 3


def check_no_sync_adds_up():
    x, y = _batch(6 * size())
    model = DistributedDataParallel(_net(norm=False))
    alone = _net(norm=False)
    for k in range(2):
        F.cross_entropy(alone(x), y).backward()
        with model.no_sync():
            F.cross_entropy(model(_part(x)), _part(y)).backward()
        if size() > 1 and k == 0:
            assert not np.allclose(model.module[0].weight.grad.numpy(), alone[0].weight.grad)
    F.cross_entropy(alone(x), y).backward()
    F.cross_entropy(model(_part(x)), _part(y)).backward()
    _same(_gradients(model), _gradients(alone))


def check_a_parameter_without_gradient_is_named_on_all_ranks():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x, both):
            return self.one(x) + self.two(x) if both else self.one(x)

    model = DistributedDataParallel(Branches())
    last = size() - 1
    match = rf"without a gradient: two.weight on rank {last}; two.bias on rank {last}; what the"
    for _ in range(2):  # and all goes on after that
        with pytest.raises(RuntimeError, match=match):
            model(tg.ones(1, 2), rank() != last).sum().backward()
    model.zero_grad()
    model(tg.ones(1, 2), True).sum().backward()
    np.testing.assert_allclose(model.module.two.bias.grad.numpy(), [1, 1])
    everywhere = ", ".join(map(str, range(size())))
    with pytest.raises(RuntimeError, match=f"two.weight on rank {everywhere};"):
        model(tg.ones(1, 2), False).sum().backward()

    model = DistributedDataParallel(Branches(), find_unused_parameters=True)
    for _ in range(2):
        model.zero_grad()
        model(tg.ones(1, 2), rank() == 0).sum().backward()
        np.testing.assert_allclose(model.module.two.bias.grad.numpy(), [1 / size()] * 2)
    model.zero_grad()
    model(tg.ones(1, 2), False).sum().backward()
    assert model.module.two.bias.grad is None


def check_models_that_differ_are_refused():
    match = r"the model differs between ranks: rank 0 has weight \(2, 3\) float32, rank 1 has wei"
    if size() > 1:
        with pytest.raises(RuntimeError, match=match):
            DistributedDataParallel(nn.Linear(3, 2 if rank() == 0 else 4))
        with pytest.raises(RuntimeError, match="rank 0 has none, rank 1 has bias"):
            DistributedDataParallel(nn.Linear(3, 2, bias=rank() > 0))


def check_states_have_the_names_of_the_module():
    model = _parallel(_net())
    assert list(model.state_dict()) == list(_net().state_dict())
    alone = _net()
    alone.load_state_dict(model.state_dict())
    state = {k: v + 1 for k, v in alone.state_dict().items()}
    model.load_state_dict(state)
    assert tg.equal(model.module[0].bias, alone[0].bias + 1)
    model.load_state_dict({f"module.{k}": v for k, v in state.items()})
    outer = nn.Sequential(model)
    assert next(iter(outer.state_dict())) == "0.0.weight"
    outer.load_state_dict(outer.state_dict())
    with pytest.raises(RuntimeError, match="missing: "):
        model.load_state_dict({})


def check_wrong_uses():
    with pytest.raises(ValueError, match="`device_ids` is"):
        DistributedDataParallel(nn.Linear(1, 1), device_ids=[0])
    with pytest.raises(ValueError, match="no parameter of `module` requires"):
        DistributedDataParallel(nn.ReLU())
    with pytest.raises(ValueError, match="not initialised"):
        DistributedDataParallel(nn.LazyLinear(2))
    model = DistributedDataParallel(nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match=r"backward\(inputs=...\) is not averaged"):
        model(tg.ones(1, 1)).sum().backward(inputs=list(model.parameters()))


def check_training_is_the_same_bits_again():
    def trained() -> bytes:
        model = _parallel(_net().float())
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(4):
            x, y = _batch(10, step)
            optimizer.zero_grad()
            _loss(model, _part(x).float(), _part(y), 10).backward()
            optimizer.step()
        return b"".join(t.numpy().tobytes() for t in model.state_dict().values())

    first = trained()
    assert trained() == first
    whole = [tg.zeros(len(first), dtype=tg.uint8) for _ in range(size())]
    dist.all_gather(whole, tg.tensor(np.frombuffer(first, np.uint8).copy()))
    assert all(tg.equal(whole[0], other) for other in whole)  # on all ranks


if __name__ == "__main__":
    main(globals())
