"""Metrics against the definitions, written as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.train import accuracy, confusion_matrix, per_class_accuracy

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
