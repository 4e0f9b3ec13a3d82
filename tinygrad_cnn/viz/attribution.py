"""Where a network looks: saliency and Grad-CAM, each one call of `grad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinygrad_cnn.autograd import grad
from tinygrad_cnn.nn import Conv2d, Module
from tinygrad_cnn.tensor import Tensor
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
    x = images.detach().requires_grad_()
    with evaluating(model):
        scores = _chosen(model(x), target)  # (n,)
    (g,) = grad(scores.sum(), [x])  # all there is to it
    found: Floats = np.abs(g.numpy()).max(axis=1)
    return found


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
    layer = last_convolution(model) if layer is None else layer
    scores, maps = layer_output(model, images.detach().requires_grad_(), layer)
    if maps.ndim != 4:
        raise ValueError(
            f"grad_cam: the output of layer {layer!r} has shape {maps.shape}, expected "
            "(n, maps, h, w): choose a convolution or what follows one"
        )
    (g,) = grad(_chosen(scores, target).sum(), [maps])  # all there is to it
    weights = g.numpy().mean(axis=(2, 3), keepdims=True)  # (n, maps, 1, 1)
    heat = np.maximum((weights * maps.detach().numpy()).sum(axis=1), 0)  # (n, h, w)
    heat = _enlarged(heat, images.shape[2], images.shape[3])
    largest = heat.max(axis=(1, 2), keepdims=True)
    scaled: Floats = np.divide(heat, largest, out=heat, where=largest > 0)
    return scaled


def saliency(
    model: Module,
    images: Tensor,
    path: StrPath | None = None,
    *,
    target: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """`saliency_map` of up to eight images, below them; ``mean`` and ``std`` undo normalisation.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    >>> len(saliency(model, tg.rand(3, 3, 4, 4)).axes[0].images)
    6
    """
    images = images[:8]
    heat = saliency_map(model, images, target)
    # One bright pixel would leave all others black.
    top = np.maximum(np.quantile(heat, 0.995, axis=(1, 2), keepdims=True), 1e-30)
    return save(
        _below(to_pixels(images, mean, std), (heat / top).clip(0, 1), "magma", titles, "Saliency"),
        path,
    )


def grad_cam(
    model: Module,
    images: Tensor,
    path: StrPath | None = None,
    *,
    layer: str | None = None,
    target: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """`grad_cam_map` of up to eight images, laid over them; ``mean`` and ``std`` as in `saliency`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    >>> len(grad_cam(model, tg.rand(2, 3, 8, 8)).axes[0].images)
    4
    """
    from matplotlib import colormaps

    images = images[:8]
    layer = last_convolution(model) if layer is None else layer
    heat = grad_cam_map(model, images, layer, target)
    pixels = to_pixels(images, mean, std)
    colors = colormaps["viridis"](heat)[..., :3]  # (n, h, w, 3)
    laid = 0.45 * pixels + 0.55 * colors
    return save(_below(pixels, laid, None, titles, f"Grad-CAM at {layer}"), path)


def last_convolution(model: Module) -> str:
    """The path of the model's last convolution.

    Raises
    ------
    ValueError
        There is none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, Conv2d)]
    if not names:
        raise ValueError("grad_cam: the model has no convolution; name a `layer`")
    return names[-1]


def _chosen(scores: Tensor, target: Sequence[int] | None) -> Tensor:
    """The score (n,) of each image's class, out of (n, classes)."""
    numbers = scores._array.argmax(axis=1) if target is None else np.asarray(target, np.int64)
    chosen: Tensor = scores[np.arange(len(numbers)), numbers]
    return chosen


def _enlarged(maps: Floats, height: int, width: int) -> Floats:
    """Maps (n, h, w) brought to another size, bilinear, with pixel centres aligned."""

    def weights(size: int, target: int) -> Floats:
        """(target, size): a row for each new pixel."""
        place = ((np.arange(target) + 0.5) * size / target - 0.5).clip(0, size - 1)
        near: Floats = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size)))
        return near.astype(np.float32)

    rows = weights(maps.shape[1], height) @ maps  # (n, height, w)
    return np.asarray(rows @ weights(maps.shape[2], width).T, np.float32)


def _below(
    pixels: NDArray[Any],
    heat: NDArray[Any],
    cmap: str | None,
    titles: Sequence[str] | None,
    name: str,
) -> Figure:
    """Images in the upper row, what was found in the lower one."""
    if cmap is not None:
        from matplotlib import colormaps

        heat = colormaps[cmap](heat)[..., :3]  # (n, h, w, 3)
    tiles = [*pixels, *heat]
    return grid_of(tiles, len(pixels), titles=titles or (), heading=name)
