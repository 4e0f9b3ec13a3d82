"""Write which kernels models need, in order: `tinygrad_cnn/kernels/jit/compile/known.json`.

Models for images of 32 × 32 are trained for a few batches and evaluated, and shown one image, with
vectors of 16 and of 8 numbers, on one thread and on two; so is what `tinygrad-cnn warmup` compiles.
That compiles the kernels, which takes some minutes. With ``--check`` nothing is written, and the
exit status says whether the file is what would be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this tree, whatever is installed

from tinygrad_cnn.kernels.jit.compile import known, vector  # noqa: E402

MODELS = [ROOT / f"models/{name}.py" for name in ("lenet5", "minivgg", "resnet18", "resnet20")]
LANES = (16, 8)
THREADS = (2, 1)
TRAIN = """
import sys
import tinygrad_cnn as tg
from tinygrad_cnn.cli.app import main
from tinygrad_cnn.train.run.model_files import build_model
model, folder, threads = sys.argv[1:]
tg.set_num_threads(int(threads))
main(["train", model, "--epochs", "1", "--limit", "320", "--out", folder], standalone_mode=False)
net = build_model(model, 10).eval()
with tg.no_grad():
    for batch in (64, 1):
        net(tg.randn(batch, 3, 32, 32))
"""
WARM_UP = """
import sys
import tinygrad_cnn as tg
from tinygrad_cnn.train.loop.warmup import warm_up
tg.set_num_threads(int(sys.argv[1]))
warm_up()
"""
REPORT = """
import json
from tinygrad_cnn.kernels.jit.compile import build
print(json.dumps(build.met))
"""


def signatures(code: str, *arguments: str, lanes: int) -> list[str]:
    """Run code in a process of its own and return the signatures that it met, in order."""
    variables = {vector.LANES_SETTING: str(lanes), "TINYGRAD_CNN_QUIET": "1"}
    found = subprocess.run(
        [sys.executable, "-c", code + REPORT, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    met = json.loads(found.stdout.splitlines()[-1])
    return [each for each in dict.fromkeys(met) if ":" in each]  # the pool has none


def content() -> str:
    """Return what the file should hold."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for lanes in LANES:
            for model in [*MODELS, None]:
                order: list[str] = []
                for threads in map(str, THREADS):
                    if model:
                        place = f"{folder}/{model.stem}{lanes}{threads}"
                        order += signatures(TRAIN, str(model), place, threads, lanes=lanes)
                    else:
                        order += signatures(WARM_UP, threads, lanes=lanes)
                name = model.stem if model else "warmup"
                runs[f"{name} {lanes}"] = list(dict.fromkeys(order))
                print(f"{name}, {lanes} lanes: {len(runs[f'{name} {lanes}'])}", file=sys.stderr)
    kernels = list(dict.fromkeys(each for run in runs.values() for each in run))
    number = {each: k for k, each in enumerate(kernels)}
    found = {"runs": {n: [number[s] for s in run] for n, run in runs.items()}, "kernels": kernels}
    lines = json.dumps(found, indent=0).split("\n")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = content()
    if check:
        return int(text != known.FILE.read_text(encoding="utf-8"))
    known.FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
