"""Draw the pictures of docs/assignment.md anew, from a finished run.

tinygrad-cnn train models/lenet5.py --augment flip,rotation:10,shift:0.1 --out run
python docs/make_assignment.py run
"""

import argparse
from pathlib import Path

import numpy as np

from tinygrad_cnn import data, viz
from tinygrad_cnn.train import RunFolder
from tinygrad_cnn.train.metrics.functions import class_scores
from tinygrad_cnn.train.report.predict import Predictor
from tinygrad_cnn.train.report.results import evaluate_run

FOLDER = Path(__file__).parent / "pictures"


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    folder, config = RunFolder.open(parser.parse_args().run)
    FOLDER.mkdir(exist_ok=True)
    report = evaluate_run(config, folder)
    model = Predictor.of(config, folder).network
    test = data.Shapes(2000, train=False)
    images, labels = next(iter(data.DataLoader(test, 8)))
    scale = {"mean": test.mean, "std": test.std}
    shown = {**scale, "classes": test.classes, "labels": labels.tolist()}

    viz.curves(folder.read_metrics(), FOLDER / "curves.png")
    viz.confusion(report.matrix, report.classes, FOLDER / "confusion.png")
    scores = class_scores(report.matrix)
    viz.class_scores(scores.precision, scores.recall, report.classes, FOLDER / "classes.png")
    viz.filters(model, FOLDER / "filters.png")
    viz.feature_maps(model, images[0], "c1", FOLDER / "features-c1.png", **scale)
    viz.feature_maps(model, images[0], "c3", FOLDER / "features-c3.png", **scale)
    viz.grad_cam(model, images, FOLDER / "grad-cam.png", **shown)
    viz.saliency(model, images, FOLDER / "saliency.png", **shown)
    augment = [data.RandomHorizontalFlip(), data.RandomRotation(15), data.RandomShift(0.125)]
    augment += [data.RandomCrop(32, padding=4), data.Cutout(8), data.ColorJitter(0.2, 0.2, 0.2)]
    plain = np.ascontiguousarray(data.Shapes(10).images)
    viz.show_augmentation(plain, data.Compose(augment), FOLDER / "augmentation.png")


if __name__ == "__main__":
    main()
