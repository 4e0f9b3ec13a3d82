"""Random numbers that belong to samples, and transforms that draw them through a loader."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import tinygrad_cnn as tg
from tinygrad_cnn.data import (
    ColorJitter,
    Compose,
    Cutout,
    DataLoader,
    ImageDataset,
    Mixup,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    SampleRandom,
    TensorDataset,
)
from tinygrad_cnn.data.keyed import keys


class Noise(ImageDataset):
    """Images of random bytes."""

    classes = ("a", "b", "c")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)

    def __init__(self, n=37, transform=None):
        super().__init__(transform)
        self._pixels = np.random.default_rng(0).integers(0, 256, (n, 9, 8, 3)).astype(np.uint8)

    @property
    def pixels(self):
        return self._pixels

    @property
    def labels(self):
        return np.arange(len(self._pixels)) % 3


EVERYTHING = Compose(
    [
        RandomHorizontalFlip(),
        RandomShift(0.3),
        RandomRotation(25),
        RandomCrop((9, 8), padding=2, padding_mode="reflect"),
        ColorJitter(0.3, 0.3, 0.3, 0.1),
        Cutout(3),
    ]
)


def drawn(rng, n):
    """One of each kind of draw."""
    return [
        rng.random(n),
        rng.uniform(-2, 5, (n, 2)),
        rng.integers(3, 9, (n,)),
        rng.integers(4, size=(n, 2, 2)),
        rng.normal(1, 2, (n,)),
        rng.beta(0.4, 0.7, n),
    ]


@given(
    seed=st.integers(0, 2**64 - 1), chosen=st.lists(st.integers(0, 10**6), min_size=1, max_size=8)
)
def test_a_row_depends_on_its_sample_alone(seed, chosen):
    together = drawn(SampleRandom(keys(seed, 3, np.asarray(chosen))), len(chosen))
    for row, sample in enumerate(chosen):
        alone = drawn(SampleRandom(keys(seed, 3, np.asarray([sample]))), 1)
        for all_rows, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(all_rows[row], one[0])


def test_draws_have_the_distributions_that_they_are_named_after():
    rng = SampleRandom(keys(5, 0, np.arange(4000)))
    uniform, wide, integers, _, normal, beta = drawn(rng, 4000)
    assert stats.kstest(uniform, "uniform").pvalue > 0.01
    assert stats.kstest(wide.ravel(), stats.uniform(-2, 7).cdf).pvalue > 0.01
    assert stats.kstest(normal, stats.norm(1, 2).cdf).pvalue > 0.01
    assert stats.kstest(beta, stats.beta(0.4, 0.7).cdf).pvalue > 0.01
    values, counts = np.unique(integers, return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7, 8]
    assert stats.chisquare(counts).pvalue > 0.01
    assert abs(np.corrcoef(uniform, wide[:, 0])[0, 1]) < 0.05  # draws do not repeat one another
    again = rng.random(4000)
    assert abs(np.corrcoef(uniform, again)[0, 1]) < 0.05


def test_numbers_for_the_whole_batch_and_wrong_sizes():
    rng = SampleRandom(keys(5, 0, np.arange(3)))
    first, second = rng.random(), rng.random()
    assert 0 <= first < 1
    assert first != second
    assert rng.integers(3) in (0, 1, 2)
    assert SampleRandom(keys(5, 0, np.arange(4))).random() != first
    assert SampleRandom(keys(5, 0, np.arange(0))).random(0).shape == (0,)
    for size in (4, (2, 3)):
        with pytest.raises(ValueError, match="begins with the 3 samples of the batch"):
            rng.random(size)


def collected(loader, seed):
    """The images and labels of an epoch by their index in the data set."""
    order = [i for batch in loader._index_batches(seed) for i in batch]
    batches = [(x.numpy(), y.numpy()) for x, y in loader.epoch(seed)]
    images = np.concatenate([x for x, _ in batches])
    return {i: image.tobytes() for i, image in zip(order, images, strict=True)}


def test_a_sample_is_augmented_alike_in_any_batch():
    data = Noise(transform=EVERYTHING)
    reference = collected(DataLoader(data, 5, shuffle=True), 11)
    assert len(set(reference.values())) == 37
    for options in (
        {"batch_size": 37},
        {"batch_size": 1},
        {"batch_size": 5, "shuffle": True, "num_workers": 1},
        {"batch_size": 8, "shuffle": True, "num_workers": 4},
    ):
        assert collected(DataLoader(data, **options), 11) == reference
    other = collected(DataLoader(data, 5), 12)
    assert sum(other[i] == reference[i] for i in range(37)) < 3


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("start", [0, 1, 3, 5, 9])
def test_an_epoch_goes_on_in_the_middle(workers, start):
    transform = Compose([EVERYTHING, Mixup(0.4, classes=3)])
    loader = DataLoader(Noise(transform=transform), 8, shuffle=True, num_workers=workers)
    state = tg.default_generator.get_state()
    whole = [(x.numpy().tobytes(), y.numpy().tobytes()) for x, y in loader.epoch(5)]
    rest = [(x.numpy().tobytes(), y.numpy().tobytes()) for x, y in loader.epoch(5, start)]
    assert rest == whole[start:]
    assert tg.default_generator.get_state() == state


def test_mixup_through_a_loader_gives_soft_labels_that_the_loss_takes():
    loader = DataLoader(Noise(), 37, transform=Mixup(1.0, classes=3))
    images, labels = next(iter(loader))
    assert (images.shape, images.dtype) == ((37, 3, 9, 8), tg.float32)
    assert (labels.shape, labels.dtype) == ((37, 3), tg.float32)
    scores = tg.randn(37, 3)
    loss = tg.nn.functional.cross_entropy(scores, labels).item()
    log_p = np.log(np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(1, keepdims=True))
    assert loss == pytest.approx(-(log_p * labels.numpy()).sum(1).mean(), rel=1e-5)
    bare = DataLoader(TensorDataset(np.zeros((4, 3, 2, 2), np.uint8)), 2, transform=Mixup(1.0, 3))
    with pytest.raises(TypeError, match="changes labels, but the batches have no array of labels"):
        next(iter(bare))
