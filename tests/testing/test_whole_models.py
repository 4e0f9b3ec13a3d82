"""Properties of whole networks, over random architectures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.autograd.gradcheck.numerical import Along, slope
from tinygrad_cnn.testing.architectures import Architecture, architectures

_EXAMPLES = max(settings().max_examples // 2, 1)  # a network takes longer than an operation


def _seeds() -> Any:
    return st.integers(0, 2**16)


def _network(architecture: Architecture, seed: int) -> Any:
    """The network in float64, its running statistics and affine parameters away from 0 and 1."""
    tg.manual_seed(seed)
    net = architecture.build().to(tg.float64)
    rng = np.random.default_rng(seed)
    with tg.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.dtype == np.float64:
                tensor.copy_(tg.from_numpy(rng.uniform(0.4, 1.4, tensor.shape)))
    return net


def _images(architecture: Architecture, seed: int) -> tg.Tensor:
    return tg.from_numpy(np.random.default_rng(seed + 1).standard_normal(architecture.input_shape))


@settings(max_examples=_EXAMPLES)
@given(architectures(), _seeds())
def test_a_state_dict_makes_another_network_the_same(architecture: Architecture, seed: int) -> None:
    net, x = _network(architecture, seed), _images(architecture, seed)
    other = architecture.build().to(tg.float64)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    report = other.load_state_dict(state)
    assert not report.missing_keys
    assert not report.unexpected_keys
    for mode in (True, False):
        assert np.array_equal(
            net.train(mode)(x).detach().numpy(), other.train(mode)(x).detach().numpy()
        )
    for key, value in other.state_dict().items():  # after a forward pass in training mode too
        assert np.array_equal(value.detach().numpy(), net.state_dict()[key].detach().numpy()), key


@settings(max_examples=_EXAMPLES)
@given(architectures(), _seeds())
def test_in_eval_mode_an_image_does_not_see_its_neighbours(
    architecture: Architecture, seed: int
) -> None:
    net, x = _network(architecture, seed).eval(), _images(architecture, seed)
    before = {k: v.detach().numpy().copy() for k, v in net.state_dict().items()}
    together = net(x).detach().numpy()
    for i in range(len(x)):
        alone = net(x[i : i + 1]).detach().numpy()
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-10, atol=1e-11)
    swapped = net(x.flip(0)).detach().numpy()
    np.testing.assert_allclose(swapped[::-1], together, rtol=1e-10, atol=1e-11)
    for key, value in net.state_dict().items():
        assert np.array_equal(value.detach().numpy(), before[key]), f"eval() changed {key}"


@settings(max_examples=_EXAMPLES)
@given(architectures(smooth=True), _seeds())
def test_gradients_of_the_loss_through_the_whole_network(
    architecture: Architecture, seed: int
) -> None:
    net, x = _network(architecture, seed), _images(architecture, seed)
    rng = np.random.default_rng(seed + 2)
    labels = tg.tensor(rng.integers(0, architecture.outputs, len(x)))
    parameters = list(net.parameters())
    x.requires_grad_()

    def loss(*values: np.ndarray) -> list[np.ndarray]:
        with tg.no_grad():
            for p, value in zip(parameters, values[1:], strict=True):
                p.copy_(tg.from_numpy(value))
            return [tg.nn.functional.cross_entropy(net(tg.from_numpy(values[0])), labels).array]

    tg.nn.functional.cross_entropy(net(x), labels).backward()
    inputs = [x, *parameters]
    values = [t.detach().numpy().copy() for t in inputs]
    gradients = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in inputs]
    direction = [rng.standard_normal(v.shape) for v in values]
    found = slope(Along(loss, values, direction, [np.ones(())]))
    assume(not found.doubt)
    got = sum(float(np.vdot(v, g)) for v, g in zip(direction, gradients, strict=True))
    size = sum(float(np.abs(v * g).sum()) for v, g in zip(direction, gradients, strict=True))
    assume(found.bound < 1e-4 * max(size, 1.0))  # else nothing can be said
    assert abs(got - found.value) <= found.bound + 1e-10 * max(size, 1.0), (got, found)


@settings(max_examples=_EXAMPLES)
@given(architectures(), _seeds())
def test_equal_to_the_same_network_in_pytorch(architecture: Architecture, seed: int) -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    net, x = _network(architecture, seed), _images(architecture, seed)
    theirs = architecture.build(torch.nn).to(torch.float64)
    state = {k: torch.from_numpy(v.detach().numpy().copy()) for k, v in net.state_dict().items()}
    assert list(theirs.state_dict()) == list(net.state_dict())
    theirs.load_state_dict(state)
    u = np.random.default_rng(seed + 3).standard_normal((len(x), architecture.outputs))
    for mode in (True, False):
        net.train(mode), theirs.train(mode)
        net.zero_grad(), theirs.zero_grad()
        image = tg.tensor(x.numpy(), requires_grad=True)
        their_image = torch.tensor(x.numpy(), requires_grad=True)
        y, z = net(image), theirs(their_image)
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-10)
        y.backward(tg.from_numpy(u)), z.backward(torch.from_numpy(u))
        pairs = [("input", image, their_image)]
        pairs += [
            (name, p, q)
            for (name, p), q in zip(net.named_parameters(), theirs.parameters(), strict=True)
        ]
        for name, p, q in pairs:
            if q.grad is not None:
                np.testing.assert_allclose(
                    p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=name
                )
