"""state_dict and load_state_dict."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn


def make():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_keys_layout_and_sharing():
    net = make()
    state = net.state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        "0.weight": (2, 1, 3, 3),
        "0.bias": (2,),
        "1.weight": (2,),
        "1.bias": (2,),
        "1.running_mean": (2,),
        "1.running_var": (2,),
        "1.num_batches_tracked": (),
        "3.weight": (3, 8),
        "3.bias": (3,),
    }
    assert not any(v.requires_grad for v in state.values())
    assert np.shares_memory(state["3.weight"].numpy(), net[3].weight.detach().numpy())
    assert net.state_dict(keep_vars=True)["3.weight"] is net[3].weight
    assert next(iter(net.state_dict(prefix="net."))) == "net.0.weight"


def test_round_trip():
    net, other = make(), make()
    net(tg.randn(4, 1, 4, 4))  # moves the statistics
    state = {k: v.clone() for k, v in net.state_dict().items()}
    keys = other.load_state_dict(state)
    assert repr(keys) == "<All keys matched successfully>"
    assert keys == ([], [])
    x = tg.randn(2, 1, 4, 4)
    assert (net.eval()(x) == other.eval()(x)).all()
    assert other[1].num_batches_tracked.item() == 1
    assert other[0].weight.requires_grad


def test_buffers_that_are_not_persistent_stay_out():
    net = nn.Module()
    net.register_buffer("kept", tg.ones(1))
    net.register_buffer("dropped", tg.ones(1), persistent=False)
    net.register_buffer("empty", None)
    assert list(net.state_dict()) == ["kept"]
    net.load_state_dict({"kept": tg.zeros(1)})
    assert net.kept.item() == 0
    assert net.dropped.item() == 1


def test_one_error_lists_everything_and_nothing_is_changed():
    net = make()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v * 0 + 7 for k, v in net.state_dict().items()}
    del state["0.bias"]
    state["head.weight"] = tg.ones(1)
    state["3.weight"] = tg.ones(3, 9)
    state["1.num_batches_tracked"] = tg.tensor(1.5j, dtype=tg.complex128)
    state["3.bias"] = "text"
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for part in (
        "does not fit Sequential; nothing was loaded",
        "missing: 0.bias (2,)",
        "unexpected: head.weight",
        "3.weight: shape (3, 9) in the state but (3, 8) in the module",
        "1.num_batches_tracked: dtype complex128 in the state but int64 in the module",
        "3.bias: is a str but a tensor is expected",
    ):
        assert part in text
    assert len(text.splitlines()) == 6
    assert all((v == before[k]).all() for k, v in net.state_dict().items())


def test_extra_state_is_set_back_if_the_rest_does_not_fit():
    class Counting(nn.Linear):
        seen = (1, 2)

        def get_extra_state(self):
            return list(self.seen)

        def set_extra_state(self, state):
            self.seen = tuple(state)

    net, other = Counting(2, 1), nn.Sequential(Counting(2, 1), nn.Linear(1, 3))
    net.seen = (7,)
    state = {f"0.{name}": value for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="nothing was loaded"):
        other.load_state_dict(state)
    assert other[0].seen == (1, 2)
    other.load_state_dict(state, strict=False)
    assert other[0].seen == (7,)


def refusal(net, state):
    with pytest.raises(RuntimeError, match="nothing was loaded") as caught:
        net.load_state_dict(state)
    return str(caught.value).splitlines()[1:]


def test_names_that_are_near_are_suggested():
    net = make()
    state = net.state_dict()
    state["head.weight"], state["0.bais"] = state.pop("3.weight"), state.pop("0.bias")
    state["odd"] = tg.ones(3)  # of another shape than what is missing
    assert refusal(net, state) == [
        "  missing: 0.bias (2,) (is it 0.bais?)",
        "  missing: 3.weight (3, 8) (is it head.weight?)",
        "  unexpected: head.weight",
        "  unexpected: odd",
        "  unexpected: 0.bais",
    ]


def test_a_prefix_and_a_checkpoint_are_named():
    net = make()
    state = net.state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    assert refusal(net, wrapped)[-1] == (
        "  all names are there behind 'module.': "
        "nn.modules.utils.consume_prefix_in_state_dict_if_present"
    )
    outer = nn.Module()
    outer.net = net
    assert refusal(outer, state)[-1] == "  all names are there without 'net.': load into `net`"
    checkpoint = {"epoch": 1, "model": state, "optimizer": {}}
    last = "  'model' and 'optimizer' hold names and values: is it the state?"
    assert refusal(net, checkpoint)[-1] == last


def test_not_strict():
    net = make()
    state = net.state_dict()
    del state["0.bias"]
    state["more"] = tg.ones(1)
    state["0.weight"] = tg.ones(2, 1, 3, 3)
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["0.bias"]
    assert keys.unexpected_keys == ["more"]
    assert repr(keys) == "IncompatibleKeys(missing_keys=['0.bias'], unexpected_keys=['more'])"
    assert (net[0].weight == 1).all()
    state["0.weight"] = tg.ones(2, 1, 5, 5)
    with pytest.raises(RuntimeError, match=r"0\.weight: shape"):  # shapes must fit all the same
        net.load_state_dict(state, strict=False)


def test_values_are_converted_unless_they_are_complex():
    net = nn.Linear(2, 1)
    net.load_state_dict({k: v.double() for k, v in net.state_dict().items()})
    assert net.weight.dtype == np.float32
    net.load_state_dict({"weight": tg.tensor([[2, 3]]), "bias": tg.ones(1)})
    assert net.weight.dtype == np.float32
    assert net.weight.tolist() == [[2, 3]]
    with pytest.raises(RuntimeError, match="weight: dtype complex64 in the state but float32"):
        net.load_state_dict({"weight": net.weight * 1j, "bias": tg.ones(1)})
    with pytest.raises(RuntimeError, match="weight: is a ndarray but a tensor is expected"):
        net.load_state_dict({"weight": np.ones((1, 2)), "bias": tg.ones(1)})
    with pytest.raises(TypeError, match="`state_dict` is a list"):
        net.load_state_dict([1])


def test_a_write_after_recording_is_noticed():
    net = nn.Linear(2, 1)
    x = tg.ones(3, 2, requires_grad=True)
    y = net(x).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="load_state_dict"):
        y.backward()


def test_states_travel_to_pytorch_and_back():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    ours, theirs = make(), None
    t = torch.nn
    theirs = t.Sequential(t.Conv2d(1, 2, 3), t.BatchNorm2d(2), t.Flatten(), t.Linear(8, 3))
    theirs(torch.randn(4, 1, 4, 4))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)
    got = ours.eval()(tg.from_numpy(x)).detach().numpy()
    want = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
