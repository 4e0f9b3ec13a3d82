"""Index expressions of every form, as source text."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

Shape = tuple[int, ...]

FORMS = ("nested lists", "uint8 masks", "bools", "0-d tensors")  # that can be switched off


class Indices:
    """Draws indices for shapes.

    Parameters
    ----------
    draw
        The source of choices: one of `tinygrad_cnn.testing.draws`.
    off
        Forms not to use.
    """

    def __init__(self, draw: Any, off: Collection[str] = ()) -> None:
        self.draw, self._off = draw, off

    def any(self, shape: Shape, unique: bool = False) -> str:
        """Any index; ``unique``: no element twice, so that it can be written to."""
        kinds = ("basic", "whole mask", "vectors", "mixed", "mixed", "mixed")
        kind = self.draw.choice(kinds if shape else ("basic", "mixed"))
        if kind == "basic":
            return self.basic(shape)
        if kind == "whole mask":
            return self._whole_mask(shape)
        if kind == "vectors":
            k = self.draw.integer(1, 3)
            k = min(k, *shape) if unique else k
            axes = shape[: self.draw.integer(1, len(shape))]
            return ", ".join(self._vector(n, k, unique) for n in axes)
        return self._mixed(shape, unique)

    def positions(self, n: int, k: int) -> list[int]:
        """``k`` different places of ``n``, some of them counted from the end."""
        left = list(range(n))
        chosen = [left.pop(self.draw.integer(0, len(left) - 1)) for _ in range(min(k, n))]
        return [i - n if self.draw.choice((False, False, True)) else i for i in chosen]

    def basic(self, shape: Shape) -> str:
        """Integers, slices, None and ``...``: a view."""
        parts: list[str] = []
        axes, dots = list(shape), False
        while len(parts) < 7:
            kind = self.draw.choice(("slice", "integer", "slice", "end", "None", "..."))
            if kind == "end" and parts:
                break
            if kind == "..." and not dots:
                dots = True
                parts.append("...")
                axes = axes[len(axes) - self.draw.integer(0, len(axes)) :]
            elif kind == "None":
                parts.append("None")
            elif axes:
                n = axes.pop(0)
                parts.append(self._integer(n) if kind == "integer" else self._slice(n))
            elif parts:
                break
        return ", ".join(parts) or "..."

    def _mixed(self, shape: Shape, unique: bool) -> str:
        """Every form beside every other; all vectors have the same length."""
        k = self.draw.integer(1, 3)
        k = min([k, *shape]) if unique else k
        parts: list[str] = []
        axes, dots = list(shape), False
        kinds = ["vector", "slice", "integer", "mask", "slice", "None", "...", "end"]
        kinds += ["bool"] if "bools" not in self._off else []
        while axes and len(parts) < 6:
            kind = self.draw.choice(kinds)
            if kind == "end" and parts:
                break
            if kind == "...":
                if not dots:
                    parts.append("...")
                    axes = axes[len(axes) - self.draw.integer(0, len(axes)) :]
                dots = True
            elif kind == "None":
                parts.append("None")
            elif kind == "bool":
                parts.append(self.draw.choice(("True", "True", "False", "T.tensor(True)")))
            else:
                n = axes.pop(0)
                if kind == "vector":
                    parts.append(self._vector(n, k, unique))
                elif kind == "mask":
                    parts.append(self._mask(n, k))
                else:
                    parts.append(self._integer(n) if kind == "integer" else self._slice(n))
        return ", ".join(parts) or "..."

    def _form(self, *forms: str) -> str:
        """One of the ways to write the same thing."""
        return str(self.draw.choice(forms))

    def _vector(self, n: int, k: int, unique: bool) -> str:
        """Integers for an axis of length ``n``."""
        if unique or not n:
            places = self.positions(n, k)
        else:
            places = [self.draw.integer(-n, n - 1) for _ in range(k)]
        if not places:
            return "[]"
        text = str(places)
        forms = [text, f"T.tensor({text})", f"np.array({text})", f"T.tensor([{text}])"]
        forms.append(f"T.tensor({text}, dtype=T.int32)")
        if not unique:
            forms.append(f"T.tensor({text}).reshape(-1, 1)")
        if "nested lists" not in self._off:
            forms.append(f"[{text}]")
        return self._form(*forms)

    def _mask(self, n: int, k: int) -> str:
        """A mask along an axis of length ``n`` that holds ``k`` times."""
        if not n:
            return "[]"
        chosen = {i % n for i in self.positions(n, k)}
        text = str([i in chosen for i in range(n)])
        forms = [text, f"T.tensor({text})", f"np.array({text})"]
        if "uint8 masks" not in self._off:
            forms.append(f"T.tensor({[int(i in chosen) for i in range(n)]}, dtype=T.uint8)")
        return self._form(*forms)

    def _whole_mask(self, shape: Shape) -> str:
        """A mask over the first axes."""
        sides = ", ".join(map(str, shape[: self.draw.integer(1, len(shape))]))
        text = f"tensor({self.draw.integer(0, 9)}, {sides}) > 0"
        forms = [text, f"({text}).numpy()"]
        if "nested lists" not in self._off:
            forms.append(f"({text}).tolist()")
        return self._form(*forms)

    def _integer(self, n: int) -> str:
        """One place along an axis of length ``n``; rarely one outside."""
        outside = self.draw.integer(0, 39) == 39
        i = n + 1 if outside else self.draw.integer(-n, n - 1) if n else 0
        forms = [f"{i}", f"{i}", f"{i}", f"np.int64({i})"]
        if "0-d tensors" not in self._off:
            forms.append(f"T.tensor({i})")
        return self._form(*forms)

    def _slice(self, n: int) -> str:
        start = self.draw.choice(("", "", "1", "-2", "0", str(n)))
        stop = self.draw.choice(("", "", "-1", "2", str(n + 2)))
        return f"{start}:{stop}{self.draw.choice(('', '', ':2', ':3', ':1'))}"
