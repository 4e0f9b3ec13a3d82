"""Training and looking by `tg.compile` give the bits that they give without it."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tests.train.test_resuming import repr_of, untimed
from tinygrad_cnn import nn, optim
from tinygrad_cnn.cli.app import main
from tinygrad_cnn.data import DataLoader, Mixup, TensorDataset
from tinygrad_cnn.serialization import load
from tinygrad_cnn.train import (
    Callback,
    Config,
    Run,
    RunFolder,
    Trainer,
    TrainError,
    evaluate,
    fit,
)
from tinygrad_cnn.train.loop.compiled import Compiled, calls_of
from tinygrad_cnn.train.report.predict import Predictor
from tinygrad_cnn.train.run.environment import command


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    """Recording pays, however few the calls are."""
    monkeypatch.setattr("tinygrad_cnn.train.loop.compiled.WORTH", 0)


def small(seed=3):
    """As LeNet-5, with batch normalisation and dropout."""
    tg.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 4),
    )  # fmt: skip


class Losses(Callback):
    """The sums after every batch, which is how its loss is seen; and gradients at times."""

    def __init__(self, stop=None):
        self.seen, self.stop = [], stop

    def on_batch_end(self, trainer):
        gradients = [p.grad for p in trainer.model.parameters()]
        self.seen.append(
            (
                trainer.totals.loss_sum,
                dict(trainer.totals.measured),
                trainer.step.skipped,
                [None if g is None else g.numpy().tobytes() for g in gradients],
            )
        )
        if (len(trainer.history), trainer.batch) == self.stop:
            raise KeyboardInterrupt


def trained(train, val, tmp_path, compile, *, stop=None, model=None, optimizer=None, **options):
    """Everything that comes of a run, but times; with ``stop`` it is interrupted there."""
    states = []
    for place in (stop, None) if stop else (None,):
        net = small() if model is None else model()
        given = {"optimizer": optimizer(net.parameters())} if optimizer else {}
        losses = Losses(place)
        trainer = Trainer(
            net, train, val, callbacks=[losses], seed=4, compile=compile, **given, **options
        )
        if stop and place is None:
            trainer.restore(states[0])
        try:
            trainer.run()
        except KeyboardInterrupt:
            states.append(trainer.snapshot())
    trainer.snapshot().write(tmp_path / "state")
    checkpoint = load(tmp_path / "state")["checkpoint"]
    checkpoint.pop("history")
    return untimed(trainer.history), repr_of(checkpoint), losses.seen, trainer


@pytest.fixture
def both(tmp_path):
    """Train both ways and compare everything; returns the trainer that compiled."""

    def compare(train, val, **options):
        ours = trained(train, val, tmp_path, True, **options)
        theirs = trained(train, val, tmp_path, False, **options)
        assert ours[0] == theirs[0]
        assert ours[2] == theirs[2]
        assert ours[1] == theirs[1]
        assert theirs[3].step.learn.recordings == theirs[3].looking.look.recordings == 0
        return ours[3]

    return compare


SGD = {"optimizer": lambda params: optim.SGD(params, 0.05, 0.9, weight_decay=1e-3)}
EVERYTHING = {"clip_norm": 0.5, "ema": 0.9, "warmup": 1.5, "label_smoothing": 0.1}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {**SGD, **EVERYTHING, "schedule": "onecycle"},
        {"optimizer": optim.AdamW, **EVERYTHING, "schedule": "cosine"},
        {"optimizer": optim.Lion, "schedule": "plateau:0.5:1", "stop": (1, 2)},
        {**SGD, **EVERYTHING, "schedule": "linear", "stop": (2, 6)},
        {**SGD, "accumulate": 2, "clip_norm": 0.1, "ema": 0.5, "stop": (2, 4)},
        {"optimizer": optim.Adam, "accumulate": 3, "non_finite": "skip", "warmup": 1},
        {**SGD, "non_finite": "skip", "clip_norm": 0.3},
    ],
)
def test_classification_gives_the_same_bits(toy, both, options):
    train = DataLoader(toy(54, 0), 8, shuffle=True)  # the last batch has 6
    trainer = both(train, DataLoader(toy(20, 1), 8), epochs=5, **options)
    accumulate = options.get("accumulate", 1)
    # Of full batches and of the last one; of the first, middle and last batches of a group.
    assert trainer.step.learn.recordings == {1: 2, 2: 3, 3: 4}[accumulate]
    assert trainer.looking.look.recordings == 2
    assert trainer.runs_as_usual == ""


def test_mixed_images_give_the_same_bits(toy, both):
    train = DataLoader(toy(54, 0), 8, shuffle=True, transform=Mixup(0.4, 4))
    trainer = both(train, DataLoader(toy(20, 1), 8), epochs=4, **SGD)
    assert trainer.step.learn.recordings == 2


def test_regression_gives_the_same_bits(both):
    def line():
        tg.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1))

    x = tg.randn(30, 3, generator=tg.Generator().manual_seed(1))
    data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8)
    options = {"loss": F.mse_loss, "metrics": "absolute_error", "optimizer": optim.Adam}
    trainer = both(data, data, model=line, epochs=4, clip_norm=1.0, **options)
    assert trainer.step.learn.recordings == trainer.looking.look.recordings == 2


def poisoned(toy, where):
    """Batches of 8, some with NaN: in their scores, or in gradients by way of class 4.

    Or they are far from 0 for their deviation, by which kernels go another way.
    """
    batches = list(DataLoader(toy(56, 0), 8))
    for number in (3, 5):
        x, y = batches[number]
        if where == "scores":
            batches[number] = (x * np.inf, y)
        elif where == "far":
            batches[number] = (x * 0 + 700, y)
        else:
            batches[number] = (x, tg.where(tg.arange(8) == 3, 4, y))
    return batches


def with_infinite_slope(scores, labels):
    flat = (labels != 4).float().min() + scores.sum() * 0
    return F.cross_entropy(scores, labels.clamp(0, 3)) + flat.sqrt()


@pytest.mark.parametrize("where", ["scores", "gradients", "far"])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"accumulate": 2}, {"accumulate": 4}])
def test_other_numbers_than_those_recorded_lead_to_the_same_bits(toy, both, where, options):
    data = poisoned(toy, where)
    trainer = both(
        data, None, loss=with_infinite_slope, epochs=3, non_finite="skip", **SGD, **options
    )
    assert (trainer.step.skipped >= 6) == (where != "far")
    assert trainer.step.learn.recordings
    assert trainer.runs_as_usual == ""


@pytest.mark.parametrize("compile", [True, False])
def test_a_loss_that_is_not_finite_changes_nothing(toy, compile):
    data = poisoned(toy, "scores")
    model = small()
    losses = Losses()
    trainer = Trainer(model, data, callbacks=[losses], epochs=2, compile=compile, **{"seed": 1})
    with pytest.raises(TrainError, match="epoch 1: the loss is nan in batch 4"):
        trainer.run()
    whole = Losses((0, 3))
    usual = Trainer(small(), data, callbacks=[whole], epochs=2, seed=1, compile=False)
    with pytest.raises(KeyboardInterrupt):
        usual.run()
    for ours, theirs in zip(model.parameters(), usual.model.parameters(), strict=True):
        np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())
        np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def test_batches_are_not_recorded_anew_in_each_epoch(toy):
    trainer = Trainer(small(), DataLoader(toy(54, 0), 8), DataLoader(toy(20, 1), 8), epochs=6)
    recorded = []
    for _ in range(6):
        trainer.epoch()
        recorded.append((trainer.step.learn.recordings, trainer.looking.look.recordings))
    # The first batch of each kind runs as usual; the last of an epoch is smaller.
    assert recorded == [(1, 1), (2, 2)] + [(2, 2)] * 4


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda net: net.register_forward_hook(lambda m, x, y: None), "Sequential has hooks"),
        (lambda net: net.append(Counting()), "it changes objects"),
    ],
)
def test_what_cannot_be_recorded_runs_as_usual_and_is_told_once(toy, both, capsys, spoil, reason):
    def spoiled():
        net = small()
        spoil(net)
        return net

    data = DataLoader(toy(24, 0), 8), DataLoader(toy(12, 1), 4)
    trainer = both(*data, model=spoiled, epochs=3, **SGD)
    assert reason in trainer.runs_as_usual
    assert trainer.step.learn.recordings <= 3
    fit(spoiled(), *data, epochs=3)
    shown = capsys.readouterr().out
    assert shown.count("Some batches run without tg.compile: ") == 1
    assert reason in " ".join(shown.split())
    fit(spoiled(), *data, epochs=3, compile=False)
    assert "tg.compile" not in capsys.readouterr().out


class Counting(nn.Module):
    """It changes itself, which a replay would not do."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


def test_a_loss_that_reads_numbers_runs_as_usual(toy, both):
    def loss(scores, labels):
        value = F.cross_entropy(scores, labels)
        return value * (2 if value.item() > 1 else 1)

    trainer = both(DataLoader(toy(24, 0), 8), None, loss=loss, epochs=3)
    assert "item looks at a tensor's numbers" in trainer.runs_as_usual


def test_what_changes_with_every_batch_is_not_recorded_for_ever():
    scale = {"now": 0}

    def function(x):
        return x * scale["now"]

    compiled = Compiled(function)
    for number in range(60):
        scale["now"] = number
        assert compiled(tg.ones(2)).tolist() == [number, number]
    assert compiled.recordings <= 17
    assert "finds another state, at each call" in compiled.why


def test_the_speed_leaves_recording_out(toy, monkeypatch):
    trainer = Trainer(small(), DataLoader(toy(46, 0), 8), epochs=3)
    count, counted = trainer._count_warm, []

    def noting(images, since):
        before = trainer._warm[0]
        count(images, since)
        counted.append(trainer._warm[0] - before)

    monkeypatch.setattr(trainer, "_count_warm", noting)
    for _ in range(3):
        trainer.epoch()
    # The second batch is recorded, and in the second epoch the last, of six images.
    assert counted == [0, 0, 8, 8, 8, 6, 8, 8, 8, 8, 8, 0, 8, 8, 8, 8, 8, 6]


def test_evaluation_gives_the_same_bits(toy):
    model, data = small(), DataLoader(toy(54, 0), 8)
    ours = evaluate(model, data, F.cross_entropy)
    theirs = evaluate(model, data, F.cross_entropy, compile=False)
    assert (ours.loss, ours.measured) == (theirs.loss, theirs.measured)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_a_run_keeps_whether_it_compiles(model_file, tmp_path, splits):
    eager = Config(str(model_file), epochs=2, augment="none", compile=False)
    assert command(eager).endswith(" --eager")
    assert "compile" not in command(replace(eager, compile=True))
    assert Config.from_json(eager.to_json()) == eager
    assert Run(eager, splits).trainer.step.learn.program is None
    assert Run(replace(eager, compile=True), splits).trainer.step.learn.program is not None
    folder, runner = tmp_path / "run", CliRunner()
    data = ["--limit", "40", "--epochs", "1", "--batch-size", "8", "--schedule", "none"]
    for words, compiled in (
        ([str(model_file), *data, "--eager", "--out", str(folder)], False),
        (["--resume", str(folder), "--epochs", "2", "--compile"], True),
    ):
        done = runner.invoke(main, ["train", *words])
        assert done.exit_code == 0, done.output
        assert RunFolder.open(folder)[1].compile is compiled


def test_prediction_gives_the_same_scores_again(toy):
    model = small().eval()
    images = toy(6, 0).tensors[0]
    predictor = Predictor(model, None)
    with tg.no_grad():
        expected = model(images).numpy()
        for _ in range(3):
            np.testing.assert_array_equal(predictor.scores(images).numpy(), expected)
    assert predictor.scores.recordings == 1


def test_few_batches_are_not_worth_a_recording(monkeypatch, toy):
    monkeypatch.undo()
    data = DataLoader(toy(24, 0), 8)
    few = Trainer(small(), data, data, epochs=20)
    many = Trainer(small(), data, data, epochs=30)
    assert few.step.learn.program is None
    assert many.step.learn.program is not None
    assert calls_of(data, 4) == 12
    assert calls_of(iter([1]), 4) is None


def test_a_recording_keeps_none_of_the_arrays_that_it_saw(toy):
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
        nn.Linear(4096, 4),
    )  # fmt: skip
    data = DataLoader(toy(64, 0), 32)
    trainer = Trainer(model, data, data, epochs=9)
    before = tg.memory_allocated()
    trainer.epoch()
    model.zero_grad()
    assert trainer.step.learn.recordings == trainer.looking.look.recordings == 1
    assert tg.memory_allocated() == before
