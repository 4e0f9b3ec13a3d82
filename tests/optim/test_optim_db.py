"""Every dense optimiser against PyTorch's, step by step, for the options of its own tests."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install expecttest")
with warnings.catch_warnings():  # of modules that its tests import
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_optimizers import optim_db

SHAPES = {"Muon": [(4, 3), (2, 5)]}
CASES = [
    pytest.param(info.optim_cls.__name__, case.kwargs, id=f"{info.optim_cls.__name__}-{case.desc}")
    for info in optim_db
    if not info.only_supports_sparse_grads
    for case in info.optim_inputs_func(device="cpu")
]


def _ours(options: dict[str, Any]) -> dict[str, Any]:
    return {k: tg.tensor(v.numpy()) if torch.is_tensor(v) else v for k, v in options.items()}


def _compare(mine: Any, its: Any, tolerance: float, where: str) -> None:
    """State dicts, part by part: the same keys, the same numbers, the same dtypes."""
    if isinstance(its, dict):
        assert mine.keys() == its.keys(), where
        for key in its:
            _compare(mine[key], its[key], tolerance, f"{where}.{key}")
    elif isinstance(its, list | tuple):
        assert len(mine) == len(its), where
        for i, (a, b) in enumerate(zip(mine, its, strict=True)):
            _compare(a, b, tolerance, f"{where}.{i}")
    elif torch.is_tensor(its):
        if isinstance(mine, tg.Tensor):
            assert str(mine.dtype) == str(its.dtype).removeprefix("torch."), where
            assert mine.shape == its.shape, where
            mine = mine.detach().numpy()
        np.testing.assert_allclose(mine, its.detach(), tolerance, tolerance, err_msg=where)
    elif isinstance(its, float):
        assert float(mine) == pytest.approx(its, tolerance), where
    else:
        assert mine == its, where


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_step_is_pytorchs(name: str, options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(3)
    starts = [
        rng.standard_normal(s).astype(dtype) for s in SHAPES.get(name, [(4, 3), (5,), (2, 3, 2)])
    ]
    targets = [rng.standard_normal(s.shape).astype(dtype) for s in starts]
    ours = [tg.tensor(s, requires_grad=True) for s in starts]
    theirs = [torch.tensor(s, requires_grad=True) for s in starts]
    a = getattr(optim, name)(ours, **_ours(options))
    if name == "LBFGS" and torch.is_tensor(options.get("lr")):  # it would step in float32
        options = options | {"lr": options["lr"].item()}
    b = getattr(torch.optim, name)(theirs, **options)
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    if name == "Muon":  # whose directions are bfloat16 in PyTorch, numbers of 8 bits
        tolerance = 3e-2
    if name == "LBFGS":  # a step of which is up to 20, each with the rounding of all before
        tolerance = {"float32": 5e-2, "float64": 1e-6}[dtype]

    rough = 1e-3 if dtype == "float32" else 0.0

    def closure(m: Any, params: list[Any], optimizer: Any) -> Any:
        def loss() -> Any:
            optimizer.zero_grad()
            pairs = [(p, m.tensor(t)) for p, t in zip(params, targets, strict=True)]
            total = sum(((p - t) ** 2 + (p * t).sin()).sum() for p, t in pairs)
            total.backward()
            return total

        return loss

    for step in range(12 if name != "LBFGS" else 1 if dtype == "float32" else 2):
        mine, its = a.step(closure(tg, ours, a)), b.step(closure(torch, theirs, b))
        assert float(mine) == pytest.approx(its.item(), max(tolerance, rough))
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(
                p.detach().numpy(), q.detach().numpy(), tolerance, tolerance, err_msg=f"step {step}"
            )
    if name != "LBFGS" or dtype == "float64":
        within = 1e-3 if name == "LBFGS" else 10 * tolerance
        _compare(a.state_dict(), b.state_dict(), within, name)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_run_goes_on_from_pytorchs_state(name: str, options: dict[str, Any]) -> None:
    """What PyTorch saved after three steps is loaded, and the fourth is the same."""
    rng = np.random.default_rng(4)
    start = rng.standard_normal((4, 3))
    theirs = torch.tensor(start, requires_grad=True)
    b = getattr(torch.optim, name)([theirs], **options)

    def loss(x: Any, optimizer: Any) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            out = ((x - 0.5) ** 4).sum()
            out.backward()
            return out

        return closure

    for _ in range(3):
        b.step(loss(theirs, b))
    ours = tg.tensor(theirs.detach().numpy(), requires_grad=True)
    a = getattr(optim, name)([ours], **_ours(options))
    a.load_state_dict(_with_arrays(b.state_dict()))
    for _ in range(2):
        a.step(loss(ours, a))
        b.step(loss(theirs, b))
    tolerance = 3e-2 if name == "Muon" else 1e-6
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), tolerance, tolerance)


@pytest.mark.parametrize("name", sorted({p.values[0] for p in CASES} - {"LBFGS", "Muon"}))
def test_a_complex_run_goes_on_from_its_state(name: str) -> None:
    """State that is real beside complex parameters stays real."""
    rng = np.random.default_rng(5)
    start = (rng.standard_normal(4) + 1j * rng.standard_normal(4)).astype("complex128")
    if name in ("Adafactor", "ASGD", "Rprop"):
        start = start.real
    ours, theirs = tg.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    options: dict[str, Any] = {"initial_accumulator_value": 0.5} if name == "Adagrad" else {}
    a = getattr(optim, name)([ours], lr=0.01, **options)
    b = getattr(torch.optim, name)([theirs], lr=0.01, **options)
    for step in range(6):
        if step % 2:
            a, old = getattr(optim, name)([ours], lr=0.01), a
            a.load_state_dict(old.state_dict())
        for m, p, optimizer in ((tg, ours, a), (torch, theirs, b)):
            p.grad = m.tensor(start * (step + 1))
            optimizer.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-6)


@pytest.mark.parametrize("name", sorted({p.values[0] for p in CASES} - {"LBFGS", "Muon"}))
def test_states_of_older_versions_are_loaded(name: str) -> None:
    """PyTorch up to 1.11 had numbers for steps, and fewer options."""
    ours, theirs = tg.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    a = getattr(optim, name)([ours], lr=0.01)
    b = getattr(torch.optim, name)([theirs], lr=0.01)
    late = ("maximize", "foreach", "capturable", "differentiable", "fused")
    late = (*late, "decoupled_weight_decay")

    def step() -> None:
        for m, p, optimizer in ((tg, ours, a), (torch, theirs, b)):
            p.grad = m.tensor([1.0, -2.0])
            optimizer.step()

    step()
    for optimizer in (a, b):
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            for option in late:
                if not (name == "Adafactor" and option == "maximize"):  # it came with it
                    group.pop(option, None)
        for held in state["state"].values():
            if "step" in held:
                held["step"] = int(held["step"])
        optimizer.load_state_dict(state)
    step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-6)


def test_weight_decay_of_adam_may_be_decoupled_by_group() -> None:
    rng = np.random.default_rng(6)
    starts = [rng.standard_normal(3) for _ in range(2)]
    both = []
    for m in (tg, torch):
        params = [m.tensor(start, requires_grad=True) for start in starts]
        groups = [{"params": params[:1]}, {"params": params[1:], "decoupled_weight_decay": True}]
        both.append((m, params, m.optim.Adam(groups, lr=0.1, weight_decay=0.2, amsgrad=True)))
    for _ in range(3):
        for m, params, optimizer in both:
            for p, start in zip(params, starts, strict=True):
                p.grad = m.tensor(start**2)
            optimizer.step()
    for p, q in zip(both[0][1], both[1][1], strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-12)


def _with_arrays(state: Any) -> Any:
    """The same with arrays for PyTorch's tensors, as a file has them."""
    if isinstance(state, dict):
        return {k: _with_arrays(v) for k, v in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_with_arrays(v) for v in state)
    return state.detach().numpy().copy() if torch.is_tensor(state) else state


@pytest.mark.parametrize("name", sorted({p.values[0] for p in CASES} - {"LBFGS", "Muon"}))
def test_how_to_compute_is_accepted(name: str) -> None:
    kind, its = getattr(optim, name), getattr(torch.optim, name)
    x, y = tg.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    for option in ("foreach", "fused", "capturable", "differentiable"):
        if option not in its([y]).param_groups[0]:
            with pytest.raises(TypeError, match=f"{name}: unexpected arguments {option}"):
                kind([x], **{option: True})
        elif option == "differentiable":
            with pytest.warns(UserWarning, match="steps are not recorded"):
                kind([x], differentiable=True)
        else:
            assert kind([x], **{option: True}).param_groups[0][option] is True
