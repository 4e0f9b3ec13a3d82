"""The format of safetensors: what its own library writes and reads, we read and write."""

from __future__ import annotations

import io
import json
import random
import struct

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load as their_load
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as their_save

import tinygrad_cnn as tg
from tests.faults.hostile import bytewise, text_of, valuewise
from tests.serialization.test_saving import same
from tinygrad_cnn.serialization import (
    SerializationError,
    dumps,
    load,
    load_metadata,
    load_state,
    loads,
    save,
    save_state,
)
from tinygrad_cnn.serialization.safetensors_format import DTYPES

NAMES = [name for name in DTYPES.values() if name != "bfloat16"]
STATE = {name: tg.arange(6).reshape(2, 3).to(np.dtype(name)) for name in NAMES}


def test_the_library_reads_what_we_write_and_we_read_what_it_writes(tmp_path):
    save_state(STATE, tmp_path / "ours.safetensors")
    theirs = load_file(tmp_path / "ours.safetensors")
    assert {*theirs} == {*STATE}
    save_file(theirs, tmp_path / "theirs.safetensors", {"format": "np"})
    for mapped in (False, True):
        for file in ("ours", "theirs"):
            got = load_state(tmp_path / f"{file}.safetensors", mmap=mapped)
            assert all(same(value, got[name]) for name, value in STATE.items())
            got["float32"].fill_(7)  # the memory is the tensor's
    assert same(load_state(tmp_path / "theirs.safetensors")["float32"], STATE["float32"])
    assert load_metadata(tmp_path / "theirs.safetensors") == {"format": "np"}


def test_bfloat16_is_read_and_written():
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
    x = tg.tensor([1.0, 2.5]).to(tg.bfloat16)
    assert same(loads(dumps({"x": x}))["x"], x)


def test_open_files_and_bytes(tmp_path):
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)
    save({"a": [STATE["int8"], 3]}, file)
    file.seek(6)
    assert same(load(file), {"a": [STATE["int8"], 3]})
    assert load(io.BytesIO(dumps([1]))) == loads(bytearray(dumps([1]))) == [1]
    with open(tmp_path / "a", "wb") as out:
        save_state(STATE, out)
    with open(tmp_path / "a", "rb") as back:
        assert same(load_state(back), STATE)
    with pytest.raises(TypeError, match="save: `f` is a int, expected a path or a file opened"):
        save([], 3)
    with pytest.raises(TypeError, match="`f` takes no bytes"):
        save([], io.StringIO())


def test_metadata_is_kept_beside_ours(tmp_path):
    texts = {"format": "pt", "licence": "MIT", "é": "\n"}
    save_state(STATE, tmp_path / "a", metadata=texts)
    assert load_metadata(tmp_path / "a") == texts
    assert same(load(tmp_path / "a"), STATE)
    assert dumps([1], metadata=texts) == dumps([1], metadata=texts)
    for wrong in ({"a": 1}, {1: "a"}, {"tinygrad_cnn": "x"}):
        with pytest.raises(SerializationError, match="expected texts by names other than"):
            dumps([], metadata=wrong)
    with pytest.raises(SerializationError, match="damaged or not a safetensors file"):
        load_metadata(io.BytesIO(b"PK"))


def test_a_mapped_file_is_read_when_its_tensors_are(tmp_path):
    path = tmp_path / "a.safetensors"
    shared = tg.arange(4.0)
    save({"w": tg.zeros(1 << 18), "pair": [shared, shared[1:]]}, path)
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\0\0\x80\x3f")  # a number changes
    with pytest.raises(SerializationError, match="its checksum does not match"):
        load(path)
    got = load(path, mmap=True)
    assert got["w"].shape == (1 << 18,)
    got["pair"][1][0] = 9.0
    assert got["pair"][0][1].item() == 9
    assert path.read_bytes()[-4:] == b"\0\0\x80\x3f"


def with_header(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_header({"a": entry(offsets=(0, 4))}), "4 bytes of shape"),
        (with_header({"a": entry(shape=(-2,))}), "not of integers"),
        (with_header({"a": entry(shape=(2**63, 4))}), "8 bytes of shape"),
        (with_header({"a": entry(offsets=(4, 12))}), "does not begin where"),
        (with_header({"a": entry(), "b": entry()}), "'b' does not begin where"),
        (with_header({"a": entry()}, bytes(9)), "1 bytes are of no tensor"),
        (with_header({"a": entry()} | {"__metadata__": {"a": 1}}), "metadata is not text"),
        (with_header(b'{"a":1,"a":2}'), "a name comes twice"),
        (with_header(b"", b""), "no header"),
        (struct.pack("<Q", 2**60) + b"{}", "no header"),
        (with_header({"a": entry("F8_E4M3", (8,))}), "tensors of dtype 'F8_E4M3', which"),
        (with_header({"a": entry(offsets=(0, True))}), "does not begin where"),
    ],
)
def test_headers_that_are_wrong_are_refused(content, message):
    with pytest.raises(SerializationError, match=message):
        loads(content)
    with pytest.raises((SafetensorError, OverflowError, KeyError)):
        their_load(content)


def test_we_take_the_files_that_the_library_takes():
    draw = random.Random(0)
    arrays = {name: value.numpy() for name, value in STATE.items() if "64" not in name}
    whole = their_save(arrays, {"format": "np"})
    size = int.from_bytes(whole[:8], "little")
    taken = 0
    for _ in range(1500):
        if draw.random() < 0.5:
            content = bytewise(whole, draw)
        else:
            text = text_of(valuewise(json.loads(whole[8 : 8 + size]), draw))
            content = with_header(text.encode("utf-8", "surrogatepass"), whole[8 + size :])
        try:
            ours = loads(content)
        except SerializationError as error:
            ours = error
        try:
            theirs = their_load(content)
        except Exception as error:  # their own, and NumPy's
            theirs = error
        if isinstance(theirs, Exception):
            continue
        assert isinstance(ours, dict), f"{ours}: {content!r}"
        assert {*ours} == {*theirs}
        taken += 1
    assert taken > 20
