"""Write docs/gallery.md and its pictures: what the drawings look like, and how each is made.

python docs/make_gallery.py
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import tinygrad_cnn as tg
from tinygrad_cnn.cli.app import main

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "gallery"
DIGESTS = ROOT / "docs" / "gallery.json"
HEAD = """# Gallery

Drawings of computation graphs. `python docs/make_gallery.py` writes this page and its pictures;
every picture has its command, or its Python code, under it. Each command also writes `.html` (one
file to fold, search, zoom and colour in any browser), `.png`, `.pdf`, `.dot`, `.mmd` and `.json`.
"""

DOUBLE_BACKWARD = """\
import tinygrad_cnn as tg

x = tg.tensor(0.5, requires_grad=True)
with tg.viz.Recording(names={"x": x}) as recording:
    y = tg.sin(x**2)
    (dy,) = tg.autograd.grad(y, x, create_graph=True)
    (ddy,) = tg.autograd.grad(dy, x, create_graph=True)
recording.graph(ddy).render("double_backward.svg")
"""

DIFFERENCE = """\
import tinygrad_cnn as tg
from tinygrad_cnn import nn
from models.lenet5 import LeNet5

old, new = LeNet5(), LeNet5()
new.c1 = nn.Conv2d(3, 6, kernel_size=5, bias=False)
new.s2 = nn.AvgPool2d(2)
new.c5 = nn.Sequential(nn.Linear(400, 120), nn.Dropout(0.2))
image = (1, 3, 32, 32)
difference = tg.viz.trace(old, image).diff(tg.viz.trace(new, image))
print(difference)
difference.render("difference.svg", columns=2)
"""

DIAGNOSIS = """\
import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn

tg.manual_seed(0)
body = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6))
model = nn.ModuleDict({"body": body, "head": nn.Linear(6, 3), "spare": nn.Linear(2, 2)})
with tg.no_grad():
    model["body"][0].bias[:2] = -100.0
images, labels = tg.randn(16, 8), tg.randint(3, (16,))


def compute():
    features = model["body"][1](model["body"][0](images))
    features = features + model["body"][2](features).detach()
    return F.cross_entropy(model["head"](features), labels)


loss = compute()
loss.backward()
print(tg.viz.diagnose(loss, model, rerun=compute))
"""

SECTIONS = [
    ("LeNet-5", "lenet5", "graph models/lenet5.py --columns 2"),
    ("MiniVGG, folded", "minivgg", "graph models/minivgg.py --depth 2 --columns 3"),
    ("The same on dark paper", "minivgg_dark",
     "graph models/minivgg.py --depth 2 --columns 3 --theme dark"),
    ("MiniVGG, unfolded", "minivgg_unfolded", "graph models/minivgg.py"),
    ("What MiniVGG keeps for the backward pass", "minivgg_memory",
     "graph models/minivgg.py --color memory --theme dark"),
    ("The backward pass of LeNet-5", "lenet5_backward",
     "graph models/lenet5.py --backward --columns 2"),
    ("ResNet-18", "resnet18", "graph models/resnet18.py"),
    ("ResNet-18, folded, by its FLOPs", "resnet18_flops",
     "graph models/resnet18.py --depth 2 --color flops --columns 2"),
    ("Second derivative of sin(x²)", "double_backward", DOUBLE_BACKWARD),
    ("A difference", "difference", DIFFERENCE),
    ("A summary", "", "summary models/minivgg.py --depth 2"),
    ("A diagnosis", "", DIAGNOSIS),
]  # fmt: skip

WORDS = {
    "ResNet-18": "The two equal blocks of the first stage are drawn once, marked ×2. A circle with "
    "a letter is where an edge goes on in another column.",
    "Second derivative of sin(x²)": "What the derivative rules computed is dashed. The graph holds "
    "what the second derivative was made from, and nothing else.",
    "A difference": "Added is green, removed red, changed amber.",
    "A diagnosis": "Why a parameter has no gradient, with the line that cuts it off; dead units; "
    "and all gradients, layer by layer.",
}


def small(path: Path) -> None:
    """Take out of an SVG what nobody sees: comments, titles, indentation."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->|<title>.*?</title>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    text = text.replace(' font-family="Helvetica,Arial,sans-serif"', "")
    text = text.replace("<svg ", '<svg font-family="Helvetica,Arial,sans-serif" ', 1)
    path.write_text(re.sub(r"\n\s*\n+", "\n", text), encoding="utf-8")


def digests() -> dict[str, str]:
    """What each picture is drawn from, in short: a test compares it with what is stored.

    It is Graphviz's language, which we write: the same on every machine, and Graphviz is not
    needed.
    """
    found = {}
    with elsewhere():
        for _, name, source in SECTIONS:
            if name:
                make(name, source, ".dot")
                found[name] = hashlib.sha256(Path(f"{name}.dot").read_bytes()).hexdigest()
    return found


def make(name: str, source: str, ending: str) -> tuple[list[str], str]:
    """Run a command or code, in the present folder; returns the arguments and what was said."""
    tg.manual_seed(0)
    said = io.StringIO()
    is_code = "\n" in source
    arguments = [] if is_code else shlex.split(source)
    if name and not is_code:
        arguments += ["--out", f"{name}{ending}"]
    with redirect_stdout(said):
        if is_code:
            # Under a name with which errors and lines can be shown.
            Path("example.py").write_text(source, encoding="utf-8")
            code = source.replace(f'"{name}.svg"', f'"{name}{ending}"')
            exec(compile(code, str(Path("example.py").resolve()), "exec"), {"__name__": "x"})
        else:
            main(arguments, standalone_mode=False)
    return arguments, said.getvalue()


def section(title: str, name: str, source: str) -> str:
    """One section; runs its command or code in the present folder."""
    arguments, said = make(name, source, ".svg")
    is_code = "\n" in source
    lines = [f"## {title}", ""]
    if title in WORDS:
        lines += [WORDS[title], ""]
    if name:
        small(Path(f"{name}.svg"))
        (PICTURES / f"{name}.svg").write_bytes(Path(f"{name}.svg").read_bytes())
        lines += [f"![{title}](gallery/{name}.svg)", ""]
    if is_code:
        lines += ["```python", source.rstrip(), "```"]
    else:
        lines += ["```", f"tinygrad-cnn {shlex.join(arguments)}", "```"]
    if said.strip() and (is_code or not name):
        lines += ["", "```text", said.rstrip(), "```"]
    return "\n".join([*lines, ""])


@contextmanager
def elsewhere() -> Iterator[None]:
    """Inside, the present folder is an empty one, with the models.

    NumPy's kernels run, which every machine has: what is kept for backward depends on it.
    """
    before, kernels = Path.cwd(), tg.set_kernels("reference")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("models").symlink_to(ROOT / "models")
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            tg.set_kernels(kernels)
            sys.path.remove(folder)
            os.chdir(before)


def page() -> str:
    """The whole page; writes the pictures too."""
    PICTURES.mkdir(exist_ok=True)
    with elsewhere():
        return "\n".join([HEAD, *(section(*entry) for entry in SECTIONS)])


if __name__ == "__main__":
    (ROOT / "docs" / "gallery.md").write_text(page(), encoding="utf-8")
    DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
