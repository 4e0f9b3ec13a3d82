"""Train MiniVGG or ResNet-20 on CIFAR-10 with a loop written by hand.

Run it: python examples/train_cifar10.py --root data [--model resnet20 --turns]
Without --root it learns a few of the built-in shapes instead, in seconds.
"""

import argparse
import sys
import time
from pathlib import Path

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import data, optim
from tinygrad_cnn.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from minivgg import MiniVGG
from resnet20 import ResNet20

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--root", help="folder of the CIFAR-10 files")
parser.add_argument("--model", choices=["minivgg", "resnet20"], default="minivgg")
parser.add_argument("--epochs", type=int)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--lr", type=float, default=0.1, help="the largest learning rate")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--turns", action="store_true", help="mirror by turns; borders reflect")
args = parser.parse_args()
epochs = args.epochs or (30 if args.root else 2)
if args.root:
    train, test = data.CIFAR10(args.root), data.CIFAR10(args.root, train=False)
else:
    train, test = data.Shapes(640), data.Shapes(80, train=False)
crop = data.RandomCrop(32, padding=4, padding_mode="reflect" if args.turns else "constant")
augment = crop if args.turns else data.Compose([data.RandomHorizontalFlip(), crop])
if args.turns:  # every second image is mirrored now, and in every second epoch all are
    train.pixels[::2] = train.pixels[::2, :, ::-1]
order = data.DataLoader(train, args.batch_size, shuffle=True, num_workers=1, transform=augment)
looks = data.DataLoader(test, 500)
tg.manual_seed(args.seed)
model = {"minivgg": MiniVGG, "resnet20": ResNet20}[args.model]()
decayed = [p for p in model.parameters() if p.ndim > 1]  # weights, but neither biases nor norms
others = [p for p in model.parameters() if p.ndim <= 1]
groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others}]
optimizer = optim.SGD(groups, lr=args.lr, momentum=0.9, nesterov=True)
scheduler = OneCycleLR(optimizer, args.lr, epochs * len(order), cycle_momentum=False)


def accuracy(mirrored=False):
    """Share of the test images that are right, seen together with their mirror images if so."""
    model.eval()
    right = 0
    with tg.no_grad():
        for images, labels in looks:
            views = images.numpy(), images.numpy()[..., ::-1].copy(order="K")
            scores = sum(model(tg.from_numpy(x)).numpy() for x in views[: 1 + mirrored])
            right += (scores.argmax(axis=1) == labels.numpy()).sum()
    return right / len(test)


losses, start = [], time.perf_counter()
for epoch in range(1, epochs + 1):
    model.train()
    total = 0.0
    for images, labels in order.epoch(1000 * args.seed + epoch):
        array = images.numpy()[..., :: -1 if args.turns and epoch % 2 else 1].copy(order="K")
        images, labels = tg.from_numpy(array), tg.from_numpy(labels.numpy())
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item()
    losses.append(total / len(order))
    seen, seconds = accuracy(), time.perf_counter() - start
    print(f"epoch {epoch}: loss {losses[-1]:.3f}, test {seen:.2%}, {seconds:.0f} s")
print(f"test images seen together with their mirror images: {accuracy(mirrored=True):.2%}")

assert losses[-1] < losses[0]
