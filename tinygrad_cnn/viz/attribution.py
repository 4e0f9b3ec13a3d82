"""Where a network looks: saliency and Grad-CAM, each one call of `grad`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinygrad_cnn.autograd import grad
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn import Conv2d, Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array
from tinygrad_cnn.viz.layers import evaluating, layer_output
from tinygrad_cnn.viz.style import StrPath, grid_of, save, to_pixels

Floats = NDArray[np.float32]


def saliency_map(model: Module, images: Tensor, target: Sequence[int] | None = None) -> Floats:
    """How much each pixel of ``images`` (n, c, h, w) changes the score of its class: (n, h, w).

    The largest absolute value over the channels of the gradient of the score. ``target`` has a
    class per image, by default the predicted one. Source: Simonyan, Vedaldi and Zisserman, "Deep
    inside convolutional networks", 2014.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> weights = model[1].weight.detach().numpy()
    >>> found = saliency_map(model, tg.ones(1, 1, 2, 2), target=[1])
    >>> bool(np.allclose(found.ravel(), abs(weights[1])))
    True
    """
    return _saliency(model, images, target)[0]


def _saliency(
    model: Module, images: Tensor, target: Sequence[int] | None
) -> tuple[Floats, list[int]]:
    """The map, and the predicted classes."""
    x = images.detach().requires_grad_()
    with evaluating(model):
        scores = model(x)
    (g,) = grad(_chosen(scores, target).sum(), [x])  # all there is to it
    return np.abs(g.numpy()).max(axis=1), _predicted(scores)


def grad_cam_map(
    model: Module, images: Tensor, layer: str | None = None, target: Sequence[int] | None = None
) -> Floats:
    """Which parts of ``images`` (n, c, h, w) speak for a class: (n, h, w) in [0, 1].

    The feature maps of ``layer`` (by default the last convolution) are added up, each with the mean
    gradient of the score as its weight; what is negative becomes 0. The result is brought to the
    size of the images and divided by its largest value. Source: Selvaraju et al., "Grad-CAM", 2017.

    Raises
    ------
    KeyError, ValueError
        There is no such layer, or its output has no height and width.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> grad_cam_map(model, tg.rand(2, 3, 8, 8)).shape
    (2, 8, 8)
    """
    return _grad_cam(model, images, layer, target)[0]


def _grad_cam(
    model: Module, images: Tensor, layer: str | None, target: Sequence[int] | None
) -> tuple[Floats, list[int]]:
    """The map, and the predicted classes."""
    layer = last_convolution(model) if layer is None else layer
    scores, maps = layer_output(model, images.detach().requires_grad_(), layer)
    if maps.ndim != 4:
        raise ArgumentError(
            f"grad_cam: the output of layer {layer!r} has shape {maps.shape}, expected "
            "(n, maps, h, w): choose a convolution or what follows one"
        )
    (g,) = grad(_chosen(scores, target).sum(), [maps])  # all there is to it
    weights = g.numpy().mean(axis=(2, 3), keepdims=True)  # (n, maps, 1, 1)
    heat = np.maximum((weights * maps.detach().numpy()).sum(axis=1), 0)  # (n, h, w)
    heat = _enlarged(heat, images.shape[2], images.shape[3])
    largest = heat.max(axis=(1, 2), keepdims=True)
    scaled: Floats = np.divide(heat, largest, out=heat, where=largest > 0)
    return scaled, _predicted(scores)


def saliency(
    model: Module,
    images: Tensor,
    path: StrPath | None = None,
    *,
    target: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """`saliency_map` of up to eight images, below them; ``mean`` and ``std`` undo normalisation.

    Above each image stands the class whose map it is: the predicted one, or that of ``target``.
    ``classes`` are their names; with the true ``labels``, these are shown too.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    >>> len(saliency(model, tg.rand(3, 3, 4, 4)).axes[0].images)
    6
    """
    from matplotlib import colormaps

    images = images[:8]
    heat, predicted = _saliency(model, images, target)
    # One bright pixel would leave all others black.
    top = np.maximum(np.quantile(heat, 0.995, axis=(1, 2), keepdims=True), 1e-30)
    colors = colormaps["magma"]((heat / top).clip(0, 1))[..., :3]  # (n, h, w, 3)
    titles = titles or _titles(predicted, target, labels, classes)
    return save(_below(to_pixels(images, mean, std), colors, titles, "Saliency"), path)


def grad_cam(
    model: Module,
    images: Tensor,
    path: StrPath | None = None,
    *,
    layer: str | None = None,
    target: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """`grad_cam_map` of up to eight images, laid over them; other arguments as in `saliency`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    >>> figure = grad_cam(
    ...     model, tg.rand(1, 3, 8, 8), target=[0], classes=["cat", "dog"], labels=[1]
    ... )
    >>> figure.axes[0].texts[0].get_text().splitlines()[::2]
    ['map of cat', 'true dog']
    """
    from matplotlib import colormaps

    images = images[:8]
    layer = last_convolution(model) if layer is None else layer
    heat, predicted = _grad_cam(model, images, layer, target)
    pixels = to_pixels(images, mean, std)
    laid = 0.45 * pixels + 0.55 * colormaps["viridis"](heat)[..., :3]  # (n, h, w, 3)
    titles = titles or _titles(predicted, target, labels, classes)
    return save(_below(pixels, laid, titles, f"Grad-CAM at {layer}"), path)


def _titles(
    predicted: Sequence[int],
    target: Sequence[int] | None,
    labels: Sequence[int] | None,
    classes: Sequence[str] | None,
) -> list[str]:
    """What stands above each image: whose map it is, what was predicted, what is true."""
    lines = [("map of", target), ("predicted", predicted), ("true", labels)]
    given = [(word, [int(n) for n in numbers]) for word, numbers in lines if numbers is not None]
    return [
        "\n".join(
            f"{word} {numbers[i] if classes is None else classes[numbers[i]]}"
            for word, numbers in given
        )
        for i in range(len(predicted))
    ]


def last_convolution(model: Module) -> str:
    """The path of the model's last convolution.

    Raises
    ------
    ValueError
        There is none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, Conv2d)]
    if not names:
        raise ArgumentError("grad_cam: the model has no convolution; name a `layer`")
    return names[-1]


def _predicted(scores: Tensor) -> list[int]:
    found: list[int] = scores._array.argmax(axis=1).tolist()
    return found


def _chosen(scores: Tensor, target: Sequence[int] | None) -> Tensor:
    """The score (n,) of each image's class, out of (n, classes)."""
    numbers = np.asarray(_predicted(scores) if target is None else target, np.int64)
    return scores[np.arange(len(numbers)), numbers]


def _enlarged(maps: Floats, height: int, width: int) -> Floats:
    """Maps (n, h, w) brought to another size, bilinear, with pixel centres aligned."""

    def weights(size: int, target: int) -> Floats:
        """(target, size): a row for each new pixel."""
        place = ((np.arange(target) + 0.5) * size / target - 0.5).clip(0, size - 1)
        near: Floats = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size)))
        return near.astype(np.float32)

    rows = weights(maps.shape[1], height) @ maps  # (n, height, w)
    return np.asarray(rows @ weights(maps.shape[2], width).T, np.float32)


def _below(pixels: Array, heat: Array, titles: Sequence[str], name: str) -> Figure:
    """Images in the upper row, what was found in the lower one."""
    return grid_of([*pixels, *heat], len(pixels), titles=titles, heading=name)
