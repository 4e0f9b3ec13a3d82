"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn


def names(module):
    return [name for name, _ in module.named_children()]


def test_sequential_is_a_chain():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    x = tg.randn(4, 2)
    assert (net(x) == c(b(a(x)))).all()
    assert list(net) == [a, b, c]
    assert len(net) == 3
    assert net[-1] is c
    assert names(net[1:]) == ["1", "2"]
    assert net[:2][0] is a
    assert isinstance(net[:2], nn.Sequential)
    assert (nn.Sequential()(x) == x).all()


def test_sequential_with_names():
    net = nn.Sequential(OrderedDict([("fc", nn.Linear(2, 3)), ("act", nn.ReLU())]))
    assert names(net) == ["fc", "act"]
    assert net[0] is net.fc
    assert names(net[1:]) == ["act"]
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"]


def test_sequential_is_edited_like_a_list():
    net = nn.Sequential(nn.ReLU())
    tanh, sigmoid, silu = nn.Tanh(), nn.Sigmoid(), nn.SiLU()
    assert net.append(tanh) is net
    net.extend([sigmoid])
    net.insert(0, silu)
    assert [type(m).__name__ for m in net] == ["SiLU", "ReLU", "Tanh", "Sigmoid"]
    assert names(net) == ["0", "1", "2", "3"]
    del net[1]
    assert names(net) == ["0", "1", "2"]
    assert net.pop() is sigmoid
    net[0] = nn.ELU()
    assert [type(m).__name__ for m in net] == ["ELU", "Tanh"]
    del net[:1]
    assert names(net) == ["0"]
    joined = net + nn.Sequential(nn.ReLU())
    assert [type(m).__name__ for m in joined] == ["Tanh", "ReLU"]
    cut = nn.Sequential(nn.ReLU(), nn.Tanh())[1:].append(nn.SiLU())
    assert [type(m).__name__ for m in cut] == ["Tanh", "SiLU"]


def test_subclasses_of_sequential_keep_their_class():
    class Block(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Linear(width, width), nn.ReLU())

    assert Block(3)(tg.ones(1, 3)).shape == (1, 3)
    assert list(Block(3).state_dict()) == ["0.weight", "0.bias"]


def test_module_list():
    layers = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    layers += [nn.Tanh()]
    layers.insert(1, nn.SiLU())
    assert names(layers) == ["0", "1", "2", "3"]
    assert isinstance(layers[1:3], nn.ModuleList)
    assert names(layers[1:3]) == ["0", "1"]
    assert len(layers + nn.ModuleList([nn.ReLU()])) == 5
    assert layers[-1] in layers
    with pytest.raises(NotImplementedError, match="ModuleList: no `forward`"):
        layers(1)
    with pytest.raises(IndexError, match="index 9 but there are 4 modules"):
        layers[9]
    with pytest.raises(IndexError, match="index -9"):
        layers.insert(-9, nn.ReLU())


def test_module_dict():
    table = nn.ModuleDict({"a": nn.Linear(1, 1)})
    table["b"] = nn.ReLU()
    table.update([("c", nn.Tanh())])
    assert list(table) == list(table.keys()) == ["a", "b", "c"]
    assert [type(m).__name__ for m in table.values()] == ["Linear", "ReLU", "Tanh"]
    assert "a" in table
    assert len(table) == 3
    assert list(table.state_dict()) == ["a.weight", "a.bias"]
    assert type(table.pop("b")).__name__ == "ReLU"
    del table["c"]
    assert [k for k, _ in table.items()] == ["a"]
    table.clear()
    assert len(table) == 0
    with pytest.raises(KeyError):
        table["x.y"] = nn.ReLU()
    with pytest.raises(TypeError, match="a int but a mapping"):
        table.update(3)


@pytest.mark.parametrize(
    "put",
    [
        lambda value: nn.Sequential(value),
        lambda value: nn.Sequential({"a": value}),
        lambda value: nn.Sequential().append(value),
        lambda value: nn.ModuleList([value]),
        lambda value: nn.ModuleDict({"a": value}),
        lambda value: nn.Sequential(nn.ReLU()).insert(0, value),
    ],
)
def test_only_modules_go_in(put):
    with pytest.raises(TypeError, match=r"expected a Module, got the class ReLU; write ReLU\(\)"):
        put(nn.ReLU)
    with pytest.raises(TypeError, match="expected a Module, got a function"):
        put(lambda x: x)


def test_extend_wants_an_iterable():
    with pytest.raises(TypeError, match="`modules` is a ReLU but an iterable"):
        nn.ModuleList().extend(nn.ReLU())


def test_parameter_list():
    scales = nn.ParameterList([tg.ones(2), nn.Parameter(tg.zeros(3))])
    assert [n for n, _ in scales.named_parameters()] == ["0", "1"]
    scales.append(tg.ones(1))
    scales += [tg.ones(1)]
    assert len(scales) == 4
    scales[-1] = tg.zeros(5)
    assert scales[3].shape == (5,)
    assert isinstance(scales[3], nn.Parameter)
    assert [p.shape for p in scales] == [(2,), (3,), (1,), (5,)]
    assert len(scales[1:3]) == 2
    assert scales[1:3][0] is scales[1]
    assert "(0): Parameter containing: [float32 of size 2]" in repr(scales)
    with pytest.raises(IndexError, match="index 4"):
        scales[4]
    with pytest.raises(TypeError, match="`values` is a Tensor but an iterable of parameters"):
        scales.extend(tg.ones(2))


def test_parameter_dict():
    table = nn.ParameterDict({"a": tg.ones(2)})
    table["b"] = tg.zeros(3, 1)
    assert list(table) == list(table.keys()) == ["a", "b"]
    assert list(table.state_dict()) == ["a", "b"]
    assert "b" in table
    assert len(table) == 2
    assert [p.shape for p in table.values()] == [(2,), (3, 1)]
    assert "(b): Parameter containing: [float32 of size 3x1]" in repr(table)
    assert table.pop("b").shape == (3, 1)
    del table["a"]
    assert list(table.items()) == []
    with pytest.raises(TypeError, match="ParameterDict: key 1 is a int, expected a str"):
        table[1] = tg.ones(1)
    with pytest.raises(TypeError, match="`parameters` is a int but a mapping"):
        table.update(1)
    with pytest.raises(KeyError):
        table.popitem()


def test_lists_and_dicts_keep_free_places():
    """Models write ``ModuleList([attention, skip if wide else None])`` and ask for None later."""
    layers = nn.ModuleList([nn.Linear(2, 2), None])
    layers.append(None)
    assert len(layers) == 3
    assert [layer is None for layer in layers] == [False, True, True]
    assert len(list(layers[1:])) == 2
    assert len(list(layers.parameters())) == 2
    assert len(list(layers.state_dict())) == 2
    layers[1] = nn.ReLU()
    assert isinstance(layers.train(mode=False)[1], nn.ReLU)
    assert nn.ModuleDict({"skip": None})["skip"] is None
    with pytest.raises(TypeError, match="Sequential: expected a Module, got a NoneType"):
        nn.Sequential(None)
