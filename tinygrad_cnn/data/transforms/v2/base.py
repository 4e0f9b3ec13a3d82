"""What all transforms have in common: one draw for all that a call is given.

A call may be given several values, nested in tuples, lists and dicts: images change, by the same
draw, and all else (labels, names) passes through. Images are PIL images and the first `Tensor` of
three dimensions or more; further tensors pass through, as in torchvision, as do arrays.

A `DataLoader` gives a whole batch, an array (n, c, h, w), and ``rng``: then each image has a draw
of its own, from its sample's stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from tinygrad_cnn.data.collate import rebuild
from tinygrad_cnn.data.keyed import Random, SampleRandom, sample_random
from tinygrad_cnn.data.transforms import Images, is_pil
from tinygrad_cnn.data.transforms.v2.functional import planes
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Size = tuple[int, int, int]
"""Channels, height and width."""
Parameters = dict[str, Any]


def is_batch(inputs: tuple[Any, ...]) -> TypeGuard[tuple[Images, Random]]:
    """Whether a loader calls: with a batch and random numbers."""
    return len(inputs) > 1 and isinstance(inputs[1], SampleRandom | np.random.Generator)


def part_of(rng: Random, chosen: Array) -> Random:
    """What some images of a batch draw from."""
    return rng.part(chosen) if isinstance(rng, SampleRandom) else rng


def leaves(value: Any) -> list[Any]:
    """The values in nested tuples, lists and dicts."""
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with each leaf changed."""
    if isinstance(value, Mapping):
        return rebuild(value, {key: replaced(part, change) for key, part in value.items()})
    if isinstance(value, tuple | list):
        return rebuild(value, [replaced(part, change) for part in value])
    return change(value)


def images_of(values: Sequence[Any]) -> list[Any]:
    """Those that are images."""
    tensors = [v for v in values if isinstance(v, Tensor) and v.ndim >= 3]
    pictures = [v for v in values if is_pil(v)]
    return pictures or tensors[:1]


def _size_of(image: Any) -> Size:
    if is_pil(image):
        return len(image.getbands()), image.height, image.width
    c, h, w = image.shape[-3:]
    return c, h, w


def chance(name: str, p: float) -> float:
    """Refuse what is no probability."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ArgumentError(f"{name}: `p` is {p!r}, expected a number from 0 to 1")
    return float(p)


def pair(name: str, argument: str, value: Any, least: float = -np.inf) -> tuple[float, float]:
    """Two numbers, the first not above the second."""
    given = tuple(value) if isinstance(value, Sequence) else ()
    if len(given) != 2 or not least <= given[0] <= given[1]:
        bound = "" if least == -np.inf else f" of at least {least:g}"
        raise ArgumentError(
            f"{name}: `{argument}` is {value!r}, expected two numbers{bound}, the smaller first"
        )
    return given


class Transform:
    """Base of transforms: subclasses define `make_params` and `transform`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> class Darker(Transform):
    ...     def make_params(self, rng, n, size):
    ...         return {"by": rng.uniform(0.0, 0.5, (n, 1, 1, 1))}
    ...     def transform(self, images, by):
    ...         return images * (1 - by)
    >>> image, label = Darker()(tg.ones(3, 4, 4), 7)
    >>> image.shape, label
    (Size([3, 4, 4]), 7)
    """

    p = 1.0
    """How probable it is that images are changed."""

    def make_params(self, rng: Random, n: int, size: Size) -> Parameters:
        """What `transform` gets besides images: arrays (n, …), or the same for all."""
        return {}

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images`` (n, c, h, w) changed."""
        raise NotImplementedError(f"{type(self).__name__} does not define `transform`")

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` with the images changed."""
        if is_batch(inputs):
            images, rng = inputs[:2]
            return self._batch(images, rng)
        found = images_of(leaves(inputs))
        if found:
            rng = sample_random()
            # Drawn even where nothing happens, as for each image of a batch.
            chosen = self.p == 1 or bool(rng.random((1,))[0] < self.p)
            params = self.make_params(rng, 1, _size_of(found[0]))
            if chosen:
                known = {id(image) for image in found}
                inputs = replaced(inputs, lambda v: self._one(v, params) if id(v) in known else v)
        return inputs[0] if len(inputs) == 1 else inputs

    def _one(self, image: Any, params: Parameters) -> Any:
        """An image of any kind."""
        array, back = planes(type(self).__name__, image)
        return back(self.transform(array, **params))

    def _batch(self, images: Images, rng: Random) -> Images:
        planes(type(self).__name__, images)  # checks them
        n, *size = images.shape
        chosen = np.ones(n, bool) if self.p == 1 else rng.random((n,)) < self.p
        params = self.make_params(rng, n, (size[0], size[1], size[2]))
        if chosen.all():
            return self.transform(images, **params) if n else images
        own = {k: v[chosen] if isinstance(v, np.ndarray) else v for k, v in params.items()}
        return put(type(self).__name__, images, chosen, lambda x: self.transform(x, **own))

    def extra_repr(self) -> str:
        """What `repr` has between the parentheses: the public attributes."""
        return ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def put(name: str, images: Images, chosen: Array, change: Callable[[Images], Images]) -> Images:
    """``images`` with the chosen ones changed."""
    if not chosen.any():
        return images
    changed = change(images[chosen])
    if changed.shape[1:] != images.shape[1:] or changed.dtype != images.dtype:
        raise ArgumentError(
            f"{name}: some images of the batch became {changed.dtype} {changed.shape[1:]}, while "
            f"others are {images.dtype} {images.shape[1:]}; in a batch, a transform that not all "
            "get must keep shape and dtype"
        )
    out = images.copy(order="K")
    out[chosen] = changed
    return out


def call(transform: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a transform makes of inputs, as a tuple again."""
    out = transform(*inputs)
    if is_batch(inputs):
        return (*out, inputs[1]) if isinstance(out, tuple) else (out, *inputs[1:])
    return out if len(inputs) > 1 else (out,)


def call_batch(transform: Callable[..., Any], rng: Random, images: Images) -> Images:
    """What a transform makes of a part of a batch."""
    out: Images = transform(images, rng)
    return out


class _Several(Transform):
    """Base of transforms made of others."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        name = type(self).__name__
        if not isinstance(transforms, Sequence) or not transforms:
            raise ArgumentError(
                f"{name}: `transforms` is {transforms!r}, expected a list of transforms"
            )
        for i, transform in enumerate(transforms):
            if not callable(transform):
                kind = type(transform).__name__
                raise DtypeError(f"{name}: `transforms[{i}]` is a {kind}, expected a transform")
        self.transforms = list(transforms)

    def _order(self, rng: Random, n: int) -> Array:
        """The numbers of the transforms that each of n samples gets, (n, steps), in order."""
        return np.tile(np.arange(len(self.transforms)), (n, 1))

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` after the transforms."""
        if is_batch(inputs):
            return self._batch(*inputs[:2])
        (order,) = self._order(sample_random(), 1)
        for i in order:
            if i >= 0:
                inputs = call(self.transforms[i], inputs)
        return inputs[0] if len(inputs) == 1 else inputs

    def _batch(self, images: Images, rng: Random) -> Images:
        for step in self._order(rng, len(images)).T:
            former = images
            for i, transform in enumerate(self.transforms):
                chosen = step == i
                own = part_of(rng, chosen)  # of each, so that no image's depends on the others
                if not chosen.any():
                    continue
                if chosen.all():
                    images = transform(images, own)
                else:
                    change = functools.partial(call_batch, transform, own)
                    changed = put(type(self).__name__, former, chosen, change)
                    images = images.copy() if images is former else images
                    images[chosen] = changed[chosen]
        return images

    def extra_repr(self) -> str:
        return f"[{', '.join(map(repr, self.transforms))}]"


class Compose(_Several):
    """One transform after the other.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.data.transforms import v2
    >>> augment = v2.Compose([v2.RandomCrop(28, padding=2), v2.ToDtype(tg.float32, scale=True)])
    >>> image, label = augment(tg.zeros(3, 32, 32, dtype=tg.uint8), 3)
    >>> image.shape, image.dtype, label
    (Size([3, 28, 28]), dtype('float32'), 3)
    """

    @property
    def changes_labels(self) -> bool:
        """Whether one of the transforms changes the labels of a batch too."""
        return any(getattr(t, "changes_labels", False) for t in self.transforms)

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` after the transforms."""
        if not is_batch(inputs):
            for transform in self.transforms:
                inputs = call(transform, inputs)
            return inputs[0] if len(inputs) == 1 else inputs
        images, rng = inputs[:2]
        labels: list[Any] = list(inputs[2:])
        if self.changes_labels and not labels:
            raise DtypeError("Compose: a transform changes the labels too, but none are given")
        for transform in self.transforms:
            if getattr(transform, "changes_labels", False):
                images, labels[0] = transform(images, rng, labels[0])
            else:
                images = transform(images, rng)
        return (images, labels[0]) if self.changes_labels else images


class RandomApply(_Several):
    """All transforms one after the other, or, with probability ``1 - p``, none.

    Examples
    --------
    >>> from tinygrad_cnn.data.transforms import v2
    >>> RandomApply([v2.RandomVerticalFlip(1.0)], p=0.0)(np.ones((2, 1, 2, 2)), np.random.default_rng(0)).sum()
    np.float64(8.0)
    """  # noqa: E501

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = chance("RandomApply", p)

    def _order(self, rng: Random, n: int) -> Array:
        some = rng.random((n,)) < self.p
        return np.where(some[:, None], np.arange(len(self.transforms)), -1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"


class RandomChoice(_Several):
    """One of several transforms; ``p`` are their weights.

    Examples
    --------
    >>> from tinygrad_cnn.data.transforms import v2
    >>> choice = RandomChoice([v2.Identity(), v2.RandomInvert(1.0)], p=[0.0, 1.0])
    >>> choice(np.zeros((1, 1, 1, 1)), np.random.default_rng(0)).item()
    1.0
    """

    def __init__(
        self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None
    ) -> None:
        super().__init__(transforms)
        weights = np.ones(len(transforms)) if p is None else np.asarray(p, np.float64)
        if weights.shape != (len(transforms),) or (weights < 0).any() or not weights.sum() > 0:
            raise ArgumentError(
                f"RandomChoice: `p` is {p}, expected a weight for each of the {len(transforms)} "
                "transforms"
            )
        self.p = list(weights / weights.sum())  # type: ignore[assignment]

    def _order(self, rng: Random, n: int) -> Array:
        ends = np.cumsum(self.p)
        chosen: Array = np.searchsorted(ends, rng.random((n,)) * ends[-1], side="right")
        return chosen[:, None]


class RandomOrder(_Several):
    """All transforms in a random order.

    Examples
    --------
    >>> from tinygrad_cnn.data.transforms import v2
    >>> RandomOrder([v2.Identity(), v2.Identity()])(3)
    3
    """

    def _order(self, rng: Random, n: int) -> Array:
        order: Array = np.argsort(rng.random((n, len(self.transforms))), axis=1)
        return order


class Identity(Transform):
    """What it is given.

    >>> Identity()(1, "a")
    (1, 'a')
    """

    def transform(self, images: Images, **params: Any) -> Any:
        """Return ``images``."""
        return images


class Lambda(Transform):
    """A function of each value, or of those of some types.

    Examples
    --------
    >>> Lambda(lambda number: number + 1, int)(3, {"name": "a"})
    (4, {'name': 'a'})
    """

    def __init__(self, lambd: Callable[[Any], Any], *types: type) -> None:
        if not callable(lambd):
            raise DtypeError(f"Lambda: `lambd` is a {type(lambd).__name__}, expected a function")
        self.lambd, self.types = lambd, types or (object,)

    def __call__(self, *inputs: Any) -> Any:
        """Return ``inputs`` with the function applied."""
        if is_batch(inputs):
            return self.lambd(inputs[0])
        out = replaced(inputs, lambda v: self.lambd(v) if isinstance(v, self.types) else v)
        return out[0] if len(inputs) == 1 else out
