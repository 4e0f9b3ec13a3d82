"""`vmap`: a function of one sample as a function of a batch."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.func.tree import Tree, flatten
from tinygrad_cnn.functions.convert import axis
from tinygrad_cnn.ops.random import get_rng_state, set_rng_state
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import AnyFunction

Dims = Any
"""A dimension, None, or nested tuples, lists and dicts of these."""


def vmap(
    func: AnyFunction,
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: Literal["error", "different", "same"] = "error",
    *,
    chunk_size: int | None = None,
) -> AnyFunction:
    """A function that maps ``func`` over a dimension of its arguments.

    This is a loop: ``func`` runs once for each sample, on views of the arguments, and the results
    are stacked. So it costs what the loop costs, and is not faster than one. Any function can be
    mapped, also one that looks at numbers (``if x > 0``), which PyTorch refuses. Derivatives pass
    through it in both directions: ``vmap(grad(f))``, ``grad(lambda x: vmap(f)(x).sum())``.

    Parameters
    ----------
    func
        Takes and returns tensors in nested tuples, lists and dicts. It may return numbers too.
    in_dims
        The dimension of every argument that is mapped over; None for an argument that all samples
        get as it is. One for all, or a tuple with one for each argument, or nested as these are.
        Keyword arguments are not mapped.
    out_dims
        Where the mapped dimension is in the results: one for all, or nested as they are. None for
        a result that is the same for all samples.
    randomness
        Whether random operations are refused, draw for each sample, or draw the same for all.
    chunk_size
        Taken, and changes nothing, as samples are computed one by one.

    Raises
    ------
    ValueError
        The arguments have no mapped dimension, it differs in size, or ``in_dims`` or ``out_dims``
        has another structure.
    RuntimeError
        A random operation ran and ``randomness`` is ``"error"``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.func import grad, vmap
    >>> vmap(tg.dot)(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([[1.0, 1.0], [0.0, 1.0]]))
    tensor([3., 4.])
    >>> w, x = tg.tensor([1.0, 2.0]), tg.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> vmap(grad(lambda w, x: (w @ x) ** 2), in_dims=(None, 0))(w, x)  # a gradient per sample
    tensor([[2., 0.],
            [0., 4.],
            [6., 6.]])
    """
    need("vmap", "func", func, "AnyFunction")
    if randomness not in ("error", "different", "same"):
        raise ArgumentError(
            f"vmap: `randomness` is {randomness!r}, expected 'error', 'different' or 'same'"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ArgumentError(f"vmap: `chunk_size` is {chunk_size}, expected at least 1")

    def mapped(*args: Tree, **kwargs: Tree) -> Tree:
        leaves, build = flatten(args)
        n, dims = _checked(leaves, _spread("in_dims", in_dims, args))
        state = get_rng_state()

        def call(sample: list[Any]) -> Tree:
            if randomness == "same":
                set_rng_state(state)
            out = func(*build(sample), **kwargs)
            if randomness == "error" and get_rng_state() != state:
                raise RuntimeError(
                    "vmap: the function drew random numbers; randomness='different' draws them "
                    "for each sample, 'same' the same for all"
                )
            return out

        if n == 0:  # one sample of zeros says what the results are
            blank = [
                x if d is None else f.zeros(x.shape[:d] + x.shape[d + 1 :], dtype=x.dtype)
                for x, d in zip(leaves, dims, strict=True)
            ]
            results = [call(blank)]
        else:
            pairs = list(zip(leaves, dims, strict=True))
            results = [
                call([x if d is None else x.select(d, i) for x, d in pairs]) for i in range(n)
            ]
        every = [flatten(r)[0] for r in results]
        places = _spread("out_dims", out_dims, results[0])
        if any(len(r) != len(every[0]) for r in every):
            raise ArgumentError("vmap: the function returns other structures for other samples")
        joined = [_joined([r[i] for r in every], place, n) for i, place in enumerate(places)]
        return flatten(results[0])[1](joined)

    return mapped


def _checked(leaves: list[Any], dims: list[int | None]) -> tuple[int, list[int | None]]:
    """How many samples there are, and the dimensions, counted from the front."""
    sizes: set[int] = set()
    out: list[int | None] = []
    for x, d in zip(leaves, dims, strict=True):
        if d is None:
            out.append(None)
            continue
        if not isinstance(x, Tensor):
            raise ArgumentError(
                f"vmap: `in_dims` has {d} for a {type(x).__name__}, expected None, or a tensor"
            )
        if x.ndim == 0:
            raise ShapeError(f"vmap: `in_dims` has {d} for a tensor of one number")
        out.append(axis("vmap", d, x.ndim))
        sizes.add(x.shape[out[-1]])  # type: ignore[index]  # it was just made
    if len(sizes) != 1:
        raise ArgumentError(
            f"vmap: the dimensions that are mapped have the sizes {sorted(sizes)}, expected one"
            if sizes
            else "vmap: `in_dims` names no dimension of an argument"
        )
    return sizes.pop(), out


def _spread(name: str, dims: Dims, tree: Tree) -> list[int | None]:
    """One dimension for each leaf of ``tree``; a dimension stands for all that is below it."""
    if dims is None or (isinstance(dims, int) and not isinstance(dims, bool)):
        return [dims] * len(flatten(tree)[0])
    if isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
        pairs = [(dims[key], part) for key, part in tree.items()]
    elif (
        isinstance(dims, (tuple, list))
        and isinstance(tree, (tuple, list))
        and len(dims) == len(tree)
    ):
        pairs = list(zip(dims, tree, strict=True))
    elif isinstance(dims, tuple) and len(dims) == 1 and name == "out_dims":
        return _spread(name, dims[0], tree)
    else:
        what = len(tree) if isinstance(tree, (tuple, list, dict)) else type(tree).__name__
        raise ArgumentError(
            f"vmap: `{name}` is {dims!r}, whose structure is not that of what it is for ({what})"
        )
    return [d for below, part in pairs for d in _spread(name, below, part)]


def _joined(values: list[Any], place: int | None, n: int) -> Tensor:
    """One result of all samples."""
    for v in values:
        if not isinstance(v, (Tensor, int, float, complex, np.generic)):
            raise DtypeError(f"vmap: the function returned a {type(v).__name__}, expected a tensor")
    parts = [v if isinstance(v, Tensor) else f.tensor(v) for v in values]
    if place is None:
        if not all(f.equal(p, parts[0]) for p in parts):
            raise ArgumentError("vmap: `out_dims` has None for a result that differs by sample")
        return parts[0]
    if n == 0:
        (one,) = parts
        at = axis("vmap", place, one.ndim + 1)
        return f.zeros((*one.shape[:at], 0, *one.shape[at:]), dtype=one.dtype)
    return f.stack(parts, place)
