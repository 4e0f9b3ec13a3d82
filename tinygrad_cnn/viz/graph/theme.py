"""Colours: what they mean, and how they look on light and on dark paper."""

from __future__ import annotations

from dataclasses import dataclass

COLORINGS = {
    "kind": None,
    "time": "forward_seconds",
    "backward": "backward_seconds",
    "memory": "kept_bytes",
    "flops": "flops",
    "gradient": "gradient_norm",
    "zeros": "zeros",
}
"""What a colour can say, and the figure of a `Node` that it says it of."""

_FAMILIES = {
    "convolution": "conv2d conv2d_input conv2d_weight",
    "product": "linear matmul einsum",
    "normalisation": "batch_norm layer_norm channel_affine group_norm",
    "activation": "relu relu_backward leaky_relu elu sigmoid silu gelu softplus tanh softmax "
    "log_softmax clamp threshold",
    "pooling": "max_pool2d avg_pool2d max_pool2d_gather max_pool2d_scatter",
    "shape": "reshape permute expand getitem ungetitem cat pad flip clone cast detach gather "
    "index_select put overwrite replay tril triu",
    "reduction": "sum mean var std amax amin prod norm2 logsumexp channel_sum sum_to",
}
_FAMILY_OF = {name: family for family, names in _FAMILIES.items() for name in names.split()}


def family_of(operation: str) -> str:
    """The family that gives an operation its colour: ``elementwise`` if no other."""
    name = operation.removesuffix(" backward").lower()
    if name in _FAMILY_OF:
        return _FAMILY_OF[name]
    parts = {"pool": "pooling", "conv": "convolution", "norm": "normalisation"}
    parts |= {"softmax": "activation", "relu": "activation", "matmul": "product"}
    return next((family for part, family in parts.items() if part in name), "elementwise")


@dataclass(frozen=True)
class Theme:
    """Colours as ``#rrggbb``. ``families`` maps to fill and border."""

    paper: str
    text: str
    muted: str
    edge: str
    parameter: str
    warning: str
    box: tuple[str, str]
    families: dict[str, tuple[str, str]]
    scale: tuple[str, ...]
    changes: dict[str, tuple[str, str]]


_PLAIN = {  # on light and on dark paper
    "paper": ("#ffffff", "#0f141a"),
    "text": ("#1f2328", "#e8edf2"),
    "muted": ("#57606a", "#a7b1bc"),
    "edge": ("#6e7781", "#8a95a1"),
    "parameter": ("#116329", "#7ee29a"),
    "warning": ("#b3261e", "#ff8a80"),
}
_BOX = (("#f6f8fa", "#c4cbd3"), ("#171d25", "#3a444f"))  # fill and border
_KINDS = {
    "convolution": (("#ddf0ff", "#4f9fe0"), ("#12324d", "#4f9fe1")),
    "product": (("#e9e4ff", "#8b6fd6"), ("#2c2450", "#9d84e8")),
    "normalisation": (("#ddf6e2", "#4fae68"), ("#153823", "#4fae69")),
    "activation": (("#fff4c2", "#c99a1e"), ("#40350f", "#c99a1f")),
    "pooling": (("#ffe6d5", "#e2853f"), ("#472a13", "#e28540")),
    "shape": (("#eceff2", "#939ca6"), ("#262d35", "#7b8794")),
    "reduction": (("#ffe3ee", "#d2649a"), ("#45203a", "#d2649b")),
    "elementwise": (("#dcf5f1", "#36a394"), ("#123b37", "#36a395")),
    "module": (("#e8edf5", "#5f7899"), ("#222c3a", "#7f9cc0")),
    "tensor": (("#fdfdfe", "#1f2329"), ("#10151b", "#e8edf3")),
    "constant": (("#fdfdfd", "#a0a8b1"), ("#10151c", "#6f7a86")),
    "parameter": (("#f1faf3", "#116330"), ("#10241a", "#7ee29b")),
}
_CHANGES = {
    "added": (("#d9f5df", "#1a7f38"), ("#12381f", "#3fb960")),
    "removed": (("#ffe1de", "#c9362c"), ("#4a1b1a", "#f0625a")),
    "changed": (("#fff2c0", "#b58407"), ("#423509", "#d3a327")),
    "": (("#f4f5f7", "#b4bbc3"), ("#1b2129", "#4a545f")),
}
_SCALES = (
    ("#fffbf0", "#ffeec2", "#ffd98a", "#ffbb66", "#fb9453"),
    ("#1c1f24", "#3a3020", "#60461f", "#84531a", "#9a5417"),
)
THEMES = {
    name: Theme(
        **{role: colors[i] for role, colors in _PLAIN.items()},
        box=_BOX[i],
        families={kind: colors[i] for kind, colors in _KINDS.items()},
        scale=_SCALES[i],
        changes={change: colors[i] for change, colors in _CHANGES.items()},
    )
    for i, name in enumerate(("light", "dark"))
}
