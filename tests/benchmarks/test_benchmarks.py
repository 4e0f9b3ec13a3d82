"""The measurements run, at sizes that take no time, and tables are made from their figures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tg

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
INSTALL = "PyTorch is not installed: pip install torch==2.13.0"


@pytest.fixture(scope="module")
def bench():
    """``bench("turns")`` is a module of benchmarks/, which is a folder of scripts."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def script(name, *arguments):
    """What ``python benchmarks/NAME.py`` prints."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


NETWORKS = ["lenet5", "minivgg", "resnet20", "depthwise", "mlp"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_on_pytorch(bench, name):
    torch = pytest.importorskip("torch", reason=INSTALL)
    networks = bench("networks")
    ours, theirs = networks.load(name, tg).eval(), networks.load(name, torch).eval()
    ours.load_state_dict({k: tg.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, *networks.IMAGE), dtype=np.float32)
    with torch.no_grad(), tg.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
        found = ours(tg.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


class Plain:
    """The layers of benchmarks/functional.py on our tensors, from the weights alone."""

    def __init__(self, state):
        self.state = state

    def get(self, name, part):
        return self.state.get(f"{name}.{part}")

    def conv(self, name, x, stride=1, padding=0, groups=1):
        w, b = self.get(name, "weight"), self.get(name, "bias")
        return tg.nn.functional.conv2d(x, w, b, stride, padding, groups=groups)

    def norm(self, name, x):
        parts = ("running_mean", "running_var", "weight", "bias")
        return tg.nn.functional.batch_norm(x, *(self.get(name, part) for part in parts))

    def linear(self, name, x):
        return x @ self.get(name, "weight").T + self.get(name, "bias")

    def widen(self, x, stride, extra):
        zeros = tg.zeros(x.shape[0], extra, x.shape[2] // stride, x.shape[3] // stride)
        return tg.cat([x[:, :, ::stride, ::stride], zeros], 1)

    def relu(self, x):
        return x.clamp(min=0)

    def max_pool(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))

    def mean(self, x):
        return x.mean((2, 3))

    def flatten(self, x):
        return x.flatten(1)

    def dropout(self, x, p):
        return x


@pytest.mark.parametrize("name", NETWORKS)
def test_the_functional_networks_are_the_originals(bench, name):
    networks, functional = bench("networks"), bench("functional")
    model = networks.load(name, tg).eval()
    for module in model.modules():
        if isinstance(module, tg.nn.BatchNorm2d):  # or an omitted one would not be noticed
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    x = tg.randn(2, *networks.IMAGE)
    with tg.no_grad():
        expected = model(x).numpy()
        found = functional.FUNCTIONS[name](Plain(dict(model.state_dict())), x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("framework", ["jax", "tinygrad"])
def test_other_frameworks_compute_the_same(bench, framework, tmp_path):
    pytest.importorskip(framework, reason=f"{framework} is not installed: pip install {framework}")
    compare, turns = bench("compare"), bench("turns")
    weights = compare.save_weights("lenet5", tmp_path)
    results = {}
    for name in ("tinygrad_cnn", framework):
        with turns.Remote(threads=1) as worker:
            worker.ask("open", competitor=name)
            scores = worker.ask(
                "network", name="lenet5", batch=4, what="step", weights=str(weights)
            )
            results[name] = {**scores, **worker.ask("warm", steps=4)}
    assert len(set(results[framework]["values"])) == 4  # it does learn
    assert compare.difference(results[framework], results["tinygrad_cnn"], "lenet5") == ""


def test_compare_runs_and_says_what_is_missing(bench, tmp_path):
    figures = tmp_path / "figures.json"
    has_torch = importlib.util.find_spec("torch") is not None
    printed = script(
        "compare", "--models", "lenet5", "--batch", 2, "--what", "step", "--rounds", 2,
        "--burst", 0.001, "--imports", 1, "--threads", 1, "--against", "numpy", "torch", "jax",
        "--json", figures,
        "--python", f"jax={sys.executable}",
    )  # fmt: skip
    assert "lenet5, batch 2, training step" in printed
    result = json.loads(figures.read_text())
    (cell,) = result["cells"]
    for name in ("tinygrad_cnn", "numpy"):
        row = cell["results"][name]
        assert 0 < row["ms"][0] <= row["ms"][1] <= row["ms"][2]
        assert row["start_s"] > 0
    assert ("jax" in cell["results"]) != ("pip install jax" in printed)
    assert ("1.00 × PyTorch eager (1.00 to 1.00)" in printed) == has_torch
    sizes = {row["competitor"]: row for row in result["imports"]}
    assert sizes["numpy"]["parts"].keys() >= {"tinygrad-cnn", "numpy", "rich"}
    assert sizes["numpy"]["disk_mb"] <= sizes["tinygrad_cnn"]["disk_mb"]


def test_the_sweep_runs(tmp_path):
    figures = tmp_path / "figures.json"
    arguments = "--quick --count 0 --rounds 2 --burst 0.001 --threads 1 --json".split()
    printed = script("convolutions", *arguments, figures)
    rows = json.loads(figures.read_text())["rows"]
    assert [row["what"] for row in rows] == ["forward", "dx", "dw"] * 2
    assert all(row["tinygrad_cnn"] > 0 for row in rows)
    assert (
        "of at least 1 mflop" in printed.lower()
        or "not installed" in printed
        or "do not count" in printed
    )


def test_layers_are_timed(tmp_path):
    figures = tmp_path / "figures.json"
    arguments = "--only pixel_shuffle --rounds 1 --burst 0.001 --threads 1 --json".split()
    printed = script("layers", *arguments, figures)
    rows = json.loads(figures.read_text())["rows"]
    assert [row["what"] for row in rows] == ["forward", "training"]
    for row in rows:
        assert ("ratio" in row and row["tinygrad_cnn"]["least"] > 0) or "torch" in row[
            "error"
        ].lower()
    assert "16×64×64×64 → 2" in printed


def test_every_layer_of_the_table_can_be_built(bench):
    layers = bench("layers")
    for cases in layers.CASES.values():
        for case in cases:
            called, tensors = case.build(tg, lambda *size, below=None: tg.zeros(size))
            assert callable(called)
            assert all(t.numel() for t in tensors)


def test_sampled_shapes_are_valid_and_always_the_same(bench):
    convolutions = bench("convolutions")
    shapes = convolutions.sample(60)
    assert shapes == convolutions.sample(80)[:60]
    assert {s.k for s in shapes} == {1, 3, 5, 7}
    assert {s.stride for s in shapes} == {1, 2, 3}
    assert any(s.groups == s.c > 1 for s in shapes)
    for s in shapes[:8]:
        x, w = tg.zeros(1, s.c, s.h, s.w), tg.zeros(s.f, s.c // s.groups, s.k, s.k)
        options = {"stride": s.stride, "padding": s.padding, "groups": s.groups}
        y = tg.nn.functional.conv2d(x, w, **options)
        assert s.flops == 2 * s.n * y.numel() * (s.c // s.groups) * s.k**2


def test_convergence_goes_on_where_it_stopped(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 60)
    figures = tmp_path / "figures.json"
    arguments = f"--model {ROOT / 'models/lenet5.py'} --epochs 1 --limit 40 --seeds 1".split()
    arguments += ["--algorithms", "winograd", "direct", "--json", str(figures)]
    bench("convergence").main(arguments)
    first = json.loads(figures.read_text())["runs"]
    bench("convergence").main([*arguments, "--seeds", "2"])
    printed = capsys.readouterr().out
    runs = json.loads(figures.read_text())["runs"]
    assert runs[:2] == first
    assert [(r["algorithm"], r["seed"]) for r in runs] == [
        ("winograd", 0), ("direct", 0), ("winograd", 1), ("direct", 1),
    ]  # fmt: skip
    assert "over 2 seeds" in printed
    assert "winograd less direct" in printed


def test_mean_and_standard_error_of_accuracies(bench):
    convergence = bench("convergence")
    runs = [
        {"algorithm": a, "accuracy": x}
        for a, x in [("w", 0.6), ("w", 0.8), ("d", 0.5), ("d", 0.7), ("w", 0.7)]
    ]
    rows = convergence.summary(runs)
    assert [(r["algorithm"], r["runs"]) for r in rows] == [("w", 3), ("d", 2)]
    assert rows[0]["mean"] == pytest.approx(0.7)
    assert rows[0]["spread"] == pytest.approx(0.1)
    apart, error = convergence.difference(rows)
    assert apart == pytest.approx(0.1)
    assert error == pytest.approx((0.01 / 3 + 0.02 / 2) ** 0.5)


def test_roofline_counts_and_measures(bench, tmp_path):
    roofline = bench("roofline")
    counts = roofline.count("lenet5", 1)
    c1, c3 = 28 * 28 * 6 * 3 * 25, 10 * 10 * 16 * 6 * 25  # multiplications
    linear = 400 * 120 + 120 * 84 + 84 * 10
    assert counts["inference"]["gflop"] == pytest.approx(2e-9 * (c1 + c3 + linear))
    assert counts["step"]["gflop"] == pytest.approx(2e-9 * (2 * c1 + 3 * (c3 + linear)))
    vgg = roofline.count("minivgg", 1)["inference"]
    assert vgg["winograd_gflop"] < 0.3 * vgg["gflop"]
    assert vgg["fused_mb"] < vgg["single_mb"]
    options = ["--models", "mlp", "--side", 64, "--seconds", 0.01, "--patience", 1]
    printed = script("roofline", *options, "--batch", 2, "--json", tmp_path / "r.json")
    assert "GFLOP/s" in printed
    assert json.loads((tmp_path / "r.json").read_text())["bandwidth"]["8"] > 0


class Scripted:
    """A worker whose answers are given beforehand."""

    def __init__(self, answers):
        self.answers, self.asked = list(answers), 0

    def ask(self, do, **arguments):
        self.asked += 1
        seconds = self.answers.pop(0)
        if isinstance(seconds, Exception):
            raise seconds
        return {"seconds": [seconds], "processor": 0.0}


def test_turns_give_ratios_within_rounds_and_drop_who_fails(bench):
    turns = bench("turns")
    workers = {
        "a": Scripted([1.0, 4.0, 3.0]),
        "b": Scripted([2.0, 2.0, 2.0]),
        "c": Scripted([1.0, turns.WorkerError("gone")]),
    }
    found = turns.in_turn(workers, dict.fromkeys(workers, 1.0), rounds=3, burst=0.0)
    assert found.ratios("a", "b") == [0.5, 2.0, 1.5]
    assert found.of("a") == [1.0, 4.0, 3.0]
    assert "c" not in found.times
    assert workers["c"].asked == 2


def test_disturbed_rounds_are_repeated(bench, monkeypatch):
    turns = bench("turns")
    disturbed = iter([0.0, 0.9, 0.0])
    times = iter([1.0, 99.0, 2.0])
    monkeypatch.setattr(turns, "LEAST_ROUNDS", 1)
    monkeypatch.setattr(turns, "_round", lambda plan: ({"a": next(times)}, 1.0, next(disturbed)))
    found = turns.in_turn({"a": None}, {"a": 1.0}, rounds=2, burst=1.0)
    assert found.of("a") == [1.0, 2.0]
    assert found.repeated == 1


def test_who_took_part_in_disturbed_rounds_only_is_not_left_out(bench, monkeypatch):
    turns = bench("turns")
    disturbed = iter([0.9] * 6 + [0.0] * 5)
    monkeypatch.setattr(
        turns, "_round", lambda plan: (dict.fromkeys(plan, 2.0), 1.0, next(disturbed))
    )
    step = {"fast": 0.4, "slow": 9.0}
    found = turns.in_turn(dict.fromkeys(step), step, rounds=5, burst=0.1, budget=20)
    assert found.of("slow") == [2.0] * 6
    assert len(found.ratios("slow", "fast")) == 6
    assert found.repeated == 0


def test_a_slow_competitor_takes_part_in_fewer_rounds(bench):
    turns = bench("turns")
    workers = {"fast": Scripted([0.1] * 5), "slow": Scripted([9.0] * 5)}
    step = {"fast": 0.4, "slow": 9.0}
    found = turns.in_turn(workers, step, rounds=5, burst=0.1, budget=20)
    assert len(found.of("fast")) == 5
    assert len(found.of("slow")) == 3
    assert len(found.ratios("slow", "fast")) == 3


def test_a_worker_that_computes_something_else_is_not_compared(bench):
    compare = bench("compare")
    ours = {"scores": [[1.0, -2.0]], "values": [2.0, 1.9]}
    assert compare.difference(ours, ours, "lenet5") == ""
    other = {"scores": [[1.0, -2.1]], "values": [2.0, 1.9]}
    assert "scores differ" in compare.difference(other, ours, "lenet5")
    later = {"scores": [[1.0, -2.0]], "values": [2.0, 1.5]}
    assert "loss 1.5000 after 1 steps" in compare.difference(later, ours, "lenet5")
    assert compare.difference(later, ours, "minivgg") == ""  # dropout


def test_a_worker_answers_errors_and_goes_on(bench):
    turns = bench("turns")
    with turns.Remote() as worker:
        with pytest.raises(turns.WorkerError, match="`do` is 'dance'"):
            worker.ask("dance")
        assert worker.ask("installed", module="numpy") == {"installed": True}
        assert worker.ask("installed", module="no_such_module") == {"installed": False}
        assert worker.ask("importing", module="numpy")["seconds"] > 0
    with pytest.raises(turns.WorkerError):
        worker.ask("memory")


def figures_of(**rows):
    """A comparison at which two competitors were measured."""
    results = {
        name: {"ms": [ms - 1, ms, ms + 1], "ratio": [0.4, ms / 100, 0.6], "peak_rss_mb": rss}
        for name, (ms, rss) in rows.items()
    }
    return {
        "kind": "comparison",
        "environment": {
            "cpus": 2, "machine": "m", "vector": "", "system": "s", "python": "3", "numpy": "2",
            "commit": "abc",
        },
        "absent": {"jax": "pip install jax"},
        "imports": [
            {"competitor": "tinygrad_cnn", "seconds": [0.2, 0.25, 0.3], "rss_mb": 40.0,
             "disk_mb": 300.0},
            {"competitor": "torch", "seconds": [1.0, 1.0, 1.0], "rss_mb": 200.0, "disk_mb": 900.0},
        ],
        "cells": [
            {"model": "minivgg", "batch": 64, "what": "step", "others": 0.0, "results": results},
            {"model": "lenet5", "batch": 64, "what": "step", "others": 1.5, "results": results},
        ],
    }  # fmt: skip


def test_tables_are_made_from_figures(bench, tmp_path):
    tables = bench("tables")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(figures_of(tinygrad_cnn=(45.0, 200.0), torch=(100.0, 400.0))))
    page = "before\n<!-- table: step -->\nold\n<!-- end -->\nbetween\n<!-- table: memory -->\n"
    page += "<!-- end -->\n<!-- table: imports -->\n<!-- end -->\n<!-- table: roofline -->\n"
    filled = tables.fill(page + "<!-- end -->\nafter\n", tables.read([path]))
    lines = filled.splitlines()
    assert "| network | batch | tinygrad_cnn | PyTorch eager |" in lines
    assert "| MiniVGG | 64 | 45 ms, **0.45** (0.40–0.60) | 100 ms |" in lines
    assert "| LeNet-5 | 64 | busy | busy |" in lines
    assert "JAX jit: not installed (pip install jax)." in lines
    assert "| MiniVGG | 64 | step | 200 MB, **0.50** | 400 MB |" in lines
    assert "| tinygrad_cnn | 0.25 s (0.20–0.30) | 0.25 | 40 MB | 300 MB |" in lines
    assert "Not measured yet." in lines
    assert "old" not in lines
    assert [lines[0], lines[-1]] == ["before", "after"]
    assert tables.fill(filled, tables.read([path])) == filled


def test_programs_are_shown_as_parts_and_how_disturbed_they_were(bench):
    tables = bench("tables")
    result = figures_of(
        tinygrad_cnn=(90.0, 1.0), compiled=(30.0, 1.0), torch=(100.0, 1.0), onnxruntime=(40.0, 1.0)
    )
    text = tables.compiled({"compiled": [result]})
    assert "| MiniVGG | step | 64 | 0.90 | 0.30 | 0.75 | 30 ms |" in text
    assert f"In 1 of {len(result['cells'])} rows other programs" in text
    assert "ONNX Runtime |" in text
    assert "torch.compile" not in text


def test_figures_of_uncommitted_changes_are_marked_and_refused(bench, tmp_path, capsys):
    tables = bench("tables")
    figures = figures_of(tinygrad_cnn=(45.0, 200.0), torch=(100.0, 400.0))
    path, page = tmp_path / "a.json", tmp_path / "page.md"
    page.write_text("<!-- table: step -->\n<!-- end -->\n")
    path.write_text(json.dumps(figures))
    assert tables.main([str(path), "--page", str(page), "--clean"]) == 0
    assert "commit abc." in page.read_text()
    figures["environment"]["commit"] = "abc-dirty"
    path.write_text(json.dumps(figures))
    assert tables.main([str(path), "--page", str(page), "--clean"]) == 1
    assert "not committed: a.json" in capsys.readouterr().out
    assert tables.main([str(path), "--page", str(page)]) == 0
    assert "commit abc and changes that were not committed" in page.read_text()


def test_what_measuring_writes_leaves_a_commit_clean(bench, tmp_path, monkeypatch):
    environment = bench("environment")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "benchmarks" / "environment.py"))
    assert environment.commit() == ""  # no repository
    files = [tmp_path / name for name in ("benchmarks/results/a.json", "docs/a.md", "code.py")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    name = environment.commit()
    assert name
    for file in files[:2]:
        file.write_text("2")
    assert environment.commit() == name
    files[2].write_text("2")
    assert environment.commit() == name + environment.DIRTY


def test_the_files_that_a_step_crosses_are_counted():
    said = script("files_crossed", "--batch", 2, "--kernels", "reference", "--list")
    assert "forward: " in said
    assert "backward: " in said
    for line in ("  ops/conv.py: ", "  autograd/backward.py: ", "  nn/layers/conv.py: forward"):
        assert line in said


def test_the_sweep_table_names_every_exception(bench, tmp_path):
    tables, convolutions = bench("tables"), bench("convolutions")
    large, small = convolutions.Shape(64, 32, 32, 32, 32, 3), convolutions.Shape(1, 2, 5, 5, 2, 3)
    rows = [
        {**shape._asdict(), "what": "dx", "flops": shape.flops, "others": others,
         "tinygrad_cnn": ratio, "torch": 1.0, "ratio": [ratio, ratio, ratio]}
        for shape, ratio, others in [(large, 1.2, 0.0), (large, 9.0, 1.5), (small, 7.0, 0.0)]
    ]  # fmt: skip
    result = {**figures_of(), "kind": "convolutions", "rows": rows}
    (tmp_path / "s.json").write_text(json.dumps(result))
    text = tables.convolutions(tables.read([tmp_path / "s.json"]))
    assert "| dx | 2 |" in text
    assert "1 of 1 |" in text
    assert "| 64×32×32×32 → 32, 3×3 | dx | " in text
    assert "1.20 (1.20–1.20)" in text
    assert "9.00" not in text
    assert "7.00 (" not in text
    assert "1 more were disturbed" in text


def test_the_page_of_tables_is_up_to_date(bench):
    tables = bench("tables")
    assert tables.main(["--check"]) == 0, "run: python benchmarks/tables.py"
