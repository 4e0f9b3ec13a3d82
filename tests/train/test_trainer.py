"""`fit` and its parts against loops written by hand."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.data import DataLoader, TensorDataset
from tinygrad_cnn.serialization import load_state
from tinygrad_cnn.train import (
    Callback,
    EarlyStopping,
    Trainer,
    TrainError,
    TrainingStep,
    WeightAverage,
    fit,
)
from tinygrad_cnn.train.loop.callbacks import best_epoch
from tinygrad_cnn.train.run.checkpoint import Checkpoint


def make(seed=3):
    tg.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 4))


class Clock:
    """A time that passes only where a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The clock of the trainer."""
    clock = Clock()
    monkeypatch.setattr("tinygrad_cnn.train.loop.trainer.time", clock)
    return clock


def weights(model):
    return [p.detach().numpy().copy() for p in model.parameters()]


def batches(data, size=8):
    return list(DataLoader(data, batch_size=size))


def test_accumulated_batches_are_one_large_batch(toy):
    data = toy(22, 0)  # batches of 4: groups of 3, 2 and, last, 1 batch, the last with 2 images
    for clip in (None, 0.05):
        ours, theirs = make(), make()
        step = TrainingStep(
            ours,
            F.cross_entropy,
            optim.SGD(ours.parameters(), 0.1, 0.9),
            accumulate=3,
            clip_norm=clip,
        )
        for _ in range(2):
            for images, labels in batches(data, 4):
                step(images, labels)
            step.finish()
        optimizer = optim.SGD(theirs.parameters(), 0.1, 0.9)
        for _ in range(2):
            for images, labels in batches(data, 12):
                optimizer.zero_grad()
                F.cross_entropy(theirs(images), labels).backward()
                if clip:
                    norm = nn.utils.clip_grad_norm_(theirs.parameters(), clip)
                    assert norm.item() > clip
                optimizer.step()
        assert step.taken == 4
        for a, b in zip(weights(ours), weights(theirs), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_warm_up_scales_the_scheduled_rate_and_leaves_the_schedule_alone(toy):
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    seen = []

    class Spy:
        param_groups = optimizer.param_groups
        zero_grad = staticmethod(optimizer.zero_grad)

        def step(self):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()

    step = TrainingStep(model, F.cross_entropy, Spy(), scheduler=schedule, warmup=4)
    said = []
    for images, labels in batches(toy(48, 0)):
        said.append(step.rate)
        step(images, labels)
    scheduled = 1e-3 * 0.5 ** np.arange(6)
    expected = scheduled * [0.25, 0.5, 0.75, 1, 1, 1]
    assert seen == pytest.approx(expected)
    assert said == pytest.approx(expected)


def test_the_average_of_weights_is_the_formula():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm2d(2))
    average = WeightAverage(model, decay=0.3)
    expected = {k: v.numpy().astype(np.float64) for k, v in model.state_dict().items()}
    rng = np.random.default_rng(0)
    for t in range(1, 8):
        for value in model.state_dict().values():
            if value.dtype == tg.float32:
                value.array[...] = rng.standard_normal(value.shape)
            else:
                value.array[...] = t
        average.update()
        d = min(0.3, (1 + t) / (10 + t))
        for k, v in model.state_dict().items():
            floats = v.dtype == tg.float32
            expected[k] = d * expected[k] + (1 - d) * v.numpy() if floats else v.numpy()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    with average.applied():
        for k, v in model.state_dict().items():
            np.testing.assert_allclose(v.numpy(), expected[k], atol=1e-6)
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k])
    with pytest.raises(ValueError, match="another model's"):
        WeightAverage(nn.Linear(1, 1)).load_state_dict(average.state_dict())
    with pytest.raises(ValueError, match="`decay` is 1"):
        WeightAverage(model, 1)


def test_fit_is_the_loop_written_by_hand(toy):
    train, val = toy(24, 0), toy(12, 1)
    ours = make()
    loader = DataLoader(train, 8, shuffle=True, num_workers=1)
    optimizer = optim.AdamW(ours.parameters(), lr=0.01)
    schedule = optim.lr_scheduler.StepLR(optimizer, 2, 0.1)
    rows = fit(
        ours,
        loader,
        DataLoader(val, 5),
        optimizer=optimizer,
        scheduler=schedule,
        epochs=3,
        label_smoothing=0.1,
        ema=0.5,
        seed=4,
        quiet=True,
    )
    theirs = make()
    optimizer = optim.AdamW(theirs.parameters(), lr=0.01)
    average = WeightAverage(theirs, 0.5)

    class Order(Callback):
        """What the loader gives; the seeds of its epochs are the trainer's."""

        def __init__(self):
            self.epochs = []

        def on_epoch_begin(self, trainer):
            self.epochs.append([])

    order = Order()
    watcher = Trainer(make(), loader, optimizer="sgd", epochs=3, callbacks=[order], seed=4)
    step = watcher.step
    watcher.step = lambda x, y: (order.epochs[-1].append((x, y)), step(x, y))[1]
    watcher.step.finish, watcher.step.rate, watcher.step.pending = lambda: None, 0.0, False
    watcher.run()
    for epoch, seen in enumerate(order.epochs):
        if epoch == 2:
            optimizer.param_groups[0]["lr"] = 0.001
        for images, labels in seen:
            optimizer.zero_grad()
            F.cross_entropy(theirs(images), labels, label_smoothing=0.1).backward()
            optimizer.step()
            average.update()
    theirs.load_state_dict(average.weights())
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["lr"] == pytest.approx(0.001)
    scores = theirs(val.tensors[0])
    # Validation is with the smoothing off where none is asked for: the loss is plain.
    assert rows[-1]["val_loss"] == pytest.approx(F.cross_entropy(scores, val.tensors[1]).item())
    assert 0 <= rows[0]["data_wait"] <= 1


class Script(Callback):
    """Overwrites what was measured."""

    def __init__(self, column, values):
        self.column, self.values = column, values

    def on_epoch_end(self, trainer, row):
        row[self.column] = self.values[len(trainer.history) - 1]


def test_early_stopping_counts_from_the_best_epoch(toy, capsys):
    script = Script("val_loss", [5.0, 3.0, 3.0, 4.0, 2.0, 2.5, 2.1, 1.0])
    options = {"optimizer": "sgd", "epochs": 8, "callbacks": [script]}
    rows = fit(make(), batches(toy(16, 0)), batches(toy(8, 1)), patience=3, **options, quiet=True)
    assert len(rows) == 8
    rows = fit(make(), batches(toy(16, 0)), batches(toy(8, 1)), patience=2, **options)
    assert len(rows) == 4
    assert "Stopped: val_loss has not improved for 2 epochs." in capsys.readouterr().out
    with pytest.raises(ValueError, match="`patience` is 0"):
        EarlyStopping(0)


def test_the_best_weights_come_back(toy):
    script = Script("val_accuracy", [0.2, 0.7, 0.7, 0.1])
    kept = []

    class Copy(Callback):
        def on_epoch_end(self, trainer, row):
            kept.append(copy.deepcopy(weights(trainer.model)))

    model = make()
    options = {"optimizer": "sgd", "epochs": 4, "callbacks": [script, Copy()]}
    data = batches(toy(16, 0)), batches(toy(8, 1))
    fit(model, *data, keep_best=True, monitor="val_accuracy", quiet=True, **options)
    for a, b, last in zip(weights(model), kept[1], kept[3], strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != last).any()


def test_best_epoch():
    rows = [{"val_accuracy": v} for v in (0.1, 0.5, 0.5, 0.3)]
    assert best_epoch(rows, "val_accuracy") == 2
    assert best_epoch([{"val_error": v} for v in (3, 1, math.nan, 2)], "val_error") == 2
    assert best_epoch([{"val_loss": None}] * 3) == 3
    assert best_epoch([]) == 0


def test_a_folder_continues_a_run(toy, tmp_path):
    train, val = DataLoader(toy(24, 0), 8, shuffle=True), DataLoader(toy(8, 1), 8)

    def run(epochs, folder, **options):
        tg.manual_seed(1)
        model = make()
        rows = fit(
            model,
            train,
            val,
            optimizer=optim.Adam(model.parameters()),
            epochs=epochs,
            folder=tmp_path / folder,
            seed=1,
            quiet=True,
            **options,
        )
        return rows, weights(model)

    run(2, "a")
    rows, ours = run(4, "a", resume=True)
    more, theirs = run(4, "b", resume=True)  # there is nothing to continue
    assert len(rows) == len(more) == 4
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "checkpoint.safetensors",
        "metrics.csv",
        "model.safetensors",
    ]
    (tmp_path / "a/checkpoint.safetensors").write_bytes(b"no")
    with pytest.raises(TrainError, match=r"is damaged|not a safetensors"):
        run(4, "a", resume=True)


def test_mistakes_are_explained(toy):
    endless = iter(batches(toy(8, 0)))
    with pytest.raises(TypeError, match=r"`train` is a .* without a length"):
        fit(make(), endless, optimizer="sgd", schedule="onecycle", epochs=1)
    with pytest.raises(TrainError, match="unknown optimizer 'adagrad'; known: sgd"):
        fit(make(), batches(toy(8, 0)), optimizer="adagrad", epochs=1)
    with pytest.raises(ValueError, match="`clip_norm` is -1"):
        fit(make(), batches(toy(8, 0)), optimizer="sgd", epochs=1, clip_norm=-1)
    wrong = TensorDataset(tg.zeros(4, 3, 8, 8), tg.tensor([0, 1, 2, 4]))
    with pytest.raises(IndexError, match=r"cross_entropy: .*4"):
        fit(make(), batches(wrong), optimizer="sgd", epochs=1, quiet=True)


def test_soft_labels_train_and_count(toy):
    data = toy(16, 0)
    soft = TensorDataset(data.tensors[0], F.one_hot(data.tensors[1], 4).float())
    a, b = make(), make()
    hard_rows = fit(a, batches(data), optimizer="sgd", epochs=2, quiet=True)
    soft_rows = fit(b, batches(soft), optimizer="sgd", epochs=2, quiet=True)
    assert soft_rows[-1]["train_accuracy"] == hard_rows[-1]["train_accuracy"]
    assert soft_rows[-1]["train_loss"] == pytest.approx(hard_rows[-1]["train_loss"], rel=1e-5)


def test_the_package_has_it_without_importing_it_first():
    code = (
        "import sys, tinygrad_cnn as tg; light = 'rich' not in sys.modules; "
        "sys.exit(not (light and callable(tg.train.fit) and callable(tg.viz.curves)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="module 'tinygrad_cnn' has no attribute 'trian'"):
        tg.trian  # noqa: B018


def test_the_share_of_time_spent_waiting_for_data(toy, clock):
    ready = batches(toy(24, 0))

    class Slow:
        def __iter__(self):
            for batch in ready:
                clock.sleep(0.05)
                yield batch

    def slow_loss(scores, labels):
        clock.sleep(0.05)
        return F.cross_entropy(scores, labels)

    (slow,) = fit(make(), Slow(), optimizer="sgd", epochs=1, quiet=True)
    assert slow["data_wait"] == 1
    (busy,) = fit(make(), ready, optimizer="sgd", epochs=1, loss=slow_loss, quiet=True)
    assert busy["data_wait"] == 0
    (both,) = fit(make(), Slow(), optimizer="sgd", epochs=1, loss=slow_loss, quiet=True)
    assert both["data_wait"] == 0.5
    assert busy["seconds"] >= 0.15
    assert busy["images_per_second"] <= 24 / 0.15


# ---- what is measured, and what chooses the best epoch ----------------------------------------


def line(n=24, slope=2.0):
    """A regression: batches of ``x`` (8, 3) and ``y`` (8, 1)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3)).astype(np.float32)
    y = (slope * x).sum(axis=1, keepdims=True)
    return batches(TensorDataset(tg.from_numpy(x), tg.from_numpy(y)))


def test_a_regression_is_kept_where_its_loss_is_least(capsys):
    model, data = nn.Linear(3, 1), line()
    rows = fit(model, data, line(16), loss=F.mse_loss, epochs=30, keep_best=True)
    names = ["epoch", "train_loss", "val_loss", "lr", "seconds", "images_per_second", "data_wait"]
    assert list(rows[-1]) == names
    assert F.mse_loss(model(data[0][0]), data[0][1]).item() < 1e-2
    shown = capsys.readouterr().out
    assert "acc" not in shown
    assert "%" not in shown


def test_an_autoencoder_has_no_accuracy(tmp_path):
    images = tg.rand(24, 6)
    data = batches(TensorDataset(images, images))
    rows = fit(nn.Linear(6, 6), data, data, loss=F.mse_loss, epochs=2, quiet=True, folder=tmp_path)
    assert not any("accuracy" in name for name in rows[0])
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,val_loss,lr,seconds,images_per_second,data_wait"
    assert len(tg.viz.curves(rows).axes) == 2


def test_integer_targets_of_a_regression_are_no_classes():
    data = [(x, tg.tensor([1, 2, 3, 4, 5, 6, 7, 8])) for x, _ in line()]

    def loss(out, y):
        return F.mse_loss(out[:, 0], y.float())

    (row,) = fit(nn.Linear(3, 1), data, loss=loss, epochs=1, quiet=True)
    assert "train_accuracy" not in row


def test_metrics_by_name_and_as_functions(toy, tmp_path):
    def spread(scores, labels):
        return scores.max() - scores.min()

    train, val, model = batches(toy(22, 0)), batches(toy(12, 1)), make()
    metrics = {"accuracy": "accuracy", "top5": "top5_accuracy", "spread": spread}
    options = {"metrics": metrics, "monitor": "val_spread", "folder": tmp_path, "quiet": True}
    rows = fit(model, train, val, optimizer="sgd", epochs=2, **options)
    means = [spread(model(x), y).item() for x, y in val]
    assert rows[-1]["val_spread"] == pytest.approx(np.average(means, weights=[8, 4]))
    assert rows[-1]["val_top5"] == 1.0
    read = (tmp_path / "metrics.csv").read_text().splitlines()
    assert read[0].endswith("data_wait,train_top5,train_spread,val_top5,val_spread")
    (row,) = fit(nn.Linear(3, 1), line(), loss=F.mse_loss, epochs=1, metrics="absolute_error")
    assert row["train_absolute_error"] > 0
    with pytest.raises(TrainError, match="`metrics` has 'f1', expected accuracy, top5_accuracy"):
        fit(model, train, metrics=["f1"])
    with pytest.raises(TypeError, match="has no name"):
        fit(model, train, metrics=[lambda scores, labels: 0])
    with pytest.raises(TrainError, match=r"metric accuracy: outputs .*expected \(n, classes\)"):
        fit(nn.Linear(3, 1), line(), loss=F.mse_loss, metrics="accuracy", quiet=True)


def test_a_metric_goes_on_within_an_epoch(toy):
    data, states = batches(toy(22, 0)), []

    class Stop(Callback):
        def on_batch_end(self, trainer):
            if trainer.batch == 2:
                states.append(trainer.snapshot())

    whole = Trainer(make(), data, epochs=1, seed=0, callbacks=[Stop()])
    (row,) = whole.run()
    again = Trainer(make(), data, epochs=1, seed=0)
    again.restore(states[0])
    (resumed,) = again.run()
    for name in ("train_loss", "train_accuracy"):
        assert row[name] == resumed[name]


class Interrupt(Callback):
    """Stop as Ctrl-C does, after a batch of an epoch; what it has seen goes on with the run."""

    def __init__(self, epoch=None, batch=None):
        self.place, self.seen = (epoch, batch), 0

    def on_batch_end(self, trainer):
        self.seen += 1
        if (len(trainer.history), trainer.batch) == self.place:
            raise KeyboardInterrupt

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("stopped", [(1, 1), (3, 2)])
def test_the_best_weights_survive_an_interruption(toy, tmp_path, stopped, validated):
    data = [DataLoader(toy(24, 0), 8, shuffle=True), DataLoader(toy(8, 1), 8)][: 1 + validated]
    monitor = f"{'val' if validated else 'train'}_accuracy"

    def run(folder, *stop):
        model, counting = make(), Interrupt(*stop)
        callbacks = [Script(monitor, [0.2, 0.7, 0.3, 0.1, 0.1]), counting]
        options = {"callbacks": callbacks, "seed": 1, "epochs": 5, "quiet": True, "resume": True}
        fit(model, *data, folder=folder, monitor=monitor, keep_best=True, save_every=0, **options)
        kept = load_state(folder / "model.safetensors")
        for a, b in zip(weights(model), kept.values(), strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        return weights(model), counting.seen

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", *stopped)
    for _ in range(2):  # the second time nothing is left to do
        ours, seen = run(tmp_path / "run")
        assert seen == whole[1] == 15
        for a, b in zip(ours, whole[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_best_weights_that_no_checkpoint_has_are_said_to_be_lost(toy, tmp_path):
    data = batches(toy(16, 0))
    options = {"folder": tmp_path, "quiet": True, "resume": True}
    fit(make(), data, data, epochs=2, callbacks=[Script("val_loss", [1.0, 2.0])], **options)
    with pytest.warns(UserWarning, match="the best epoch was before this run went on, and its"):
        fit(make(), data, data, epochs=2, keep_best=True, **options)


def test_what_is_monitored_must_be_there(toy, capsys):
    data = batches(toy(16, 0))
    with pytest.raises(TrainError, match="'val_acc', expected val_loss, train_loss, val_accuracy"):
        fit(make(), data, monitor="val_acc")
    with pytest.raises(TrainError, match="bad monitor 'loss'; expected val_loss"):
        fit(make(), data, monitor="loss")
    with pytest.raises(TrainError, match="no validation data; expected train_accuracy"):
        fit(make(), data, monitor="val_accuracy")
    with pytest.raises(TrainError, match="but only the loss was measured"):
        fit(nn.Linear(3, 1), line(), loss=F.mse_loss, monitor="train_accuracy", quiet=True)
    fit(make(), data, epochs=2, keep_best=True)
    assert "There are no validation data: train_loss chooses" in capsys.readouterr().out


def test_no_data_is_an_error(toy):
    data, empty = batches(toy(16, 0)), DataLoader(TensorDataset(tg.zeros(0, 3), tg.zeros(0)), 4)
    for given, name in (((empty,), "train"), ((data, empty), "val")):
        with pytest.raises(TrainError, match=f"`{name}` is empty, expected at least one batch"):
            fit(make(), *given, quiet=True)
    with pytest.raises(TrainError, match="epoch 2: `train` gave no batches"):
        fit(make(), iter(data), epochs=2, quiet=True)
    with pytest.raises(TrainError, match="epoch 1: `val` gave no batches"):
        fit(make(), data, iter([]), epochs=2, quiet=True)


class Poisoned(nn.Module):
    """A network with running means, whose `bad` batches have NaN in their scores or gradients."""

    def __init__(self, bad, where):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 10)
        )
        self.bad, self.where, self.seen = bad, where, 0

    def forward(self, x):
        self.seen += self.training
        if not self.training or self.seen not in self.bad:
            return self.body(x)
        if self.where == "scores":
            return self.body(x * math.inf)
        return self.body(x) + (self.body[1].bias * 0).sqrt().sum()


@pytest.mark.parametrize("where", ["scores", "gradients"])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"accumulate": 2}, {"ema": 0.5}])
def test_batches_without_a_finite_loss_can_be_skipped(toy, capsys, where, options):
    data = batches(toy(48, 0))  # six batches
    tg.manual_seed(1)
    model = Poisoned({2, 5}, where)
    history = fit(model, data, data, epochs=2, non_finite="skip", **options)
    assert all(math.isfinite(row["train_loss"]) for row in history)
    for name, value in model.state_dict().items():
        assert np.isfinite(value.numpy()).all(), name
    assert "Skipped" in capsys.readouterr().out


def test_a_run_all_of_whose_batches_are_skipped_ends(toy):
    with pytest.raises(TrainError, match="all 6 of which were skipped: no loss was finite"):
        fit(Poisoned(range(99), "scores"), batches(toy(48, 0)), non_finite="skip", quiet=True)


def test_a_loss_that_is_not_finite_leaves_the_weights_and_names_the_checkpoint(toy, tmp_path):
    data = batches(toy(48, 0))
    tg.manual_seed(1)
    model, same = Poisoned({9}, "scores"), Poisoned({}, "scores")
    same.load_state_dict(model.state_dict())
    message = r"epoch 2: the loss is nan in batch 3; .*checkpoint.safetensors has the state after "
    message += r"epoch 1, batch 0; non_finite='skip' leaves such batches out"
    with pytest.raises(TrainError, match=message):
        fit(model, data, epochs=3, folder=tmp_path, seed=1, quiet=True)
    fit(same, data, epochs=1, seed=1, quiet=True)
    kept = Checkpoint.read(tmp_path / "checkpoint.safetensors").model
    for name, value in same.state_dict().items():
        np.testing.assert_array_equal(kept[name].numpy(), value.numpy())
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())


def test_nan_is_an_error_and_no_progress_a_warning(toy):
    data = batches(toy(16, 0))
    with pytest.raises(TrainError, match="epoch 1: the loss is nan in batch 1"):
        fit(make(), data, loss=lambda y, t: F.cross_entropy(y, t) * math.nan, quiet=True)
    options = {"epochs": 3, "keep_best": True, "quiet": True}
    worse = Script("val_loss", [1.0, 1.5, 2.0])
    with pytest.warns(UserWarning, match="val_loss was never better than after epoch 1"):
        fit(make(), data, data, callbacks=[worse], **options)
    lost = {"metrics": {"lost": lambda y, t: math.nan}, "monitor": "train_lost"}
    with pytest.warns(UserWarning, match="train_lost was never a number"):
        fit(make(), data, **lost, **options)


def test_the_speed_is_that_after_the_first_batches(toy, clock):
    times = iter([0.5, 0.5, *[0.01] * 9])

    def compiling(scores, labels):
        clock.sleep(next(times))
        return F.cross_entropy(scores, labels)

    (row,) = fit(make(), batches(toy(40, 0)), epochs=1, loss=compiling, quiet=True)
    assert row["seconds"] == 1.03
    assert row["images_per_second"] == 800  # which all five batches together cannot reach


def test_schedule_is_text_and_scheduler_an_object(toy):
    model, data = make(), batches(toy(8, 0))
    scheduler = optim.lr_scheduler.StepLR(optim.SGD(model.parameters(), lr=0.1), 2)
    for given, message in (
        ({"scheduler": "onecycle"}, "`scheduler` is 'onecycle', .* text is schedule='onecycle'"),
        ({"schedule": scheduler}, "`schedule` is a StepLR, expected text"),
        ({"schedule": "cosine", "scheduler": scheduler}, "expected one of them"),
    ):
        with pytest.raises(TypeError, match=message):
            fit(model, data, epochs=1, **given)
