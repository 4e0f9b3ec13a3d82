"""Tensors of one file that share memory share it again."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.serialization import SerializationError, load, load_state, nested, save


def test_tensors_that_share_memory_share_it_again(tmp_path):
    x = tg.arange(6.0).reshape(2, 3)
    alone = tg.ones(2)
    state = {
        "x": x,
        "again": x,
        "row": x[1:],
        "t": x.t(),
        "wide": x[:, :1].expand(2, 4),
        "alone": alone,
        "list": [x.detach(), x[0, 0]],
        "empty": tg.zeros(0, 2),
    }
    save(state, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    for name in ("x", "row", "t", "wide", "alone", "empty"):
        assert loaded[name].equal(state[name])
    assert loaded["again"] is loaded["x"]
    assert loaded["list"][0] is loaded["x"]
    loaded["x"].zero_()
    assert not any(loaded[name].any() for name in ("row", "t", "wide"))
    assert loaded["list"][1].item() == 0
    assert loaded["alone"].all()
    assert loaded["row"]._version == 1


def test_tied_weights(tmp_path):
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    save(net.state_dict(), tmp_path / "a.safetensors")
    loaded = load_state(tmp_path / "a.safetensors")
    assert loaded["0.weight"] is loaded["2.weight"]
    plain = load_file(tmp_path / "a.safetensors")  # other programs find both names
    np.testing.assert_array_equal(plain["2.weight"], layer.weight.detach().numpy())


def test_neighbours_do_not_share(tmp_path):
    x = tg.zeros(4)
    save([x[:2], x[2:]], tmp_path / "a.safetensors")
    assert b"part" not in (tmp_path / "a.safetensors").read_bytes()


def test_a_place_outside_its_memory_is_damage(tmp_path):
    tree = json.dumps({"tensor": "x", "part": [0, 4, 4, [4]]})
    arrays = {"x": np.ones(1, np.float32)}
    note = {"version": 2, "checksum": nested.checksum(arrays, tree), "tree": tree}
    save_file(arrays, tmp_path / "a", {"tinygrad_cnn": json.dumps(note)})
    with pytest.raises(SerializationError, match="is damaged"):
        load(tmp_path / "a")
