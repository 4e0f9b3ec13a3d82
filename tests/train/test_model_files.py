"""Finding the model that the user means, and saying in one line why it cannot be."""

import sys

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.train import TrainError
from tinygrad_cnn.train.run.model_files import build_model, check_output, find_model, plain_name

NET = "from tinygrad_cnn import nn\n\nclass Net(nn.Module):\n    pass\n"
TWO = NET + "\nclass Other(Net):\n    pass\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(text)``: a Python file in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(text, name="net.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_file_with_one_module_needs_no_class(write):
    assert find_model(write(NET)).__name__ == "Net"
    assert find_model(write(TWO) + ":Other").__name__ == "Other"
    assert find_model(write(TWO + "\n__all__ = ['Other']\n")).__name__ == "Other"
    write(NET, "neighbour.py")
    importer = write("from neighbour import Net\nclass Mine(Net): pass\n")
    assert find_model(importer).__name__ == "Mine"


def test_a_package_is_imported_from_the_working_directory(write):
    write(TWO, "zoo_of_tests.py")
    assert find_model("zoo_of_tests:Other").__name__ == "Other"


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        (NET, "missing.py", r"there is no file missing\.py"),
        (NET, "net.py:Nothing", r"net\.py has no class Nothing; its Modules: Net"),
        (NET, "net.py:nn", r"net\.py:nn is not a subclass of tinygrad_cnn\.nn\.Module"),
        ("x = 1\n", "net.py", r"net\.py defines no subclass of tinygrad_cnn\.nn\.Module"),
        (TWO, "net.py", r"defines 2 Modules; choose one: net\.py:Net, net\.py:Other"),
        ("class Net(:\n", "net.py", r"net\.py: SyntaxError: .*\(net\.py:1\)"),
        ("import nothing_at_all\n", "net.py", r"ModuleNotFoundError: .*nothing_at_all.*net\.py:1"),
        ("\n1 / 0\n", "net.py", r"ZeroDivisionError: division by zero \(net\.py:2, in <module>\)"),
        (NET, "no_such_package:Net", r"there is no module no_such_package; a model is FILE\.py"),
        (NET, "a/b", r"'a/b' is neither a FILE\.py nor a package\.module"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, text, spec, message):
    write(text)
    with pytest.raises(TrainError, match=message) as caught:
        find_model(spec)
    assert "\n" not in str(caught.value)


def test_constructors(write):
    body = "    def __init__(self{}):\n        super().__init__()\n        {}\n"
    net = NET.replace("    pass\n", body)
    many = build_model(write(net.format(", num_classes=3", "self.n = num_classes")), 7)
    assert many.n == 7
    assert isinstance(build_model(write(net.format("", "")), 7), nn.Module)
    with pytest.raises(TrainError, match=r"Net needs arguments \(depth\); give them defaults"):
        build_model(write(net.format(", depth", "")), 7)
    with pytest.raises(TrainError, match=r"net\.py: ValueError: no \(net\.py:6, in __init__\)"):
        build_model(write(net.format("", "raise ValueError('no')")), 7)


class Returns(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        tg.rand(1)
        self.norm(x)
        return self.result(x)


def test_outputs_that_do_not_fit_the_data():
    images = tg.ones(2, 3, 8, 8)

    def check(result):
        check_output("net.py", Returns(result), images, 10, "shapes")

    with pytest.raises(TrainError, match=r"scores \(2, 5\), expected \(2, 10\): shapes has 10"):
        check(lambda x: tg.zeros(2, 5))
    with pytest.raises(TrainError, match=r"into scores \(2, 10, 1, 1\), expected \(2, 10\)"):
        check(lambda x: tg.zeros(2, 10, 1, 1))
    with pytest.raises(TrainError, match=r"net\.py returns tuple, expected a Tensor \(2, 10\)"):
        check(lambda x: (x, x))
    with pytest.raises(TrainError, match=r"net\.py: .*Error: .*\(test_model_files\.py:\d+, in "):
        check(lambda x: x @ tg.zeros(3, 3))


def test_checking_the_output_changes_nothing():
    model = Returns(lambda x: tg.zeros(2, 10))
    before = [v.clone() for v in model.state_dict().values()]
    state = tg.default_generator.get_state()
    check_output("net.py", model, tg.ones(2, 3, 8, 8), 10, "shapes")
    assert tg.default_generator.get_state() == state
    after = model.state_dict().values()
    assert all((a == b).all().item() for a, b in zip(before, after, strict=True))


def test_plain_names():
    assert plain_name("a/b/LeNet5.py") == "lenet5"
    assert plain_name("zoo.vision") == "vision"
