"""Runs a program in one library, statement by statement, and writes down all that can be seen."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tg

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None

VARIABLE = re.compile(r"\b[abihmox]\d+\b")  # the names of a program; no helper looks like one
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
_PRELUDE = Path(__file__).with_name("prelude.py").read_text(encoding="utf-8")

Event = tuple[str, Any]


@dataclass(frozen=True)
class Raised:
    """Whether a statement raised. Any error is equal to any other."""

    error: str = field(default="", compare=False)
    does: bool = True

    def __str__(self) -> str:
        return f"an error: {self.error}" if self.does else "no error"


@functools.cache
def definitions() -> dict[str, str]:
    """The functions and classes of the prelude: their sources by name."""
    return {
        node.name: ast.get_source_segment(_PRELUDE, node) or ""
        for node in ast.parse(_PRELUDE).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


def needed(text: str, given: tuple[str, ...] = ()) -> list[str]:
    """The names of the definitions that ``text`` calls, and of what these call, in order."""
    sources = definitions()
    found: set[str] = set()
    texts = [text]
    while texts:
        words = set(re.findall(r"\w+", texts.pop()))
        for name in words & sources.keys() - found - {*given}:
            found.add(name)
            texts.append(sources[name])
    return [name for name in sources if name in found]


@functools.cache
def _helper(name: str) -> Any:
    return compile(definitions()[name], f"<{name}>", "exec")


@functools.lru_cache(4096)
def _statement(text: str) -> tuple[Any, tuple[str, ...]]:
    return compile(text, "<program>", "exec"), tuple(needed(text, ("log",)))


def differentiates(text: str) -> bool:
    """Whether a statement walks a graph backwards."""
    return "backward(" in text or "autograd.grad" in text


class Run:
    """A program in the middle of its execution.

    Attributes
    ----------
    names
        What its statements see.
    events
        ``(label, value)`` in the order in which they became visible.
    """

    def __init__(self, module: Any, dtype: str, nudge: float = 0.0) -> None:
        self.module, self.nudge = module, nudge
        self.events: list[Event] = []
        self.at = 0
        self.names: dict[str, Any] = {
            "T": module, "D": getattr(module, dtype), "np": np, "copy": copy, "log": self._log,
            "__name__": "run",
        }  # fmt: skip
        if nudge:
            exec(_helper("numbers"), self.names)
            self.names["numbers"] = _nudged(self.names["numbers"], nudge)

    def execute(self, text: str) -> bool:
        """Run one statement; tell whether it raised."""
        code, helpers = _statement(text)
        for name in helpers:
            if name not in self.names:
                exec(_helper(name), self.names)
        self._look_at_histories()
        before, seen = len(self.events), Raised(does=False)
        try:
            exec(code, self.names)
        except Exception as error:
            seen = Raised(f"{type(error).__name__}: {error}")
            if differentiates(text):  # in which order, up to where: nobody promises
                del self.events[before:]
        self.events.append((f"{self.at} raised", seen))
        self.at += 1
        return seen.does

    def _look_at_histories(self) -> None:
        """PyTorch takes a view for a leaf, and refuses to change it, after its base has become part
        of a graph through another view, but no more once somebody has looked at its history.
        """
        if self.module is torch:
            for value in self.variables().values():
                with contextlib.suppress(RuntimeError):
                    getattr(value, "grad_fn", None)

    def look(self, text: str) -> Any:
        """What an expression is, without leaving a trace; None if it raises."""
        try:
            with self.module.no_grad():
                for name in needed(text, ("log",)):
                    exec(_helper(name), self.names)
                return eval(text, self.names)
        except Exception:
            return None

    def variables(self) -> dict[str, Any]:
        """The program's own names, the oldest first."""
        return {name: v for name, v in self.names.items() if VARIABLE.fullmatch(name)}

    def finish(self) -> list[Event]:
        """The events, and with them what every name stands for in the end."""
        for name, value in self.variables().items():
            try:
                self.events.extend(_seen(f"end {name}", value))
            except Exception as error:
                seen = Raised(f"{type(error).__name__}: {error}")
                self.events.append((f"end {name} unreadable", seen))
        return self.events

    def _log(self, name: str, value: Any) -> None:
        self.events.extend(_seen(f"{self.at} log {name}", value, whole=False))


def _nudged(numbers: Callable[..., Any], nudge: float) -> Callable[..., Any]:
    """All numbers of a tensor a little larger: equal ones stay equal, and 0 stays 0."""
    return lambda seed, *shape: numbers(seed, *shape) * (1 + nudge * np.cos(seed + len(shape)))


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _seen(label: str, value: Any, whole: bool = True) -> Iterator[Event]:
    """All that can be seen of a value, part by part."""
    if isinstance(value, np.ndarray):
        yield f"{label} shape", value.shape
        yield f"{label} value", value.copy()
    elif hasattr(value, "requires_grad") and hasattr(value, "dtype"):
        yield f"{label} shape", tuple(value.shape)
        yield f"{label} dtype", _dtype(value)
        yield f"{label} requires_grad", value.requires_grad
        if whole:
            yield f"{label} is_leaf", value.is_leaf
        yield f"{label} value", value.detach().clone().numpy()
        if whole:
            yield from _seen(f"{label} grad", value.grad, whole=False)
    elif hasattr(value, "named_parameters"):
        for name, part in [*value.named_parameters(), *value.named_buffers()]:
            yield from _seen(f"{label}.{name}", part)
    elif hasattr(value, "param_groups") or hasattr(value, "remove"):
        pass
    else:
        yield label, value


@contextlib.contextmanager
def on_its_own(module: Any, kernels: str) -> Iterator[None]:
    """Warnings and errors of floating point are no difference; gradient modes are left."""
    former = tg.set_kernels(kernels if module is tg else "reference")  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        module.set_grad_enabled(True)
        tg.set_kernels(former)


def run(
    statements: list[str],
    module: Any,
    dtype: str,
    kernels: str = "reference",
    nudge: float = 0.0,
) -> list[Event]:
    """Execute a program and return what there was to see."""
    with on_its_own(module, kernels):
        program = Run(module, dtype, nudge)
        for text in statements:
            program.execute(text)
        return program.finish()
