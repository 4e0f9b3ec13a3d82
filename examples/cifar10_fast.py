"""CIFAR-10 fast on a CPU: the ingredients of the speed-runs, at a CPU's size.

Run it: python examples/cifar10_fast.py --root data [--epochs 18]
Without --root it learns a few of the built-in shapes instead, in seconds.

The ideas are those of D. Page, "How to train your ResNet", 2018, and K. Jordan, "94% on CIFAR-10 in
3.29 seconds on a single GPU", 2024, arXiv:2404.00498: a first layer that whitens patches and is not
trained, wide layers that pool early and begin as the identity, biases that learn faster, one cycle
of the learning rate, label smoothing, flips that alternate, an average of the weights, and test
images seen together with their mirror images and both moved by a pixel.
"""

import argparse
import itertools
import time

import numpy as np

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import data, nn, optim

MOVES = [(1, 1), (0, 0), (0, 2), (2, 0), (2, 2)]  # of a window in an image padded by 1

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--root", help="folder of the CIFAR-10 files")
parser.add_argument("--epochs", type=int)
parser.add_argument("--batch-size", type=int, default=125)
parser.add_argument("--lr", type=float, default=0.15, help="the largest learning rate")
parser.add_argument("--limit", type=int, help="use only so many training images")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
epochs, start = args.epochs or (18 if args.root else 2), time.perf_counter()

if args.root:
    train, test = data.CIFAR10(args.root), data.CIFAR10(args.root, train=False)
else:
    train, test = data.Shapes(375), data.Shapes(80, train=False)
# Mirror half of the images once; every second epoch then mirrors all. So each image is seen either
# way in any two epochs, which chance would not see to.
pixels = train.pixels  # uint8 (n, h, w, c)
chosen = np.random.default_rng(args.seed).random(len(pixels)) < 0.5
pixels[chosen] = pixels[chosen, :, ::-1]
if args.limit:
    train = data.Subset(train, range(args.limit))


def conv3x3(inputs, outputs):
    """A convolution whose first outputs are its inputs, before it learns."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:inputs])
    return conv


def block(inputs, outputs):
    """Two convolutions, the second on a quarter of the pixels."""
    return nn.Sequential(
        conv3x3(inputs, outputs),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        conv3x3(outputs, outputs),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def whitening(images, kernel=3, kept=12):
    """Weights (24, c, k, k): ``images`` (n, c, h, w) come out uncorrelated, with variance 1.

    They are the directions in which patches vary most, and their opposites: ReLU sees both signs.
    """
    windows = np.lib.stride_tricks.sliding_window_view(images, (kernel, kernel), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * kernel**2)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))  # rising
    scaled = vectors[:, -kept:] / np.sqrt(values[-kept:] + 5e-4)
    weights = scaled.T.reshape(kept, images.shape[1], kernel, kernel)
    return np.concatenate([weights, -weights]).astype(np.float32)


class Net(nn.Module):
    """Images (n, 3, 32, 32) to scores (n, 10)."""

    def __init__(self, widths, weights):
        super().__init__()
        first = nn.Conv2d(3, len(weights), weights.shape[2], padding=1)
        first.weight.data = tg.from_numpy(weights)
        first.weight.requires_grad_(False)
        sizes = [len(weights), *widths]
        self.body = nn.Sequential(
            first,
            nn.ReLU(),
            *[block(a, b) for a, b in itertools.pairwise(sizes)],  # 16, 8 and 4 pixels
            nn.MaxPool2d(4),
            nn.Flatten(),
        )
        self.head = nn.Linear(widths[-1], 10, bias=False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.requires_grad_(False)  # the convolution after it has a scale

    def forward(self, x):
        return self.head(self.body(x)) * 0.2


tg.manual_seed(args.seed)
crop = data.RandomCrop(32, padding=2, padding_mode="reflect")
loader = data.DataLoader(
    train, args.batch_size, shuffle=True, drop_last=True, num_workers=1, transform=crop
)
sample, _ = next(iter(data.DataLoader(train, 2000)))
model = Net([48, 128, 192], whitening(sample.numpy()))
trained = [p for p in model.parameters() if p.requires_grad]
groups = [
    {"params": [p for p in trained if p.ndim > 1], "weight_decay": 5e-4},
    {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 5e-4 / 16},
]
rates = [args.lr, 16 * args.lr]  # weights, biases
optimizer = optim.SGD(groups, lr=args.lr, momentum=0.9, nesterov=True)
shape = {"pct_start": 0.25, "anneal_strategy": "linear", "cycle_momentum": False}
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, rates, epochs * len(loader), **shape)
average = {name: value.clone() for name, value in model.state_dict().items()}
losses, averaged = [], 0
for epoch in range(epochs):
    model.train()
    total = 0.0
    for step, (images, labels) in enumerate(loader.epoch(1000 * args.seed + epoch)):
        array = images.numpy()[..., ::-1] if epoch % 2 else images.numpy()
        images, labels = tg.from_numpy(array.copy(order="K")), tg.from_numpy(labels.numpy())
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item()
        if step % 5 == 0:
            averaged += 1
            share = max(0.02, 9 / (10 + averaged))  # the first weights are soon forgotten
            with tg.no_grad():
                for name, value in model.state_dict().items():
                    change = value - average[name]
                    average[name] = average[name] + share * change if value.ndim else value
    losses.append(total / len(loader))
    print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}, {time.perf_counter() - start:.0f} s")

model.load_state_dict(average)
model.eval()
right = 0
with tg.no_grad():
    for images, labels in data.DataLoader(test, 500):
        padded = np.pad(images.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="reflect")
        moved = [padded[..., y : y + 32, x : x + 32] for y, x in MOVES]
        views = [view.copy(order="K") for m in moved for view in (m, m[..., ::-1])]
        scores = sum(model(tg.from_numpy(view)).numpy() for view in views)
        right += (scores.argmax(axis=1) == labels.numpy()).sum()
accuracy, seconds = right / len(test), time.perf_counter() - start
print(f"{accuracy:.2%} of {len(test):,} test images right after {seconds:.0f} s, all included")
assert losses[-1] < losses[0]
