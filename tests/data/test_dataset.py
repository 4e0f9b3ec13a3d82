"""Data sets, their joins and parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from tinygrad_cnn.data.dataset import fetch


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index, index * index


def test_a_data_set_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Dataset does not define `__len__`"):
        len(Dataset())
    with pytest.raises(NotImplementedError, match="Dataset does not define `__getitem__`"):
        Dataset()[0]


def test_tensor_dataset_takes_rows_of_tensors_and_arrays():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    pairs = TensorDataset(tg.tensor(x), np.arange(6))
    assert len(pairs) == 6
    row, label = pairs[4]
    assert row.tolist() == [8.0, 9.0]
    assert label.item() == 4
    rows, labels = pairs.__getitems__([5, 0, 5])
    np.testing.assert_array_equal(rows, x[[5, 0, 5]])
    assert labels.tolist() == [5, 0, 5]


def test_tensor_dataset_names_unequal_lengths():
    with pytest.raises(ValueError, match=r"equal, got shapes \(3,\), \(4, 1\)"):
        TensorDataset(np.zeros(3), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()
    with pytest.raises(ValueError, match="equal, got shapes"):
        TensorDataset(np.float32(3.0))


def test_subset_reads_through_and_keeps_the_transform():
    whole = TensorDataset(np.arange(10))
    whole.transform = lambda images, rng: images
    whole.transforms_batches = True
    part = Subset(Subset(whole, [9, 7, 5, 3]), np.array([3, 0]))
    assert [part[0][0].item(), part[1][0].item(), part[-1][0].item()] == [3, 9, 9]
    assert part.__getitems__([1, 0])[0].tolist() == [9, 3]
    assert part.transform is whole.transform
    assert part.transforms_batches
    whole.transforms_batches = False  # then it is its own business
    assert Subset(whole, [0]).transform is None
    assert Subset(Squares(5), [2]).__getitems__([0]) == [(2, 4)]


def test_concatenation_joins_and_counts_from_the_end():
    both = Squares(3) + Squares(2)
    assert [both[i][0] for i in range(5)] == [0, 1, 2, 0, 1]
    assert both[-1] == (1, 1)
    assert both[-5] == (0, 0)
    assert fetch(both, [4, 0]) == [(1, 1), (0, 0)]
    for index in (5, -6):
        with pytest.raises(IndexError, match=rf"index {index} is out of range \(5 samples\)"):
            both[index]
    assert [ConcatDataset([[], [1], [], [2, 3]])[i] for i in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="`datasets` is empty"):
        ConcatDataset([])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_random_split_is_a_partition(lengths, seed):
    total = sum(lengths)
    if total == 1:
        lengths = [*lengths, 1]  # [0, 1] would be fractions
        total = 2
    parts = random_split(range(total), lengths, generator=tg.Generator(seed))
    assert [len(part) for part in parts] == lengths
    assert sorted(part[i] for part in parts for i in range(len(part))) == list(range(total))
    again = random_split(range(total), lengths, generator=tg.Generator(seed))
    assert [part.indices for part in again] == [part.indices for part in parts]


@pytest.mark.parametrize(
    ("n", "fractions", "sizes"),
    [(10, [0.9, 0.1], [9, 1]), (11, [0.3, 0.3, 0.4], [4, 3, 4]), (7, [1.0], [7])],
)
def test_random_split_by_fractions_as_pytorch(n, fractions, sizes):
    assert [len(p) for p in random_split(range(n), fractions, tg.Generator(0))] == sizes
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    theirs = torch.utils.data.random_split(range(n), fractions)
    assert [len(p) for p in theirs] == sizes


def test_random_split_draws_from_the_library_by_default():
    tg.manual_seed(4)
    first = random_split(range(50), [25, 25])[0].indices
    tg.manual_seed(4)
    assert random_split(range(50), [25, 25])[0].indices == first
    assert random_split(range(50), [25, 25])[0].indices != first


@pytest.mark.parametrize("lengths", [[3, 3], [0.5, 0.6], [], [-1, 11], [5.5, 4.5]])
def test_random_split_refuses_lengths_that_do_not_fit(lengths):
    with pytest.raises(ValueError, match="random_split: `lengths`"):
        random_split(range(10), lengths)


def test_random_split_warns_of_an_empty_part():
    with pytest.warns(UserWarning, match="part 1 is empty"):
        random_split(range(3), [0.9, 0.1], tg.Generator(0))
