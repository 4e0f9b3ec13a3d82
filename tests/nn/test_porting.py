"""Code written for PyTorch runs after changing only its imports, and computes the same."""

import numpy as np
import pytest

import tinygrad_cnn as tg

OURS = """
import tinygrad_cnn as torch
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.utils import clip_grad_norm_
from tinygrad_cnn.optim.lr_scheduler import OneCycleLR
"""
THEIRS = OURS.replace("tinygrad_cnn as torch", "torch").replace("tinygrad_cnn", "torch")

CODE = """
class ConvBlock(nn.Module):
    def __init__(self, cin, cout, act=nn.ReLU, p=0.0):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.act = act(inplace=True)
        self.drop = nn.Dropout2d(p) if p > 0 else nn.Identity()

    def forward(self, x):
        return self.drop(self.act(self.bn(self.conv(x))))


class Residual(nn.Module):
    expansion: int = 1

    def __init__(self, width):
        super(Residual, self).__init__()
        self.block1 = ConvBlock(width, width, nn.LeakyReLU)
        self.block2 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding="same", groups=2, padding_mode="reflect"),
            nn.GroupNorm(2, width),
        )

    def forward(self, x):
        out = self.block2(self.block1(x))
        out += x
        return F.relu(out)


class Net(nn.Module):
    def __init__(self, classes=10, widths=(4, 8)):
        super().__init__()
        layers = []
        cin = 3
        for w in widths:
            layers += [ConvBlock(cin, w), Residual(w), nn.MaxPool2d(2, 2)]
            cin = w
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({"main": nn.Linear(cin, 16), "aux": nn.Linear(cin, 16)})
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(2)])
        self.classifier = nn.Linear(16, classes)
        self.gain = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def forward(self, x):
        self.steps += 1
        x = self.features(x)
        x = torch.flatten(self.pool(x), 1)
        a, b = self.heads["main"](x), torch.tanh(self.heads["aux"](x))
        h = self.norms[0](a) * torch.sigmoid(self.norms[1](b))
        return self.classifier(F.gelu(h)) * self.gain


def train(model, batches, epochs):
    decay = [p for n, p in model.named_parameters() if p.ndim > 1]
    rest = [p for n, p in model.named_parameters() if p.ndim <= 1]
    optimizer = optim.SGD(
        [{"params": decay, "weight_decay": 5e-4}, {"params": rest}], lr=0.1, momentum=0.9
    )
    scheduler = OneCycleLR(optimizer, max_lr=0.1, epochs=epochs, steps_per_epoch=len(batches))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    for epoch in range(epochs):
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        correct = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in batches)
    return losses, correct
"""


def run(imports):
    names = {}
    exec(compile(imports + CODE, "model.py", "exec"), names)
    return names


def test_a_model_and_its_training_loop():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    ours, theirs = run(OURS), run(THEIRS)
    theirs["torch"].manual_seed(0)
    a, b = ours["Net"]().double(), theirs["Net"]().double()
    assert repr(a) == repr(b)
    assert list(a.state_dict()) == list(b.state_dict())
    a.load_state_dict(b.state_dict())
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((8, 3, 8, 8)), rng.integers(0, 10, 8)) for _ in range(3)]
    results = [
        names["train"](
            model, [(names["torch"].tensor(x), names["torch"].tensor(y)) for x, y in data], 4
        )
        for names, model in ((ours, a), (theirs, b))
    ]
    # Gradients go through many sums, whose order differs: the runs drift apart slowly.
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    assert results[0][1] == results[1][1]
    assert results[0][0][-1] < results[0][0][0]
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_model_learns_without_pytorch():
    names = run(OURS)
    tg.manual_seed(0)
    model = names["Net"](classes=3)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 3, 8, 8)).astype(np.float32)
    y = rng.integers(0, 3, 30)
    x[np.arange(30), y] += 1.5  # the class is the brighter channel
    batches = [(tg.tensor(x[i : i + 10]), tg.tensor(y[i : i + 10])) for i in range(0, 30, 10)]
    losses, correct = names["train"](model, batches, 12)
    assert losses[-1] < 0.75 * losses[0]
    assert correct >= 27
    assert model.steps.item() == 39
    tg.manual_seed(0)
    again = names["train"](names["Net"](classes=3), batches, 12)
    assert again == (losses, correct)  # the same seed, the same run


def test_layers_and_their_bases_are_in_the_places_that_pytorch_has():
    from tinygrad_cnn.nn.modules.batchnorm import _BatchNorm
    from tinygrad_cnn.nn.modules.conv import _ConvNd

    from tinygrad_cnn import nn
    from tinygrad_cnn.nn.modules.utils import _pair, _reverse_repeat_tuple

    assert isinstance(nn.BatchNorm2d(1), _BatchNorm)
    assert not isinstance(nn.InstanceNorm2d(1), _BatchNorm)
    assert issubclass(nn.Conv3d, _ConvNd)
    assert nn.modules.Linear is nn.modules.linear.Linear is nn.Linear
    assert nn.modules.module.Module is nn.Module
    assert nn.modules.loss._Loss in nn.MSELoss.__mro__
    assert (_pair(3), _pair([1, 2]), _reverse_repeat_tuple((1, 2), 2)) == (
        (3, 3),
        (1, 2),
        (2, 2, 1, 1),
    )
    with pytest.raises(AttributeError, match="no attribute 'Quantised'"):
        _ = nn.modules.Quantised


def test_old_and_functional_forms_of_names():
    x = tg.autograd.Variable(tg.tensor([-1.0, 2.0]), requires_grad=True)
    assert isinstance(x, tg.autograd.Variable)
    assert x.requires_grad
    assert not tg.autograd.Variable(x, volatile=True).requires_grad
    with pytest.raises(TypeError, match="Variable: `data` is a list"):
        tg.autograd.Variable([1.0])
    y = tg.tensor([-1.0, 2.0])
    assert tg.relu_(y) is y
    assert tg.index_put_(y, (tg.tensor([0]),), tg.tensor(5.0)) is y
    assert y.tolist() == [5.0, 2.0]
    assert tg.cosine_similarity is tg.nn.functional.cosine_similarity
    with tg.autograd.grad_mode.no_grad():
        assert not (x * 2).requires_grad
    tg.manual_seed(3)
    with tg.random.fork_rng(enabled=False):
        first = tg.rand(1)
    assert not tg.equal(first, tg.rand(1))
