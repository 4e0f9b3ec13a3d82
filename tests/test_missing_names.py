"""What is said of PyTorch's names that are not here, and of names that nobody has."""

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import torch_names
from tinygrad_cnn.missing import attributes, instead, names

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(
    torch is None, reason="PyTorch is not installed: pip install torch==2.13.0"
)
SCRIPT = Path(__file__).parents[1] / "docs/make_missing.py"

SAID = {
    "nn.DataParallel": "module 'tinygrad_cnn.nn' has no attribute 'DataParallel': PyTorch's "
    "`nn.DataParallel` is not here; `nn.parallel.DistributedDataParallel` uses several processes",
    "optim.SparseAdam": "is not here; gradients are dense: `optim.Adam`",
    "sparse_coo_tensor": "PyTorch's `sparse_coo_tensor` is not here; there are no sparse tensors",
    "kl_div": "PyTorch's `kl_div` is not here; there is `nn.functional.kl_div`",
    "detach": "PyTorch's `detach` is not here; there is `Tensor.detach`",
    "quantize_per_tensor": "there are no quantised dtypes",
    "distributions.Beta": "PyTorch's `distributions.Beta` is not here; there are Bernoulli, ",
    "Tensor.to_sparse": "'Tensor' object has no attribute 'to_sparse': PyTorch's `Tensor.to_",
    "Linear": "module 'tinygrad_cnn' has no attribute 'Linear'; there is `nn.Linear`",
    "nn.conv2D": "has no attribute 'conv2D'; there is `nn.Conv2d`",
    "nn.Conv2": "has no attribute 'Conv2'; the nearest is `nn.Conv2d`",
    "utils.data.Dataloader": "'Dataloader'; there is `utils.data.DataLoader`",
    "profiler.profil": "'profil'; the nearest is `profiler.profile`",
    "jit.freeze": "nothing is compiled from source",
    "nn.zzzzzz": r"module 'tinygrad_cnn.nn' has no attribute 'zzzzzz'",
}


@pytest.mark.parametrize("name", SAID)
def test_an_error_names_what_there_is(name):
    place, _, last = name.rpartition(".")
    there = torch_names.find(place) if place else tg
    with pytest.raises(AttributeError) as caught:
        getattr(there, last)
    said = str(caught.value)
    assert SAID[name] in said
    assert caught.value.name == last
    assert str(pickle.loads(pickle.dumps(caught.value))) == said
    assert not hasattr(there, last)
    assert getattr(there, last, 3) == 3
    assert last not in getattr(there, "__all__", ())


def test_tensors_are_as_they_were():
    x = tg.ones(2)
    assert not hasattr(x, "to_sparse")
    assert not hasattr(tg.Tensor, "to_sparse")
    assert "to_sparse" not in dir(x)
    with pytest.raises(
        AttributeError, match=r"PyTorch's `Tensor.to_sparse` is not here; there are"
    ):
        x.to_sparse()
    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'grda'") as caught:
        x.grda  # noqa: B018
    assert caught.value.obj is x  # so Python itself says: did you mean 'grad'
    assert "__getattr__" not in vars(tg.Tensor)  # it would make each access slower
    assert pickle.loads(pickle.dumps(x)).tolist() == copy.deepcopy(x).tolist() == [1, 1]


def test_an_error_from_deeper_down_is_not_hidden(monkeypatch):
    def broken(name):
        return getattr(object(), "inner")  # noqa: B009

    def importing(name):
        return broken(name)

    module = type(sys)("tinygrad_cnn.nn.utils")
    module.__getattr__ = importing
    attributes.attach(module)
    with pytest.raises(AttributeError, match="'object' object has no attribute 'inner'"):
        module.anything  # noqa: B018


def test_what_to_use_instead_exists():
    for pattern, sentence in instead.SENTENCES:
        re.compile(pattern)
        for name in re.findall(r"`([\w.]+)`", sentence):
            assert torch_names.has(name), name
    for place in names.MODULE_NAMES:
        assert place in attributes.PLACES


def test_what_is_called_missing_is():
    for place, listed in {**names.MODULE_NAMES, "Tensor": names.TENSOR_NAMES}.items():
        for name in listed.split():
            assert not torch_names.has(f"{place}.{name}" if place else name), (
                f"{place}.{name} is here: run python docs/make_missing.py"
            )


@needs_torch
@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's names for Linux are listed")
def test_the_list_is_up_to_date():
    # In a process of its own: modules of PyTorch's that others import are names there, too.
    done = subprocess.run([sys.executable, SCRIPT, "--check"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_is_imported_for_it_before_it_is_needed():
    code = "import sys, tinygrad_cnn as tg; hasattr(tg, 'zzz'); hasattr(tg.nn, 'DataParallel')"
    code += "; sys.exit('tinygrad_cnn.missing.instead' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
