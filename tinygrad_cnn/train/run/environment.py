"""Where a run took place, and the command that repeats it."""

import dataclasses
import importlib.metadata
import os
import platform
import shlex
from pathlib import Path

from tinygrad_cnn.train.run.build import default_lr
from tinygrad_cnn.train.run.config import SETTINGS, Config
from tinygrad_cnn.version import __version__


def environment() -> dict[str, str]:
    """Versions and machine by name.

    Examples
    --------
    >>> environment()["tinygrad_cnn"] == __version__
    True
    """
    found = {"tinygrad_cnn": __version__, "Python": platform.python_version()}
    for package in ("numpy", "scipy", "numba"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["system"] = f"{platform.system()} {platform.release()} ({platform.machine()})"
    found["processor"] = _processor()
    found["cores"] = str(len(os.sched_getaffinity(0)) if _knows_affinity() else os.cpu_count())
    return found


def command(config: Config) -> str:
    """The command line of a run with ``config``; settings with their default are left out.

    Examples
    --------
    >>> command(Config(model="models/lenet5.py", epochs=3, flip_test=True))
    'tinygrad-cnn train models/lenet5.py --epochs 3 --flip-test'
    """
    words = ["tinygrad-cnn", "train", config.model]
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), field.default
        if field.name == "lr":
            usual = default_lr(config.optimizer)
        if field.name == "model" or value == usual or value is None:
            continue
        if field.name == "root" and config.data != "cifar10":  # they need no files
            continue
        off = SETTINGS[field.name].off if value is False else None
        words.append(off or f"--{field.name.replace('_', '-')}")
        if not isinstance(value, bool):
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return shlex.join(words)


def _knows_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
