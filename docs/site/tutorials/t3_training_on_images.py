"""
Training on images, up to CIFAR-10
==================================

The whole way: data, augmentation, a network, training, the test. It runs on the built-in images, so
that no network connection is needed; one line makes it CIFAR-10.
"""

# %%
# Data
# ----
# ``Shapes`` draws images of simple shapes, (3, 32, 32) as those of CIFAR-10. For CIFAR-10 itself:
# ``data.CIFAR10("data", train=True, download=True)``.

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn, optim, train

tg.manual_seed(0)
images = data.Shapes(train=True)
print(len(images), images[0][0].shape, len(images.classes), "classes")
training = data.DataLoader(data.Subset(images, range(3000)), batch_size=32, shuffle=True)
validation = data.DataLoader(data.Subset(images, range(3000, 3400)), batch_size=100)

# %%
# A network
# ---------


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


model = nn.Sequential(
    block(3, 16), block(16, 32), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
    nn.Linear(512, len(images.classes)),
)  # fmt: skip
print(sum(p.numel() for p in model.parameters()), "parameters")

# %%
# Training
# --------
# ``fit`` trains, validates after each epoch, and returns a row of figures for each. With
# ``folder=`` it keeps checkpoints, from which ``resume=True`` goes on, bit for bit.

rows = train.fit(
    model,
    training,
    validation,
    optimizer=optim.AdamW(model.parameters(), lr=0.01),
    schedule="onecycle",
    epochs=4,
    metrics=["accuracy", train.metrics.F1Score()],
    quiet=True,
)
for row in rows:
    print(
        row["epoch"],
        *(f"{name} {row[name]:.3f}" for name in ("train_loss", "val_loss", "val_accuracy")),
    )
assert rows[-1]["train_loss"] < rows[0]["train_loss"]

# %%
# What it gets wrong
# ------------------

matrix = train.metrics.ConfusionMatrix()
model.eval()
with tg.no_grad():
    for batch, labels in validation:
        matrix.update(model(batch), labels)
counts = matrix.compute()
print(counts)
for true, guess, count in train.most_confused(counts, 3):
    print(f"{images.classes[true]} taken for {images.classes[guess]}: {count}")

# %%
# From the command line
# ---------------------
# The same with a report, curves and the confusion matrix as files::
#
#     tinygrad-cnn train models/resnet20.py --data cifar10 --download
