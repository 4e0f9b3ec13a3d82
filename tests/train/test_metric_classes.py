"""The classes of `train.metrics` against definitions as loops, in one piece and in parts."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.train import TrainError, evaluate, fit, metrics

RNG = np.random.default_rng(0)
N, C = 60, 4
SCORES = RNG.standard_normal((N, C)).round(1)  # some are equal
LABELS = RNG.choice([0, 1, 3], N)  # nobody is of class 2
GUESSES = SCORES.argmax(axis=1)
NUMBERS, TARGETS = RNG.standard_normal((2, N, 3)) + np.array([0.0, 5.0, 1e4])


def counts(c):
    right = sum((LABELS == c) & (c == GUESSES))
    return right, sum(c == GUESSES), sum(c == LABELS)


def share(name, right, predicted, examples):
    above = {"Precision": right, "Recall": right, "F1Score": 2 * right}[name]
    below = {"Precision": predicted, "Recall": examples, "F1Score": predicted + examples}[name]
    return above / below if below else 0.0


def area(scores, right):
    pairs = [(a > b) + (a == b) / 2 for a in scores[right] for b in scores[~right]]
    return np.mean(pairs) if pairs else np.nan


def average_precision(scores, right):
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        recall = right[taken].sum() / right.sum()
        total += (recall - before) * right[taken].mean()
        before = recall
    return total


def rank(i):
    own = SCORES[i, LABELS[i]]
    return sum(s > own or (s == own and j < LABELS[i]) for j, s in enumerate(SCORES[i]))


MACRO = {n: np.mean([share(n, *counts(c)) for c in range(C)]) for n in ("Precision", "F1Score")}
ONE = np.eye(C, dtype=bool)[LABELS]
WEIGHTED = np.average([share("Recall", *counts(c)) for c in range(C)], weights=ONE.sum(axis=0))
ERRORS = NUMBERS - TARGETS
R2 = np.mean(1 - (ERRORS**2).sum(axis=0) / ((TARGETS - TARGETS.mean(axis=0)) ** 2).sum(axis=0))
CASES = {
    "accuracy": (metrics.Accuracy(), SCORES, LABELS, np.mean(LABELS == GUESSES)),
    "of class numbers": (metrics.Accuracy(), GUESSES, LABELS, np.mean(LABELS == GUESSES)),
    "top 2": (metrics.Accuracy(top_k=2), SCORES, LABELS, np.mean([rank(i) < 2 for i in range(N)])),
    "top 9": (metrics.Accuracy(top_k=9), SCORES, LABELS, 1.0),
    "precision": (metrics.Precision(), SCORES, LABELS, MACRO["Precision"]),
    "F1": (metrics.F1Score(), SCORES, LABELS, MACRO["F1Score"]),
    "micro": (metrics.F1Score(average="micro"), SCORES, LABELS, np.mean(LABELS == GUESSES)),
    "weighted": (metrics.Recall(average="weighted"), SCORES, LABELS, WEIGHTED),
    "each": (
        metrics.Recall(average=None), SCORES, LABELS,
        [share("Recall", *counts(c)) for c in range(C)],
    ),
    "binary": (
        metrics.Precision(average="binary", threshold=0.0), SCORES[:, 0], LABELS == 0,
        np.mean(LABELS[SCORES[:, 0] > 0] == 0),
    ),
    "ignored": (
        metrics.Accuracy(ignore_index=0), SCORES, LABELS,
        np.mean((LABELS == GUESSES)[LABELS != 0]),
    ),
    "confusion": (
        metrics.ConfusionMatrix(), GUESSES, LABELS,
        [[sum((LABELS == i) & (j == GUESSES)) for j in range(C)] for i in range(C)],
    ),
    "normalized": (
        metrics.ConfusionMatrix(normalize="all"), SCORES, LABELS,
        [[np.mean((LABELS == i) & (j == GUESSES)) for j in range(C)] for i in range(C)],
    ),
    "AUROC": (metrics.AUROC(), SCORES[:, 1], LABELS == 1, area(SCORES[:, 1], LABELS == 1)),
    "AUROC of classes": (
        metrics.AUROC(), SCORES, LABELS,
        np.mean([area(SCORES[:, c], LABELS == c) for c in (0, 1, 3)]),
    ),
    "AUROC of each": (
        metrics.AUROC(average=None), SCORES, ONE,
        [area(SCORES[:, c], LABELS == c) for c in range(C)],
    ),
    "AP": (
        metrics.AveragePrecision(), SCORES[:, 1], LABELS == 1,
        average_precision(SCORES[:, 1], LABELS == 1),
    ),
    "MSE": (metrics.MeanSquaredError(), NUMBERS, TARGETS, np.mean(ERRORS**2)),
    "RMSE": (metrics.MeanSquaredError(False), NUMBERS, TARGETS, np.sqrt(np.mean(ERRORS**2))),
    "MAE": (metrics.MeanAbsoluteError(), NUMBERS, TARGETS, np.mean(np.abs(ERRORS))),
    "R2": (metrics.R2Score(), NUMBERS, TARGETS, R2),
    "mean of": (metrics.MeanOf(lambda y, t: y.max()), SCORES, LABELS, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_its_definition(name):
    metric, outputs, targets, expected = CASES[name]
    metric = metric.fresh()
    if expected is None:
        expected = np.average([outputs[:25].max(), outputs[25:].max()], weights=[25, N - 25])
    halves = metric.fresh(), metric.fresh()
    for part, half in zip((slice(25), slice(25, None)), halves, strict=True):
        metric.update(tg.tensor(outputs[part]), tg.tensor(targets[part]))
        alone = half(outputs[part], targets[part].tolist())  # arrays and lists are the same
        np.testing.assert_array_equal(alone.numpy(), half.compute().numpy())
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-12)
    merged = metric.fresh()
    merged.merge(*halves)
    again = metric.fresh()
    again.load_state_dict(merged.state_dict())
    for other in (merged, again):
        np.testing.assert_array_equal(other.compute().numpy(), metric.compute().numpy())
    metric.reset()
    nothing = metric.compute().numpy()
    assert np.isnan(nothing).all() or not nothing.any()


def test_what_does_not_fit_is_refused():
    for metric in (metrics.Accuracy(), metrics.ConfusionMatrix(), metrics.F1Score()):
        with pytest.raises(ArgumentError, match=r"have shape \(3, 1\) and .*a `threshold`"):
            metric.update(np.zeros((3, 1)), np.zeros((3, 1)))
    said = r"^Recall: `targets` has class numbers from 0 to 4, expected 0 to 3"
    with pytest.raises(ArgumentError, match=said):
        metrics.Recall(num_classes=4).update(np.zeros((2, 4)), [0, 4])
    with pytest.raises(ArgumentError, match="from -1 to 1, expected 0 or more"):
        metrics.Accuracy().update([0, 1], [-1, 1])
    assert metrics.Accuracy()([[0.0, 1.0], [0.0, 1.0]], [1, 2]).item() == 0.5  # no such class
    assert metrics.Accuracy()([0, 1, 1], [0, 1, -100]).item() == 1.0  # ignored, as by losses
    with pytest.raises(ArgumentError, match="`top_k` is 2, which needs scores"):
        metrics.Accuracy(top_k=2).update([1], [1])
    with pytest.raises(ArgumentError, match="Accuracy: `top_k` is 0, expected at least 1"):
        metrics.Accuracy(top_k=0)
    with pytest.raises(ArgumentError, match="Precision: `average` is 'mean', expected one of"):
        metrics.Precision(average="mean")
    with pytest.raises(ArgumentError, match="`normalize` is 'rows', expected 'true'"):
        metrics.ConfusionMatrix(normalize="rows")
    with pytest.raises(ArgumentError, match="there are 3 classes, expected 2"):
        metrics.F1Score(average="binary")([0, 2], [1, 2])
    with pytest.raises(ArgumentError, match="AUROC: `targets` has 2, expected 0 to 1"):
        metrics.AUROC().update([0.1, 0.2], [0, 2])
    with pytest.raises(ArgumentError, match=r"AUROC: outputs have shape \(2, 3, 1\)"):
        metrics.AUROC().update(np.zeros((2, 3, 1)), [0, 1])
    with pytest.raises(ArgumentError, match=r"R2Score: `outputs` have shape \(2,\), `targets` \(3"):
        metrics.R2Score().update([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match="`state` has total, weight, expected count, mean"):
        metrics.R2Score().load_state_dict(metrics.Mean().state_dict())
    assert repr(metrics.Accuracy(top_k=5)).startswith("Accuracy(num_classes=None, threshold=None")


def test_a_run_counts_whole_epochs():
    tg.manual_seed(0)
    x, y = tg.randn(32, 3), tg.randint(0, 4, (32,))
    batches, model = [(x[:20], y[:20]), (x[20:], y[20:])], nn.Linear(3, 4)
    given = [metrics.F1Score(), "auroc"]
    options = {"metrics": given, "monitor": "val_f1_score", "quiet": True, "epochs": 2}
    rows = fit(model, batches, batches, **options)
    assert set(rows[0]) >= {"train_f1_score", "val_auroc"}
    assert rows[-1]["val_f1_score"] == metrics.F1Score()(model(x), y).item()
    seen = evaluate(model, batches, F.cross_entropy, metrics={"auc": metrics.AUROC()})
    assert seen.measured == {"auc": rows[-1]["val_auroc"]}
    assert given[0].compute().isnan()  # what is given is not counted into
    with pytest.raises(TrainError, match=r"the metric each: Recall\(.* has shape \(4,\)"):
        fit(model, batches, metrics={"each": metrics.Recall(average=None)}, quiet=True)
    error = {"mse": metrics.MeanSquaredError()}
    with pytest.raises(TrainError, match="'val_mse', which is better the smaller it is"):
        fit(model, batches, batches, metrics=error, monitor="val_mse", quiet=True)
