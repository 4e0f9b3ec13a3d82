"""Metrics against the definitions, written as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.train import (
    accuracy,
    calibration,
    class_scores,
    confident_mistakes,
    confusion_matrix,
    most_confused,
    per_class_accuracy,
    probabilities,
    top_k_accuracy,
)

pairs = st.integers(1, 6).flatmap(
    lambda c: st.tuples(
        st.just(c),
        st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), max_size=30),
    )
)


@given(case=pairs, dtype=st.sampled_from([np.int64, np.int32, np.uint8]))
def test_metrics_are_what_loops_count(case, dtype):
    classes, cases = case
    labels = np.array([label for label, _ in cases], dtype)
    predictions = np.array([p for _, p in cases], dtype)
    counts = [[cases.count((i, j)) for j in range(classes)] for i in range(classes)]
    matrix = confusion_matrix(predictions, labels, classes)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == counts
    for i, share in enumerate(per_class_accuracy(matrix)):
        mine = [p for label, p in cases if label == i]
        if mine:
            assert share == pytest.approx(mine.count(i) / len(mine))
        else:
            assert np.isnan(share)
    if cases:
        right = sum(label == p for label, p in cases)
        assert accuracy(predictions, labels) == pytest.approx(right / len(cases))
    else:
        assert np.isnan(accuracy(predictions, labels))


def test_values_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match="`predictions` has values from 0 to 3, expected 0 to 2"):
        confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match="`labels` has values from -1 to 1"):
        confusion_matrix(np.array([0, 1]), np.array([-1, 1]), 3)
    with pytest.raises(ValueError, match=r"shape \(2,\), `labels` \(3,\)"):
        confusion_matrix(np.zeros(2, int), np.zeros(3, int), 3)
    with pytest.raises(ValueError, match=r"shape \(2,\), `labels` \(3,\)"):
        accuracy(np.zeros(2, int), np.zeros(3, int))


@given(case=pairs)
def test_class_scores_are_what_loops_count(case):
    classes, cases = case
    labels, predictions = (np.array([c[i] for c in cases], np.int64) for i in (0, 1))
    scores = class_scores(confusion_matrix(predictions, labels, classes))
    for i in range(classes):
        right = sum(label == p == i for label, p in cases)
        truly, said = (sum(c[j] == i for c in cases) for j in (0, 1))
        assert scores.examples[i] == truly
        assert scores.precision[i] == pytest.approx(right / said if said else np.nan, nan_ok=True)
        assert scores.recall[i] == pytest.approx(right / truly if truly else np.nan, nan_ok=True)
        if not truly:
            assert np.isnan(scores.f1[i])
        elif right:
            p, r = scores.precision[i], scores.recall[i]
            assert scores.f1[i] == pytest.approx(2 * p * r / (p + r))
        else:
            assert scores.f1[i] == 0


@given(seed=st.integers(0, 2**32), n=st.integers(1, 30), k=st.integers(1, 6))
def test_top_k_is_what_sorting_finds(seed, n, k):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (n, 6)).astype(np.float32), rng.integers(0, 6, n)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.mean([label in row for label, row in zip(labels, order, strict=True)])
    assert top_k_accuracy(scores, labels, k) == pytest.approx(expected)
    first = scores.argmax(axis=1)
    assert top_k_accuracy(scores, labels, 1) == accuracy(first, labels)
    with pytest.raises(ValueError, match="`k` is 7, expected 1 to 6"):
        top_k_accuracy(scores, labels, 7)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 60), bins=st.integers(1, 20))
def test_calibration_error_is_what_a_loop_over_bins_finds(seed, n, bins):
    rng = np.random.default_rng(seed)
    shares, labels = rng.dirichlet([0.5] * 4, n), rng.integers(0, 4, n)
    found = calibration(shares, labels, bins)
    error, confidence = 0.0, shares.max(axis=1)
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        assert found.counts[i] == inside.sum()
        if inside.any():
            right = (shares.argmax(axis=1) == labels)[inside].mean()
            error += inside.mean() * abs(confidence[inside].mean() - right)
            assert found.accuracy[i] == pytest.approx(right)
        else:
            assert np.isnan(found.accuracy[i])
    assert found.error == pytest.approx(error)


def test_mistakes_by_number_and_by_confidence():
    assert most_confused(np.array([[3, 0], [0, 4]])) == []
    assert most_confused(np.array([[0, 2, 2], [1, 0, 3], [0, 0, 0]]), 3) == [
        (1, 2, 3),
        (0, 1, 2),
        (0, 2, 2),
    ]
    shares = probabilities(np.array([[5.0, 0], [1000, 0], [0, 0.5], [0, 9]], np.float32))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[0, 0] == pytest.approx(1 / (1 + np.exp(-5)))
    assert confident_mistakes(shares, np.array([1, 1, 0, 1])).tolist() == [1, 0, 2]
    assert confident_mistakes(shares, np.array([1, 1, 0, 1]), 1).tolist() == [1]
