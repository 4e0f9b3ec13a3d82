"""The loop, the settings and the progress of a run."""

import inspect
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.cli.app import train
from tinygrad_cnn.data import DataLoader
from tinygrad_cnn.train import Config, TrainError, evaluate, fit, train_epoch
from tinygrad_cnn.train.loop.progress import RunProgress, clock
from tinygrad_cnn.train.loop.schedules import make_scheduler, parse_schedule
from tinygrad_cnn.train.run.augmentations import make_augmentation
from tinygrad_cnn.train.run.build import make_optimizer
from tinygrad_cnn.train.run.config import SETTINGS
from tinygrad_cnn.train.run.splits import load_splits

# ---- the loop ------------------------------------------------------------------------------


def test_an_epoch_is_the_loop_written_by_hand(toy):
    def make():
        tg.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return model, optimizer, optim.lr_scheduler.StepLR(optimizer, 2)

    data = toy(22, 0)
    model, optimizer, scheduler = make()
    generator = tg.Generator(5)
    loader = DataLoader(data, batch_size=8, shuffle=True, generator=generator)
    seen = []
    totals = train_epoch(
        model,
        loader,
        F.cross_entropy,
        optimizer,
        scheduler=scheduler,
        watch=lambda t: seen.append(t.images),
    )
    hand, hand_optimizer, hand_scheduler = make()
    generator.manual_seed(5)
    loss_sum = right = 0
    for images, labels in loader:
        scores = hand(images)
        loss = F.cross_entropy(scores, labels)
        hand_optimizer.zero_grad()
        loss.backward()
        hand_optimizer.step()
        hand_scheduler.step()
        loss_sum += loss.item() * len(labels)
        right += (scores.argmax(1) == labels).sum().item()
    assert seen == [8, 16, 22]
    assert totals.loss == loss_sum / 22
    assert totals.accuracy == right / 22
    for p, q in zip(model.parameters(), hand.parameters(), strict=True):
        assert (p == q).all().item()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_evaluation_changes_nothing(toy):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))
    model[0].running_mean.fill_(0.5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = toy(10, 0)
    totals = evaluate(model, DataLoader(data, batch_size=4), F.cross_entropy)
    scores = model(data.tensors[0])
    assert totals.loss == pytest.approx(F.cross_entropy(scores, data.tensors[1]).item(), rel=1e-5)
    assert totals.predictions.tolist() == scores.argmax(1).tolist()
    assert all((before[k] == v).all().item() for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


# ---- settings ------------------------------------------------------------------------------


def test_config_round_trip_and_errors():
    config = Config(model="m.py", lr=0.1, limit=7)
    assert Config.from_json(config.to_json()) == config
    values = json.loads(config.to_json())
    values.pop("seed")
    with pytest.raises(TrainError, match=r"unknown setting 'x'; missing setting 'seed'; .*'lr' is"):
        Config.from_json(json.dumps({**values, "x": 1, "lr": "fast"}))
    for text in ("", "[1", "3", "{"):
        with pytest.raises(TrainError, match="not a JSON object"):
            Config.from_json(text)


def test_every_setting_is_checked_wherever_it_comes_from(toy):
    good = json.loads(Config(model="m.py").to_json())
    wrong = {"epochs": 0, "momentum": 1.0, "ema": -0.1, "accumulate": 1.5, "patience": 0}
    wrong |= {"lr": 0, "limit": True, "warmup": math.inf, "flip_test": 1}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"Config: `{name}` is {value!r}, expected"):
            Config(**{**good, name: value})
        with pytest.raises(TrainError, match=f"setting '{name}' is {value!r}"):
            Config.from_json(json.dumps({**good, name: value}))
        if SETTINGS[name].fit:
            with pytest.raises(ValueError, match=f"fit: `{name}` is {value!r}, expected"):
                fit(nn.Linear(2, 2), [], **{name: value})
    with pytest.raises(TrainError, match="setting 'data': 'mnist' is neither shapes nor cifar10"):
        Config.from_json(json.dumps({**good, "data": "mnist"}))
    with pytest.raises(TrainError, match="setting 'schedule': bad schedule 'step'"):
        Config.from_json(json.dumps({**good, "schedule": "step"}))
    with pytest.raises(TypeError, match=r"no setting `pateince`, expected epochs, .*patience"):
        fit(nn.Linear(2, 2), [], pateince=3)


def test_the_options_of_train_and_the_arguments_of_fit_are_the_settings():
    options = {o.name: o for o in train.params}
    arguments = inspect.signature(fit).parameters
    for name, setting in SETTINGS.items():
        assert options[name].default == getattr(Config, name)
        assert options[name].help == setting.help
        if setting.fit:
            assert arguments[name].default == getattr(Config, name)
            assert f"    {name}\n        {setting.help}" in fit.__doc__


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("none", [1.0, 1.0, 1.0, 1.0]),
        ("step:2:0.5", [1.0, 1.0, 0.5, 0.5]),
        ("step:1", [1.0, 0.1, 0.01, 0.001]),
        ("multistep:1,3:0.5", [1.0, 0.5, 0.5, 0.25]),
        ("exp:0.5", [1.0, 0.5, 0.25, 0.125]),
        ("cosine", [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("plateau:0.5:1", [1.0, 1.0, 1.0, 0.5]),
    ],
)
def test_schedules(text, rates):
    optimizer = make_optimizer("sgd", nn.Linear(2, 2), lr=1.0)
    scheduler, when = make_scheduler(text, optimizer, epochs=4, steps=1)
    found = []
    for _ in range(4):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if when == "loss":
            scheduler.step(1.0)
        elif when in ("epoch", "step"):
            scheduler.step()
    assert found == pytest.approx(rates)


def test_onecycle_rises_and_falls_over_the_batches():
    optimizer = make_optimizer("sgd", nn.Linear(2, 2), lr=0.5)
    scheduler, when = make_scheduler("onecycle:0.25", optimizer, epochs=2, steps=10)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert when == "step"
    assert max(rates) == rates[4] == pytest.approx(0.5)  # step 0.25 · 20 - 1, as in PyTorch
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] < 1e-5
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    "text",
    "fast;step;step:0;step:x;step:3:0.1:4;exp;exp:-1;exp:nan;none:1;multistep:;multistep:2,x;"
    "plateau:2;plateau:0.5:0;cosine:3;onecycle:1;".split(";"),
)
def test_bad_schedules(text):
    with pytest.raises(TrainError, match=r"unknown schedule|bad schedule .*; expected"):
        parse_schedule(text)


def test_augmentations():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    augment = make_augmentation("flip,shift:0.1, rotation:20,crop,cutout:4,jitter:0.1")
    out = augment(images, np.random.default_rng(1))
    assert (out.shape, out.dtype) == (images.shape, images.dtype)
    assert (out != images).any()
    assert make_augmentation("none") is None
    with pytest.raises(TrainError, match=r"unknown augmentation 'spin'; known: none, flip"):
        make_augmentation("flip,spin")
    with pytest.raises(TrainError, match=r"bad augmentation 'crop:x'; expected crop\[:PADDING\]"):
        make_augmentation("flip,crop:x")
    with pytest.raises(TrainError, match=r"expected flip\[:PROB.* between 0 and 1, got 2"):
        make_augmentation("flip:2")
    mix = make_augmentation("mixup:0.5", classes=4)
    assert mix(images, np.random.default_rng(0), np.arange(4))[1].shape == (4, 4)


def test_splits_are_disjoint_and_follow_the_seed():
    def indices(**changes):
        splits = load_splits(Config(model="m", limit=50, val_fraction=0.2, **changes))
        return splits.train.indices, splits.validation.indices

    train, validation = indices()
    assert (len(train), len(validation)) == (40, 10)
    assert sorted(train + validation) == list(range(50))
    assert indices() == (train, validation)
    assert indices(seed=1) != (train, validation)
    assert load_splits(Config(model="m", limit=50, val_fraction=0.0)).validation is None
    with pytest.raises(TrainError, match="leave 2 to train and 0 to validate"):
        load_splits(Config(model="m", limit=2))


# ---- progress ------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_prints_a_row_per_epoch(terminal):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    row = {"epoch": 1, "train_loss": 1.25, "train_accuracy": 0.5, "val_loss": None}
    row |= {"val_accuracy": None, "lr": 0.05, "seconds": 2.0, "images_per_second": 1234.5}
    with RunProgress(console, 12) as progress:
        progress.begin(1, 100)
        progress.looking()
        progress.end(row)
    shown = text.getvalue()
    assert "1/12" in shown
    assert "1,234" in shown
    assert "50.0%" in shown
    assert ("\x1b[" in shown) is terminal


def test_clock():
    assert [clock(s) for s in (0, 59.6, 61, 3600)] == ["0:00", "1:00", "1:01", "1:00:00"]
