"""
From PyTorch, line by line
==========================

A training script as it is written for PyTorch. What changes is the import.
"""

# %%
# Imports
# -------
# ``import torch`` becomes the next line, ``from torch import …`` becomes ``from tinygrad_cnn
# import …``. Nothing below knows the difference.

import tinygrad_cnn as torch
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn
from tinygrad_cnn.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print(device)

# %%
# Tensors print, promote and broadcast as in PyTorch; dtypes are NumPy's, so that ``x.numpy()`` and
# ``torch.from_numpy`` share memory.

x = torch.arange(6).reshape(2, 3)
print(x / 2)
print(x.dtype, x.float().dtype, x.numpy().dtype)

# %%
# A module. ``state_dict`` has PyTorch's keys, so weights go both ways. First weights are He's; for
# PyTorch's: ``nn.init.pytorch_(model)``.


class Net(nn.Module):
    def __init__(self, width: int = 16):
        super().__init__()
        self.hidden = nn.Linear(2, width)
        self.out = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.relu(self.hidden(x)))


model = Net().to(device)
print(list(model.state_dict()))

# %%
# Data, optimiser, schedule, and the loop.

points = torch.randn(256, 2)
labels = (points[:, 0] * points[:, 1] > 0).long()
loader = DataLoader(TensorDataset(points, labels), batch_size=32, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
for _epoch in range(20):
    for batch, target in loader:
        batch, target = batch.to(device), target.to(device)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(batch), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    scheduler.step()
right = (model(points).argmax(dim=1) == labels).float().mean().item()
print(f"{right:.2f}")
assert right > 0.9

# %%
# What is not here says so
# ------------------------

for missing in ("sparse_coo_tensor", "kl_div"):
    try:
        getattr(torch, missing)
    except AttributeError as error:
        print(error)

# %%
# :doc:`The same, different, missing </from_pytorch>` lists what else there is.
