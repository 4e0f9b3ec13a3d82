"""Index expressions of every form, as source text."""

from __future__ import annotations

from typing import Any

__all__ = ["basic_index", "index", "positions", "vector"]

Shape = tuple[int, ...]


def positions(draw: Any, n: int, k: int) -> list[int]:
    """``k`` different places of ``n``, some of them counted from the end."""
    left = list(range(n))
    chosen = [left.pop(draw.integer(0, len(left) - 1)) for _ in range(min(k, n))]
    return [i - n if draw.choice((False, False, True)) else i for i in chosen]


def vector(draw: Any, n: int, k: int, unique: bool) -> str:
    """Integers for an axis of length ``n``, in one of the ways to write them."""
    if unique or not n:
        places = positions(draw, n, k)
    else:
        places = [draw.integer(-n, n - 1) for _ in range(k)]
    text = str(places)
    forms = (
        text,
        f"T.tensor({text})",
        f"np.array({text})",
        f"[{text}]",
        f"T.tensor([{text}])",
        f"T.tensor({text}, dtype=T.int32)",
        f"tuple({text})" if unique else f"T.tensor({text}).reshape(-1, 1)",
    )
    return draw.choice(forms) if places else "[]"


def mask(draw: Any, n: int, k: int) -> str:
    """A mask along an axis of length ``n`` that holds ``k`` times."""
    chosen = {i % n for i in positions(draw, n, k)} if n else set()
    text = str([i in chosen for i in range(n)])
    bits = str([int(i in chosen) for i in range(n)])
    return draw.choice(
        (text, f"T.tensor({text})", f"np.array({text})", f"T.tensor({bits}, dtype=T.uint8)")
    ) if n else "[]"  # fmt: skip


def integer(draw: Any, n: int) -> str:
    """One place along an axis of length ``n``; rarely one outside."""
    i = n + 1 if draw.integer(0, 39) == 39 else draw.integer(-n, n - 1) if n else 0
    return draw.choice((f"{i}", f"{i}", f"{i}", f"T.tensor({i})", f"np.int64({i})"))


def slice_of(draw: Any, n: int) -> str:
    start = draw.choice(("", "", "1", "-2", "0", str(n)))
    stop = draw.choice(("", "", "-1", "2", str(n + 2)))
    step = draw.choice(("", "", ":2", ":3", ":1"))
    return f"{start}:{stop}{step}"


def basic_index(draw: Any, shape: Shape) -> str:
    """Integers, slices, None and ``...``: a view."""
    parts = []
    axes = list(shape)
    dots = False
    while axes or not parts:
        kind = draw.choice(("slice", "integer", "slice", "end", "None", "..."))
        if kind == "end" and parts:
            break
        if kind == "..." and not dots:
            dots = True
            parts.append("...")
            axes = axes[len(axes) - draw.integer(0, len(axes)) :]
        elif kind == "None" and len(parts) < 4:
            parts.append("None")
        elif axes:
            n = axes.pop(0)
            parts.append(integer(draw, n) if kind == "integer" else slice_of(draw, n))
        elif not parts:
            parts.append(draw.choice(("...", "None")))
    return ", ".join(parts)


def index(draw: Any, shape: Shape, unique: bool = False) -> str:
    """Any index for ``shape``; ``unique``: no element twice, so that it can be written to."""
    kind = draw.choice(("basic", "whole mask", "vectors", "mixed", "mixed", "mixed"))
    if kind == "basic":
        return basic_index(draw, shape)
    if kind == "whole mask" and shape:
        return _whole_mask(draw, shape)
    if kind == "vectors" and shape:
        k = draw.integer(1, 3)
        k = min(k, *shape) if unique else k
        count = draw.integer(1, len(shape))
        return ", ".join(vector(draw, n, k, unique) for n in shape[:count])
    return _mixed(draw, shape, unique)


def _whole_mask(draw: Any, shape: Shape) -> str:
    """A mask over the first axes, or a comparison."""
    sides = ", ".join(map(str, shape[: draw.integer(1, len(shape))]))
    text = f"tensor({draw.integer(0, 9)}, {sides}) > 0"
    return draw.choice((text, f"({text}).numpy()", f"({text}).tolist()"))


def _mixed(draw: Any, shape: Shape, unique: bool) -> str:
    """Every form beside every other; all vectors have the same length."""
    k = draw.integer(1, 3)
    k = min([k, *shape]) if unique else k
    parts: list[str] = []
    axes = list(shape)
    dots = False
    while axes and len(parts) < 6:
        kind = draw.choice(
            ("vector", "slice", "integer", "mask", "slice", "None", "...", "end", "bool")
        )
        if kind == "end" and parts:
            break
        if kind == "...":
            if not dots:
                parts.append("...")
                axes = axes[len(axes) - draw.integer(0, len(axes)) :]
            dots = True
        elif kind == "None":
            parts.append("None")
        elif kind == "bool":
            parts.append(draw.choice(("True", "True", "False", "T.tensor(True)")))
        else:
            n = axes.pop(0)
            if kind == "vector":
                parts.append(vector(draw, n, k, unique))
            elif kind == "mask":
                parts.append(mask(draw, n, k))
            else:
                parts.append(integer(draw, n) if kind == "integer" else slice_of(draw, n))
    return ", ".join(parts) or "..."
