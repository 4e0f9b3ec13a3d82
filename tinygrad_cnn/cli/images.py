"""``predict`` and ``features``: what a run's model makes of an image file."""

import json
from pathlib import Path

import click

from tinygrad_cnn.cli.export import predictor_of
from tinygrad_cnn.cli.friendly import console, friendly, out_file
from tinygrad_cnn.notices import saying
from tinygrad_cnn.train.errors import TrainError


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--top", type=click.IntRange(min=1), default=3, help="Classes to name.")
@click.option("--model", default=None, help="The model's code, if it has moved.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@friendly
def predict(
    folder: Path, images: tuple[Path, ...], top: int, model: str | None, as_json: bool
) -> None:
    """Say what is on each IMAGE, with the model of RUN, or of an ONNX file that `export RUN` wrote.

    An IMAGE is a file in any format that Pillow reads; its middle square is brought to the size of
    the training images.
    """
    found = predictor_of(folder, model).predict(images, top)
    if as_json:
        named = {str(p): dict(classes) for p, classes in zip(images, found, strict=True)}
        click.echo(json.dumps(named, indent=2))
        return
    width = max(len(str(path)) for path in images)
    for path, classes in zip(images, found, strict=True):
        words = ", ".join(f"{name} {share:.1%}" for name, share in classes)
        text = f"{path!s:{width}}  {words}"
        console().print(text, highlight=False, markup=False, soft_wrap=True)


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option("--layer", required=True, help="Path of the layer, such as features.3.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=out_file,
    help="The picture.  [RUN/features-….png]",
)
@click.option("--model", default=None, help="The model's code, if it has moved.")
@friendly
def features(folder: Path, image: Path, layer: str, out: Path | None, model: str | None) -> None:
    """Draw the feature maps of LAYER for IMAGE, with the model of RUN.

    A wrong LAYER is answered by the list of those there are.
    """
    if out is not None and out.suffix.lower() not in (".png", ".svg", ".pdf", ".jpg"):
        raise click.UsageError(f"--out {out} should end in .png, .svg, .pdf or .jpg")
    predictor = predictor_of(folder, model)
    batch = predictor.normalized(predictor.read([image]))
    place = out or folder / f"features-{layer}-{image.stem}.png"
    scale = {"mean": predictor.data.mean, "std": predictor.data.std}
    try:
        with saying(f"drawing {place}"):
            from tinygrad_cnn import viz  # Matplotlib takes its time to import

            viz.feature_maps(predictor.network, batch[0], layer, place, **scale)
    except KeyError as error:
        raise TrainError(str(error.args[0])) from error
    except (RuntimeError, ValueError) as error:
        raise TrainError(str(error)) from error
    click.echo(str(place))
