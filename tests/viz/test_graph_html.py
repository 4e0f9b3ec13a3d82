"""The HTML page in a real browser: fold, search, pan, zoom, colours, figures."""

import shutil

import pytest
from browser import Browser

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.viz import trace
from tinygrad_cnn.viz.graph.render import has_dot

PROGRAMS = ("chromium", "chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not has_dot() or any(shutil.which(program) is None for program in PROGRAMS),
        reason="needs Graphviz and Chromium: apt install graphviz chromium chromium-driver "
        "&& pip install graphviz",
    ),
]

PLACES = """
return [...document.querySelectorAll('g.node, g.cluster')]
  .filter((g) => !g.classList.contains('gone'))
  .map((g) => {
    const shape = g.querySelector('path, polygon, ellipse') || g;
    const r = shape.getBoundingClientRect();
    return [g.id, r.left, r.top, r.right, r.bottom];
  });
"""


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.norm(self.conv(x)))


class Branches(nn.Module):
    """Two modules beside each other, and a tensor that passes by."""

    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(Block(4), nn.Tanh())
        self.right = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, x):
        return self.head(self.left(x) + self.right(x) + x)


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture
def page(browser, tmp_path):
    """A function that opens a graph and returns the browser; its console must stay silent."""

    def open_page(graph, **options):
        place = tmp_path / "graph.html"
        graph.render(place, **options)
        browser.open(place)
        browser.until("return document.querySelector('g.graph[transform]') !== null")
        return browser

    yield open_page
    assert browser.complaints() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def graph():
    return trace(Branches(), tg.randn(1, 4, 4, 4), timed=True, health=True)


def places(browser):
    return {name: tuple(at) for name, *at in browser.run(PLACES)}


def box_id(graph, path):
    return f"b{next(c.id for c in graph.calls if c.path == path)}"


def click(browser, key):
    """Click the upper left corner of a frame, or the middle of anything else."""
    x, y = browser.run(
        "const g = document.getElementById(arguments[0]);"
        "const r = (g.querySelector('path') || g).getBoundingClientRect();"
        "return g.classList.contains('cluster') && !g.classList.contains('card')"
        " ? [r.left + 12, r.top + 8] : [(r.left + r.right) / 2, (r.top + r.bottom) / 2];",
        key,
    )
    browser.click(x, y)


def overlaps(found, frames):
    """Pairs of drawn things that lie over each other, but for frames and what is in them."""
    items = [(k, v) for k, v in found.items() if k not in frames]
    out = []
    for i, (a, p) in enumerate(items):
        for b, q in items[i + 1 :]:
            wide = min(p[2], q[2]) - max(p[0], q[0])
            high = min(p[3], q[3]) - max(p[1], q[1])
            if wide > 1 and high > 1:
                out.append((a, b))
    return out


def frames(browser):
    return browser.run(
        "return [...document.querySelectorAll('g.cluster:not(.card):not(.gone)')].map(g => g.id)"
    )


def test_click_folds_and_unfolds(page, graph):
    browser = page(graph)
    before = places(browser)
    left = box_id(graph, "left")
    for _ in range(2):
        click(browser, left)
        after = places(browser)
        inside = {f"c{c.id}" for c in graph.calls if c.path.startswith("left.0.")}
        assert inside
        assert not inside & after.keys()
        assert box_id(graph, "left.0") not in after
        assert left in after
        assert not overlaps(after, frames(browser))
        click(browser, left)
        again = places(browser)
        assert again.keys() == before.keys()
        for key, at in before.items():
            assert again[key] == pytest.approx(at, abs=0.05), key


def test_folding_makes_the_drawing_shorter(page, graph):
    browser = page(graph)

    def height():
        found = places(browser).values()
        return max(at[3] for at in found) - min(at[1] for at in found)

    full = height()
    for path in ("left", "right"):
        click(browser, box_id(graph, path))
        assert not overlaps(places(browser), frames(browser))
    assert height() < full - 100


def test_all_ways_of_folding_leave_nothing_overlapping(page, graph):
    browser = page(graph)
    paths = ("left.0", "left", "right", "head")
    for path in paths:
        click(browser, box_id(graph, path))
        assert not overlaps(places(browser), frames(browser)), path
    for path in ("right", "left", "left.0", "head"):
        click(browser, box_id(graph, path))
        assert not overlaps(places(browser), frames(browser)), path


def test_edges_of_a_folded_module_touch_its_card(page, graph):
    browser = page(graph)
    left = box_id(graph, "left")
    click(browser, left)
    card = places(browser)[left]
    ends = browser.run(
        "return [...document.querySelectorAll('g.edge:not(.gone) > path')].map((p) => {"
        " const m = p.getScreenCTM(); const n = p.getTotalLength();"
        " return [p.getPointAtLength(0), p.getPointAtLength(n)]"
        "  .map((q) => [q.x * m.a + m.e, q.y * m.d + m.f]); });"
    )
    starts = [s for s, _ in ends if card[0] <= s[0] <= card[2] and abs(s[1] - card[3]) < 2]
    stops = [e for _, e in ends if card[0] <= e[0] <= card[2] and -8 < e[1] - card[1] < 1]
    assert (len(starts), len(stops)) == (1, 1)


def test_the_text_of_a_card_lies_in_it(page, graph):
    browser = page(graph, depth=1)
    for path in ("left", "right", "head"):
        key = box_id(graph, path)
        inside = browser.run(
            "const g = document.getElementById(arguments[0]);"
            "const r = g.querySelector('path').getBoundingClientRect();"
            "return [...g.querySelectorAll('text')].map((t) => t.getBoundingClientRect())"
            " .map((t) => t.left >= r.left && t.right <= r.right && t.top >= r.top - 1"
            "  && t.bottom <= r.bottom + 1);",
            key,
        )
        assert inside == [True] * 3, path


def test_depth_says_what_is_folded_at_first(page, graph):
    browser = page(graph, depth=1)
    cards = browser.run("return [...document.querySelectorAll('g.card')].map(g => g.id)")
    assert set(cards) == {box_id(graph, p) for p in ("left", "right", "head")}
    browser.run("document.getElementById('unfold').click()")
    assert not browser.run("return document.querySelectorAll('g.card').length")
    browser.run("document.getElementById('fold').click()")
    assert browser.run("return document.querySelectorAll('g.card').length") == 3


def test_drag_moves_and_the_wheel_zooms(page, graph):
    browser = page(graph)
    before = places(browser)
    browser.drag(100, 500, 60, 40)
    after = places(browser)
    for key, at in before.items():
        moved = (at[0] + 60, at[1] + 40, at[2] + 60, at[3] + 40)
        assert after[key] == pytest.approx(moved, abs=0.6)
    first = next(iter(after))
    x, y = after[first][0], after[first][1]
    browser.wheel(round(x), round(y), -200)
    zoomed = places(browser)[first]
    factor = (zoomed[2] - zoomed[0]) / (after[first][2] - after[first][0])
    assert factor == pytest.approx(1.35, abs=0.02)
    assert zoomed[:2] == pytest.approx((x, y), abs=1.0)
    browser.run("document.getElementById('stage').focus()")
    browser.keys("0")
    found = places(browser).values()
    assert min(at[0] for at in found) >= 0
    assert max(at[3] for at in found) <= 900


def test_a_drag_does_not_fold(page, graph):
    browser = page(graph)
    x, y, *_ = places(browser)[box_id(graph, "left")]
    browser.drag(x + 12, y + 8, 30, 0)
    assert not browser.run("return document.querySelectorAll('g.card').length")


def test_search_finds_and_unfolds(page, graph):
    browser = page(graph, depth=1)
    browser.run("document.getElementById('search').focus()")
    browser.keys("conv2d left")
    browser.until("return document.getElementById('found').textContent === '1 found'")
    key = next(f"c{c.id}" for c in graph.calls if c.path == "left.0.conv")
    hidden = "return document.getElementById(arguments[0]).classList.contains('gone')"
    assert browser.run(hidden, key)
    browser.keys("\ue007")
    browser.until("return document.getElementById('found').textContent === '1 of 1'")
    assert not browser.run(hidden, key)
    left, top, right, bottom = places(browser)[key]
    stage = browser.run(
        "const r = document.getElementById('stage').getBoundingClientRect();"
        "return [(r.left + r.right) / 2, (r.top + r.bottom) / 2]"
    )
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(stage, abs=3)
    browser.keys("\ue00c")
    assert browser.run("return document.querySelectorAll('.hit').length") == 0


def test_hovering_shows_all_figures(page, graph):
    browser = page(graph)
    key = next(f"c{c.id}" for c in graph.calls if c.path == "left.0.conv")
    left, top, right, bottom = places(browser)[key]
    browser.move((left + right) / 2, (top + bottom) / 2)
    shown = browser.until(
        "const t = document.getElementById('tip'); return t.hidden ? null : t.innerText"
    )
    node = next(n for n in graph.operations() if graph.path(n) == "left.0.conv")
    for word in ("left.0.conv: Conv2d(4, 4", f"{node.flops:,}", "forward time", "zeros", "norm"):
        assert word in shown, word
    assert "test_graph_html.py" in shown
    browser.move(5, 500)
    assert browser.run("return document.getElementById('tip').hidden")


def test_colours_can_be_switched(page, graph):
    browser = page(graph, color="time")
    options = browser.run(
        "return [...document.querySelectorAll('#color option')].map(o => o.value)"
    )
    assert options == ["kind", "time", "backward", "memory", "flops", "gradient", "zeros"]
    fills = "return [...document.querySelectorAll('g.node > path')].map(p => p.style.fill)"
    assert any("--scale" in fill for fill in browser.run(fills))
    assert browser.run("return document.getElementById('scale').hidden") is False
    browser.run(
        "const c = document.getElementById('color'); c.value = 'kind';"
        "c.dispatchEvent(new Event('change'));"
    )
    assert not any(browser.run(fills))
    assert browser.run("return document.getElementById('scale').hidden") is True


def test_light_and_dark(page, graph):
    browser = page(graph, theme="dark")
    look = "return getComputedStyle(document.body).backgroundColor"
    ink = (
        "return [...new Set([...document.querySelectorAll('g.node text')]"
        ".map(t => getComputedStyle(t).fill))]"
    )
    assert browser.run(look) == "rgb(15, 20, 26)"
    dark = browser.run(ink)
    browser.run("document.getElementById('theme').click()")
    assert browser.run(look) == "rgb(255, 255, 255)"
    light = browser.run(ink)
    assert not set(dark) & set(light)


def test_names_are_only_text(page):
    from test_graph_drawing import HOSTILE, hostile_graph

    for text in HOSTILE[:4]:
        browser = page(hostile_graph(text), repeats=False)
        assert browser.run("return document.scripts.length") == 2
        assert (
            browser.run("return document.querySelectorAll('main script, #tip script').length") == 0
        )
        left, top, right, bottom = places(browser)["n4"]
        browser.move((left + right) / 2, (top + bottom) / 2)
        shown = browser.until(
            "const t = document.getElementById('tip'); return t.hidden ? null : t.textContent"
        )
        assert " ".join(text.split()) in " ".join(shown.split())
