"""Run examples/cifar10_tour.ipynb and write its outputs into it.

python docs/make_notebook.py
"""

from __future__ import annotations

import base64
import io
import os
import re
import tempfile
from pathlib import Path

import nbclient
import nbformat
import numpy as np
from PIL import Image

PLACE = Path(__file__).parents[1] / "examples" / "cifar10_tour.ipynb"
# One thread: sums do not depend on how many processors there are.
SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}
COLOURS = 128  # of a picture: a third of the size that it has with all
DECIMAL = re.compile(r"\d+\.\d+")


def run(book: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in `folder`, and take from its outputs what differs from run to run."""
    for name, value in {**SETTINGS, "PYTHONPATH": str(PLACE.parents[1])}.items():
        os.environ[name] = value
    client = nbclient.NotebookClient(
        book,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    book = client.execute()
    book.metadata["language_info"] = {"name": "python"}
    for output in (o for cell in book.cells for o in cell.get("outputs", ())):
        data = output.get("data", {})
        if "image/png" in data:
            data["image/png"] = smaller(data["image/png"])
    return book


def smaller(picture: str) -> str:
    """Return a PNG file, in base64, with few colours and without what wrote it."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLOURS).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def opened(picture: str) -> Image.Image:
    """Return a PNG file, in base64, as greys."""
    return Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")


def apart(before: str, after: str) -> float:
    """Return how far two pictures are apart, 0 to 1: the mean over 24 × 24 pixels; 1 where their
    sizes differ by more than a twentieth.
    """
    pictures = [opened(picture) for picture in (before, after)]
    sizes = np.array([picture.size for picture in pictures])
    if (np.abs(sizes[0] - sizes[1]) > 0.05 * sizes[0]).any():
        return 1.0
    small = [np.asarray(p.resize((24, 24), Image.Resampling.BOX)) / 255 for p in pictures]
    return float(np.abs(small[0] - small[1]).mean())


def shown(book: nbformat.NotebookNode) -> list[tuple[int, str, str]]:
    """Return each output as the cell's number, the kind, and the text or the picture."""
    found = []
    for number, cell in enumerate(book.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            kind = "image/png" if "image/png" in data else "text"
            content = data.get(kind) or data.get("text/plain") or output.get("text", "")
            found.append((number, kind, content))
    return found


def differences(written: nbformat.NotebookNode, made: nbformat.NotebookNode) -> list[str]:
    """Return what is not in a notebook as it is when made anew, in a line each.

    Training magnifies roundings, which differ between processors. So decimals in a text may differ,
    and pictures by little. Of a cell with the tag ``varies``, whose picture has other images then,
    only the size of the picture counts.
    """
    if [cell.source for cell in written.cells] != [cell.source for cell in made.cells]:
        return ["the cells differ"]
    before, after = shown(written), shown(made)
    if [output[:2] for output in before] != [output[:2] for output in after]:
        return [f"it shows {[o[:2] for o in after]}, not {[o[:2] for o in before]}"]
    found = []
    for (number, kind, old), (*_, new) in zip(before, after, strict=True):
        if kind == "text":
            if DECIMAL.sub("0.0", old) != DECIMAL.sub("0.0", new):
                found.append(f"cell {number} says {new!r}, not {old!r}")
            continue
        varies = "varies" in written.cells[number].metadata.get("tags", ())
        if (distance := apart(old, new)) > (0.5 if varies else 0.05):
            found.append(f"cell {number} shows another picture, {distance:.3f} apart")
    return found


def main() -> None:
    """Write it."""
    book = nbformat.read(PLACE, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        PLACE.write_text(nbformat.writes(run(book, Path(folder)), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
