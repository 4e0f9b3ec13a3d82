"""Files of PyTorch, written by us, and how they are damaged under right checksums."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.serialization import dumps

PICKLE = "archive/data.pkl"


def torch_files() -> list[bytes]:
    """A file with what there can be in one, a state dict, and both in the older format."""
    x = tg.arange(6.0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    everything = {
        "model": model.state_dict(), "views": [x, x[1:], x.reshape(2, 3).mT], "none": tg.zeros(0),
        "parameter": nn.Parameter(tg.ones(2)), "large": tg.ones(2, dtype=tg.uint64), "b": x > 2,
        "plain": [1, 2.5, None, "a", b"c", {1, 2}, bytearray(b"q"), 1j, Counter("ab"), 2**70],
        "torch": [tg.Size([2]), tg.float16, tg.device("cpu")],
    }  # fmt: skip
    files = [dumps(value, format="pt") for value in (everything, model.state_dict())]
    return [*files, *map(_older, files)]


def _older(data: bytes) -> bytes:
    """The same in the format of before version 1.6."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        value = archive.read(PICKLE).replace(b"tQ", b"NtQ")  # ids have one part more
        memories = [archive.read(n) for n in archive.namelist() if "/data/" in n]
    sizes = _sizes(value)
    system = {"protocol_version": 1001, "little_endian": sys.byteorder == "little"}
    head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, system))
    keys = pickle.dumps([str(i) for i in range(len(memories))], 2)
    filled = b"".join(struct.pack("<q", sizes[str(i)]) + m for i, m in enumerate(memories))
    return head + value + keys + filled


def _sizes(value: bytes) -> dict[str, int]:
    """How many numbers each memory has, by its key, as the ids in a pickle say."""
    opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(value)]
    ends = [i for i, (name, _) in enumerate(opcodes) if name == "BINPERSID"]
    return {opcodes[i - 5][1]: opcodes[i - 3][1] for i in ends}


def archived(bytewise: Callable[[bytes, random.Random], bytes]) -> Any:
    """What changes such a file: its bytes, those of one in it, or the opcodes of its pickle."""

    def change(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.3 or not data.startswith(b"PK"):
            return bytewise(data, draw)
        out = io.BytesIO()
        kind = zipfile.ZIP_DEFLATED if draw.random() < 0.1 else zipfile.ZIP_STORED
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", kind) as new:
            for name in old.namelist():
                content = old.read(name)
                if name == PICKLE:
                    few = draw.random() < 0.4
                    content = bytewise(content, draw) if few else _reordered(content, draw)
                elif content and draw.random() < 0.1:
                    content = bytewise(content, draw)
                new.writestr(name, content)
        return out.getvalue()

    return change


def _reordered(value: bytes, draw: random.Random) -> bytes:
    """A pickle with a few opcodes left out, exchanged or there again."""
    starts = [at for _, _, at in pickletools.genops(value) if at is not None]
    parts = [value[a:b] for a, b in zip(starts, [*starts[1:], len(value)], strict=True)]
    for _ in range(draw.choice([1, 1, 2, 5])):
        at, other = draw.randrange(2, len(parts)), draw.randrange(len(parts))
        kind = draw.randrange(4)
        if kind == 0:
            del parts[at]
        elif kind == 1:
            parts[at] = parts[other]
        else:
            parts[at:at] = parts[other : other + (1 if kind == 2 else draw.randrange(20))]
    return b"".join(parts)
