"""Which of PyTorch's names are here.

``python -m tinygrad_cnn.torch_names torch.nn.LSTM nn.functional.relu Tensor.cpu`` says of each name
whether it is, and exits with 1 if one is not; without a name it lists all.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from tinygrad_cnn.missing.attributes import Absent

PACKAGE = "tinygrad_cnn"
OWN = frozenset(["data", "train", "viz"])  # folders for which PyTorch has another name, or none
_MISSING = object()


def find(name: str, package: str = PACKAGE) -> Any:
    """What a dotted name of PyTorch's, with or without ``torch.``, is in ``package``.

    Raises
    ------
    AttributeError
        It is not there.

    Examples
    --------
    >>> find("torch.nn.functional.relu").__name__
    'relu'
    """
    path = name.removeprefix("torch.").split(".") if name != "torch" else []
    value: Any = import_module(package)
    for part in path:
        value, whole = getattr(value, part, _MISSING), value
        if value is _MISSING and isinstance(whole, ModuleType) and hasattr(whole, "__path__"):
            module = f"{whole.__name__}.{part}"
            if part.isidentifier() and importlib.util.find_spec(module):
                value = import_module(module)
        if value is _MISSING:
            raise AttributeError(f"find: there is no `{part}` for {name!r} in {package}", name=part)
    return value


def has(name: str, package: str = PACKAGE) -> bool:
    """Whether a dotted name of PyTorch's is in ``package``.

    Examples
    --------
    >>> has("torch.optim.lr_scheduler.StepLR"), has("torch.nn.Quantize")
    (True, False)
    """
    try:
        find(name, package)
    except AttributeError:
        return False
    return True


def names() -> list[str]:
    """Every public name here, as PyTorch would write it; if it is installed, those that it has.

    They are found in the modules that ``tinygrad_cnn`` shows, and on `Tensor`.

    Examples
    --------
    >>> {"torch.nn.Conv2d", "torch.Tensor.backward", "torch.float32"} <= set(names())
    True
    """
    found = sorted(set(_walk(import_module(PACKAGE), "torch", set())))
    if importlib.util.find_spec("torch") is None:
        return found
    return [name for name in found if has(name, "torch")]


def _walk(place: Any, path: str, seen: set[int]) -> Iterator[str]:
    """The dotted names of a module or class and of the modules in it."""
    seen.add(id(place))  # a module may be reached by two paths
    listed = getattr(place, "__all__", None) or [n for n in dir(place) if n[:1] != "_"]
    for name in listed:
        module = isinstance(place, ModuleType)  # some of its modules are imported when asked for
        value = getattr(place, name) if module else inspect.getattr_static(place, name)
        if isinstance(value, Absent):
            continue
        if isinstance(value, ModuleType):
            inside = value.__name__.startswith(f"{PACKAGE}.")
            if inside and id(value) not in seen and not (path == "torch" and name in OWN):
                yield f"{path}.{name}"
                yield from _walk(value, f"{path}.{name}", seen)
        elif name[:1] != "_":
            yield f"{path}.{name}"
            if f"{path}.{name}" == "torch.Tensor":
                yield from _walk(value, f"{path}.{name}", seen)


def main(wanted: Iterable[str]) -> int:
    """Say of each name whether it is here; without names list all."""
    asked = list(wanted)
    if not asked:
        print("\n".join(names()))
        return 0
    missing = [name for name in asked if not has(name)]
    for name in asked:
        print(f"{name}: {'not here' if name in missing else 'here'}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
