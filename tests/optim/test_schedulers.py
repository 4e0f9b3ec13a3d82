"""Learning-rate schedules: PyTorch's values over long runs, resuming, errors."""

import json
import math
import warnings
from importlib import import_module

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import optim
from tinygrad_cnn.optim import lr_scheduler

STEPS = 120


def swa(s):
    """The module of weight averages beside that of schedules."""
    return import_module(s.__name__.replace("lr_scheduler", "swa_utils"))


def sequence(opt, s):
    return s.SequentialLR(
        opt,
        [
            s.LinearLR(opt, start_factor=0.1, total_iters=5),
            s.StepLR(opt, step_size=7, gamma=0.5),
            s.CosineAnnealingLR(opt, T_max=20),
        ],
        milestones=[10, 40],
    )


CASES = {
    "step": lambda opt, s: s.StepLR(opt, step_size=7, gamma=0.8),
    "multistep": lambda opt, s: s.MultiStepLR(opt, milestones=[3, 50, 50, 80], gamma=0.3),
    "exponential": lambda opt, s: s.ExponentialLR(opt, gamma=0.97),
    "constant": lambda opt, s: s.ConstantLR(opt, factor=0.25, total_iters=9),
    "linear": lambda opt, s: s.LinearLR(opt, start_factor=0.2, end_factor=0.7, total_iters=30),
    "polynomial": lambda opt, s: s.PolynomialLR(opt, total_iters=60, power=1.7),
    "lambda": lambda opt, s: s.LambdaLR(opt, [lambda n: 0.9**n, lambda n: 1 / (1 + n)]),
    "cosine": lambda opt, s: s.CosineAnnealingLR(opt, T_max=25, eta_min=1e-3),
    "restarts": lambda opt, s: s.CosineAnnealingWarmRestarts(opt, T_0=6, T_mult=2, eta_min=1e-3),
    "restarts-equal": lambda opt, s: s.CosineAnnealingWarmRestarts(opt, T_0=7),
    "onecycle": lambda opt, s: s.OneCycleLR(opt, max_lr=0.7, total_steps=STEPS),
    "onecycle-3": lambda opt, s: s.OneCycleLR(
        opt,
        max_lr=[0.7, 0.2],
        epochs=12,
        steps_per_epoch=10,
        three_phase=True,
        pct_start=0.25,
        anneal_strategy="linear",
        base_momentum=[0.7, 0.8],
        max_momentum=0.9,
    ),
    "onecycle-still": lambda opt, s: s.OneCycleLR(
        opt, max_lr=0.7, total_steps=STEPS, cycle_momentum=False, div_factor=10.0
    ),
    "sequence": sequence,
    "multiplicative": lambda opt, s: s.MultiplicativeLR(opt, lambda n: 0.9 + 0.1 / n),
    "cyclic": lambda opt, s: s.CyclicLR(opt, 0.01, [0.5, 0.1], 7, 4),
    "cyclic-halved": lambda opt, s: s.CyclicLR(opt, 0.01, 0.5, 6, mode="triangular2"),
    "cyclic-less": lambda opt, s: s.CyclicLR(
        opt, 0.01, 0.5, 9, mode="exp_range", gamma=0.99, cycle_momentum=False
    ),
    "cyclic-own": lambda opt, s: s.CyclicLR(
        opt, 0.1, 0.5, 9, scale_fn=lambda n: 1 / (1 + n), scale_mode="iterations"
    ),
    "chained": lambda opt, s: s.ChainedScheduler(
        [s.LinearLR(opt, 0.1, total_iters=9), s.ExponentialLR(opt, 0.97), s.StepLR(opt, 30)]
    ),
    "average": lambda opt, s: swa(s).SWALR(opt, [0.05, 0.2], anneal_epochs=30),
    "average-line": lambda opt, s: swa(s).SWALR(opt, 0.05, 20, anneal_strategy="linear"),
    "average-at-once": lambda opt, s: swa(s).SWALR(opt, 0.05, anneal_epochs=0),
}
every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


def make_optimizer(name="SGD", module=None):
    if module is None:
        module, params = optim, [tg.zeros(1, requires_grad=True) for _ in range(2)]
    else:
        params = [module.zeros(1, requires_grad=True) for _ in range(2)]
        module = module.optim
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(module, name)(
        [{"params": params[:1]}, {"params": params[1:], "lr": 0.03}], lr=0.5, **options
    )


def rates(optimizer, schedule, steps):
    found = [[g["lr"] for g in optimizer.param_groups]]
    momenta = []
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(list(schedule.get_last_lr()))
        momenta.append([g.get("momentum", g.get("betas")) for g in optimizer.param_groups])
    return found, momenta


@every_case
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_values_are_pytorchs(make, name):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    ours = make_optimizer(name)
    theirs = make_optimizer(name, torch)
    a = rates(ours, make(ours, lr_scheduler), STEPS - 1)
    b = rates(theirs, make(theirs, torch.optim.lr_scheduler), STEPS - 1)
    assert a == b  # the same arithmetic, so the same bits


CASES_OF_PLATEAU = {"plateau": lambda opt, s: s.ReduceLROnPlateau(opt, patience=1, factor=0.5)}


@pytest.mark.parametrize("seen", [0, 9])
@pytest.mark.parametrize("there", [True, False], ids=["from-pytorch", "to-pytorch"])
@pytest.mark.parametrize("case", [*CASES, *CASES_OF_PLATEAU])
def test_a_schedule_goes_on_from_pytorchs_state_and_pytorchs_from_ours(case, there, seen):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    make = (CASES | CASES_OF_PLATEAU)[case]
    pairs = []
    for module, schedules in ((None, lr_scheduler), (torch, torch.optim.lr_scheduler)):
        optimizer = make_optimizer(module=module)
        pairs.append((optimizer, make(optimizer, schedules)))
    (of, begun), (to, later) = pairs[::-1] if there else pairs

    def go(optimizer, schedule, steps):
        found = []
        for i in range(steps):
            optimizer.step()
            schedule.step(*([1.0 + i % 3] if case == "plateau" else []))
            found.append(list(schedule.get_last_lr()))
        return found

    go(of, begun, seen)
    later.load_state_dict(begun.state_dict())
    to.load_state_dict(of.state_dict())
    assert go(to, later, 30) == go(of, begun, 30)


def test_a_sequence_of_chains_and_sequences_starts_each_from_the_initial_rates():
    """PyTorch applies a chain's factors twice, and refuses both where they do not come first."""
    optimizer = make_optimizer()
    s = lr_scheduler

    def chain():
        return s.ChainedScheduler(
            [s.ConstantLR(optimizer, 0.5, 2), s.ExponentialLR(optimizer, 0.5)]
        )

    inner = s.SequentialLR(
        optimizer, [s.ConstantLR(optimizer, 0.25, 9), s.ExponentialLR(optimizer, 0.5)], [1]
    )
    schedule = s.SequentialLR(optimizer, [chain(), inner, chain()], [3, 6])
    got = [0.5, *(group[0] for group in rates(optimizer, schedule, 9)[0][1:])]
    assert got[1:] == [0.125, 0.125, 0.125, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0]


@every_case
def test_resuming_in_the_middle_changes_nothing(make):
    whole = make_optimizer()
    want = rates(whole, make(whole, lr_scheduler), STEPS - 1)
    half = make_optimizer()
    schedule = make(half, lr_scheduler)
    rates(half, schedule, 44)
    saved = json.dumps([half.state_dict(), schedule.state_dict()], allow_nan=False, default=str)
    later = make_optimizer()
    resumed = make(later, lr_scheduler)
    states = json.loads(saved)
    states[0]["state"] = {}  # tensors do not matter here
    later.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert resumed.get_last_lr() == want[0][44]
    got = rates(later, resumed, STEPS - 1 - 44)
    assert got[0] == want[0][44:]
    assert got[1] == want[1][44:]
    assert resumed.state_dict().keys() == schedule.state_dict().keys()


CLOSED = {
    "step": lambda n: 0.5 * 0.8 ** (n // 7),
    "multistep": lambda n: 0.5 * 0.3 ** sum(n >= m for m in (3, 50, 50, 80)),
    "exponential": lambda n: 0.5 * 0.97**n,
    "constant": lambda n: 0.5 * (0.25 if n < 9 else 1),
    "linear": lambda n: 0.5 * (0.2 + 0.5 * min(n, 30) / 30),
    "polynomial": lambda n: 0.5 * (1 - min(n, 60) / 60) ** 1.7,
    "lambda": lambda n: 0.5 * 0.9**n,
    "cosine": lambda n: 1e-3 + 0.499 * (1 + math.cos(math.pi * n / 25)) / 2,
    "restarts-equal": lambda n: 0.5 * (1 + math.cos(math.pi * (n % 7) / 7)) / 2,
}

CLOSED["sequence"] = lambda n: (
    0.5 * (0.1 + 0.9 * min(n, 5) / 5)
    if n < 10
    else 0.5 * 0.5 ** ((n - 10) // 7)
    if n < 40
    else 0.5 * (1 + math.cos(math.pi * (n - 40) / 20)) / 2
)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    optimizer = make_optimizer()
    schedule = CASES[name](optimizer, lr_scheduler)
    found, _ = rates(optimizer, schedule, STEPS)
    np.testing.assert_allclose(
        [r[0] for r in found], [CLOSED[name](n) for n in range(STEPS + 1)], rtol=1e-9, atol=1e-12
    )
    if name not in ("lambda", "sequence"):
        np.testing.assert_allclose(
            schedule.closed_form_lr()[0], found[-1][0], rtol=1e-9, atol=1e-12
        )


def test_one_cycle_rises_and_sinks():
    optimizer = make_optimizer()
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=100)
    found, momenta = rates(optimizer, schedule, 99)
    lr = np.array(found)[:, 0]
    assert lr[0] == pytest.approx(0.5 / 25)
    assert lr.argmax() == 29
    assert lr[29] == 0.5
    assert (np.diff(lr[:30]) > 0).all()
    assert (np.diff(lr[29:]) < 0).all()
    assert lr[-1] == pytest.approx(0.5 / 25 / 1e4)
    assert np.array(momenta)[28, 0] == pytest.approx(0.85)
    optimizer.step()
    schedule.step()
    with pytest.raises(ValueError, match="step 101 but the schedule has 100"):
        schedule.step()


def test_one_cycle_of_a_few_steps():
    optimizer = make_optimizer()  # PyTorch divides by zero here
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10, pct_start=0.1)
    found, _ = rates(optimizer, schedule, 9)
    assert found[0][0] == 0.5


def test_two_schedules_act_on_one_optimizer():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    both = []
    for optimizer, s in (
        (make_optimizer(), lr_scheduler),
        (make_optimizer(module=torch), torch.optim.lr_scheduler),
    ):
        one, two = s.LinearLR(optimizer, total_iters=9), s.ExponentialLR(optimizer, 0.9)
        found = []
        for _ in range(20):
            optimizer.step()
            one.step()
            two.step()
            found.append(two.get_last_lr())
        both.append(found)
    assert both[0] == both[1]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 3])
def test_plateau_is_pytorchs(mode, threshold_mode, cooldown):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    options = {
        "mode": mode,
        "threshold_mode": threshold_mode,
        "cooldown": cooldown,
        "factor": 0.5,
        "patience": 2,
        "threshold": 0.05,
        "min_lr": [1e-3, 2e-3],
    }
    a, b = make_optimizer(), make_optimizer(module=torch)
    ours = lr_scheduler.ReduceLROnPlateau(a, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options)
    rng = np.random.default_rng(4)
    seen = set()
    for i in range(80):
        metric = float(rng.normal(1.0, 0.3)) if i else math.nan
        if i == 40:  # resume
            state = json.loads(json.dumps(ours.state_dict(), allow_nan=False))
            a2 = make_optimizer()
            for new, old in zip(a2.param_groups, a.param_groups, strict=True):
                new["lr"] = old["lr"]
            a, ours = a2, lr_scheduler.ReduceLROnPlateau(a2, **options)
            ours.load_state_dict(state)
        ours.step(metric)
        theirs.step(metric)
        assert ours.get_last_lr() == theirs.get_last_lr()
        seen.add(ours.get_last_lr()[0])
    assert len(seen) > 4


def test_plateau_takes_tensors():
    optimizer = make_optimizer()
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    for loss in (1.0, 2.0):
        schedule.step(tg.tensor(loss))
    assert schedule.get_last_lr() == pytest.approx([0.05, 0.003])


def test_sequences_nest():
    optimizer = make_optimizer()
    s = lr_scheduler
    inner = s.SequentialLR(
        optimizer,
        [s.ConstantLR(optimizer, 0.5, total_iters=2), s.ExponentialLR(optimizer, 0.5)],
        milestones=[2],
    )
    outer = s.SequentialLR(optimizer, [s.ExponentialLR(optimizer, 1.0), inner], milestones=[3])
    found, _ = rates(optimizer, outer, 7)
    assert [r[0] for r in found] == [0.5, 0.5, 0.5, 0.25, 0.25, 0.5, 0.25, 0.125]


def test_a_step_too_early_is_noticed():
    optimizer = make_optimizer()
    schedule = lr_scheduler.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"StepLR: step\(\) is called before the first optimizer"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()


def test_own_schedules():
    class Halve(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base * 0.5**self.last_epoch for base in self.base_lrs]

    optimizer = make_optimizer()
    found, _ = rates(optimizer, Halve(optimizer), 2)
    assert [r[0] for r in found] == [0.5, 0.25, 0.125]
    with pytest.raises(NotImplementedError, match="define `get_lr`"):
        lr_scheduler.LRScheduler(optimizer)


def test_continuing_from_last_epoch():
    optimizer = make_optimizer()
    with pytest.raises(KeyError, match="group 0 has no 'initial_lr'"):
        lr_scheduler.ExponentialLR(optimizer, 0.9, last_epoch=3)
    for group in optimizer.param_groups:
        group["initial_lr"] = 1.0
    assert lr_scheduler.StepLR(optimizer, 2, last_epoch=3).last_epoch == 4


class Curve:
    def __init__(self, power):
        self.power = power

    def __call__(self, n):
        return 1 / (1 + n) ** self.power


def test_callable_objects_are_saved_and_functions_are_not():
    optimizer = make_optimizer()
    schedule = lr_scheduler.LambdaLR(optimizer, [Curve(2), lambda n: 1.0])
    state = schedule.state_dict()
    assert state["lr_lambdas"] == [{"power": 2}, None]
    other = lr_scheduler.LambdaLR(make_optimizer(), [Curve(1), lambda n: 1.0])
    other.load_state_dict(state)
    assert other.lr_lambdas[0].power == 2


s = lr_scheduler


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda o: s.StepLR(o, 0), ValueError, "`step_size` is 0"),
        (lambda o: s.StepLR("sgd", 1), TypeError, "`optimizer` is a str"),
        (lambda o: s.ConstantLR(o, 2.0), ValueError, "`factor` is 2.0"),
        (lambda o: s.LinearLR(o, 0.0), ValueError, "`start_factor` is 0.0"),
        (lambda o: s.LinearLR(o, 0.5, 2.0), ValueError, "`end_factor` is 2.0"),
        (lambda o: s.CosineAnnealingLR(o, 0), ValueError, "`T_max` is 0"),
        (lambda o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "`T_0` is 0"),
        (lambda o: s.CosineAnnealingWarmRestarts(o, 1, 1.5), ValueError, "`T_mult` is 1.5"),
        (lambda o: s.LambdaLR(o, [min]), ValueError, "has 1 functions but .* 2 groups"),
        (lambda o: s.OneCycleLR(o, 1.0), ValueError, "`total_steps` or both"),
        (lambda o: s.OneCycleLR(o, 1.0, total_steps=0), ValueError, "`total_steps` is 0"),
        (lambda o: s.OneCycleLR(o, 1.0, 9, pct_start=2.0), ValueError, "`pct_start` is 2.0"),
        (lambda o: s.OneCycleLR(o, 1.0, 9, anneal_strategy="x"), ValueError, "is 'x'"),
        (lambda o: s.OneCycleLR(o, [1.0], 9), ValueError, "`max_lr` has 1 values"),
        (lambda o: s.ReduceLROnPlateau(o, factor=1.0), ValueError, "`factor` is 1.0"),
        (lambda o: s.ReduceLROnPlateau(o, mode="up"), ValueError, "`mode` is 'up'"),
        (lambda o: s.ReduceLROnPlateau(o, min_lr=[1.0]), ValueError, "`min_lr` has 1 values"),
        (lambda o: s.SequentialLR(o, [], []), ValueError, "is empty"),
        (lambda o: s.ChainedScheduler([]), TypeError, "`optimizer` is a NoneType"),
        (lambda o: s.CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "CyclicLR: `mode` is 'x'"),
        (lambda o: s.CyclicLR(o, [0.1], 1.0), ValueError, "CyclicLR: `base_lr` has 1 values"),
        (lambda o: swa(s).SWALR(o, 0.1, -1), ValueError, "`anneal_epochs` is -1"),
        (lambda o: swa(s).SWALR(o, 0.1, 1, "x"), ValueError, "`anneal_strategy` is 'x'"),
        (lambda o: s.CosineAnnealingWarmRestarts(o, 3).step(-1.0), ValueError, "`epoch` is -1.0"),
        (lambda o: s.SequentialLR(o, [s.StepLR(o, 1)], [1]), ValueError, "1 milestones for 1"),
        (
            lambda o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
            ValueError,
            "whose step needs a metric",
        ),
        (
            lambda o: s.SequentialLR(o, [s.StepLR(make_optimizer(), 1)], []),
            ValueError,
            "another optimiser",
        ),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make(make_optimizer())


def test_momentum_is_needed_to_be_cycled():
    class Plain(optim.Optimizer):
        pass

    optimizer = Plain([tg.zeros(1, requires_grad=True)], {"lr": 1.0})
    with pytest.raises(ValueError, match="Plain has neither momentum nor betas"):
        s.OneCycleLR(optimizer, 1.0, 9)


def test_another_schedules_state_is_refused():
    schedule = s.StepLR(make_optimizer(), 3)
    with pytest.raises(ValueError, match=r"missing: \['step_size'\], unexpected: none"):
        schedule.load_state_dict(s.ExponentialLR(make_optimizer(), 0.9).state_dict())
    sequential = sequence(make_optimizer(), s)
    state = sequential.state_dict()
    state["_schedulers"] = state["_schedulers"][:1]
    with pytest.raises(ValueError, match="1 schedules in the state but 3"):
        sequential.load_state_dict(state)


PLACES = [3, 10, 7.25, None, 41, 0, None, 119.5]


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"sequence", "chained", "multiplicative"}))
def test_going_to_an_epoch_is_pytorchs(name):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    found = []
    for module, schedules in ((None, lr_scheduler), (torch, torch.optim.lr_scheduler)):
        optimizer = make_optimizer("SGD", module)
        schedule = CASES[name](optimizer, schedules)
        optimizer.step()
        rates = []
        for place in PLACES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step(place)
            rates.append([float(lr) for lr in schedule.get_last_lr()])
        found.append(rates)
    assert np.allclose(*found, rtol=1e-12)


def test_going_to_an_epoch_is_deprecated():
    optimizer = make_optimizer()
    schedule = s.StepLR(optimizer, 2)
    optimizer.step()
    with pytest.warns(UserWarning, match=r"StepLR: step\(epoch\) is deprecated"):
        schedule.step(4)
    assert schedule.get_last_lr() == [0.5 * 0.1**2, 0.03 * 0.1**2]
