"""Writes the reference: a page for each public name, and a table of each module's names.

A new public module is placed in `MODULES`, or in `ELSEWHERE` with the reason; a test says so.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGE = "tinygrad_cnn"
MODULES = {
    "Tensors": ("", "random", "autograd", "autograd.functional", "func"),
    "Families of functions": (
        "linalg", "fft", "special", "masked", "signal.windows", "distributions",
        "distributions.constraints",
    ),
    "Networks": (
        "nn", "nn.functional", "nn.init", "nn.parallel", "nn.attention", "nn.utils", "nn.utils.rnn",
        "nn.utils.parametrize", "nn.utils.parametrizations", "nn.utils.prune",
        "nn.utils.stateless",
    ),
    "Training": (
        "optim", "optim.lr_scheduler", "optim.swa_utils", "amp", "data", "data.transforms", "train",
        "train.callbacks", "train.metrics", "distributed", "utils.checkpoint",
    ),
    "Looking inside": ("viz", "profiler", "memory", "testing"),
    "Files": ("serialization", "onnx", "errors"),
}  # fmt: skip
ELSEWHERE = {
    "names of PyTorch's for what stands in another module": (
        "autograd.grad_mode", "autograd.graph", "autograd.profiler", "cpu", "cpu.amp", "cuda.amp",
        "nn.modules", "nn.modules.utils", "nn.parameter", "optim.optimizer", "utils.data",
        "utils.data.dataloader", "utils.data.dataset", "utils.data.distributed",
        "utils.data.sampler", "utils.dlpack",
    ),
    "names of PyTorch's for what is not here": (
        "accelerator", "backends", "backends.cuda", "backends.cudnn", "backends.mps", "cuda", "jit",
    ),
    "the array API standard's names of what stands in another module": (
        "array_api", "array_api.fft", "array_api.linalg",
    ),
    "hold modules only": ("signal", "utils"),
    "takes code apart, for `viz` and `memory`": ("instrument",),
}  # fmt: skip


def find(module: str) -> types.ModuleType:
    """The module by its name without the package's."""
    return import_module(f"{PACKAGE}.{module}" if module else PACKAGE)


def names(module: types.ModuleType) -> list[str]:
    """The public names of a module, without modules: those it lists, else its own."""
    listed = getattr(module, "__all__", None)
    out = []
    for name in listed or sorted(vars(module)):
        value = getattr(module, name)
        own = str(getattr(value, "__module__", "")).startswith(PACKAGE)
        if name[:1] != "_" and not isinstance(value, types.ModuleType) and (listed or own):
            out.append(name)
    return sorted(out, key=str.lower)


def first_sentence(value: Any) -> str:
    """What the docstring begins with."""
    if not (inspect.isroutine(value) or inspect.isclass(value) or callable(value)):
        return ""
    text = (inspect.getdoc(value) or "").split("\n\n")[0]
    ends = [m.end() - 1 for m in re.finditer(r"\. ", text)]
    end = next((n for n in ends if text[:n].count("``") % 2 == 0), len(text))
    return " ".join(text[:end].split())


def signature(value: Any, *, bound: bool = False) -> str:
    """Names and defaults of the arguments, without ``self`` where it is ``bound``."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    given = list(found.parameters.values())[int(bound) :]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in given]
    said = str(inspect.Signature(plain))
    return re.sub(r"<[^<>]*?([\w.]+)'?(?: at 0x\w+)?>", r"\1", said)


class Reference:
    """All pages by their paths."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.where: dict[int, str] = {}  # the page of an object

    def make(self) -> dict[str, str]:
        """The pages."""
        index = _title("Reference")
        index += "Every public name has a page, with a link to its source.\n\n"
        for section, modules in MODULES.items():
            index += _title(section, "-")
            for module in modules:
                full = f"{PACKAGE}.{module}".rstrip(".")
                self._module(find(module), full)
                index += f"* :doc:`{full}`: {_plain(_head(find(module)))}\n"
            index += "\n"
        tensor = f"{PACKAGE}/Tensor"  # last: now the pages of functions are known
        self.pages[tensor] += "\n" + self._methods(f"{PACKAGE}.Tensor", find("").Tensor)
        places = [f"{PACKAGE}.{m}".rstrip(".") for each in MODULES.values() for m in each]
        index += ".. toctree::\n   :hidden:\n\n" + "".join(f"   {p}\n" for p in places)
        self.pages["index"] = index
        return self.pages

    def _module(self, module: types.ModuleType, full: str) -> None:
        text = _title(full) + f".. py:module:: {full}\n\n" + _plain(_head(module)) + "\n\n"
        rows = []
        seen: set[str] = set()
        for name in names(module):
            value = getattr(module, name)
            page = self.where.get(id(value)) if callable(value) else None
            if page is None:
                file = name if name.lower() not in seen else f"{name}-{_kind(value)}"
                seen.add(name.lower())
                page = f"{full}/{file}"
                if callable(value):
                    self.where[id(value)] = page
                self.pages[page] = self._page(full, name, value)
            rows.append(f"   * - :doc:`{name} </reference/{page}>`\n     - {_cell(value)}\n")
        text += ".. list-table::\n   :class: reference-names\n   :widths: auto\n\n" + "".join(rows)
        self.pages[full] = text

    def _page(self, full: str, name: str, value: Any) -> str:
        text = ":orphan:\n\n" + _title(f"{full}.{name}")
        if inspect.isclass(value):
            text += f".. autoclass:: {full}.{name}\n   :show-inheritance:\n"
            return text + ("   :members:\n" if name != "Tensor" else "")
        if inspect.isroutine(value):
            return text + f".. autofunction:: {full}.{name}{signature(value)}\n"
        kind = f"``{value!r}``" if len(repr(value)) < 90 else f"a ``{type(value).__name__}``"
        return text + f".. py:data:: {full}.{name}\n\n   {kind}\n"

    def _methods(self, full: str, owner: type) -> str:
        """The methods of `Tensor`: those that are functions too have a link, others their text."""
        linked, own = [], []
        for name in sorted(n for n in dir(owner) if n[:1] != "_" and hasattr(owner, n)):
            value = getattr(owner, name)
            page = self.where.get(id(value))
            if page is None and not name.endswith("_"):
                page = self.where.get(id(getattr(find(""), name, None)))
            if page is not None:
                linked.append(f"* :doc:`{name} </reference/{page}>`\n")
            elif name.endswith("_") and hasattr(owner, name[:-1]):
                linked.append(f"* ``{name}``: ``{name[:-1]}`` that writes into the tensor\n")
            elif inspect.isroutine(value):
                own.append(f".. automethod:: {full}.{name}{signature(value, bound=True)}\n")
            else:
                own.append(f".. autoattribute:: {full}.{name}\n")
        head = "Methods that are functions too\n" + "-" * 30 + "\n\n"
        mine = "Methods and attributes\n" + "-" * 22 + "\n\n"
        return mine + "\n".join(own) + "\n" + head + "".join(linked)


def _kind(value: Any) -> str:
    return "class" if inspect.isclass(value) else "function"


def _head(module: types.ModuleType) -> str:
    return " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())


def _plain(text: str) -> str:
    """Text of a docstring, in which single backquotes are names and ``*`` is a star."""
    parts = text.split("``")  # every other one is literal
    parts[::2] = (part.replace("*", r"\*").replace("|", r"\|") for part in parts[::2])
    return "``".join(parts)


def _cell(value: Any) -> str:
    return _plain(first_sentence(value)) or (
        f"``{value!r}``" if len(repr(value)) < 60 else f"a ``{type(value).__name__}``"
    )


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def write(folder: Path) -> None:
    """Write the pages that are new or have changed; remove others."""
    pages = {folder / f"{name}.rst": text for name, text in Reference().make().items()}
    for path in set(folder.rglob("*.rst")) - set(pages):
        path.unlink()
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def public_modules() -> Iterator[str]:
    """The modules that a user meets: those in the package, and in those, that list names."""
    seen, todo = set(), [PACKAGE, *(f"{PACKAGE}.{n}" for n in ("testing", "serialization"))]
    while todo:
        module = import_module(todo.pop())
        if module.__name__ in seen:
            continue
        seen.add(module.__name__)
        yield module.__name__.removeprefix(PACKAGE).lstrip(".")
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name, None)
            if isinstance(value, types.ModuleType) and value.__name__.startswith(f"{PACKAGE}."):
                todo.append(value.__name__)
