"""A run's folder: the name and the format of every file in it.

=========================  ============================================================
``config.json``            the settings
``split.json``             the files of a folder of images (``--data FOLDER``) by their use
``metrics.csv``            one row per epoch
``checkpoint.safetensors`` everything needed to continue after the last batch that it has seen
``model.safetensors``      the weights of the best epoch (of the last without validation)
``curves.png``             loss, accuracy and learning rate
``confusion.png``          confusion matrix of the test images
``report.md``              the result for people, ``report.json`` for programs
``report.html``            the same with all pictures, in one file
=========================  ============================================================
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.serialization import (
    SerializationError,
    load_state,
    save_state,
    write_atomically,
)
from tinygrad_cnn.serialization.files import holding, make_folder
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.config import DATA, Config
from tinygrad_cnn.train.run.model_files import plain_name

COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "lr",
    "seconds",
    "images_per_second",
    "data_wait",
)


class RunFolder:
    """The folder at ``path`` and its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.split = path / "split.json"
        self.metrics = path / "metrics.csv"
        self.checkpoint = path / "checkpoint.safetensors"
        self.model = path / "model.safetensors"
        self.curves = path / "curves.png"
        self.confusion = path / "confusion.png"
        self.report = path / "report.md"
        self.report_json = path / "report.json"
        self.page = path / "report.html"

    @classmethod
    def create(cls, path: Path | None, config: Config) -> "RunFolder":
        """Make a new folder at ``path``; without one, the next free ``runs/MODEL-DATA-N``.

        Raises
        ------
        TrainError
            There is a run already, or the folder cannot be made.
        """
        stem = f"{plain_name(config.model)}-{config.data_name}"
        number = 1
        while True:
            folder = cls(path or Path("runs") / f"{stem}-{number}")
            try:
                make_folder(folder.path, exist_ok=path is not None)
                break
            except FileExistsError as error:
                if path is not None:
                    raise TrainError(f"{path} is not a folder") from error
                number += 1
            except OSError as error:
                raise TrainError(f"cannot make the folder {folder.path} ({error})") from error
        if folder.config.exists():
            raise TrainError(
                f"{folder.path} holds a run already; continue it with --resume {folder.path} "
                "or choose another --out"
            )
        folder.write_config(config)
        return folder

    @classmethod
    def open(cls, path: str | Path) -> tuple["RunFolder", Config]:
        """Find the run at ``path`` and read its settings.

        Raises
        ------
        TrainError
            There is no run, or its settings are damaged.
        """
        path = Path(path)
        folder = cls(path)
        if not path.is_dir():
            raise TrainError(f"there is no run folder {path}")
        try:
            text = folder.config.read_text(encoding="utf-8")
            config = Config.from_json(text)
        except FileNotFoundError:
            raise TrainError(f"{path} is not a run folder (it has no config.json)") from None
        except (TrainError, UnicodeDecodeError) as error:
            raise TrainError(f"{folder.config} is damaged: {error}") from error
        return folder, replace(config, model=_seen_from_here(config.model))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder, made if need be, with nobody else who trains into it until the block ends.

        The system lets go of it when the process ends, however it ends. Readers need not ask.

        Raises
        ------
        TrainError
            Another process, or thread, trains into it, or it cannot be made.
        """
        try:
            make_folder(self.path)
        except OSError as error:
            raise TrainError(f"cannot make the folder {self.path} ({error})") from error
        with holding(self.path) as alone:
            if not alone:
                raise TrainError(f"another process trains into {self.path}; wait for its end")
            yield

    def abandon(self) -> None:
        """Remove the folder again if it holds nothing but settings: no run has begun."""
        try:
            with holding(self.path) as alone:
                if not alone or self.checkpoint.exists():
                    return
        except OSError:  # there is none
            return
        self.config.unlink(missing_ok=True)
        self.split.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not empty: the user keeps other files there
            self.path.rmdir()

    def write_config(self, config: Config) -> None:
        """The settings; files by their full path, so that the run goes on from anywhere."""
        paths = {"root": config.root, "init": config.init}
        if config.data not in DATA:
            paths["data"] = config.data
        full: dict[str, Any] = {k: os.path.abspath(v) for k, v in paths.items() if v is not None}
        full["model"] = _full_path(config.model)
        write_atomically(self.config, replace(config, **full).to_json())

    def write_metrics(self, history: Sequence[Row]) -> None:
        """One row per epoch; floats in full precision, nothing where nothing was measured.

        Metrics of the caller's have their columns behind the usual ones.
        """
        write_atomically(self.metrics, as_csv(history))

    def read_metrics(self) -> list[Row]:
        """The rows that `write_metrics` wrote.

        Raises
        ------
        TrainError
            There are none yet, or the file is damaged.
        """
        try:
            with open(self.metrics, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
            missing = [name for name in COLUMNS[:7] if name not in (reader.fieldnames or ())]
            if missing:
                raise ArgumentError(f"there is no column {', '.join(missing)}")
            for number, row in enumerate(rows, 1):
                if None in row or None in row.values() or row["epoch"] != str(number):
                    raise ArgumentError(f"its row {number} is not that of epoch {number}")
            return [{name: _number(name, text) for name, text in row.items()} for row in rows]
        except FileNotFoundError:
            raise TrainError(f"{self.path} has no metrics.csv yet (no epoch finished)") from None
        except (csv.Error, TypeError, UnicodeDecodeError, ValueError) as error:
            raise TrainError(f"{self.metrics} is damaged: {error}") from error

    def write_model(self, state: dict[str, Tensor]) -> None:
        """Keep these weights as the run's model."""
        save_state(state, self.model)

    def read_model(self) -> dict[str, Tensor]:
        """The weights that `write_model` kept.

        Raises
        ------
        TrainError
            There are none yet, or the file is damaged.
        """
        try:
            return load_state(self.model)
        except FileNotFoundError:
            raise TrainError(f"{self.path} has no trained model yet (no epoch finished)") from None
        except SerializationError as error:
            raise TrainError(str(error).removeprefix("load: ")) from error

    def write_report(self, markdown: str, values: dict[str, object]) -> None:
        """The result for people and for programs."""
        write_atomically(self.report, markdown)
        write_atomically(self.report_json, json.dumps(values, indent=2) + "\n")

    def write_page(self, html: str) -> None:
        """The result with all pictures."""
        write_atomically(self.page, html)


def as_csv(history: Sequence[Row]) -> str:
    """What `RunFolder.write_metrics` writes."""
    text = io.StringIO()
    found = dict.fromkeys(name for row in history for name in row)
    columns = [c for c in COLUMNS if c in found or not c.endswith("accuracy")]
    columns += [c for c in found if c not in COLUMNS]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def _number(name: str, text: str) -> float | int | None:
    """A cell of metrics.csv."""
    if not text:
        return None
    return int(text) if name == "epoch" else float(text)


def _full_path(model: str) -> str:
    """``FILE.py[:Class]`` with the whole path; ``package.module:Class`` as it is."""
    return os.path.abspath(model) if ".py" in model else model


def _seen_from_here(model: str) -> str:
    """The same with the path from the working directory, if the file is below it."""
    if not os.path.isabs(model):
        return model
    here = os.path.relpath(model)
    return model if here.startswith("..") else here
