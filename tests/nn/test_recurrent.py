"""Recurrent layers and packed sequences: against PyTorch, and what they refuse."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn

KINDS = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "without bias": {"num_layers": 2, "bias": False},
}
LAYERS = [(kind, name) for kind in ("RNN", "GRU", "LSTM") for name in KINDS]


def torch_():
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


def run(library, layer, x, lengths):
    """Output, states and all gradients, from an input that may be packed."""
    x = library.tensor(x, requires_grad=True)
    tools = library.nn.utils.rnn
    packed = x
    if lengths:
        packed = tools.pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=False)
    y, states = layer(packed)
    if lengths:
        y, found = tools.pad_packed_sequence(y, layer.batch_first)
        assert found.tolist() == lengths
    states = states if isinstance(states, tuple) else (states,)
    sum((t**3).sum() for t in (y, *states)).backward()
    return [y, *states, x.grad, *[p.grad for p in layer.parameters()]]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("lengths", [None, [3, 5, 1]], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, KINDS[name]) for kind, name in LAYERS]
    + [("RNN", {"nonlinearity": "relu"}), ("LSTM", {"proj_size": 2, "num_layers": 2})],
)
def test_layers_are_pytorchs(kind, options, lengths):
    torch = torch_()
    ours, theirs = (getattr(m, kind)(4, 3, **options).double() for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    shape = (3, 5, 4) if options.get("batch_first") else (5, 3, 4)
    x = np.random.default_rng(0).standard_normal(shape)
    for a, b in zip(run(tg, ours, x, lengths), run(torch, theirs, x, lengths), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)


def test_dropout_is_between_the_layers():
    tg.manual_seed(0)
    layer = nn.GRU(3, 4, num_layers=2, dropout=1.0)
    x = tg.randn(5, 2, 3)
    alone = nn.GRU(4, 4)
    alone.load_state_dict({k: layer.state_dict()[k[:-1] + "1"] for k in alone.state_dict()})
    assert (layer(x)[0] == alone(tg.zeros(5, 2, 4))[0]).all()
    assert not (layer.eval()(x)[0] == alone(tg.zeros(5, 2, 4))[0]).all()


def test_states_follow_their_sequences():
    """Sorting for packing is undone for the states that go in and come out."""
    layer = nn.LSTM(2, 3)
    x, h, c = tg.randn(4, 3, 2), tg.randn(1, 3, 3), tg.randn(1, 3, 3)
    packed = nn.utils.rnn.pack_padded_sequence(x, [2, 4, 3], enforce_sorted=False)
    _, (end, _) = layer(packed, (h, c))
    for i, length in enumerate((2, 4, 3)):
        _, (alone, _) = layer(x[:length, i], (h[:, i], c[:, i]))
        assert tg.allclose(end[:, i], alone, atol=1e-6)


def test_states_may_come_in_a_list():
    layer, step = nn.LSTM(2, 3), nn.LSTMCell(2, 3)
    x, states = tg.randn(4, 1, 2), [tg.randn(1, 1, 3), tg.randn(1, 1, 3)]
    assert (layer(x, states)[0] == layer(x, tuple(states))[0]).all()
    rows = [t[0] for t in states]
    assert (step(x[0], rows)[1] == step(x[0], tuple(rows))[1]).all()


def test_gradients_of_gradients():
    layer = nn.LSTMCell(2, 3).double()
    x, h, c = (tg.randn(2, n, dtype=tg.float64, requires_grad=True) for n in (2, 3, 3))
    assert tg.autograd.gradgradcheck(lambda *t: layer(t[0], t[1:])[0], (x, h, c))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.LSTM(3, 4)(tg.ones(5, 2, 2)), ValueError, "LSTM: .* 3 features"),
        (lambda: nn.LSTM(3, 4)(tg.ones(5)), ValueError, "LSTM: `input` has shape"),
        (lambda: nn.GRU(3, 4)(tg.ones(0, 2, 3)), ValueError, "but no steps"),
        (lambda: nn.GRU(3, 4)(tg.ones(5, 2, 3), tg.ones(1, 2, 3)), ValueError, r"\(1, 2, 4\)"),
        (lambda: nn.LSTM(3, 4)(tg.ones(5, 2, 3), tg.ones(1, 2, 4)), ValueError, "1 tensors but 2"),
        (lambda: nn.LSTM(3, 4).double()(tg.ones(5, 2, 3)), TypeError, "dtype float32"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "`proj_size` is 4"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "`nonlinearity` is 'gelu'"),
        (lambda: nn.RNN(3, 0), ValueError, "RNN: `hidden_size` is 0"),
        (lambda: nn.GRUCell(3, 4)(tg.ones(2, 3), tg.ones(3, 4)), ValueError, r"`hx` has shape"),
        (lambda: nn.RNNCell(3, 4)(tg.ones(1, 2, 3)), ValueError, "1 or 2 axes"),
        (
            lambda: nn.utils.rnn.pack_padded_sequence(tg.ones(3, 2), [1, 2]),
            ValueError,
            "numbers that do not grow",
        ),
        (
            lambda: nn.utils.rnn.pack_padded_sequence(tg.ones(3, 2), [4, 2]),
            ValueError,
            "2 numbers from 1 to 3",
        ),
        (lambda: nn.utils.rnn.pad_sequence([]), ValueError, "is empty"),
        (
            lambda: nn.utils.rnn.pad_packed_sequence(
                nn.utils.rnn.pack_sequence([tg.ones(3)]), total_length=2
            ),
            ValueError,
            "`total_length` is 2",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
