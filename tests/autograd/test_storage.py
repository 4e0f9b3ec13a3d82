"""What tensors of one memory share: nobody can tell what is computed when, whoever writes."""

from __future__ import annotations

import ast
import copy
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd.variable import Storage
from tinygrad_cnn.kernels import lazy
from tinygrad_cnn.kernels.lazy import Lazy, load

PACKAGE = Path(tg.__file__).parent


# ---- the rule that all rests on ------------------------------------------------------------


def _is_read(node: ast.AST) -> bool:
    """``something._array``, or a part of it: what is for reading only."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Attribute) and node.attr in ("_array", "_value")


def _writes(tree: ast.AST) -> Any:
    """Statements that write into what `_array` gave."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                within = isinstance(target, ast.Subscript) or isinstance(node, ast.AugAssign)
                if within and _is_read(target):
                    yield node
        if isinstance(node, ast.Call):
            if any(k.arg == "out" and _is_read(k.value) for k in node.keywords):
                yield node
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in ("copyto", "add_") and node.args and _is_read(node.args[0]):
                yield node
            if name in ("fill", "sort", "partition", "put", "resize", "setflags"):
                assert isinstance(node.func, ast.Attribute)
                if _is_read(node.func.value):
                    yield node


def test_nothing_in_the_package_writes_into_what_is_for_reading() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(PACKAGE)}:{node.lineno}" for node in _writes(tree)]
    assert not found  # a change is announced, or named where it is handed to `tape.do`


def test_the_check_sees_writes() -> None:
    for text in ("t._array[0] = 1", "t._array += 1", "np.add(a, b, out=t._array)",
                 "np.copyto(t._array, a)", "t._array[1:].fill(0)"):  # fmt: skip
        assert list(_writes(ast.parse(text))), text
    assert not list(_writes(ast.parse("t._value = a; b = t._array[0]; c = t._array + 1")))


def test_nothing_counts_references() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "getrefcount" not in path.read_text(encoding="utf-8"), path


# ---- what a storage knows ------------------------------------------------------------------


def test_dependents_are_computed_before_a_write_and_then_forgotten() -> None:
    x, one = np.ones((1, 2, 3, 3), np.float32), np.ones(2, np.float32)
    storage, waiting = Storage(), lazy.scale_shift(load(x), one, one)
    storage.waits(waiting)
    storage.written("test")
    x[...] = 9
    assert waiting.is_realized
    assert (waiting.realize() == 2).all()
    assert (storage.version, storage.writer, storage.dependents) == (1, "test", None)


def test_dependents_that_are_gone_are_not_kept() -> None:
    x, one = np.ones((1, 2, 3, 3), np.float32), np.ones(2, np.float32)
    storage = Storage()
    for _ in range(1000):
        storage.waits(lazy.scale_shift(load(x), one, one))
    assert storage.dependents is not None
    assert len(storage.dependents) < 20


def test_versions_are_counted_apart_and_memory_together() -> None:
    storage = Storage()
    other = storage.with_own_version().with_own_version()
    other.written("x.data")
    assert (storage.version, other.version) == (0, 1)
    other.expose()
    assert storage.is_exposed


# ---- from outside --------------------------------------------------------------------------


@pytest.fixture
def compiled() -> Any:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


WRITES = {
    "in place": lambda h: h.zero_(),
    "relu_": lambda h: F.relu(h, inplace=True),
    "operator": lambda h: h.__iadd__(1),
    "setitem": lambda h: h.__setitem__((0, slice(None), [1, 2]), 7.0),
    "through a view": lambda h: h[0, :, 1:].fill_(3),
    "through a view of a view": lambda h: h.permute(1, 0, 2, 3)[1].mul_(5),
    "through a diagonal": lambda h: h.diagonal(0, 2, 3).zero_(),
    "through a reshape": lambda h: h.view(-1).fill_(2),
    "detached": lambda h: h.detach().sub_(4),
    "data": lambda h: h.data.mul_(-1),
    "data rebound": lambda h: setattr(h, "data", h.data * 2 + 1),
    "copy_": lambda h: h.copy_(tg.ones(()).expand(h.shape)),
    "array": lambda h: h.array.__setitem__(..., 4),
    "numpy": lambda h: h.detach().numpy().__setitem__(..., 4),
    "asarray": lambda h: np.asarray(h.detach()).__setitem__(..., 4),
    "numpy of a view": lambda h: h[:, 1].detach().numpy().__setitem__(..., 4),
    "ufunc": lambda h: np.negative(h.detach(), out=h.detach()),
    "parameter": lambda h: nn.init.constant_(nn.Parameter(h.detach()), 6.0),
    "optimizer": lambda h: _stepped(nn.Parameter(h.detach())),
    "index_fill_": lambda h: h.index_fill_(1, tg.tensor([0]), 8.0),
}


def _stepped(p: Any) -> None:
    p.grad = tg.ones(p.shape)
    optim.SGD([p], lr=0.5).step()


READERS = {
    "norm": lambda bn, h, x: bn(h),
    "norm and relu": lambda bn, h, x: F.relu(bn(h)),
    "sum": lambda bn, h, x: bn(h) + x,
    "sum the other way": lambda bn, h, x: x + bn(h),
    "sum of both": lambda bn, h, x: bn(h) + F.relu(bn(x)),
    "relu in place": lambda bn, h, x: F.relu(bn(h), inplace=True),
    "two": lambda bn, h, x: bn(bn(h)),
}


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("backward", [False, True])
def test_a_write_is_not_seen_by_what_was_there_before(
    reader: str, write: str, training: bool, backward: bool
) -> None:
    def run(kernels: Any) -> Any:
        tg.set_kernels(kernels)
        tg.manual_seed(0)
        conv, bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8).train(training)
        images = tg.randn(2, 3, 7, 7)
        with tg.no_grad():
            h, x = conv(images), conv(images * 2)
            with tg.set_grad_enabled(backward):
                out = READERS[reader](bn, h, x)
            if backward:  # which looks into what waits, too
                out.backward(tg.ones(out.shape), retain_graph=True)
            WRITES[write](h)
            after = READERS[reader](bn, h, x)
            WRITES[write](x)
        return out, h, x, after

    for a, b in zip(run("jit"), run("reference"), strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("write", WRITES)
def test_statistics_are_not_those_of_other_numbers(write: str) -> None:
    def run(kernels: Any) -> Any:
        tg.set_kernels(kernels)
        tg.manual_seed(0)
        conv, bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        h = conv(tg.randn(2, 3, 7, 7))
        h2 = h.detach() if write != "data rebound" else h
        with tg.no_grad():
            WRITES[write](h2)
        y = bn(h)
        return y, y.mean((0, 2, 3)), y.var((0, 2, 3)), bn.running_mean, bn.running_var

    for a, b in zip(run("jit"), run("reference"), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-4, atol=2e-4)


@pytest.mark.usefixtures("compiled")
def test_many_threads_read_one_result_and_it_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted, evaluate = [], lazy._evaluate

    def count(x: Lazy) -> Any:
        counted.append(x)
        return evaluate(x)

    monkeypatch.setattr(lazy, "_evaluate", count)
    conv, bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
    for _ in range(20):
        counted.clear()
        with tg.no_grad():
            y = F.relu(bn(conv(tg.randn(2, 3, 9, 9))))
        assert type(y._value) is Lazy
        start, seen = threading.Barrier(8), []

        def read(y: Any = y, start: Any = start, seen: Any = seen) -> None:
            start.wait()
            seen.append(y.numpy())

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(counted) == 1
        assert all(a is seen[0] for a in seen)


@pytest.mark.usefixtures("compiled")
def test_a_loop_over_one_input_keeps_nothing() -> None:
    bn = nn.BatchNorm2d(8).eval()
    with tg.no_grad():
        x = nn.Conv2d(3, 8, 3)(tg.randn(2, 3, 9, 9))
        last = weakref.ref(bn(x)._value)
        for _ in range(100):
            F.relu(bn(x))
    assert last() is None
    assert len(x.storage.dependents or ()) < 20


# ---- data ----------------------------------------------------------------------------------


def test_a_write_through_data_is_no_error_and_is_seen_by_the_rules() -> None:
    """As in PyTorch, whose versions do not count it."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    h = x * 1
    y = (h * h).sum()
    h.data.mul_(10)
    y.backward()
    assert x.grad.tolist() == [20.0, 40.0]


def test_data_that_is_set_is_what_rules_see() -> None:
    w = tg.ones(3, requires_grad=True)
    y = (w * w).sum()
    w.data = tg.full((3,), 5.0)
    y.backward()
    assert w.grad.tolist() == [10.0, 10.0, 10.0]


def test_data_that_is_set_is_shared() -> None:
    w, source = tg.zeros(3), tg.ones(3)
    w.data = source
    source.fill_(4)
    assert w.tolist() == [4.0, 4.0, 4.0]
    w.add_(1)
    assert source.tolist() == [5.0, 5.0, 5.0]
    assert w._version == 1
    assert source._version == 1


def test_array_can_be_set() -> None:
    x = tg.zeros(2)
    x.array += 3
    assert x.tolist() == [3.0, 3.0]
    x.array = np.ones(2, np.float32)
    assert x.tolist() == [1.0, 1.0]


def test_a_reshape_of_a_result_shares_its_memory() -> None:
    """Kernels leave images channels last, where PyTorch's lie row by row."""
    y = nn.Conv2d(3, 8, 3)(tg.randn(2, 3, 7, 7)).detach()
    for view in (y.view(2, -1), y.flatten(1), y.reshape(2, 8, 25), y.contiguous()):
        view.fill_(3)
        assert (y == 3).all()
        y.zero_()
        assert not view.any()


def test_copies_share_nothing() -> None:
    x = tg.ones(2, 2, requires_grad=True)
    y = copy.deepcopy(x)
    y.detach().fill_(5)
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]
