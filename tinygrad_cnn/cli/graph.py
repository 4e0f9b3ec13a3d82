"""The commands that look at a model: ``tinygrad-cnn graph`` and ``tinygrad-cnn summary``."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tinygrad_cnn.cli.friendly import out_file
from tinygrad_cnn.functions import randint, randn
from tinygrad_cnn.nn import Module
from tinygrad_cnn.notices import saying
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.run.model_files import build_model, plain_name, users_code
from tinygrad_cnn.viz import summary as make_summary
from tinygrad_cnn.viz import trace
from tinygrad_cnn.viz.graph.render import INSTALL
from tinygrad_cnn.viz.graph.theme import COLORINGS, THEMES

_Result = TypeVar("_Result")
_CLASSES = 10
_MEASURED = {"time": {"timed": True}, "backward": {"timed": True}, "gradient": {"health": True}}


def shapes_of_inputs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Tensor, ...]:
    """``1,3,32,32`` or, for integers below a bound, ``4,16:int64<100``, as tensors."""
    source, out = Generator(0), []
    for value in values:
        sides, _, kind = value.partition(":")
        try:
            shape = tuple(int(side) for side in sides.split(","))
            bound = int(kind.removeprefix("int64<")) if kind else 1
        except ValueError:
            shape, bound = (), 0
        if (
            not shape
            or min(shape) < 0
            or bound < 1
            or kind.rstrip("0123456789") not in ("", "int64<")
        ):
            text = f"{value!r} is not a shape such as 1,3,32,32 or 4,16:int64<100"
            raise click.BadParameter(text, context, parameter)
        try:
            made = (
                randint(bound, shape, generator=source) if kind else randn(*shape, generator=source)
            )
        except (MemoryError, ValueError) as error:
            raise click.BadParameter(
                f"{value!r} cannot be made: {error}", context, parameter
            ) from None
        out.append(made)
    return tuple(out)


_MODEL = click.argument("model")
_INPUT = click.option(
    "--input",
    "inputs",
    callback=shapes_of_inputs,
    metavar="SHAPE",
    multiple=True,
    default=["1,3,32,32"],
    help="Shape of an input, filled with normal random numbers; 4,16:int64<100 means integers "
    "below 100. Once for each input.",
)
_DEPTH = click.option("--depth", type=click.IntRange(min=0), help="Fold modules below this level.")
_EVAL = click.option("--eval", "evaluate", is_flag=True, help="As in evaluation, not in training.")


def _built(model: str, evaluate: bool) -> Module:
    return build_model(model, _CLASSES).train(not evaluate)


def _run(model: str, function: Callable[[], _Result]) -> _Result:
    with users_code(model), saying(f"running {model} on random inputs"):
        return function()


@_MODEL
@_INPUT
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=out_file,
    help="File to write: .html, .svg, .png, .pdf, .dot, .mmd (Mermaid) or .json.  [MODEL.html]",
)
@_DEPTH
@click.option("--backward", is_flag=True, help="Draw the backward pass instead of the forward one.")
@click.option("--color", type=click.Choice(list(COLORINGS)), default="kind", help="What it shows.")
@click.option("--theme", type=click.Choice(list(THEMES)), help="[light; a page: the system's]")
@click.option("--columns", type=click.IntRange(min=1), help="Columns to wrap into.  [as needed]")
@click.option("--parameters", is_flag=True, help="Draw parameters as nodes of their own.")
@click.option("--no-repeats", is_flag=True, help="Draw equal modules in a row one by one.")
@_EVAL
def graph(
    model: str,
    inputs: tuple[Tensor, ...],
    out: Path | None,
    backward: bool,
    color: str,
    evaluate: bool,
    no_repeats: bool,
    **options: Any,
) -> None:
    """Draw what MODEL computes.

    MODEL is FILE.py[:Class] or package.module:Class. It is built, and run once on random inputs.
    """
    place = out or Path(f"{plain_name(model)}.html")
    if place.suffix not in (".html", ".svg", ".png", ".pdf", ".dot", ".mmd", ".json"):
        raise click.UsageError(
            f"--out {place} should end in .html, .svg, .png, .pdf, .dot, .mmd or .json"
        )
    built = _built(model, evaluate)
    measures: dict[str, Any] = dict(_MEASURED.get(color, {}))
    if color == "zeros":
        measures = {"health": True}
    found = _run(model, lambda: trace(built, *inputs, backward=backward, **measures))
    if color == "backward" and not backward:
        found = _run(model, lambda: trace(built, *inputs, timed=True, health=True))
    repeats = not no_repeats
    if place.suffix == ".json":
        place.write_text(found.to_json(indent=1), encoding="utf-8")
    elif place.suffix == ".mmd":
        shown = {k: options[k] for k in ("depth", "parameters")}
        place.write_text(found.to_mermaid(repeats=repeats, **shown), encoding="utf-8")
    else:
        with (
            warnings.catch_warnings(),
            saying(f"drawing {place}"),
        ):  # said in the command's own way, below
            warnings.simplefilter("ignore")
            written = Path(found.render(place, color=color, repeats=repeats, **options))
        if written != place:
            click.echo(f"{written} instead of {place}: {INSTALL}", err=True)
            raise click.exceptions.Exit(1)
    click.echo(f"{place}: {found!r}")


@_MODEL
@_INPUT
@_DEPTH
@click.option(
    "--out", type=click.Path(path_type=Path), callback=out_file, help="Write the table as HTML."
)
@_EVAL
def summary(
    model: str, inputs: tuple[Tensor, ...], depth: int | None, out: Path | None, evaluate: bool
) -> None:
    """List the layers of MODEL with shapes, parameters, FLOPs and memory."""
    built = _built(model, evaluate)
    table = _run(model, lambda: make_summary(built, *inputs, depth=depth))
    if out is None:
        click.echo(str(table))
    else:
        out.write_text(table.to_page(), encoding="utf-8")
        click.echo(str(out))
