"""Kernels that are compiled ahead are those that training uses."""

import subprocess
import sys

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.warmup import pieces, warm_up

needs_numba = pytest.mark.skipif(
    not tg.kernels.has_numba(), reason="Numba is not installed: pip install numba"
)


def test_every_piece_is_a_model_for_its_images():
    tg.set_kernels("reference")
    for name, make, shape in pieces():
        assert make()(tg.randn(*shape)).shape == (shape[0], 10), name


@needs_numba
def test_nothing_is_left_to_compile_afterwards():
    seen = []
    warm_up(watch=seen.append)
    assert "depthwise" in seen
    again = warm_up()
    assert again.compiled == 0
    assert len(list(again.folder.glob("*.o"))) >= 20
    assert tg.kernels.kernel_set() == "auto"


@needs_numba
@pytest.mark.parametrize("model", ["models/lenet5.py", "models/minivgg.py"])
def test_training_then_compiles_nothing(model):
    """In a process that has no Numba."""
    folder = warm_up(model).folder
    before = set(folder.glob("*.o"))
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import tinygrad_cnn as tg\n"
        "from tinygrad_cnn.train.run.model_files import build_model\n"
        f"net = build_model({model!r}, 10)\n"
        "tg.nn.functional.cross_entropy(net(tg.randn(64, 3, 32, 32)), "
        "tg.zeros(64, dtype=tg.int64)).backward()\n"
        "assert 'tinygrad_cnn.kernels.jit.conv.conv' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert set(folder.glob("*.o")) == before


def test_a_model_that_is_not_there():
    with pytest.raises(TrainError):
        warm_up("nothing.py")


def test_without_numba(monkeypatch):
    monkeypatch.setattr(tg.kernels, "has_numba", lambda: False)
    with pytest.raises(TrainError, match="pip install numba"):
        warm_up()
