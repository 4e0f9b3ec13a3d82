"""The page about a run: what it learned, how, what it gets wrong, where it looks."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from tinygrad_cnn import viz
from tinygrad_cnn.data.dataset import fetch
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.train.loop.progress import clock
from tinygrad_cnn.train.metrics.functions import class_scores
from tinygrad_cnn.train.report.model_section import model_graph, model_summary
from tinygrad_cnn.train.report.page import Page, Share, as_png, as_svg
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.run.augmentations import make_augmentation
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.environment import command, environment
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.splits import Images, Splits
from tinygrad_cnn.types import Array
from tinygrad_cnn.viz.graph.text import plural
from tinygrad_cnn.viz.layers import evaluating

_NOT_DRAWN = (IndexError, KeyError, RuntimeError, TypeError, ValueError)


def run_page(
    config: Config,
    report: Report,
    history: Sequence[Row],
    model: Module,
    splits: Splits,
    folder: RunFolder,
) -> str:
    """The self-contained HTML page; ``model`` has the weights that ``report`` is about.

    The pictures of curves and confusion matrix are those in ``folder``.
    """
    facts = report.facts
    seconds = sum(row["seconds"] or 0 for row in history)
    page = Page(
        f"{type(model).__name__} on {config.data_name}: {report.accuracy:.2%} of "
        f"{report.images:,} test images right",
        f"{facts.get('parameters', 0):,} parameters, {plural(len(history), 'epoch')}, "
        f"{len(splits.train):,} training images, seed {config.seed}",
    )
    page.cards(_cards(report, history, seconds))
    _learning(page, history, folder.curves.read_bytes())
    _classes(page, report, folder.confusion.read_bytes())
    _mistakes(page, report, splits)
    if config.augment != "none":
        _augmentation(page, config, splits)
    _inside(page, model, splits)
    _model(page, model, splits)
    _repetition(page, config)
    return page.html()


def _cards(report: Report, history: Sequence[Row], seconds: float) -> list[tuple[str, str]]:
    cards = [("test accuracy", f"{report.accuracy:.2%}")]
    if report.top5 is not None:
        cards.append(("top-5 accuracy", f"{report.top5:.2%}"))
    cards.append(("mean F1", f"{report.macro_f1:.3f}"))
    cards.append(("test loss", f"{report.loss:.4f}"))
    if report.calibration is not None:
        cards.append(("calibration error", f"{report.calibration.error:.1%}"))
    if history:
        cards.append(("training time", clock(seconds)))
        cards.append(("waiting for data", f"{report.facts.get('data_wait', 0):.1%}"))
    return cards


def _learning(page: Page, history: Sequence[Row], curves: bytes) -> None:
    if not history:
        return
    page.section("learning", "How did it learn?")
    page.picture(curves, "", "Loss, accuracy and learning rate by epoch", plot=True)
    names = [name for name in history[0] if any(row.get(name) is not None for row in history)]
    rows = [[_figure(row.get(name)) for name in names] for row in history]
    page.table([name.replace("_", " ") for name in names], rows, fold="All epochs")


def _figure(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _classes(page: Page, report: Report, confusion: bytes) -> None:
    page.section("classes", "What does it know?")
    scores = class_scores(report.matrix)
    rows = []
    for i, (name, share, examples, taken) in enumerate(report.rows()):
        values = Share(scores.precision[i]), Share(share)
        f1 = f"{scores.f1[i]:.3f}" if math.isfinite(scores.f1[i]) else "–"
        count = f"{examples:,}" if examples else "no examples"
        rows.append([name, *values, f1, count, taken])
    page.table(["class", "precision", "recall", "F1", "images", "taken for"], rows)
    page.paragraph(
        "Precision: of the images said to be of a class, how many are. Recall: of the images of a "
        "class, how many are said to be."
    )
    page.picture(confusion, "", "Confusion matrix", plot=True)
    found = report.calibration
    if found is not None:
        page.section("confidence", "Does it know what it does not know?")
        page.open_pair()
        drawn = viz.reliability(found.confidence, found.accuracy, found.counts)
        page.picture(as_svg(drawn), "", "Accuracy over confidence", plot=True)
        page.raw("<div>")
        page.paragraph(
            f"Where it gives its prediction a probability, it is off by {found.error:.1%} on "
            "average (expected calibration error). Points below the diagonal: surer than it is "
            "right."
        )
        page.paragraph("The mistakes it makes most often:")
        confused = [[true, said, f"{n:,}"] for true, said, n in report.confused(10)]
        page.table(["true class", "predicted", "images"], confused)
        page.raw("</div>")
        page.close_pair()


def _mistakes(page: Page, report: Report, splits: Splits) -> None:
    if not report.mistakes:
        return
    shown = report.mistakes[:24]
    titles = [
        f"{report.classes[m.predicted]} {m.confidence:.0%}\n"
        f"is {report.classes[m.label]} ({m.label_share:.0%})"
        for m in shown
    ]
    page.section("mistakes", "Which mistakes is it surest of?")
    page.paragraph(
        "The test images that it gets wrong with the largest probability: what it says, and what "
        "the label says. Some labels are doubtful themselves."
    )
    _draw(
        page,
        lambda: viz.image_grid(_raw(splits.test, [m.image for m in shown]), titles),
        "",
        "Test images that are predicted wrongly",
    )


def _augmentation(page: Page, config: Config, splits: Splits) -> None:
    page.section("augmentation", "What was it shown?")
    images = _raw(splits.train, range(min(10, len(splits.train))))
    labels = np.arange(len(images)) % len(splits.classes)

    def draw() -> Figure:
        transform = make_augmentation(
            config.augment, size=images.shape[-1], classes=len(splits.classes)
        )
        assert transform is not None
        return viz.show_augmentation(images, transform, labels=labels, seed=config.seed)

    _draw(page, draw, "Training images, and what augmentation makes of them.", "Augmented images")


def _inside(page: Page, model: Module, splits: Splits) -> None:
    page.section("inside", "Where does it look?")
    scale = {"mean": getattr(splits.test, "mean", None), "std": getattr(splits.test, "std", None)}
    chosen = _one_per_class(splits)
    images, labels = next(iter(splits.loader_of(chosen)))
    classes, truth = splits.classes, labels.tolist()
    _draw(
        page,
        lambda: viz.grad_cam(model, images, **scale, classes=classes, labels=truth),
        "Grad-CAM: bright where the last feature maps speak for the predicted class.",
        "Grad-CAM",
    )
    _draw(
        page,
        lambda: viz.saliency(model, images, **scale, classes=classes, labels=truth),
        "Saliency: bright where a pixel changes the predicted class's score the most.",
        "Saliency",
    )
    _draw(page, lambda: viz.filters(model), "The weights of the first convolution.", "Filters")
    convolutions = [n for n, m in model.named_modules() if type(m).__name__ == "Conv2d"]
    for name in dict.fromkeys([*convolutions[:1], *convolutions[-1:]]):
        _draw(
            page,
            lambda name=name: viz.feature_maps(model, images[0], name, **scale),  # type: ignore[misc]
            f"What {name} makes of an image. Any other layer and image: "
            f"tinygrad-cnn features RUN IMAGE --layer {name}",
            f"Feature maps of {name}",
        )

    def flow() -> Figure:
        with evaluating(model):
            loss = cross_entropy(model(images), labels)
        model.zero_grad()
        loss.backward()
        figure = viz.gradient_flow(model)
        model.zero_grad()
        return figure

    _draw(
        page,
        flow,
        "How large the gradient of the loss is in each layer, on these images.",
        "Gradient flow",
        as_svg,
    )


def _model(page: Page, model: Module, splits: Splits) -> None:
    page.section("model", "What is it made of?")
    images, _ = next(iter(splits.loader_of([0])))
    with evaluating(model):
        table, graph = model_summary(model, images), model_graph(model, images)
        dark = model_graph(model, images, "dark")
    page.raw(f'<div class="scroll">{table}</div>')
    page.picture(graph, "The graph of one forward pass.", "Model graph", dark=dark)


def _repetition(page: Page, config: Config) -> None:
    page.section("repeat", "How is it made again?")
    page.paragraph("The same command on the same machine and versions gives the same weights.")
    page.code(command(config))
    page.open_pair()
    settings = dataclasses.asdict(config).items()
    page.table(
        ["setting", "value"], [[k.replace("_", " "), _setting(v)] for k, v in settings], wrap=True
    )
    page.table(["environment", ""], list(environment().items()), wrap=True)
    page.close_pair()


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _draw(
    page: Page,
    draw: Callable[[], Figure],
    caption: str,
    alt: str,
    write: Callable[[Figure], bytes] = as_png,
) -> None:
    """A picture, or why there is none: a model need not have convolutions, nor images colours."""
    try:
        data = write(draw())
    except _NOT_DRAWN as error:
        page.paragraph(f"{alt}: not drawn ({' '.join(str(error).split())}).")
    else:
        page.picture(data, caption, alt, plot=write is as_svg)


def _raw(data: Images, indices: Sequence[int]) -> Array:
    """Images (n, c, h, w) of a data set as they are stored."""
    found = fetch(data, list(indices))
    if isinstance(found, tuple):
        return np.asarray(found[0])
    return np.stack([np.asarray(sample[0]) for sample in found])


def _one_per_class(splits: Splits) -> list[int]:
    """The first test image of each of up to eight classes."""
    count = min(len(splits.test), 500)
    labels = [int(fetch(splits.test, [i])[1][0]) for i in range(count)]
    firsts = [labels.index(c) for c in range(len(splits.classes)) if c in labels]
    return firsts[:8]
