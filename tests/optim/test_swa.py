"""Averages of weights, against PyTorch's."""

import pickle

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.optim import swa_utils

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")


def models(seed=0):
    """The same small network of both."""
    theirs = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU())
    ours = tg.nn.Sequential(tg.nn.Conv2d(2, 3, 3), tg.nn.BatchNorm2d(3), tg.nn.ReLU())
    rng = np.random.default_rng(seed)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        values = rng.standard_normal(b.shape).astype(np.float32)
        a.data, b.data = tg.tensor(values), torch.tensor(values)
    return ours, theirs


def same(ours, theirs):
    mine, its = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(its)
    for name in its:
        np.testing.assert_allclose(mine[name].numpy(), its[name], 1e-5, 1e-6, err_msg=name)


def floats_only(m):
    return {"multi_avg_fn": m.get_swa_multi_avg_fn()}


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        lambda m: {},
        lambda m: {"avg_fn": m.get_ema_avg_fn(0.75)},
        lambda m: {"avg_fn": m.get_swa_avg_fn()},
        lambda m: {"multi_avg_fn": m.get_ema_multi_avg_fn(0.5)},
        floats_only,
        lambda m: {"avg_fn": lambda mean, new, n: mean + 0.25 * (new - mean)},
    ],
)
def test_averaged_model(options, use_buffers):
    if use_buffers and options is floats_only:
        use_buffers = False  # PyTorch's does not average the number of batches
    ours, theirs = models()
    its_utils = torch.optim.swa_utils
    a = swa_utils.AveragedModel(ours, "cpu", **options(swa_utils), use_buffers=use_buffers)
    b = its_utils.AveragedModel(theirs, "cpu", **options(its_utils), use_buffers=use_buffers)
    rng = np.random.default_rng(1)
    for _ in range(4):
        x = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
        ours(tg.tensor(x))
        theirs(torch.tensor(x))
        with tg.no_grad(), torch.no_grad():
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                p += 1
                q += 1
        a.update_parameters(ours)
        b.update_parameters(theirs)
    same(a, b)
    x = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
    got, want = a(tg.tensor(x)).detach().numpy(), b(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(got, want, 1e-3, 1e-4)


@pytest.mark.parametrize("pairs", [False, True])
def test_update_bn(pairs):
    ours, theirs = models()
    ours.eval(), theirs.eval()
    rng = np.random.default_rng(2)
    batches = [rng.standard_normal((4, 2, 6, 6)).astype(np.float32) for _ in range(3)]
    for module, model, update in (
        (tg, ours, swa_utils.update_bn),
        (torch, theirs, torch.optim.swa_utils.update_bn),
    ):
        tensors = [module.tensor(b) for b in batches]
        update([(t, 0) for t in tensors] if pairs else tensors, model)
    same(ours, theirs)
    assert not ours.training
    assert ours[1].momentum == theirs[1].momentum
    swa_utils.update_bn([], tg.nn.Linear(2, 2))  # nothing to do


def test_bad_arguments():
    net, average = tg.nn.Linear(1, 1), swa_utils.get_swa_avg_fn()
    with pytest.raises(ValueError, match="exclude each other"):
        swa_utils.AveragedModel(net, None, average, swa_utils.get_swa_multi_avg_fn())
    with pytest.raises(ValueError, match="`decay` is 2"):
        swa_utils.get_ema_avg_fn(2)
    with pytest.raises(ValueError, match="AveragedModel: `device` is 'cuda'"):
        swa_utils.AveragedModel(net, "cuda")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"avg_fn": swa_utils.get_ema_avg_fn(0.5)},
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)},
    ],
)
def test_averaged_models_can_be_pickled(options):
    model = tg.nn.Linear(2, 1)
    averaged = swa_utils.AveragedModel(model, **options)
    averaged.update_parameters(model)
    twin = pickle.loads(pickle.dumps(averaged))
    model.weight.data += 2
    for one in (averaged, twin):
        one.update_parameters(model)
    assert tg.equal(averaged.module.weight, twin.module.weight)
    assert tg.allclose(twin.module.weight, model.weight - 1)
