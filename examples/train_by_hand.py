"""A training loop written by hand: a small network learns the built-in shapes in some seconds.

Run it: python examples/train_by_hand.py
"""

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import data, nn, optim


class Net(nn.Module):
    """Three convolutions and one linear layer: images (n, 3, 16, 16) to scores (n, 10)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)  # (n, 16, 8, 8)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # (n, 32, 4, 4)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc(x.flatten(1))


tg.manual_seed(0)
train = data.DataLoader(data.Shapes(6000, size=16), batch_size=50, shuffle=True)
test = data.DataLoader(data.Shapes(1000, size=16, train=False), batch_size=500)
net, epochs = Net(), 4
optimizer = optim.Adam(net.parameters(), lr=0.01)
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=epochs * len(train))

for epoch in range(epochs):
    net.train()
    total = 0.0
    for images, labels in train:
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item()

    net.eval()
    with tg.no_grad():
        right = sum((net(images).argmax(1) == labels).sum().item() for images, labels in test)
    print(f"epoch {epoch + 1}: loss {total / len(train):.3f}, test accuracy {right / 1000:.1%}")

assert right / 1000 > 0.7
