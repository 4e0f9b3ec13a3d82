"""``tinygrad-cnn export``: a model as an ONNX file; and such files read, for ``predict``."""

import json
from dataclasses import replace
from pathlib import Path

import click

from tinygrad_cnn.cli.friendly import friendly, out_file
from tinygrad_cnn.cli.graph import shapes_of_inputs
from tinygrad_cnn.functions import randn
from tinygrad_cnn.notices import saying
from tinygrad_cnn.onnx import export as write
from tinygrad_cnn.onnx import load
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.serialization import load as load_state
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.report.predict import Predictor
from tinygrad_cnn.train.report.results import load_weights
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.folder_data import DataInfo
from tinygrad_cnn.train.run.model_files import build_model, users_code

DATA = "tinygrad_cnn.data"  # in a file's metadata: classes, mean, std and size, as JSON
_CLASSES = 10


@click.command()
@click.argument("source", metavar="RUN|MODEL")
@click.argument("out", metavar="OUT.onnx", type=click.Path(path_type=Path), callback=out_file)
@click.option(
    "--input",
    "inputs",
    callback=shapes_of_inputs,
    metavar="SHAPE",
    multiple=True,
    help="Of MODEL: shape of an input, as for `graph`. Once for each.  [1,3,32,32]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Of MODEL: a file of weights.")
@click.option("--model", default=None, help="Of RUN: the model's code, if it has moved.")
@click.option("--fixed-batch", is_flag=True, help="Only for batches of the example's size.")
@click.option("--opset", type=int, default=18, help="Version of ONNX's operators.")
@click.option("--external-data", is_flag=True, help="Put the weights into a file of their own.")
@friendly
def export(
    source: str,
    out: Path,
    inputs: tuple[Tensor, ...],
    weights: Path | None,
    model: str | None,
    fixed_batch: bool,
    opset: int,
    external_data: bool,
) -> None:
    """Write a model as an ONNX file, which other programs run.

    RUN is a folder that `train` wrote; its file says what the classes are, so that
    `predict OUT.onnx IMAGE...` works. MODEL is FILE.py[:Class] or package.module:Class. Images are
    expected as the model takes them: normalised, (n, 3, h, w).
    """
    metadata = {}
    if Path(source).is_dir():
        if inputs or weights:
            raise click.UsageError("--input and --weights are for a MODEL; a RUN has its own")
        predictor = predictor_of(Path(source), model)
        network, data = predictor.network, predictor.data
        example: tuple[Tensor, ...] = (randn(1, 3, data.size, data.size, generator=Generator(0)),)
        metadata[DATA] = json.dumps({**data._asdict(), "classes": list(data.classes)})
    else:
        network = build_model(source, _CLASSES)
        if weights is not None:
            state = load_state(weights)
            if not isinstance(state, dict):
                raise TrainError(f"{weights} holds {type(state).__name__}, expected a state dict")
            load_weights(Config(model=source), network, state)
        example = inputs or (randn(1, 3, 32, 32, generator=Generator(0)),)
    with saying(f"writing {out}"), users_code(source):
        write(
            network,
            example,
            out,
            dynamic_batch=not fixed_batch,
            opset_version=opset,
            external_data=external_data or None,
            metadata=metadata,
        )
    size = sum(p.stat().st_size for p in (out, out.with_name(out.name + ".data")) if p.is_file())
    click.echo(f"{out}: {type(network).__name__}, {size / 1e6:.1f} MB")


def predictor_of(source: Path, model: str | None) -> Predictor:
    """The model of a run, or of an ONNX file that `export` made of one."""
    if source.suffix == ".onnx" and not source.is_dir():
        return _of_file(source)
    place, config = RunFolder.open(source)
    return Predictor.of(config if model is None else replace(config, model=model), place)


def _of_file(path: Path) -> Predictor:
    try:
        network = load(path).eval()
        known = json.loads(network.metadata[DATA])
        data = DataInfo(
            [str(c) for c in known["classes"]],
            tuple(float(m) for m in known["mean"]),
            tuple(float(s) for s in known["std"]),
            int(known["size"]),
        )
    except KeyError:
        raise TrainError(
            f"{path} does not say what its classes are, expected a file that `export RUN` wrote"
        ) from None
    except (ValueError, TypeError) as error:
        raise TrainError(f"{path}: {error}") from error
    return Predictor(network, data)
