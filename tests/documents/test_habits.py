"""The workflow, the version, the count of lines, and the pages beside them."""

import re
import tomllib
from pathlib import Path

import pytest
from scripts import load

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
YAML = ["ci.yml", "docs.yml", "bug.yml", "feature.yml", "config.yml", ".pre-commit-config.yaml"]


def pythons():
    """The versions in the workflow's lists and beside them."""
    lists = re.findall(r"^ +python: \[(.*)\]$", WORKFLOW, re.MULTILINE)
    return lists, re.findall(r'python: "([\d.]+)"', WORKFLOW)


def test_the_workflow_runs_every_python_that_is_supported():
    (first, *others), single = pythons()
    versions = re.findall(r'"([\d.]+)"', first)
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    for other in [*single, *(v for o in others for v in re.findall(r'"([\d.]+)"', o))]:
        assert other in versions


def test_the_script_tries_the_other_pythons():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    (others,) = re.findall(r"\$\{OTHERS-(.*?)\}", script)
    assert others.split() == ["3.12", "3.13", "3.14"]
    assert "bash .ci/run" in WORKFLOW


@pytest.mark.parametrize("name", YAML)
def test_yaml_can_be_read(name):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install pyyaml")
    (path,) = (p for f in (".github", ".") for p in _named(ROOT / f, name))
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    if name == "ci.yml":
        jobs = found["jobs"]
        assert set(jobs) == {"run", "windows"}
        systems = {jobs["run"]["strategy"]["matrix"]["system"][0], jobs["windows"]["runs-on"]}
        systems |= {job["system"] for job in jobs["run"]["strategy"]["matrix"]["include"]}
        for kind in ("ubuntu", "-arm", "macos", "windows"):
            assert any(kind in s for s in systems)


def _named(folder, name):
    return folder.rglob(name) if folder.name == ".github" else folder.glob(name)


def test_the_version_without_a_tag_is_the_same_in_both_places():
    fallback = PROJECT["tool"]["setuptools_scm"]["fallback_version"]
    assert f'__version__ = "{fallback}"' in (ROOT / "tinygrad_cnn/version.py").read_text()
    assert PROJECT["project"]["dynamic"] == ["version"]


def test_lines_are_counted_by_kind():
    lines = load(ROOT / ".ci/lines.py")
    source = '"""Head.\n\nMore.\n"""\n\nA = 1  # why\n# alone\n_b = """\n\n"""\n\n\n'
    source += 'class C:\n    """Said."""\n\n    def f(self):\n        return 1\n'
    assert lines.counted(source) == {"code": 7, "text": 6, "blank": 4, "names": 2}
    now = lines.summed([("tinygrad_cnn/ops/a.py", source), ("tests/a.py", "x = 1\n")])
    before = lines.summed([("tinygrad_cnn/ops/a.py", source + "y = 2\n")])
    assert set(now) == {"tinygrad_cnn/ops", "tests"}
    table = lines.table(now, before).splitlines()
    assert table[1].split() == "tinygrad_cnn/ops 7 (-1) 6 (+0) 4 (+0) 2 (-1)".split()
    assert table[-1].split()[:3] == ["all", "8", "(+0)"]
    assert "(" not in lines.table(now, None)


def test_lines_say_when_there_is_no_release(monkeypatch, capsys):
    lines = load(ROOT / ".ci/lines.py")
    monkeypatch.setattr(lines, "git", lambda *command: None)
    monkeypatch.setattr(lines, "here", lambda: [("tinygrad_cnn/a.py", "x = 1\n")])
    assert lines.main([]) == 0
    assert "no release tag" in capsys.readouterr().out
    assert lines.main(["nowhere"]) == 1


@pytest.mark.parametrize("page", ["releasing.md", *sorted(
    f"decisions/{p.name}" for p in (ROOT / "docs/decisions").glob("*.md")
)])  # fmt: skip
def test_pages_are_short(page):
    assert len((ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()) <= 50


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs/decisions"
    pages = sorted(p.name for p in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d.*?)\)", (folder / "README.md").read_text()) == pages
    for number, page in enumerate(pages, 1):
        assert (folder / page).read_text().startswith(f"# {number}. ")


def test_some_rows_of_the_certificates_are_written_anew():
    script = load(ROOT / "docs/make_certificates.py")
    page = script.PAGE.read_text(encoding="utf-8")
    row = script.rows_of(page)["neg"]
    without = page.replace(f"{row}\n", "")
    assert without != page
    assert script.page(["neg"], without) == page
    stale = page.replace(row, row.replace("✓", "–"))
    assert script.page(["neg"], stale) == page
    with pytest.raises(SystemExit, match="no operation is called nothing"):
        script.page(["nothing"], page)
    with pytest.raises(SystemExit, match="write all rows"):
        script.page(["neg"], page.replace("determinism", "fate"))
