"""What a network holds and sees: filters of the first layer, feature maps, gradients by layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn import Conv2d, Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.style import (
    TRAIN,
    VALIDATION,
    StrPath,
    hide_ticks,
    mosaic,
    new_figure,
    plain_axes,
    save,
    to_pixels,
)

_MOST = 64  # tiles in one picture


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Inside, ``model`` is in evaluation mode; then each part is in its former mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def layer_output(model: Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Run ``images`` through ``model``: its result and the output of the module ``layer``.

    ``layer`` is a path as `Module.named_modules` has it. The output is the tensor that the rest of
    the model works on: `grad` of the result with respect to it is one call away.

    Raises
    ------
    KeyError
        There is no such module; the message lists those there are.
    RuntimeError
        The module was not called, or its output is no tensor.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    >>> scores, inside = layer_output(model, tg.zeros(1, 3, 8, 8), "1")
    >>> scores.shape, inside.shape
    (Size([1, 144]), Size([1, 4, 6, 6]))
    """
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        known = ", ".join(name for name in modules if name)
        raise KeyError(f"no layer {layer!r}; there are {known}")
    seen: list[object] = []
    handle = modules[layer].register_forward_hook(lambda module, args, y: seen.append(y))
    try:
        with evaluating(model):
            result: Tensor = model(images)
    finally:
        handle.remove()
    if not seen or not isinstance(seen[-1], Tensor):
        found = f"its output is a {type(seen[-1]).__name__}" if seen else "it is not called"
        raise RuntimeError(f"layer {layer!r} gives no tensor: {found}")
    return result, seen[-1]


def filters(model: Module, path: StrPath | None = None, layer: str | None = None) -> Figure:
    """The weights of a convolution as small images; of three channels, as colours.

    Grey is 0, and all share one scale. Of other than three channels, each filter has one tile per
    channel, in a row. By default the model's first convolution is drawn.

    Raises
    ------
    ValueError
        There is no convolution, or ``layer`` is none.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> filters(nn.Sequential(nn.Conv2d(3, 8, 5))).axes[0].get_title()
    '0: 8 filters of 5 × 5, 3 channels'
    """
    found = {n: m for n, m in model.named_modules() if isinstance(m, Conv2d)}
    name = next(iter(found), None) if layer is None else layer
    if name is None or name not in found:
        known = ", ".join(found) or "none"
        raise ArgumentError(
            f"filters: no convolution {layer or ''} in the model; there are {known}"
        )
    weight = found[name].weight.detach().numpy()  # (f, c, kh, kw)
    f, c, kh, kw = weight.shape
    largest = float(np.abs(weight).max()) or 1.0
    colors = c == 3
    if colors:
        shown = weight[:_MOST].transpose(0, 2, 3, 1)  # (f, kh, kw, 3)
        picture = mosaic(0.5 + shown / (2 * largest), columns=min(f, 16, max(8, f // 4)))
    else:
        shown = weight[:16, :16].reshape(-1, kh, kw)
        picture = mosaic(shown, columns=min(c, 16))
    height, width = picture.shape[:2]
    size = min(9.0, max(3.0, 0.04 * width * (8 if colors else 4)))
    figure = new_figure(size, size * height / width + 0.5)
    axes = figure.subplots()
    if colors:
        axes.imshow(np.nan_to_num(picture, nan=1.0), interpolation="nearest")
    else:
        image = axes.imshow(picture, cmap="RdBu_r", vmin=-largest, vmax=largest)
        figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    hide_ticks(axes)
    axes.set_title(f"{name}: {f} filters of {kh} × {kw}, {c} channel{'s' * (c > 1)}")
    return save(figure, path)


def feature_maps(
    model: Module,
    image: Tensor,
    layer: str,
    path: StrPath | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """What the channels of ``layer`` make of an ``image`` (c, h, w), and the image beside them.

    ``mean`` and ``std`` are those by which the image has been normalised. Each map has a colour
    scale of its own, from its least to its largest value. An output without height and width is
    drawn as bars.

    Raises
    ------
    KeyError
        There is no such layer; the message lists those there are.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    >>> figure = feature_maps(model, tg.rand(3, 8, 8), "1")
    >>> [axes.get_title() for axes in figure.axes]
    ['image', '1 (ReLU): 6 maps of 6 × 6']
    """
    batch = image.unsqueeze(0) if image.ndim == 3 else image
    with no_grad():
        _, output = layer_output(model, batch, layer)
    kind = type(dict(model.named_modules())[layer]).__name__
    values = output.detach().numpy()[0]
    figure = new_figure(9, 3.6)
    if values.ndim == 3:
        c, h, w = values.shape
        columns = 4 if min(c, _MOST) <= 16 else 8
        tall = h * math.ceil(min(c, _MOST) / columns) / (w * columns)
        figure.set_size_inches(9, min(max(6.2 * tall, 2.7), 9) + 0.4)
    before, after = figure.subplots(1, 2, width_ratios=(1, 2.4))
    before.imshow(_shown(to_pixels(batch, mean, std)[0]), cmap="gray", interpolation="nearest")
    before.set_title("image")
    hide_ticks(before)
    if values.ndim == 3:
        tiles = values[:_MOST]
        low, high = (f(tiles, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        tiles = (tiles - low) / np.where(high > low, high - low, 1)
        gap = max(1, h // 12)
        after.imshow(mosaic(tiles, columns, gap), cmap="viridis", interpolation="nearest")
        more = f" (the first {_MOST})" if c > _MOST else ""
        after.set_title(f"{layer} ({kind}): {c} map{'s' * (c > 1)} of {h} × {w}{more}")
        hide_ticks(after)
    else:
        flat = values.ravel()
        after.bar(range(len(flat)), flat, color=TRAIN["color"], width=1.0)
        after.set_title(f"{layer} ({kind}): {len(flat)} values")
        plain_axes(after, "y")
    return save(figure, path)


def gradient_flow(model: Module, path: StrPath | None = None) -> Figure:
    """Size of the gradient in every layer: mean and largest absolute value, after ``backward``.

    Layers from the input on the left to the output on the right; a curve that falls to the left is
    a gradient that vanishes on its way back. Vectors (biases, normalisation) are left out.

    Raises
    ------
    ValueError
        No weight has a gradient.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Linear(3, 2)
    >>> model(tg.ones(1, 3)).sum().backward()
    >>> [line.get_label() for line in gradient_flow(model).axes[0].lines]
    ['largest', 'mean']
    """
    found = [(n, p.grad.numpy()) for n, p in model.named_parameters() if p.grad is not None]
    weights = [(n.removesuffix(".weight"), np.abs(g)) for n, g in found if g.ndim > 1]
    if not weights:
        raise ArgumentError("gradient_flow: no weight has a gradient; call `backward` before")
    names = [name for name, _ in weights]
    figure = new_figure(max(5.0, 1.5 + 0.42 * len(names)), 4)
    axes = figure.subplots()
    places = range(len(names))
    for label, style, measure in (("largest", VALIDATION, np.max), ("mean", TRAIN, np.mean)):
        values = np.array([float(measure(g)) for _, g in weights])
        axes.plot(places, values, label=label, markersize=4, linewidth=1.4, **style)
    if all(g.any() for _, g in weights):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the usual one, of powers, takes half a second
        axes.yaxis.set_minor_formatter("")
    axes.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_ylabel("|gradient| of the weights")
    axes.set_title("Gradient flow")
    plain_axes(axes)
    axes.legend(frameon=False)
    return save(figure, path)


def _shown(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image (h, w, c) as ``imshow`` takes it: a single channel without its axis."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
