"""Drawings: what they show, that any text survives in them, and that they are always the same."""

import inspect
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from tinygrad_cnn import nn
from tinygrad_cnn.viz import Edge, Graph, ModuleCall, Node, trace
from tinygrad_cnn.viz.graph.fold import fold
from tinygrad_cnn.viz.graph.labels import item_rows
from tinygrad_cnn.viz.graph.render import INSTALL, has_dot
from tinygrad_cnn.viz.graph.theme import COLORINGS, THEMES

needs_dot = pytest.mark.skipif(
    not has_dot(), reason="needs Graphviz: apt install graphviz && pip install graphviz"
)
HOSTILE = [
    'a "quoted" name',
    "<b>bold</b> & <script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "back\\slash \\N \\G \\l \\",
    'end"];  evil [label="x"] //',
    "--> <!-- comment -->",
    "&lt; &#34; &amp;quot; &nbsp;",
    "ü 漢字 😀 \u202e right to left",
    "new\nline\ttab\rreturn",
    "nul \x00 bell \x07 \x7f \x9f \ufffe",
    "lone surrogate \ud800",
    "{a|b} [c] (d) %e% `f` #quot; ;",
    "x" * 500,
    "",
    " ",
]


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.conv(x))


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), Block(4), Block(4), Block(4), nn.Flatten())


@pytest.fixture
def graph(net):
    return trace(net, (1, 3, 6, 6), backward=False)


def hostile_graph(text):
    """A graph in which everything that can be a text is ``text``."""
    call = ModuleCall(0, text, text, settings=text)
    inner = ModuleCall(1, f"{text}.{text}", text, parent=0, settings=text)
    weight = Node(0, "parameter", text, shape=(2,), dtype="float32")
    x = Node(1, "input", text, shape=(1, 2), dtype="float32")
    nodes = [weight, x]
    for i in range(2, 5):
        nodes.append(
            Node(
                i, "operation", text, call=1 if i < 4 else 0, shape=(1, 2), dtype=text,
                params={text: text}, line=text, fused=text, cut=text, note=(text,),
                forward_seconds=0.1, flops=1, recorded=True,
            )
        )  # fmt: skip
    edges = [Edge(0, 2, 1), Edge(1, 2, 0, (1, 2), text), Edge(2, 3), Edge(3, 4, 0, (1, 2), text)]
    return Graph(nodes, edges, [call, inner], [4], text)


def html_labels(dot):
    """The HTML-like labels of a DOT text; they never hold a bare ``<`` or ``>``."""
    return re.findall(r"label=<(<table.*?</table>)>", dot)


# ---- any text ------------------------------------------------------------------------------


def check_dot(text):
    graph = hostile_graph(text)
    dot = graph.to_dot(repeats=False, columns=1)
    labels = html_labels(dot)
    assert len(labels) == dot.count("label=<<table")
    for label in labels:
        ElementTree.fromstring(label)
    rest = re.sub(r"<<table.*?</table>>|<<b>output</b>>", "", dot)
    # What is left, without its quoted strings, is nothing but what the writer itself writes.
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", rest)
    assert re.fullmatch(r"[\w\s\[\]{}=.,;>-]*", bare), bare
    assert dot.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_no_text_breaks_dot(text):
    check_dot(text)


@given(st.text())
def test_no_random_text_breaks_dot(text):
    check_dot(text)


@needs_dot
@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_graphviz_shows_texts_as_they_are(text, tmp_path):
    place = hostile_graph(text).render(tmp_path / "a.svg", repeats=False, columns=1)
    tree = ElementTree.parse(place)
    svg = "{http://www.w3.org/2000/svg}"
    groups = [g for g in tree.iter(f"{svg}g") if g.get("class") == "node"]
    assert sorted(g.get("id") for g in groups) == ["n1", "n2", "n3", "n4", "o4"]
    assert not list(tree.iter(f"{svg}script"))
    shown = ["".join(t.itertext()).strip() for t in tree.iter(f"{svg}text")]
    legal = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    words = " ".join(legal.split())
    expected = words if len(words) <= 48 else words[:47] + "…"
    spaced = [" ".join(s.split()) for s in shown]
    assert not expected or expected in spaced, (expected, spaced)


class Scripts(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


@needs_dot
@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_no_text_breaks_html(text, tmp_path):
    place = hostile_graph(text).render(tmp_path / "a.html", repeats=False)
    with open(place, encoding="utf-8") as file:
        parser = Scripts()
        parser.feed(file.read())
    assert parser.tags.count("script") == 2
    assert not [name for name in parser.attributes if name.startswith("on")]
    assert {"img", "iframe", "object", "link", "image", "use"}.isdisjoint(parser.tags)


@pytest.mark.parametrize("text", [t for t in HOSTILE if t], ids=repr)
def test_no_text_breaks_mermaid(text):
    lines = hostile_graph(text).to_mermaid(repeats=False).splitlines()
    plain = hostile_graph("plain").to_mermaid(repeats=False).splitlines()
    assert len(lines) == len(plain)
    for line, other in zip(lines, plain, strict=True):
        assert re.sub(r'"[^"]*"', "", line).split() == re.sub(r'"[^"]*"', "", other).split()
        assert not re.search(r"<(?!br>)", line.replace("-.->", "").replace("-->", ""))


# ---- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [LeNet5, MiniVGG, ResNet20, ResNet18], ids=lambda m: m.__name__)
def test_labels_say_nothing_of_the_engine(make):
    model, x = make(), tg.randn(2, 3, 32, 32, requires_grad=True)
    with tg.viz.Recording(model, {"x": x}) as recording:
        (g,) = tg.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)
    graph = trace(model, x)
    for found in (graph, graph.backward(), recording.graph(g)):
        drawing = fold(found)
        rows = [row.text for item in drawing.items for row in item_rows(drawing, item, "kind")]
        inside = r"\b(fused|moments|width|isolate|flat|ungetitem|overwrite|sum_to|steps|computes)\b"
        assert [text for text in rows if re.search(inside, text)] == []


def test_a_pad_says_where_it_pads():
    class Pads(nn.Module):
        def forward(self, x):
            y = tg.nn.functional.pad(x, (1, 1, 1, 1))
            return tg.nn.functional.pad(y, (0, 0, 0, 0, 2, 3))

    graph = trace(Pads(), (1, 2, 4, 4))
    assert [n.params["padding"] for n in graph.operations()] == [
        "1 on axes 2, 3",
        "2 and 3 on axis 1",
    ]


# ---- always the same -----------------------------------------------------------------------


def test_the_same_graph_gives_the_same_text(net):
    texts = {trace(net, (1, 3, 6, 6)).to_dot(color=c) for c in ("flops", "flops", "flops")}
    assert len(texts) == 1
    assert len({trace(net, (1, 3, 6, 6)).to_mermaid() for _ in range(2)}) == 1


@needs_dot
@pytest.mark.parametrize("ending", ["svg", "png", "html", "dot"])
def test_rendering_twice_gives_the_same_bytes(graph, tmp_path, ending):
    places = [tmp_path / f"{i}.{ending}" for i in range(2)]
    for place in places:
        assert graph.render(place) == str(place)
    a, b = (p.read_bytes() for p in places)
    assert a == b
    assert len(a) > 500


# ---- folding -------------------------------------------------------------------------------


def titles(drawing):
    calls = drawing.graph.calls
    return [
        calls[i.call].path if i.call is not None else drawing.graph.nodes[i.members[0]].name
        for i in drawing.items
    ]


def test_depth_folds_modules_with_their_totals(graph):
    whole = fold(graph, depth=0, repeats=False)
    assert [i.folded for i in whole.items] == [False, True]
    assert not whole.boxes
    flat = fold(graph, depth=1, repeats=False)
    assert titles(flat) == ["input", "0", "1", "2", "3", "4"]
    assert not flat.boxes
    folded = flat.items[2]
    assert [graph.nodes[i].name for i in folded.members] == ["conv2d", "relu", "add"]
    total = sum(n.flops for n in graph.operations() if graph.path(n).startswith("1"))
    assert flat.total(folded.members, "flops") == total
    everything = fold(graph, repeats=False)
    assert titles(everything)[2:5] == ["1.conv", "1.relu", "add"]
    assert [graph.calls[b.call].path for b in everything.boxes.values()] == ["1", "2", "3"]


def test_equal_blocks_are_drawn_once(graph):
    drawing = fold(graph)
    assert [(graph.calls[b.call].path, b.count) for b in drawing.boxes.values()] == [("1", 3)]
    assert titles(drawing) == ["input", "0", "1.conv", "1.relu", "add", "4"]
    assert len(drawing.boxes.popitem()[1].members) == 9
    assert "×3" in graph.to_dot()
    # The edges: in, inside, past (the shortcut), and out of the last block.
    keys = [drawing.items[i].key for link in drawing.links for i in (link.source, link.target)]
    assert keys.count(drawing.items[4].key) == 3
    assert len(drawing.links) == 6


def test_blocks_that_differ_are_drawn_one_by_one():
    def count(*blocks):
        drawing = fold(trace(nn.Sequential(*blocks), (1, 4, 6, 6)))
        return [b.count for b in drawing.boxes.values()]

    wide = Block(4)
    wide.conv = nn.Conv2d(4, 4, 5, padding=2)
    assert count(Block(4), Block(4), wide) == [2, 1]
    assert count(Block(4), wide, Block(4)) == [1, 1, 1]
    seen = []

    class Tap(nn.Sequential):
        def forward(self, x):
            out = []
            for module in self:
                x = module(x)
                out.append(x)
            seen.append(out)
            return out

    # The result of each is an output of its own: none stands for another.
    assert [b.count for b in fold(trace(Tap(Block(4), Block(4)), (1, 4, 6, 6))).boxes.values()] == [
        1,
        1,
    ]


def test_parameters_in_operations_or_as_nodes(graph):
    inside = fold(graph, repeats=False)
    held = [n for item in inside.items for n in item.attached]
    assert sorted(graph.nodes[i].name for i in held) == sorted(
        n.name for n in graph.nodes if n.kind == "parameter"
    )
    apart = fold(graph, repeats=False, parameters=True)
    assert not [n for item in apart.items for n in item.attached]
    kinds = [graph.nodes[i.members[0]].kind for i in apart.items]
    assert kinds.count("parameter") == 8
    dot = graph.to_dot(parameters=True, repeats=False)
    assert "1.conv.weight" in dot


def test_layers_of_several_operations_are_one_node():
    drawing = fold(trace(nn.Sequential(nn.BatchNorm2d(3)).eval(), (1, 3, 4, 4)))
    assert sorted(titles(drawing)) == ["0", "input"]
    assert not drawing.boxes


def test_backward_and_forward_have_boxes_of_their_own():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    x = tg.randn(1, 3, requires_grad=True)
    with tg.viz.Recording(net, {"x": x}) as recording:
        (g,) = tg.autograd.grad(net(x).sum(), x, create_graph=True)
    dot = recording.graph(g).to_dot()
    assert "style=dashed" in dot
    assert "Linear backward" in dot


def test_a_folded_graph_has_no_cycles(net):
    for drawing in (fold(trace(net, (1, 3, 6, 6)), depth=d) for d in (None, 0, 1, 2)):
        assert all(link.source < link.target for link in drawing.links)


# ---- columns, colours, files ---------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2, 3, 50])
def test_columns_hold_every_item_once(graph, columns):
    dot = graph.to_dot(repeats=False, columns=columns)
    items = [i.key for i in fold(graph, repeats=False).items]
    for key in items:
        assert dot.count(f'{key} [id="{key}"') == 1
    circles = len(re.findall(r"shape=circle", dot))
    assert (circles == 0) == (columns == 1)


@pytest.mark.parametrize("color", COLORINGS)
@pytest.mark.parametrize("theme", THEMES)
def test_colours_and_legends(net, color, theme):
    graph = trace(net, (1, 3, 6, 6), timed=True, health=True)
    dot = graph.to_dot(color=color, theme=theme)
    assert ("legend" in dot) == (color != "kind")
    assert f'bgcolor="{THEMES[theme].paper}"' in dot
    other = THEMES["dark" if theme == "light" else "light"]
    assert other.paper not in dot


def test_the_warmest_colour_is_the_largest_figure(net):
    graph = trace(net, (1, 3, 6, 6))
    most = max(graph.operations(), key=lambda n: n.flops)
    drawing = fold(graph, repeats=False)
    key = next(i.key for i in drawing.items if most.id in i.members)
    line = next(
        x for x in graph.to_dot(color="flops", repeats=False).splitlines() if f'id="{key}"' in x
    )
    assert f'fillcolor="{THEMES["light"].scale[-1]}"' in line


def contrast(a, b):
    """The contrast of two colours by the Web Content Accessibility Guidelines 2.1."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        lin = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_all_text_can_be_read(theme):
    fills = [fill for fill, _ in (*theme.families.values(), *theme.changes.values(), theme.box)]
    for fill in [*fills, theme.paper]:
        for ink in (theme.text, theme.muted, theme.parameter):
            assert contrast(ink, fill) >= 4.5, (ink, fill)
    for fill in theme.scale:
        assert contrast(theme.text, fill) >= 4.5, fill


def test_themes_have_one_colour_for_each_role():
    """The page exchanges colours role by role."""
    light, dark = THEMES["light"], THEMES["dark"]
    pairs = {}
    for name in ("families", "changes"):
        for role, colors in getattr(light, name).items():
            for a, b in zip(colors, getattr(dark, name)[role], strict=True):
                assert pairs.setdefault(a, b) == b, (name, role)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "red"}, "`color` is 'red'"),
        ({"theme": "blue"}, "`theme` is 'blue'"),
        ({"depth": -1}, "`depth` is -1"),
        ({"depth": True}, "`depth` is True"),
        ({"columns": 0}, "`columns` is 0"),
    ],
)
def test_wrong_options(graph, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        graph.to_dot(**options)


def test_wrong_endings(graph, tmp_path):
    with pytest.raises(ValueError, match=r"end in \.svg"):
        graph.render(tmp_path / "graph.jpeg")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_without_graphviz_the_text_is_written(graph, tmp_path, monkeypatch, ending):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="install Graphviz") as caught:
        written = graph.render(tmp_path / f"net.{ending}")
    assert written == str(tmp_path / "net.dot")
    assert "\n" not in str(caught[0].message)
    assert INSTALL in str(caught[0].message)
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == graph.to_dot()
    assert graph._repr_mimebundle_().keys() == {"text/plain"}


@needs_dot
def test_notebooks_show_the_drawing(graph):
    bundle = graph._repr_mimebundle_()
    assert bundle["text/plain"] == repr(graph)
    assert ElementTree.fromstring(bundle["image/svg+xml"]).tag.endswith("svg")


# ---- size ----------------------------------------------------------------------------------


def large(nodes=10_000):
    """A chain with shortcuts in modules three levels deep."""
    graph = Graph(title="large")
    for outer in range(nodes // 100):
        first = len(graph.calls)
        graph.calls.append(ModuleCall(first, f"{outer}", "Stage"))
        for block in range(10):
            call = len(graph.calls)
            graph.calls.append(ModuleCall(call, f"{outer}.{block}", "Block", parent=first))
            for i in range(10):
                at = len(graph.nodes)
                shape = (1, outer % 7 + 1)
                graph.nodes.append(Node(at, "operation", f"op{i}", call, shape=shape))
                for back in (1, 3):
                    if at >= back:
                        graph.edges.append(Edge(at - back, at, back, shape, "float32"))
    graph.outputs = [len(graph.nodes) - 1]
    return graph


def counted(function):
    """The calls of functions while this one runs, and what it returns."""
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += 1

    sys.setprofile(note)
    try:
        result = function()
    finally:
        sys.setprofile(None)
    return calls, result


@pytest.mark.parametrize("columns", [None, 1])
@pytest.mark.parametrize("repeats", [False, True])
def test_ten_thousand_nodes_without_recursion_in_steps_that_grow_with_their_number(
    columns, repeats
):
    half, whole = large(5_000), large()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 60)
    try:
        few, _ = counted(lambda: half.to_dot(columns=columns, repeats=repeats))
        many, dot = counted(lambda: whole.to_dot(columns=columns, repeats=repeats))
    finally:
        sys.setrecursionlimit(limit)
    assert many < 2.2 * few
    assert many < 6_000_000
    assert dot.count(" -> ") >= (19_000 if not repeats else 1_900)


def test_modules_nested_a_thousand_deep():
    graph = Graph()
    for i in range(1_000):
        graph.calls.append(ModuleCall(i, ".".join(["m"] * i), "M", parent=i - 1 if i else None))
        graph.nodes.append(Node(i, "operation", "relu", i, shape=(1,)))
        if i:
            graph.edges.append(Edge(i - 1, i, 0, (1,), "float32"))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 60)
    try:
        dot, mermaid = graph.to_dot(columns=1), graph.to_mermaid()
        assert graph.to_dot(depth=3).count("1 operation") <= 1
        graph.backward()
        graph.diff(graph)
    finally:
        sys.setrecursionlimit(limit)
    assert dot.count("subgraph") == mermaid.count("subgraph") == 998


@needs_dot
def test_columns_stand_from_left_to_right(tmp_path):
    """Whatever is in them: boxes, links that go past, and a legend."""
    net = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ReLU(), Block(3), nn.Tanh(), nn.ReLU(), Block(3))
    graph = trace(net, (1, 3, 6, 6))
    place = graph.render(tmp_path / "a.svg", columns=3, repeats=False, color="flops")
    svg = "{http://www.w3.org/2000/svg}"
    middles = {}
    for group in ElementTree.parse(place).iter(f"{svg}g"):
        if group.get("class") == "node" and group.find(f"{svg}text") is not None:
            middles[group.get("id")] = float(group.find(f"{svg}text").get("x"))
    keys = [item.key for item in fold(graph, repeats=False).items]
    columns = [middles[key] for key in keys]
    jumps = [b - a for a, b in pairwise(columns) if abs(b - a) > 90]
    assert len(jumps) == 2
    assert min(jumps) > 0
    assert middles["legend"] > max(columns)
