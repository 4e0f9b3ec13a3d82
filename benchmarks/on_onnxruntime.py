"""The networks on ONNX Runtime, which does not train: PyTorch exports them in its own process.

ONNX Runtime reads a file of a fixed batch size, the fastest that it has.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

EXPORT = """
import io, sys
import networks, numpy, torch
name, batch = sys.argv[1], int(sys.argv[2])
with numpy.load(io.BytesIO(sys.stdin.buffer.read())) as file:
    state = {key: torch.from_numpy(file[key]) for key in file}
model = networks.load(name, torch)
model.load_state_dict(state)
model.eval()
written = io.BytesIO()
torch.onnx.export(model, (torch.zeros(batch, *networks.IMAGE),), written, dynamo=False)
sys.stdout.buffer.write(written.getvalue())
"""


class Network:
    """One network with given weights."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name = name
        written = io.BytesIO()
        np.savez(written, **state)
        self.state = written.getvalue()

    def inference(self, images: Any) -> Callable[[], Any]:
        """Return the call that gives the scores of ``images``."""
        command = [sys.executable, "-c", EXPORT, self.name, str(len(images))]
        environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
        done = subprocess.run(command, input=self.state, capture_output=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"PyTorch could not export: {done.stderr.decode()[-200:]}")
        session = onnxruntime.InferenceSession(done.stdout, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, feed)[0]
