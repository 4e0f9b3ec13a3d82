"""Write docs/operations.md, the table of all operations, from the registry.

python docs/make_operations.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

import tinygrad_cnn  # noqa: F401  (fills the registry)
from tinygrad_cnn.autograd import REGISTRY, Op

HEAD = """# Operations

Every differentiable primitive, from the registry (`python docs/make_operations.py` writes this
page). Each is checked to second order against finite differences by `tests/ops/test_registry.py`.
"Keeps" is what the backward pass keeps alive, and only where a gradient needs it: arguments, the
result `y`, or residuals of the forward pass. "ONNX" is the operator that it is exported as; what is
"composed" becomes several, or one with attributes ([onnx.md](onnx.md)).
"""


def kept(op: Op) -> str:
    """What an operation keeps for its rules."""
    names = [name for _, name, _ in op.kept]
    params = {
        p.name
        for p in inspect.signature(op.forward).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    names += sorted(op.residual_names - params)
    if op.keeps_output:
        names.append("y")
    return ", ".join(f"`{n}`" for n in names) or "nothing"


def row(op: Op) -> str:
    """One line of a table."""
    first = (op.__doc__ or "").strip().split("\n")[0].replace("|", "\\|")
    rule = "fused, with a reference" if op.fused is not None else "in operations"
    form = "" if op.onnx is None else f"`{op.onnx}`" if isinstance(op.onnx, str) else "composed"
    return f"| `{op.name}` | {first} | {rule} | {kept(op)} | {form} |"


def page() -> str:
    """The whole page."""
    families: dict[str, list[Op]] = {}
    for op in REGISTRY.values():
        if op.forward.__module__.startswith("tinygrad_cnn."):
            families.setdefault(op.forward.__module__.rsplit(".", 1)[1], []).append(op)
    parts = [HEAD]
    for family, ops in sorted(families.items()):
        parts.append(
            f"## {family}\n\n| operation | what it computes | rules | keeps | ONNX |\n"
            "|---|---|---|---|---|"
        )
        parts += [row(op) for op in sorted(ops, key=lambda o: o.name)]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("operations.md").write_text(page(), encoding="utf-8")
