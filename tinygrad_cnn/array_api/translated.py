"""Functions of the array API standard, made of NumPy's, which serve tensors, by their signatures.

The standard's names of arguments differ from NumPy's in a few places: a line of a table says how.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinygrad_cnn.functions.numpy_protocol.serving import numpys

Own = dict[str, Callable[..., Any]]


def _signature(text: str) -> inspect.Signature:
    """That of ``"(x, /, *, axis=None)"``: names, and defaults that are numbers, texts, None."""
    parameters: list[inspect.Parameter] = []
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in text.strip("()").split(", "):
        if part == "/":
            parameters = [p.replace(kind=p.POSITIONAL_ONLY) for p in parameters]
        elif part == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif part.startswith("*"):
            parameters.append(inspect.Parameter(part[1:], inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            name, _, default = part.partition("=")
            value = _DEFAULTS[default] if default else inspect.Parameter.empty
            parameters.append(inspect.Parameter(name, kind, default=value))
    return inspect.Signature(parameters)


_DEFAULTS: dict[str, Any] = {
    "None": None, "True": True, "False": False, "0": 0, "1": 1, "-1": -1, "2": 2, "0.0": 0.0,
    "1.0": 1.0, "'fro'": "fro", "'backward'": "backward", "'reduced'": "reduced", "'xy'": "xy",
    "'left'": "left",
}  # fmt: skip


def _translate(line: str, prefix: str, own: Own, module: str) -> tuple[str, Callable[..., Any]]:
    """The function that a line such as ``"sum(x, /, *, axis=None) : a=x"`` describes.

    After the colon stand NumPy's names for the standard's keywords, where they differ.
    """
    head, _, renamed = line.partition(" : ")
    name, _, text = head.partition("(")
    names = dict(pair.split("=")[::-1] for pair in renamed.split())
    function = own.get(name) or numpys(prefix + name)
    signature = _signature("(" + text)
    by_position = [
        p.name for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    defaults = {n: p.default for n, p in signature.parameters.items()}
    several = [n for n, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL]

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        last = max((i for i, n in enumerate(by_position) if n in given), default=-1)
        values = [given.pop(n, defaults[n]) for n in by_position[: last + 1]]
        values += given.pop(several[0], ()) if several else ()
        options = {names.get(n, n): v for n, v in given.items() if v is not defaults[n]}
        return function(*values, **options)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module
    call.__doc__ = f"`numpy.{prefix}{name}` of tensors, as the array API standard has it."
    call.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks for
    return name, call


def translated(table: str, prefix: str, own: Own, module: str) -> dict[str, Callable[..., Any]]:
    """All functions of a table, by name."""
    lines = [line.strip() for line in table.strip().splitlines() if line.strip()]
    return dict(_translate(line, prefix, own, module) for line in lines)
