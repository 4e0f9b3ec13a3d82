"""What modules, subclasses and hooks add to saving and loading: each case runs in PyTorch too."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import nn

Case = Callable[[Any], Any]


def in_both(case: Case) -> Any:
    """What ``case(library)`` returns, which must be the same in both."""
    ours, theirs = case(tg), case(require_torch())
    assert ours == theirs
    return ours


def values(state: Any) -> dict[str, Any]:
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in state.items()}


def named(error: BaseException) -> list[str]:
    """The names that an error of either library is about."""
    return sorted(set(re.findall(r"\b(?:\w+\.)*(?:weight|bias|_extra_state|more)\b", str(error))))


def counting(m: Any) -> type:
    """A layer with extra state, in a library."""

    class Counting(m.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.count = 0
            m.nn.init.ones_(self.weight)
            m.nn.init.zeros_(self.bias)

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    return Counting


def test_extra_state() -> None:
    def case(m: Any) -> Any:
        a, b = counting(m)(), counting(m)()
        a.count = 7
        net, other = m.nn.Sequential(a, m.nn.ReLU()), m.nn.Sequential(b, m.nn.ReLU())
        state = net.state_dict()
        keys = other.load_state_dict(state)
        return list(state), state["0._extra_state"], b.count, list(keys)

    assert in_both(case)[2] == 7


def test_extra_state_that_is_missing_or_not_expected() -> None:
    def case(m: Any) -> Any:
        net, plain = counting(m)(), m.nn.Linear(2, 2)
        state = net.state_dict()
        del state["_extra_state"]
        found = [net.load_state_dict(state, strict=False).missing_keys]
        state = net.state_dict()
        found.append(plain.load_state_dict(state, strict=False).unexpected_keys)
        for layer, wrong in ((net, plain.state_dict()), (plain, state)):
            with pytest.raises(RuntimeError) as caught:
                layer.load_state_dict(wrong)
            found.append(named(caught.value))
        return found

    in_both(case)


def test_extra_state_may_be_a_tensor_and_need_not_come_back() -> None:
    def case(m: Any) -> Any:
        class OneWay(m.nn.Module):
            def get_extra_state(self) -> Any:
                return m.tensor([1, 2])

        net = OneWay()
        state = net.state_dict()
        with pytest.raises(RuntimeError):
            net.load_state_dict(state)
        with pytest.raises(RuntimeError):
            m.nn.Linear(1, 1).get_extra_state()
        return values(state), net.load_state_dict(state, strict=False).unexpected_keys

    in_both(case)


def test_overridden_saving_and_loading() -> None:
    def case(m: Any) -> Any:
        calls = []

        class Halved(m.nn.Linear):
            """Keeps its weight at half size, saves it whole."""

            def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
                super()._save_to_state_dict(destination, prefix, keep_vars)
                destination[prefix + "weight"] = destination[prefix + "weight"] * 2
                calls.append(("save", prefix, keep_vars))

            def _load_from_state_dict(
                self, state: Any, prefix: str, metadata: Any, *a: Any
            ) -> None:
                state[prefix + "weight"] = state[prefix + "weight"] / 2
                super()._load_from_state_dict(state, prefix, metadata, *a)
                calls.append(("load", prefix, metadata.get("version"), self.weight.sum().item()))

        net = m.nn.Sequential(m.nn.ReLU(), Halved(2, 1, bias=False))
        m.nn.init.ones_(net[1].weight)
        state = net.state_dict()
        saved = values(state)
        net[1].weight.data.zero_()
        net.load_state_dict(state)
        return saved, values(net.state_dict(keep_vars=True)), values(state), calls

    in_both(case)


def test_an_overridden_state_dict_of_a_part() -> None:
    def case(m: Any) -> Any:
        class Quiet(m.nn.Linear):
            def state_dict(self, *args: Any, destination: Any, prefix: str, keep_vars: bool) -> Any:
                destination[prefix + "only"] = m.zeros(1)
                return destination

        net = m.nn.Sequential(Quiet(1, 1), m.nn.Linear(1, 1))
        into = OrderedDict(first=m.ones(1))
        same = net.state_dict(destination=into, prefix="net.") is into
        return list(net.state_dict()), list(into), same

    in_both(case)


def test_versions() -> None:
    def case(m: Any) -> Any:
        class New(m.nn.Linear):
            _version = 3

        net = m.nn.Sequential(New(1, 1), m.nn.BatchNorm1d(1))
        return {k: dict(v) for k, v in net.state_dict()._metadata.items()}

    in_both(case)


def test_saving_hooks() -> None:
    def case(m: Any) -> Any:
        calls: list[Any] = []
        net = m.nn.Sequential(m.nn.Linear(1, 1), m.nn.Linear(1, 1, bias=False))
        net[0].register_state_dict_pre_hook(
            lambda module, prefix, keep: calls.append((type(module).__name__, prefix, keep))
        )

        def rename(module: Any, state: Any, prefix: str, metadata: Any) -> None:
            state[prefix + "more"] = state.pop(prefix + "weight")
            calls.append((prefix, dict(metadata)))

        handle = net[1].register_state_dict_post_hook(rename)
        net._register_state_dict_hook(lambda module, state, *a: {"all": list(state)})
        found = [net.state_dict(), list(net[1].state_dict(prefix="x."))]
        handle.remove()
        found.append(list(net[1].state_dict()))
        net[1].register_state_dict_post_hook(lambda *a: {})
        with pytest.raises(RuntimeError, match="post-hook"):
            net.state_dict()
        return found, calls

    in_both(case)


def test_hooks_before_loading() -> None:
    def case(m: Any) -> Any:
        calls: list[Any] = []
        net = m.nn.Sequential(m.nn.Linear(1, 1, bias=False), m.nn.Linear(1, 1, bias=False))

        def old_names(module: Any, state: Any, prefix: str, *rest: Any) -> None:
            calls.append((type(module).__name__, prefix, rest[1:]))
            for key in list(state):
                if key.startswith(prefix + "old."):
                    state[prefix + key[len(prefix) + 4 :]] = state.pop(key)

        net.register_load_state_dict_pre_hook(old_names)
        net[1]._register_load_state_dict_pre_hook(
            lambda state, prefix, *rest: calls.append((prefix, sorted(state)))
        )
        given = {"old.0.weight": m.ones(1, 1), "old.1.weight": m.ones(1, 1) * 2}
        net.load_state_dict(given)
        return values(net.state_dict()), calls, list(given)

    in_both(case)


@pytest.mark.parametrize("strict", [True, False])
def test_hooks_after_loading(strict: bool) -> None:
    def case(m: Any) -> Any:
        net = m.nn.Sequential(m.nn.Linear(1, 1), m.nn.Linear(1, 1))
        seen: list[Any] = []

        def forgive(module: Any, keys: Any) -> None:
            seen.append(list(map(sorted, keys)))
            keys.missing_keys.clear()
            keys.unexpected_keys.clear()

        handle = net.register_load_state_dict_post_hook(forgive)
        state = {"0.weight": m.ones(1, 1), "2.more": m.ones(1)}
        keys = [list(net.load_state_dict(state, strict=strict))]
        handle.remove()
        net[0].register_load_state_dict_post_hook(lambda module, k: k.missing_keys.append("more"))
        keys.append(sorted(net.load_state_dict(net.state_dict(), strict=False).missing_keys))
        with pytest.raises(RuntimeError) as caught:
            net.load_state_dict(net.state_dict())
        return values(net[0].state_dict())["weight"], seen, keys, named(caught.value)

    in_both(case)


@pytest.mark.parametrize("kind", ["parameters", "tensors"])
def test_assigning(kind: str) -> None:
    def case(m: Any) -> Any:
        net = m.nn.Sequential(m.nn.Linear(2, 2), m.nn.BatchNorm1d(2))
        net[0].weight.requires_grad_(False)
        state = {k: v.double() for k, v in net.state_dict().items() if v.is_floating_point()}
        state["1.num_batches_tracked"] = m.tensor(3)
        if kind == "parameters":
            state["0.bias"] = m.nn.Parameter(state["0.bias"])
        before = net[0].bias
        net.load_state_dict(state, assign=True)
        return (
            {k: str(v.dtype).removeprefix("torch.") for k, v in net.state_dict().items()},
            [p.requires_grad for p in net.parameters()],
            [type(p).__name__ for p in net.parameters()],
            net[0].bias is before,
            net[0].bias is state["0.bias"],
            net[1].running_mean is state["1.running_mean"],
            net[1].num_batches_tracked.item(),
        )

    in_both(case)


def test_assigning_shares_memory() -> None:
    def case(m: Any) -> Any:
        net, weight = m.nn.Linear(1, 1, bias=False), m.ones(1, 1)
        net.load_state_dict({"weight": weight}, assign=True)
        weight.fill_(5.0)
        return net.weight.item()

    assert in_both(case) == 5.0


def test_a_state_without_versions_may_lack_the_count_of_batches() -> None:
    def case(m: Any) -> Any:
        net = m.nn.BatchNorm1d(1)
        net.num_batches_tracked.fill_(4)
        state = net.state_dict()
        plain = dict(state)
        del plain["num_batches_tracked"], state["num_batches_tracked"]
        net.load_state_dict(plain)
        with pytest.raises(RuntimeError, match="num_batches_tracked"):
            net.load_state_dict(state)
        return net.num_batches_tracked.item()

    in_both(case)


def test_one_number_in_one_axis() -> None:
    def case(m: Any) -> Any:
        net = m.nn.Module()
        net.register_buffer("more", m.tensor(1.0))
        net.load_state_dict({"more": m.tensor([3.0])})
        return net.more.tolist()

    in_both(case)


# ---- what is ours --------------------------------------------------------------------------


@pytest.mark.parametrize("assign", [False, True])
def test_nothing_is_changed_by_a_state_that_does_not_fit(assign: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    before = {k: (v, v.tolist(), v._version) for k, v in net.state_dict(keep_vars=True).items()}
    x = tg.ones(3, 2, requires_grad=True)
    y = net(x).sum()
    counted = net[1].num_batches_tracked.item()
    state = {k: v + 1 for k, v in net.state_dict().items()}
    state["2.weight"] = tg.ones(5, 5)
    with pytest.raises(RuntimeError, match=r"2\.weight: shape"):
        net.load_state_dict(state, assign=assign)

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    net[2].register_load_state_dict_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        net.load_state_dict(net.state_dict())
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        if not name.startswith("1.running") and name != "1.num_batches_tracked":
            assert (tensor.tolist(), tensor._version) == before[name][1:]
    assert net[1].num_batches_tracked.item() == counted
    y.backward()  # nothing that the rules keep was written to


def test_the_average_of_a_model_with_extra_state() -> None:
    from tinygrad_cnn.train import WeightAverage

    net = counting(tg)()
    average = WeightAverage(net)
    nn.init.zeros_(net.weight)
    average.update()
    with average.applied():
        assert net.weight.any()
    assert not net.weight.any()
    assert average.weights()["_extra_state"] == {"count": 0}
    average.load_state_dict(average.state_dict())
