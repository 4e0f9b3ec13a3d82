"""`GradScaler` as PyTorch's."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import amp

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(
    torch is None, reason="PyTorch is not installed: pip install torch==2.13.0"
)


def scaled_run(lib, bad_steps):
    """Weights, scales and state after steps of which some overflow."""
    w = lib.tensor([1.0, -2.0], requires_grad=True)
    optimizer = lib.optim.SGD([w], lr=0.125, momentum=0.5)
    scaler = lib.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    seen = []
    for step in range(6):
        optimizer.zero_grad()
        loss = (w * w).sum() * (float("inf") if step in bad_steps else 1.0)
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
            lib.nn.utils.clip_grad_norm_([w], 1.0)
        scaler.step(optimizer)
        scaler.update()
        seen.append((w.tolist(), scaler.get_scale()))
    state = scaler.state_dict()
    again = lib.amp.GradScaler("cpu")
    again.load_state_dict(state)
    return seen, state, again.get_scale(), again.get_growth_interval()


@needs_torch
@pytest.mark.parametrize("bad_steps", [(), (0,), (1, 2), (3,)])
def test_the_scaler_does_what_pytorchs_does(bad_steps):
    ours, theirs = scaled_run(tg, bad_steps), scaled_run(torch, bad_steps)
    assert [s for _, s in ours[0]] == [s for _, s in theirs[0]]
    for (a, _), (b, _) in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert ours[1:] == theirs[1:]


def test_the_scaler_keeps_its_order():
    w = tg.ones(2, requires_grad=True)
    optimizer, scaler = tg.optim.SGD([w], lr=0.1), amp.GradScaler("cpu")
    with pytest.raises(RuntimeError, match="no gradients were unscaled"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter of `optimizer` has a gradient"):
        scaler.step(optimizer)
    first, second = scaler.scale([w.sum(), w.sum()])
    assert first.item() == second.item() == 2 * 2.0**16
    first.backward()
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match=r"unscale_: unscale_\(\) was already called"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="`closure` cannot be used"):
        scaler.step(optimizer, closure=lambda: 1)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) was already called"):
        scaler.step(optimizer)
    scaler.update(8.0)
    assert scaler.get_scale() == 8
    with pytest.raises(ValueError, match="`outputs` is a int"):
        scaler.scale(3)
    with pytest.raises(ValueError, match="`state_dict` lacks"):
        scaler.load_state_dict({"scale": 1.0})
    for name, wrong in [("growth_factor", 1.0), ("backoff_factor", 1.0)]:
        with pytest.raises(ValueError, match=f"`{name}` is 1.0"):
            amp.GradScaler("cpu", **{name: wrong})


def test_a_scaler_for_another_device_is_disabled():
    with pytest.warns(UserWarning, match="`device` is 'cuda', but there is only 'cpu'"):
        scaler = amp.GradScaler()
    w = tg.ones(1, requires_grad=True)
    loss, optimizer = w.sum(), tg.optim.SGD([w], lr=0.5)
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert (w.item(), scaler.get_scale(), scaler.state_dict()) == (0.5, 1.0, {})
    scaler.load_state_dict({})
    assert not scaler.is_enabled()


def test_older_names():
    assert tg.GradScaler is amp.GradScaler
    assert tg.cpu.amp.GradScaler(init_scale=4.0).get_scale() == 4.0
    with pytest.warns(UserWarning, match="there is only 'cpu'"):
        assert not tg.cuda.amp.GradScaler().is_enabled()
