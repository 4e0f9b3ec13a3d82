"""The instructions of random programs (`instructions.txt`), and what is left out of them."""

from __future__ import annotations

from pathlib import Path


def _read() -> dict[str, tuple[str, ...]]:
    """The lines of every group."""
    text = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8")
    groups: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            groups[name] = ()
        elif line and not line.startswith("#"):
            groups[name] += (line,)
    return groups


GROUPS = _read()
WEIGHTS = {"in place": 2, "backward": 2, "modules": 2}  # groups that come more often
SEES = (
    "views",
    "parts",
    "getitem",
    "shapes in place",
)  # whose results share memory: only where it is recorded
OPENING = tuple(line for line in GROUPS["create"] if line.startswith("{newx} = tensor("))
CLOSING = "{graph}.backward(like({graph}, {seed}), retain_graph=True)"

# What is not drawn, and why.
LEFT_OUT = {
    "a write from memory that overlaps its target in part": "PyTorch raises where it notices, "
    "which hangs on strides; we write what the source held before",
    "an index that repeats, in a write without accumulate": "PyTorch says that it is undefined "
    "which value stays; we: the last",
    "slices with a negative step": "PyTorch refuses them; NumPy's arrays and we do not",
    "hooks of views": "after a write past the graph, PyTorch calls them no more, or crashes",
    "a hook on one of several results of an operation": "PyTorch calls it with None where another "
    "result is used",
    "a hook that changes its gradient in place": "PyTorch's documentation forbids it",
    "how far a backward pass came that raised": "hangs on the order of nodes that do not depend on "
    "each other: hooks of the pass are not compared, and gradients are forgotten",
    "a change of a view of a constant that another view has made part of a graph": "PyTorch takes "
    "the view for a leaf and refuses; so it does with `x[0] += y` of a view x of a constant",
    "`data =` of a view": "PyTorch goes on to differentiate it as a view of its base",
    "writes to expanded memory": "PyTorch refuses some and allows others; we refuse all",
    "writes to windows that overlap": "PyTorch says that it is undefined what they hold then",
    "retain_grad() before a change of shape in place": "PyTorch's gradient has the former shape",
    "a gradient (`.grad`) whose shape is changed in place": "PyTorch adds the next one to it, or "
    "refuses",
    "gradients of two leaves in one memory": "PyTorch adds later gradients to both: they are "
    "forgotten",
    "results that are all but constant, such as tanh(20)": "which are equal hangs on the last bit",
    "what mse_loss reads again": "PyTorch its arguments, we their difference: only a write past "
    "the graph (`.data`, NumPy) can tell",
    "views and requires_grad_() of their base": "in PyTorch a view has whether it needs a gradient "
    "from its base, even if it was made before",
    "a view made under no_grad of what needs a gradient": "in PyTorch it claims to be a leaf that "
    "needs one, and collects it",
    "inference_mode": "our documentation: what is made inside is an ordinary constant outside",
    "amax": "its derivative reads the result again: where NumPy has written to it, PyTorch "
    "divides 0 by 0",
    "random numbers": "the generators differ",
}
