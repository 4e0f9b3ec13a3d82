"""Pictures of images, layers and gradients: the arrays that are in them, and their mistakes."""

import numpy as np
import pytest
from scipy import ndimage

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn, viz
from tinygrad_cnn.viz.style import mosaic, to_pixels


@pytest.fixture
def model():
    tg.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4, 5),
    )


def shown(axes, number=0):
    return np.ma.filled(axes.images[number].get_array(), np.nan)


def test_pixels_and_mosaics():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    pixels = to_pixels(image)
    np.testing.assert_allclose(pixels, image.transpose(0, 2, 3, 1) / 255, atol=1e-6)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.1]
    normal = data.Normalize(mean, std)(image)
    np.testing.assert_allclose(to_pixels(tg.from_numpy(normal), mean, std), pixels, atol=1e-6)
    assert to_pixels(image[0]).shape == (1, 4, 5, 3)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 4, 5\), expected .* 1 or 3 channels"):
        to_pixels(image[:, :2])
    tiles = np.arange(12.0).reshape(3, 2, 2)
    picture = mosaic(tiles, 2, gap=1)
    np.testing.assert_array_equal(picture[:2, 3:], tiles[1])
    np.testing.assert_array_equal(picture[3:, :2], tiles[2])
    assert np.isnan(picture[2]).all()
    assert np.isnan(picture[3:, 2:]).all()


def test_filters_of_three_channels_are_colours(model, tmp_path):
    figure = viz.filters(model, tmp_path / "f.png")
    weight = model[0].weight.detach().numpy()
    picture = shown(figure.axes[0])
    expected = 0.5 + weight[0].transpose(1, 2, 0) / (2 * np.abs(weight).max())
    np.testing.assert_allclose(picture[:3, :3], expected, atol=1e-6)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    grey = viz.filters(model, layer="3")
    second = model[3].weight.detach().numpy()
    np.testing.assert_allclose(shown(grey.axes[0])[4:7, 8:11], second[1, 2], atol=1e-6)
    with pytest.raises(ValueError, match=r"no convolution 7 in the model; there are 0, 3"):
        viz.filters(model, layer="7")
    with pytest.raises(ValueError, match="there are none"):
        viz.filters(nn.Linear(2, 2))


def test_feature_maps_are_the_layer_outputs(model):
    image = tg.rand(3, 8, 8)
    figure = viz.feature_maps(model, image, "2")
    model.eval()
    output = model[2](model[1](model[0](image.unsqueeze(0)))).detach().numpy()[0]
    low, high = output[4].min(), output[4].max()
    picture = shown(figure.axes[1])  # four in a row, one pixel apart
    np.testing.assert_allclose(picture[9:17, :8], (output[4] - low) / (high - low), atol=1e-5)
    bars = viz.feature_maps(model, image, "7").axes[1].patches
    np.testing.assert_allclose(
        [bar.get_height() for bar in bars], model(image.unsqueeze(0)).detach().numpy()[0], atol=1e-5
    )
    with pytest.raises(KeyError, match="no layer 'features'; there are 0, 1, 2, 3, 4, 5, 6, 7"):
        viz.feature_maps(model, image, "features")


def test_a_layer_that_is_not_called_or_gives_no_tensor():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.used((x, x))[0]

    with pytest.raises(RuntimeError, match="'unused' gives no tensor: it is not called"):
        viz.layer_output(Odd(), tg.zeros(1), "unused")
    with pytest.raises(RuntimeError, match="'used' gives no tensor: its output is a tuple"):
        viz.layer_output(Odd(), tg.zeros(1), "used")


def test_modes_and_weights_are_left_as_they_were(model):
    model.train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = tg.rand(2, 3, 8, 8)
    viz.saliency(model, x)
    viz.grad_cam(model, x)
    viz.feature_maps(model, x[0], "0")
    assert [m.training for m in model] == [True, False] + [True] * 6
    assert all((before[k] == v).all().item() for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert x.grad is None


def test_saliency_is_the_slope_of_the_score(model):
    model.to(tg.float64).eval()
    x = tg.rand(2, 3, 6, 6, dtype=tg.float64)
    found = viz.saliency_map(model, x, target=[1, 4])
    for row, target in ((0, 1), (1, 4)):
        slopes = np.zeros((3, 6, 6))
        for place in np.ndindex(3, 6, 6):
            ends = []
            for side in (1e-6, -1e-6):
                moved = x.numpy().copy()
                moved[(row, *place)] += side
                ends.append(model(tg.from_numpy(moved))[row, target].item())
            slopes[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(found[row], np.abs(slopes).max(axis=0), atol=1e-7)


def test_grad_cam_after_average_pooling_is_the_weighted_sum_of_maps(model):
    model.eval()
    x = tg.rand(2, 3, 6, 6)
    found = viz.grad_cam_map(model, x, target=[3, 0])
    maps = model[:4](x).detach().numpy()  # (n, 4, 4, 4)
    heat = np.einsum("nk,nkhw->nhw", model[7].weight.detach().numpy()[[3, 0]], maps)
    heat = np.maximum(heat, 0)
    places = (np.indices((6, 6)) + 0.5) * 4 / 6 - 0.5
    large = np.stack([ndimage.map_coordinates(h, places, order=1, mode="nearest") for h in heat])
    np.testing.assert_allclose(found, large / large.max(axis=(1, 2), keepdims=True), atol=1e-5)
    with pytest.raises(ValueError, match=r"layer '7' has shape \(2, 5\), expected \(n, maps, h"):
        viz.grad_cam_map(model, x, "7")
    with pytest.raises(ValueError, match="no convolution; name a `layer`"):
        viz.grad_cam(nn.Linear(2, 2), x)


def test_maps_are_titled_with_the_class_they_show(model):
    model.eval()
    x, classes = tg.rand(2, 3, 8, 8), ["ant", "bee", "cat", "dog", "elk"]
    said = [classes[i] for i in model(x).argmax(1).tolist()]
    for draw in (viz.saliency, viz.grad_cam):
        plain = draw(model, x, classes=classes)
        assert [t.get_text() for t in plain.axes[0].texts[:2]] == [f"predicted {s}" for s in said]
        full = draw(model, x, classes=classes, labels=[1, 0], target=[3, 4])
        assert [t.get_text() for t in full.axes[0].texts[:2]] == [
            f"map of dog\npredicted {said[0]}\ntrue bee",
            f"map of elk\npredicted {said[1]}\ntrue ant",
        ]


def test_gradient_flow_shows_weights_from_first_to_last(model):
    with pytest.raises(ValueError, match="call `backward` before"):
        viz.gradient_flow(model)
    model(tg.rand(4, 3, 8, 8)).sum().backward()
    axes = viz.gradient_flow(model).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "3", "7"]
    largest, mean = (line.get_ydata() for line in axes.lines)
    grads = [np.abs(model[i].weight.grad.numpy()) for i in (0, 3, 7)]
    np.testing.assert_allclose(largest, [g.max() for g in grads])
    np.testing.assert_allclose(mean, [g.mean() for g in grads], rtol=1e-5)


def test_augmentation_shows_originals_over_augmented(tmp_path):
    shapes = data.Shapes(12, size=16)
    mix = data.Compose([data.RandomHorizontalFlip(1.0), data.Mixup(0.5, classes=10)])
    figure = viz.show_augmentation(
        shapes.images, mix, tmp_path / "a.png", rows=2, labels=shapes.labels
    )
    assert len(figure.axes[0].images) == 30
    np.testing.assert_allclose(shown(figure.axes[0], 3), shapes.pixels[3] / 255, atol=1e-6)
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names[:3] == ["original", "augmented", "augmented"]
    flips = viz.show_augmentation(shapes.images, data.RandomHorizontalFlip(1.0), rows=1)
    np.testing.assert_allclose(shown(flips.axes[0], 13), shapes.pixels[3, :, ::-1] / 255, atol=1e-6)


def test_a_grid_has_titles_and_blanks():
    figure = viz.image_grid(np.zeros((5, 3, 4, 4)), list("abcde"), columns=3, heading="all")
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "c", "d", "e", "all"]
    assert len(figure.axes[0].images) == 5
    assert len(viz.image_grid(np.zeros((0, 1, 4, 4)), []).axes) == 1
