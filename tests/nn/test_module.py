"""Module: registration, walks, modes, errors, copying."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn


class Block(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.register_buffer("seen", tg.zeros(1))
        self.register_buffer("scratch", tg.ones(1), persistent=False)

    def forward(self, x):
        return self.fc(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(tg.ones(2))
        self.blocks = nn.Sequential(Block(), nn.ReLU(), Block())
        self.tied = self.blocks[0].fc

    def forward(self, x):
        return self.blocks(x) * self.scale


def test_walks_give_each_member_once_under_its_first_path():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "scale",
        "blocks.0.fc.weight",
        "blocks.0.fc.bias",
        "blocks.2.fc.weight",
        "blocks.2.fc.bias",
    ]
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    with_twins = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    assert with_twins[-2:] == ["tied.weight", "tied.bias"]
    assert [n for n, _ in net.named_modules()] == [
        "",
        "blocks",
        "blocks.0",
        "blocks.0.fc",
        "blocks.1",
        "blocks.2",
        "blocks.2.fc",
    ]
    assert [n for n, _ in net.named_children()] == ["blocks", "tied"]
    assert [n for n, _ in net.named_buffers()] == [
        "blocks.0.seen",
        "blocks.0.scratch",
        "blocks.2.seen",
        "blocks.2.scratch",
    ]
    assert len(list(net.modules())) == 7
    assert len(list(net.buffers())) == 4


def test_tied_parameters_are_given_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4


def test_lookup_by_path():
    net = Net()
    assert net.get_submodule("blocks.2.fc") is net.blocks[2].fc
    assert net.get_submodule("") is net
    assert net.get_parameter("blocks.0.fc.bias") is net.tied.bias
    assert net.get_buffer("blocks.2.seen") is net.blocks[2].seen
    with pytest.raises(AttributeError, match=r"no module '7' in blocks \(Sequential\).*'0', '1'"):
        net.get_submodule("blocks.7.fc")
    with pytest.raises(AttributeError, match=r"no parameter 'w' in tied \(Linear\).*'bias'"):
        net.get_parameter("tied.w")


def test_attributes_change_kind_and_go():
    block = Block()
    block.fc = None
    assert block.fc is None
    assert list(block.parameters()) == []
    with pytest.raises(TypeError, match="cannot assign int to submodule `fc`"):
        block.fc = 3
    block.fc = nn.Parameter(tg.ones(1))  # a parameter may take a module's name
    assert [n for n, _ in block.named_parameters()] == ["fc"]
    with pytest.raises(TypeError, match=r"cannot assign Tensor to parameter `fc` .*nn.Parameter"):
        block.fc = tg.ones(1)
    del block.fc
    assert not hasattr(block, "fc")
    block.fc = 5
    assert block.fc == 5
    with pytest.raises(TypeError, match="cannot assign list to buffer `seen`"):
        block.seen = [1]
    block.seen = tg.full((1,), 4.0)
    assert block.state_dict()["seen"].item() == 4.0
    assert {"seen", "scratch", "forward"} <= set(dir(block))
    with pytest.raises(AttributeError, match="'Block' object has no attribute 'nothing'"):
        block.nothing  # noqa: B018  (the access is the test)
    with pytest.raises(AttributeError):
        del block.nothing


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("a.b", KeyError, "dot"),
        ("", KeyError, "empty"),
        ("forward", KeyError, "already exists"),
        (3, TypeError, "expected a str"),
    ],
)
@pytest.mark.parametrize("kind", ["parameter", "buffer", "module"])
def test_bad_names_are_refused(kind, name, error, text):
    module = Block()
    value = {"parameter": nn.Parameter(tg.ones(1)), "buffer": tg.ones(1), "module": nn.ReLU()}
    with pytest.raises(error, match=text):
        getattr(module, f"register_{kind}")(name, value[kind])


def test_registering_the_wrong_thing():
    module = Block()
    with pytest.raises(TypeError, match=r"register_parameter: `w` is a Tensor but nn.Parameter"):
        module.register_parameter("w", tg.ones(1))
    with pytest.raises(TypeError, match="register_buffer: `b` is a list but Tensor"):
        module.register_buffer("b", [1.0])
    with pytest.raises(TypeError, match="register_module: `m` is a class ReLU"):
        module.add_module("m", nn.ReLU)


def test_forgotten_super_init():
    class Forgetful(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 2)

    class Quiet(nn.Module):
        def __init__(self):
            self.size = 3

    with pytest.raises(AttributeError, match=r"call `super\(\).__init__\(\)` first in Forgetful"):
        Forgetful()
    with pytest.raises(AttributeError, match=r"call `super\(\).__init__\(\)` first in Quiet"):
        Quiet()(tg.ones(1))
    with pytest.raises(AttributeError, match=r"call `super\(\).__init__\(\)` first in Quiet"):
        list(Quiet().parameters())


def test_no_forward():
    with pytest.raises(NotImplementedError, match="Module: no `forward` is defined"):
        nn.Module()(1)


@pytest.mark.parametrize(
    ("container", "use"),
    [
        ([nn.Linear(1, 1)], r"nn.ModuleList\(\[...\]\)"),
        ((nn.Linear(1, 1),), r"nn.ModuleList"),
        ({"a": nn.Linear(1, 1)}, r"nn.ModuleDict\(\{...\}\)"),
        ([[nn.Linear(1, 1)]], r"nn.ModuleList"),
        ([nn.Parameter(tg.ones(1))], r"nn.ParameterList"),
        ({"a": nn.Parameter(tg.ones(1))}, r"nn.ParameterDict"),
    ],
)
def test_modules_in_plain_containers_are_not_lost_silently(container, use):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = container

    plain = type(container).__name__
    with pytest.warns(UserWarning, match=rf"Holder\.layers is a plain {plain} .*{use}"):
        holder = Holder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(holder.parameters()) == []  # said once


def test_modules_appended_later_are_noticed_when_it_matters():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = []
            for _ in range(2):
                self.layers.append(nn.Linear(1, 1))

    for look in (lambda m: list(m.parameters()), lambda m: m.state_dict()):
        with pytest.warns(UserWarning, match=r"Holder\.layers is a plain list holding a Linear"):
            look(Holder())


def test_no_warning_for_modules_that_are_registered_anyway():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Holder(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(1, 1)
                self.order = [self.a, self.a.weight]
                self.names = ["a", 3, None]

        assert len(list(Holder().parameters())) == 2


def test_modes_reach_everything():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.blocks[0].train()
    assert net.blocks[0].fc.training
    assert not net.training
    with pytest.raises(TypeError, match=r"`mode` is 'yes'"):
        net.train("yes")


def test_apply_goes_children_first():
    order = []
    Net().apply(lambda m: order.append(type(m).__name__))
    assert order[-1] == "Net"
    assert order[0] == "Linear"
    assert order.index("Sequential") > order.index("ReLU")


def test_gradients_are_cleared_and_parameters_frozen():
    net = Net()
    net(tg.ones(3, 2)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not net(tg.ones(3, 2)).requires_grad
    net.requires_grad_()
    assert net(tg.ones(3, 2)).requires_grad


def test_dtypes_change_in_place():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    params = list(net.parameters())
    net(tg.ones(3, 2)).sum().backward()
    assert net.double() is net
    assert all(p is q for p, q in zip(params, net.parameters(), strict=True))
    assert all(p.dtype == np.float64 == p.grad.dtype for p in params)
    assert net[1].running_mean.dtype == np.float64
    assert net[1].num_batches_tracked.dtype == np.int64
    net.zero_grad()
    net(tg.ones(3, 2, dtype=tg.float64)).sum().backward()
    assert all(p.grad.dtype == np.float64 for p in params)
    assert next(net.half().parameters()).dtype == np.float16
    assert next(net.float().parameters()).dtype == np.float32
    assert next(net.to(tg.float64).parameters()).dtype == np.float64
    assert next(net.to(dtype="float32").parameters()).dtype == np.float32
    assert next(net.to(tg.ones(1, dtype=tg.float64)).parameters()).dtype == np.float64
    assert net.to("cpu").cpu().to(device="cpu") is net
    assert next(net.parameters()).dtype == np.float64
    for wrong in (tg.int64, "int8", object()):
        with pytest.raises(TypeError, match="a floating dtype is expected"):
            net.to(wrong)
    with pytest.raises(ValueError, match="`device` is 'cuda', but tensors live on 'cpu' only"):
        net.to("cuda")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_independent(clone):
    net = Net()
    net(tg.ones(3, 2)).sum().backward()
    twin = clone(net)
    x = tg.randn(4, 2)
    assert (net(x) == twin(x)).all()
    assert twin.tied is twin.blocks[0].fc  # sharing is kept
    assert twin.tied.weight is not net.tied.weight
    assert isinstance(twin.scale, nn.Parameter)
    assert twin.scale.grad is None  # as in PyTorch
    before = net.scale.tolist()
    with tg.no_grad():
        twin.scale.mul_(5.0)
    assert net.scale.tolist() == before
    twin.zero_grad()
    twin(x).sum().backward()
    assert twin.tied.weight.grad is not None


def test_parameter():
    data = np.ones(3, np.float32)
    p = nn.Parameter(tg.from_numpy(data))
    assert p.is_leaf
    assert p.requires_grad
    assert isinstance(p, tg.Tensor)
    data[0] = 5  # shares memory
    assert p.tolist() == [5, 1, 1]
    assert repr(p) == "Parameter containing:\ntensor([5., 1., 1.], requires_grad=True)"
    assert not nn.Parameter(tg.ones(1), requires_grad=False).requires_grad
    assert type(p * 2) is tg.Tensor
    y = tg.ones(2, requires_grad=True) * 2
    assert nn.Parameter(y).is_leaf
    with pytest.raises(TypeError, match="`data` is a list"):
        nn.Parameter([1.0])
    with pytest.raises(RuntimeError, match="only floating"):
        nn.Parameter(tg.tensor([1]))


REPR = """\
Net(
  (blocks): Sequential(
    (0): Block(
      (fc): Linear(in_features=2, out_features=2, bias=True)
    )
    (1): ReLU()
    (2): Block(
      (fc): Linear(in_features=2, out_features=2, bias=True)
    )
  )
  (tied): Linear(in_features=2, out_features=2, bias=True)
)"""


def test_repr():
    assert repr(Net()) == REPR

    class Annotated(Net):
        def extra_repr(self):
            return "first=1\nsecond=2"

    lines = repr(Annotated()).splitlines()
    assert lines[:3] == ["Annotated(", "  first=1", "  second=2"]


class Raises(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, IndexError])
def test_errors_name_the_module_once(kind):
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), Raises(kind("too bad"))))
    with pytest.raises(kind) as caught:
        net(tg.ones(1))
    assert str(caught.value) == "too bad [in 1.1 (Raises)]"
    with pytest.raises(kind) as caught:
        Raises(kind("too bad"))(1)
    assert str(caught.value) == "too bad [in Raises]"


def test_errors_of_other_forms_get_a_note():
    error = UnicodeDecodeError("utf-8", b"x", 0, 1, "no")
    net = nn.Sequential(Raises(error))
    with pytest.raises(UnicodeDecodeError) as caught:
        net(1)
    assert caught.value.__notes__ == ["in 0 (Raises)"]

    class OwnError(ValueError):
        pass

    with pytest.raises(OwnError, match=r"^what \[in 0 \(Raises\)\]$"):
        nn.Sequential(Raises(OwnError("what")))(1)
    with pytest.raises(KeyError) as other:
        nn.Sequential(Raises(KeyError("k")))(1)
    assert other.value.args == ("k",)


def test_an_operations_error_names_the_layer():
    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(3, 4, 3))

        def forward(self, x):
            return self.features(x)

    with pytest.raises((ValueError, RuntimeError)) as caught:
        LeNet()(tg.ones(1, 1, 8, 8))
    text = str(caught.value)
    assert text.startswith("conv2d: ")
    assert text.count("in features.2 (Conv2d)") == 1


def test_an_unregistered_module_has_no_name_but_its_kind():
    class Hidden(nn.Module):
        def forward(self, x):
            return Raises(ValueError("no"))(x)

    with pytest.raises(ValueError, match=r"no \[in 0\.\? \(Raises\)\]"):
        nn.Sequential(Hidden())(1)


def test_where_we_are():
    found = []

    class Tell(nn.Module):
        def forward(self, x):
            found.append((nn.current_module_path(), [type(m) for m in nn.running_modules()]))
            return x

    assert nn.current_module_path() is None
    nn.Sequential(Tell(), nn.Sequential(nn.Identity(), Tell()))(1)
    Tell()(1)
    chain = [nn.Sequential, nn.Sequential, Tell]
    assert found == [("0", [nn.Sequential, Tell]), ("1.1", chain), ("", [Tell])]
    assert nn.running_modules() == []


def test_calls_leave_no_cycles():
    import gc
    import weakref

    gc.disable()
    try:
        net = Net()
        out = net(tg.ones(1, 2))
        out.sum().backward()
        refs = [weakref.ref(net), weakref.ref(out)]
        del net, out
        assert [r() for r in refs] == [None, None]
    finally:
        gc.enable()


def test_complex_modules():
    net = nn.Linear(2, 1).to(tg.complex64)
    net(tg.ones(3, 2, dtype=tg.complex64)).abs().sum().backward()
    assert net.weight.grad.dtype == tg.complex64
    assert net.double().weight.dtype == tg.complex64  # that is for real numbers
    assert net.to(tg.complex128).bias.dtype == tg.complex128
