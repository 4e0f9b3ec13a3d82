"""Files written for PyTorch: its weights-only reader takes them, and so does ours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
from hypothesis import given

import tinygrad_cnn as tg
from tests.serialization.test_saving import same, trees
from tinygrad_cnn import nn
from tinygrad_cnn.serialization import SerializationError, dumps, load, loads, save, save_state

NAMES = (
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 "
    "complex128"
).split()


def pytorch():
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


def through_torch(obj):
    """What PyTorch reads of our file, written by it, and read by us."""
    torch = pytorch()
    theirs = torch.load(io.BytesIO(dumps(obj, format="pt")), weights_only=True)
    file = io.BytesIO()
    torch.save(theirs, file)
    return theirs, loads(file.getvalue())


def layouts(dtype):
    """Tensors that lie in memory in all kinds of ways."""
    whole = tg.arange(24).reshape(2, 3, 4).to(dtype)
    alone = [whole.clone() for _ in range(6)]
    return {
        "whole": whole, "part": whole[1], "turned": whole.permute(2, 0, 1), "again": whole,
        "steps": alone[0][:, ::2], "columns": alone[1][:, :, 1], "spread": tg.ones(1, dtype=dtype)
        .expand(5), "number": alone[2][0, 0, 0], "none": alone[3][:0], "turned alone": alone[4].mT,
        "backwards": tg.from_numpy(np.arange(6)[::-1].astype(dtype)[::-1]),
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_and_layout_comes_back(name):
    value = layouts(np.dtype(name))
    got = loads(dumps(value, format="pt"))
    assert all(same(value[key], got[key]) for key in value)
    assert got["again"] is got["whole"]
    assert got["turned"].stride() == value["turned"].stride()
    assert got["turned alone"].stride() == value["turned alone"].stride()
    assert got["spread"].stride() == (0,)
    got["part"].fill_(1)
    assert (got["turned"].numpy()[:, 1] == 1).all()


@pytest.mark.parametrize("name", [*NAMES, "bfloat16"])
def test_pytorch_reads_every_dtype_and_layout(name):
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
    value = layouts(np.dtype(name) if name != "bfloat16" else tg.bfloat16)
    theirs, back = through_torch(value)
    for key, tensor in value.items():
        assert str(theirs[key].dtype) == f"torch.{name}"
        assert same(tensor, back[key]), key
        if tensor.numel():
            assert back[key].stride() == theirs[key].stride()
    assert theirs["turned"].stride() == value["turned"].stride()
    assert theirs["part"].data_ptr() == theirs["whole"].data_ptr() + 12 * value["whole"].itemsize


def test_plain_values_are_read_by_pytorch():
    value = {
        "numbers": [
            0,
            255,
            256,
            -1,
            2**31,
            -(2**40),
            2**100,
            0.1,
            float("inf"),
            1 + 2j,
            True,
            None,
        ],
        "text": ["", "é\n", "\ud800", b"", b"a\xff", bytearray(b"x")],
        "many": {"a": set(), 3: {1, "x"}, 2.5: Counter("aab"), None: OrderedDict(a=[()]), b"k": ()},
        "torch": [tg.Size([2, 3]), tg.float16, tg.device("cpu")],
        "parameters": [nn.Parameter(tg.ones(2)), nn.Parameter(tg.ones(2), requires_grad=False)],
        "leaf": tg.ones(2, requires_grad=True),
    }
    assert repr(loads(dumps(value, format="pt"))) == repr(value)
    theirs, back = through_torch(value)
    assert repr(back) == repr(value)
    assert repr(theirs["many"]) == repr(value["many"])


@given(tree=trees)
def test_nested_states_round_trip_or_are_refused(tree):
    if "array(" in repr(tree):
        with pytest.raises(SerializationError, match=r"NumPy's array at .* make it a tensor"):
            dumps(tree, format="pt")
    else:
        assert same(tree, loads(dumps(tree, format="pt")))


def test_states_of_models_and_optimizers_go_to_pytorch(tmp_path):
    torch = pytorch()
    tg.manual_seed(0)

    def made(n):
        return n.Sequential(n.Linear(3, 4), n.BatchNorm1d(4), n.Linear(4, 2))

    ours, theirs = made(nn), made(torch.nn)
    optimizers = tg.optim.Adam(ours.parameters()), torch.optim.Adam(theirs.parameters())
    x = tg.randn(5, 3)
    (ours(x) ** 2).sum().backward()
    optimizers[0].step()
    save({"model": ours.state_dict(), "optimizer": optimizers[0].state_dict()}, tmp_path / "a.pt")
    save_state(ours.state_dict(), tmp_path / "b.pth")
    got = torch.load(tmp_path / "a.pt", weights_only=True)
    theirs.load_state_dict(got["model"])
    theirs.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True, mmap=True))
    optimizers[1].load_state_dict(got["optimizer"])
    assert got["model"]._metadata == ours.state_dict()._metadata
    values = theirs.eval()(torch.tensor(x.numpy())).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).detach().numpy(), values, atol=1e-6)
    assert load(tmp_path / "a.pt")["model"]._metadata == ours.state_dict()._metadata


def test_a_list_may_hold_itself():
    value = [1]
    value.append(value)
    got = loads(dumps(value, format="pt"))
    assert got[1] is got
    with pytest.raises(SerializationError, match="nested too deeply, or holds itself"):
        dumps(value)


def test_no_more_is_stored_than_the_tensors_have():
    big = tg.zeros(1000, 1000)
    assert len(dumps({"row": big[3], "column": big[:, 3]}, format="pt")) > big.nbytes / 2  # overlap
    assert len(dumps({"column": big[:, 3]}, format="pt")) < 10_000
    assert len(dumps({"tail": big[999]}, format="pt")) < 10_000


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"a": [1, object()]}, r"object at `a\.1`; expected dicts, .*: what PyTorch reads"),
        ({"a": {(1,): 2}}, r"key \(1,\) at `a` is a tuple"),
        ([np.ones(2)], "NumPy's array at `0`: .*make it a tensor"),
        ({"m": nn.ReLU()}, r"ReLU at `m`; save its state_dict\(\); expected dicts"),
        (np.dtype("S3"), "dtype |S3 at the top"),
        (1 << 3000, "an integer of 3001 bits"),
    ],
)
def test_what_pytorch_would_refuse_is_named(tmp_path, obj, message):
    with pytest.raises(SerializationError, match=message):
        save(obj, tmp_path / "a.pt")
    assert not os.listdir(tmp_path)


def test_the_name_decides_the_format(tmp_path):
    x = {"x": tg.ones(2)}
    for name, zipped in (("a.pt", True), ("a.PTH", True), ("a.safetensors", False), ("a", False)):
        save(x, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"PK") == zipped
        assert same(load(tmp_path / name), x)
        with open(tmp_path / name, "wb") as file:
            save(x, file)
        assert zipfile.is_zipfile(tmp_path / name) == zipped
    save(x, tmp_path / "a", format="pt")
    assert zipfile.is_zipfile(tmp_path / "a")
    with pytest.raises(ValueError, match="`format` is 'onnx', expected 'safetensors' or 'pt'"):
        save(x, tmp_path / "a", format="onnx")
    with pytest.raises(ValueError, match="`metadata` is given, but PyTorch's files have none"):
        save(x, tmp_path / "a.pt", metadata={})


def test_equal_objects_give_equal_bytes_in_every_process():
    code = (
        "import sys, tinygrad_cnn as tg; from tinygrad_cnn.serialization import dumps\n"
        "x = tg.arange(6.0)\n"
        "value = {'b': x[1:], 'a': tg.ones(3), 'x': x, 'set': {'x', 'y', 'z', 1}}\n"
        "sys.stdout.buffer.write(dumps(value, format='pt'))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert loads(runs[0])["set"] == {"x", "y", "z", 1}


def test_memories_are_aligned_and_mapped(tmp_path):
    path = tmp_path / "a.pt"
    save([tg.ones(n) for n in range(1, 9)], path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            data = path.read_bytes()[info.header_offset :]
            length = sum(np.frombuffer(data[26:30], "<u2").tolist())
            assert (info.header_offset + 30 + length) % 64 == 0
    for x in load(path, mmap=True):
        root = x.numpy()
        while isinstance(root.base, np.ndarray):
            root = root.base
        assert type(root.base.obj).__name__ == "mmap"
