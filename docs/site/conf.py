"""The documentation site: ``sphinx-build -W -j 2 -c docs/site docs build/site`` (extra ``docs``).

Pages are those of ``docs/``, which are read on GitHub too. The reference is written from the
docstrings by `reference.py`; tutorials are programs of ``docs/site/tutorials`` and ``examples``,
which sphinx-gallery runs.
"""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCS, ROOT = HERE.parent, HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]
os.environ.setdefault("TINYGRAD_CNN_QUIET", "1")  # how long things take must not change pages

import reference  # noqa: E402
from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

import tinygrad_cnn  # noqa: E402

project = "tinygrad_cnn"
version = release = tinygrad_cnn.__version__
copyright = "its authors"
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
exclude_patterns = ["site/**", "**/sg_execution_times.rst", "sg_execution_times.rst"]
default_role = "obj"
suppress_warnings = ["config.cache", "misc.highlighting_failure"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
numpydoc_show_class_members = False
autodoc_typehints = "none"

html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_cnn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "start": [], "reference/**": ["reference.html"]}
templates_path = ["templates"]
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
sphinx_gallery_conf = {
    "examples_dirs": [str(HERE / "tutorials"), str(ROOT / "examples")],
    "gallery_dirs": ["tutorials", "examples"],
    "filename_pattern": r"/(tutorials/|double_backward|certify_your_own_op|custom_operation)",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": ExplicitOrder(["*"]),
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "show_memory": False,
    "abort_on_example_error": True,
    "plot_gallery": True,
}

# ---- links -----------------------------------------------------------------------------------

REPOSITORY = os.environ.get("GITHUB_REPOSITORY")  # as the workflow has it: owner/name
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+://)([^)#\s]+)(#[^)]*)?\)")
SECTIONS = [DOCS / "index.md", DOCS / "explanation.md"]  # whose tables of contents name pages


def _read(app, name, source):
    """Links to files outside the pages go to GitHub; ``{rest}`` is every page of no section."""
    path = Path(app.env.doc2path(name))
    if name.startswith("examples/"):  # their docstrings have no title
        label = re.compile(r"^\.\. _sphx_glr_examples_(\w+\.py):\n", re.MULTILINE)
        source[0] = label.sub(lambda m: f"{m[0]}\n{m[1]}\n{'=' * len(m[1])}\n", source[0], count=1)
    if path.suffix != ".md":
        return

    def outside(match):
        image, words, target, anchor = match.groups()
        there = Path(os.path.normpath(path.parent / target))
        page = there.suffix == ".md" and there.is_relative_to(DOCS) and there.exists()
        if page or (image and there.is_relative_to(DOCS)) or target.startswith("{"):
            return match[0]
        inside = os.path.relpath(there, ROOT)
        if REPOSITORY is None:
            return words
        return f"[{words}](https://github.com/{REPOSITORY}/blob/main/{inside}{anchor or ''})"

    placed = "\n".join(p.read_text(encoding="utf-8") for p in SECTIONS).splitlines()
    pages = (p.stem for p in sorted(DOCS.glob("*.md")))
    rest = [page for page in pages if page not in placed and page != "index"]
    text = source[0].replace("{rest}", "\n".join(rest))
    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    source[0] = "".join(p if p.startswith("```") else _LINK.sub(outside, p) for p in parts)


_STAR = re.compile(r"(?<=[(,] )\*(?=\w)|(?<=\()\*(?=\w)")


def _docstring(app, what, name, value, options, lines):
    """Shapes such as (n, *kernel) hold a star, not the beginning of an emphasis."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", "*")):
            parts = line.split("``")  # every other one is literal
            parts[::2] = (_STAR.sub(r"\\*", part) for part in parts[::2])
            lines[i] = "``".join(parts)


_BACK = re.compile(r'(class="viewcode-back" href="[^"#]*)#[^"]*"')


def _source(app, page, template, context, doctree):
    """From a name's source to its page: viewcode guesses the place there, often wrongly."""
    if page.startswith("_modules/"):
        context["body"] = _BACK.sub(r'\1"', context["body"])


def setup(app):
    """Write the reference before pages are looked for."""
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("source-read", _read)
    app.connect("html-page-context", _source)
    app.connect("config-inited", lambda app, config: reference.write(DOCS / "reference"))
