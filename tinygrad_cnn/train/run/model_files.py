"""From ``FILE.py[:Class]`` or ``package.module:Class`` to a model, and whether it fits the data."""

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.nn import Module
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError


def plain_name(spec: str) -> str:
    """A short lower-case name for a run with the model ``spec``.

    Examples
    --------
    >>> plain_name("models/lenet5.py:LeNet5"), plain_name("zoo.vision:ResNet")
    ('lenet5', 'resnet')
    """
    place, name = _split(spec)
    if place.endswith(".py"):
        return Path(place).stem.lower()
    return (name or place.rpartition(".")[2]).lower()


def find_model(spec: str) -> type[Module]:
    """The Module class that ``spec`` names; a file with exactly one needs no ``:Class``.

    Where a file defines several, its ``__all__`` may single one out.

    Raises
    ------
    TrainError
        There is no such file or class, the code does not run, or the choice is not clear.
    """
    place, name = _split(spec)
    module = _load_file(Path(place)) if place.endswith(".py") else _load_package(place)
    if name:
        found = getattr(module, name, None)
        if found is None:
            known = ", ".join(c.__name__ for c in _modules_of(module)) or "none"
            raise TrainError(f"{place} has no class {name}; its Modules: {known}")
        if not (isinstance(found, type) and issubclass(found, Module)):
            raise TrainError(f"{spec} is not a subclass of tinygrad_cnn.nn.Module")
        return found
    classes = _modules_of(module)
    public = [c for c in classes if c.__name__ in getattr(module, "__all__", ())]
    if len(public) == 1:
        return public[0]
    if not classes:
        raise TrainError(f"{place} defines no subclass of tinygrad_cnn.nn.Module")
    if len(classes) > 1:
        choices = ", ".join(f"{place}:{c.__name__}" for c in classes)
        raise TrainError(f"{place} defines {len(classes)} Modules; choose one: {choices}")
    return classes[0]


def build_model(spec: str, classes: int) -> Module:
    """A new model; a constructor that takes ``num_classes`` is told the number of ``classes``.

    Raises
    ------
    TrainError
        As `find_model`, or the constructor fails.
    """
    kind = find_model(spec)
    parameters = inspect.signature(kind).parameters
    arguments = {"num_classes": classes} if "num_classes" in parameters else {}
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in arguments
    ]
    if missing:
        raise TrainError(
            f"{spec}: {kind.__name__} needs arguments ({', '.join(missing)}); give them defaults"
        )
    with users_code(spec):
        return kind(**arguments)


def check_output(spec: str, model: Module, images: Tensor, classes: int, data: str) -> None:
    """Run ``images`` (n, c, h, w) through ``model`` and look at the shape of the scores.

    Changes neither the model nor the random numbers that follow.

    Raises
    ------
    TrainError
        The model fails on these images, or its result is not (n, classes).
    """
    state = default_generator.get_state()
    model.eval()
    try:
        with users_code(spec), no_grad():
            scores = model(images)
    finally:
        default_generator.set_state(state)
    expected = (images.shape[0], classes)
    if not isinstance(scores, Tensor):
        raise TrainError(f"{spec} returns {type(scores).__name__}, expected a Tensor {expected}")
    if scores.shape != expected:
        raise TrainError(
            f"{spec} turns images {images.shape} into scores {scores.shape}, "
            f"expected {expected}: {data} has {classes} classes"
        )


@contextmanager
def users_code(spec: str) -> Iterator[None]:
    """Errors of the user's code as one line that says where they are.

    NumPy does not warn of overflow in it: a loss that is not finite is reported once, as an error.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except TrainError:
        raise
    except SystemExit as error:
        raise TrainError(f"{spec} ends the program: sys.exit({error.code!r})") from error
    except Exception as error:
        raise TrainError(f"{spec}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """``error`` in one line, with the last place outside this package that led to it."""
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}:{error.lineno})"
    package = str(Path(__file__).resolve().parents[2]) + os.sep
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f for f in frames if not f.filename.startswith(package) and not f.filename.startswith("<")
    ]
    if not theirs:
        return text
    return f"{text} ({Path(theirs[-1].filename).name}:{theirs[-1].lineno}, in {theirs[-1].name})"


def _split(spec: str) -> tuple[str, str]:
    """Place and class; a colon after a drive letter is part of the path."""
    place, colon, name = spec.rpartition(":")
    if colon and name.isidentifier():
        return place, name
    return spec, ""


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TrainError(f"there is no file {path}")
    name = f"_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    _first_on_path(path.resolve().parent)  # its neighbours can be imported, as with `python FILE`
    with users_code(str(path)):
        spec.loader.exec_module(module)
    return module


def _load_package(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TrainError(f"{name!r} is neither a FILE.py nor a package.module")
    _first_on_path(Path.cwd())
    try:
        with users_code(name):
            return importlib.import_module(name)
    except TrainError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and name.startswith(missing.name or " "):
            raise TrainError(
                f"there is no module {missing.name}; a model is FILE.py[:Class] or "
                "package.module:Class"
            ) from missing
        raise


def _first_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _modules_of(module: ModuleType) -> list[type[Module]]:
    """The Module classes that ``module`` itself defines, in the order of definition."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Module)
        and value.__module__ == module.__name__
    ]
