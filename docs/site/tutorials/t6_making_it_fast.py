"""
Making it fast
==============

What costs time on a CPU, and how to see it. :doc:`Performance </performance>` has the figures.
"""

# %%
# Compiled kernels
# ----------------
# With ``pip install '.[fast]'`` convolutions, normalisations and the like are machine code for this
# very processor. ``set_kernels`` says which are used: ``"auto"`` picks per call.

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim, profiler
from tinygrad_cnn.nn import functional as F

former = tg.set_kernels("auto")
print(former, tg.get_num_threads() >= 1)

# %%
# Where the time goes
# -------------------
# The profiler counts calls and time by operation.

tg.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1)
x, y = tg.randn(32, 64), tg.randint(0, 10, (32,))


def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


with profiler.profile() as seen:
    for _ in range(3):
        step(x, y)
print(type(seen).__name__, len(seen.key_averages()) > 0)

# %%
# Without Python
# --------------
# For small networks the time goes into Python itself. ``compile`` records what a function does to
# arrays and does it again without Python, to the same bits; a step with the optimiser in it too.
# Where the arguments have another shape it records anew.

fast = tg.compile(step)
losses = [fast(x, y).item() for _ in range(5)]
print(losses[0] > losses[-1])
assert losses[0] > losses[-1]

# %%
# ``train.fit`` does this by itself; :doc:`/training` says when.
#
# Other advice
# ------------
# * Take batches as large as training allows, and as many threads as there are cores
#   (``set_num_threads``).
# * ``with no_grad():`` or ``inference_mode`` where no gradient is needed: nothing is recorded, and
#   operations that follow one another run as one.
# * Call ``loss.item()`` seldom: it waits for the number.
# * ``data.DataLoader(num_workers=2)`` reads and augments meanwhile.
