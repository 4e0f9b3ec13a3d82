"""JSON files of a run, which may come from anybody."""

import json
from pathlib import Path
from typing import Any

from tinygrad_cnn.train.errors import TrainError


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object in a text.

    Raises
    ------
    ValueError
        It is none, or nests so deeply that Python cannot follow.

    Examples
    --------
    >>> parse_object('{"epochs": 3}')
    {'epochs': 3}
    >>> parse_object("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it nests too deeply
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}")
    return values


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TrainError
        It is damaged.
    """
    try:
        return parse_object(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainError(f"{path} is damaged: not a JSON object ({error})") from error
