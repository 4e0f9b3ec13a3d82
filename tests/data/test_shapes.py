"""Shapes: reproducible image by image, and distances that are distances."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.data import DataLoader, Shapes, keyed, rendering
from tinygrad_cnn.data.shapes import _FIGURES, render_shapes


@given(
    numbers=st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
    seed=st.integers(-(2**70), 2**70),
    train=st.booleans(),
)
def test_an_image_depends_on_seed_split_and_number_only(numbers, seed, train):
    together = render_shapes(np.array(numbers), train=train, seed=seed)
    for image, number in zip(together, numbers, strict=True):
        alone = render_shapes(np.array([number]), train=train, seed=seed)[0]
        np.testing.assert_array_equal(image, alone)
        other_split = render_shapes(np.array([number]), train=not train, seed=seed)[0]
        other_seed = render_shapes(np.array([number]), train=train, seed=seed + 1)[0]
        assert not np.array_equal(image, other_split)
        assert not np.array_equal(image, other_seed)


def test_a_longer_set_begins_with_the_shorter_one():
    short, long = Shapes(30), Shapes(300)
    np.testing.assert_array_equal(long.images[:30], short.images)
    assert long.labels.tolist() == [i % 10 for i in range(300)]
    assert len(np.unique(long.pixels.reshape(300, -1), axis=0)) == 300


def test_sizes_dtypes_and_names():
    shapes = Shapes(12, size=20, train=False)
    assert len(Shapes()) == 10_000
    assert len(Shapes(train=False)) == 2_000
    assert len(Shapes(0).images) == 0
    image, label = shapes[11]
    assert (image.shape, image.dtype, label) == ((3, 20, 20), np.uint8, 1)
    assert len(set(Shapes.classes)) == 10
    assert repr(shapes) == "Shapes(test: 12 images of 20x20, seed 0)"


def test_mean_and_std_are_those_of_the_training_images():
    pixels = Shapes(2_000).pixels / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), Shapes.mean, atol=0.01)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), Shapes.std, atol=0.005)
    batch, _ = next(iter(DataLoader(Shapes(2_000), 2_000)))
    assert np.abs(batch.numpy().mean((0, 2, 3))).max() < 0.05
    assert np.abs(batch.numpy().std((0, 2, 3)) - 1).max() < 0.02


def test_drawn_once_when_first_needed(monkeypatch):
    calls = []

    def counting(numbers, **settings):
        calls.append(threading.current_thread().name)
        return render_shapes(numbers, **settings)

    monkeypatch.setattr("tinygrad_cnn.data.shapes.render_shapes", counting)
    shapes = Shapes(200)
    assert calls == []
    for _ in range(2):
        list(DataLoader(shapes, 10, num_workers=4))
    assert len(calls) == 1


@pytest.mark.parametrize(("n", "size", "message"), [(-1, 32, "`n` must"), (5, 4, "`size` must")])
def test_bad_arguments_are_named(n, size, message):
    with pytest.raises(ValueError, match=message):
        Shapes(n, size=size)


@pytest.mark.parametrize("name", _FIGURES)
def test_figures_are_signed_distances(name):
    """To the nearest point of the other side on a fine grid, up to the grid's spacing."""
    side = np.linspace(-1.5, 1.5, 151, dtype=np.float32)
    x, y = (a.ravel() for a in np.meshgrid(side, side))
    distance = _FIGURES[name](x, y)
    assert distance.dtype == np.float32
    inside = distance < 0
    assert 0.1 < inside.mean() < 0.4
    probes = np.random.default_rng(0).choice(len(x), 200, replace=False)
    for i in probes:
        others = inside != inside[i]
        nearest = np.sqrt(np.min((x[others] - x[i]) ** 2 + (y[others] - y[i]) ** 2))
        assert abs(abs(distance[i]) - nearest) < 0.04


def test_polygons_turn_either_way():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500)).astype(np.float32)
    corners = [(0.0, 0.0), (1.0, 0.2), (0.3, 0.4), (0.2, 1.0)]
    np.testing.assert_allclose(
        rendering.polygon(x, y, corners), rendering.polygon(x, y, corners[::-1]), atol=1e-6
    )


def test_keyed_numbers_are_uniform_and_unrelated():
    keys = keyed.keys(0, 0, np.arange(4_000))
    assert len(np.unique(keys)) == 4_000
    numbers = rendering.uniforms(keys, 8)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(numbers.var(0), 1 / 12, atol=0.005)
    both = np.concatenate([numbers, rendering.uniforms(keys + np.uint64(1), 8)], axis=1)
    correlation = np.corrcoef(both.T) - np.eye(16)
    assert np.abs(correlation).max() < 0.08
    noise = rendering.noise_bytes(keys, 13)
    assert noise.shape == (4_000, 13)
    np.testing.assert_allclose(noise.mean(0), 127.5, atol=5)


def test_coverage_and_blend():
    np.testing.assert_array_equal(
        rendering.coverage(np.array([-3, -0.25, 0, 0.25, 3], np.float32)), [1, 0.75, 0.5, 0.25, 0]
    )
    canvas = np.zeros((1, 3, 2), np.float32)
    rendering.blend(canvas, np.array([[1, 0.5, 0]], np.float32), np.array([[1, 0.5]], np.float32))
    np.testing.assert_array_equal(canvas, [[[1, 0.5], [0.5, 0.25], [0, 0]]])


def test_a_linear_model_is_not_enough():
    train, test = Shapes(1_500), Shapes(500, train=False)
    design = train.pixels.reshape(1_500, -1) / 255 - 0.5
    gram = design @ design.T + 30 * np.eye(1_500)
    weights = design.T @ np.linalg.solve(gram, np.eye(10)[train.labels])
    guesses = (test.pixels.reshape(500, -1) / 255 - 0.5) @ weights
    assert (guesses.argmax(1) == test.labels).mean() < 0.5


def test_large_sets_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr("tinygrad_cnn.data.shapes._KEPT", 20)
    first = Shapes(30).pixels
    (kept,) = (tmp_path / "shapes").iterdir()
    drawn = render_shapes(np.arange(30))
    np.testing.assert_array_equal(first, drawn)
    monkeypatch.setattr(
        "tinygrad_cnn.data.shapes.render_shapes", lambda numbers, **_: drawn[: len(numbers)][::-1]
    )
    again = Shapes(30).pixels  # read, not drawn
    np.testing.assert_array_equal(again, drawn)
    again[0] = 0  # what is read may be changed, which changes no file
    np.testing.assert_array_equal(Shapes(30).pixels, drawn)
    kept.write_bytes(kept.read_bytes()[:500])
    np.testing.assert_array_equal(Shapes(30).pixels, drawn[::-1])  # drawn again
    assert len(Shapes(19).pixels) == 19
    assert len(list((tmp_path / "shapes").iterdir())) == 1
