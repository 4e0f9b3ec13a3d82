"""Programs as they are written for PyTorch, run with ``torch`` being either library.

The models start from the same weights and see the same batches; the losses of a few steps agree to
rounding. Nothing in a program knows which library it runs on.
"""

import math

import numpy as np
import pytest

import tinygrad_cnn as tg

pytorch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
STEPS = 5
PROGRAMS = {}


def program(function):
    """A function of ``torch`` and ``data`` that returns the modules and a step with its losses."""
    PROGRAMS[function.__name__] = function
    return function


@program
def nano_gpt(torch, data):
    nn, F = torch.nn, torch.nn.functional

    class CausalSelfAttention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.c_attn = nn.Linear(width, 3 * width, bias=False)
            self.c_proj = nn.Linear(width, width, bias=False)
            self.heads, self.width = heads, width

        def forward(self, x):
            b, t, c = x.size()
            q, k, v = self.c_attn(x).split(self.width, dim=2)
            q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, is_causal=True)
            return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.ln_1 = nn.LayerNorm(width, bias=False)
            self.attn = CausalSelfAttention(width, heads)
            self.ln_2 = nn.LayerNorm(width, bias=False)
            self.mlp = nn.ModuleDict(
                {
                    "c_fc": nn.Linear(width, 4 * width),
                    "gelu": nn.GELU(),
                    "c_proj": nn.Linear(4 * width, width),
                }
            )

        def forward(self, x):
            x = x + self.attn(self.ln_1(x))
            h = self.ln_2(x)
            for name in ("c_fc", "gelu", "c_proj"):
                h = self.mlp[name](h)
            return x + h

    class GPT(nn.Module):
        def __init__(self, vocabulary=17, block_size=12, width=16, heads=4, layers=2):
            super().__init__()
            self.transformer = nn.ModuleDict(
                {
                    "wte": nn.Embedding(vocabulary, width),
                    "wpe": nn.Embedding(block_size, width),
                    "h": nn.ModuleList([Block(width, heads) for _ in range(layers)]),
                    "ln_f": nn.LayerNorm(width),
                }
            )
            self.lm_head = nn.Linear(width, vocabulary, bias=False)
            self.transformer.wte.weight = self.lm_head.weight  # weight tying
            self.apply(self._init_weights)
            for name, p in self.named_parameters():
                if name.endswith("c_proj.weight"):
                    torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * layers))

        def _init_weights(self, module):
            if isinstance(module, nn.Linear | nn.Embedding):
                torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

        def forward(self, idx, targets):
            pos = torch.arange(0, idx.size(1), dtype=torch.long)
            x = self.transformer.wte(idx) + self.transformer.wpe(pos)
            for block in self.transformer.h:
                x = block(x)
            logits = self.lm_head(self.transformer.ln_f(x))
            return F.cross_entropy(
                logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1
            )

    model = GPT()

    def configure():
        decay = [p for p in model.parameters() if p.dim() >= 2]
        rest = [p for p in model.parameters() if p.dim() < 2]
        groups = [
            {"params": decay, "weight_decay": 0.1},
            {"params": rest, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))

    optimizer = configure()

    def step():
        text = torch.tensor(data.integers(0, 17, (4, 13)))
        loss = model(text[:, :-1], text[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return [loss]

    return [model], step


@program
def lstm_language_model(torch, data):
    nn = torch.nn

    class RNNModel(nn.Module):
        def __init__(self, tokens=13, size=8, hidden=10, layers=2):
            super().__init__()
            self.drop = nn.Dropout(0.0)
            self.encoder = nn.Embedding(tokens, size)
            self.rnn = nn.LSTM(size, hidden, layers, dropout=0.0)
            self.decoder = nn.Linear(hidden, tokens)
            self.layers, self.hidden, self.tokens = layers, hidden, tokens
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, input, hidden):
            output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
            decoded = self.decoder(self.drop(output)).view(-1, self.tokens)
            return nn.functional.log_softmax(decoded, dim=1), hidden

        def init_hidden(self, n):
            weight = next(self.parameters())
            return (
                weight.new_zeros(self.layers, n, self.hidden),
                weight.new_zeros(self.layers, n, self.hidden),
            )

    model = RNNModel()
    criterion = nn.NLLLoss()
    state = [model.init_hidden(3)]

    def step():
        text = torch.tensor(data.integers(0, 13, (8, 3)))
        hidden = tuple(h.detach() for h in state[0])
        model.zero_grad()
        output, state[0] = model(text[:-1], hidden)
        loss = criterion(output, text[1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-2.0)
        return [loss]

    return [model], step


@program
def u_net(torch, data):
    nn, F = torch.nn, torch.nn.functional

    class DoubleConv(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.double_conv = nn.Sequential(
                nn.Conv2d(a, b, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
                nn.Conv2d(b, b, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
            )

        def forward(self, x):
            return self.double_conv(x)

    class Up(nn.Module):
        def __init__(self, a, b, bilinear):
            super().__init__()
            if bilinear:
                self.up = nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                    nn.Conv2d(a, a // 2, 1),
                )
            else:
                self.up = nn.ConvTranspose2d(a, a // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(a, b)

        def forward(self, x1, x2):
            x1 = self.up(x1)
            dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
            x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            return self.conv(torch.cat([x2, x1], dim=1))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.inc = DoubleConv(1, 4)
            self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
            self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
            self.up1, self.up2 = Up(16, 8, False), Up(8, 4, True)
            self.outc = nn.Conv2d(4, 2, kernel_size=1)

        def forward(self, x):
            x1 = self.inc(x)
            x2 = self.down1(x1)
            return self.outc(self.up2(self.up1(self.down2(x2), x2), x1))

    model = UNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-8, momentum=0.9)

    def step():
        images = torch.tensor(data.standard_normal((2, 1, 13, 14)))
        masks = torch.tensor(data.integers(0, 2, (2, 13, 14)))
        pred = model(images)
        probabilities = F.softmax(pred, dim=1)[:, 1]
        dice = 1 - 2 * (probabilities * masks).sum() / (probabilities.sum() + masks.sum())
        loss = nn.CrossEntropyLoss()(pred, masks) + dice
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [loss]

    return [model], step


@program
def vae(torch, data):
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 12)
            self.fc21 = nn.Linear(12, 3)
            self.fc22 = nn.Linear(12, 3)
            self.fc3 = nn.Linear(3, 12)
            self.fc4 = nn.Linear(12, 20)

        def forward(self, x):
            h1 = F.relu(self.fc1(x.view(-1, 20)))
            mu, logvar = self.fc21(h1), self.fc22(h1)
            eps = torch.tensor(data.standard_normal((4, 3)))
            z = mu + eps * torch.exp(0.5 * logvar)
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def step():
        x = torch.tensor(data.random((4, 1, 4, 5)))
        recon, mu, logvar = model(x)
        bce = F.binary_cross_entropy(recon, x.view(-1, 20), reduction="sum")
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        optimizer.zero_grad()
        (bce + kld).backward()
        optimizer.step()
        return [bce, kld]

    return [model], step


@program
def dcgan(torch, data):
    nn = torch.nn

    def weights_init(m):
        if m.__class__.__name__.find("Conv") != -1:
            torch.nn.init.normal_(m.weight, 0.0, 0.02)
        elif m.__class__.__name__.find("BatchNorm") != -1:
            torch.nn.init.normal_(m.weight, 1.0, 0.02)
            torch.nn.init.zeros_(m.bias)

    net_g = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    ).apply(weights_init)
    net_d = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 1, 4, 1, 0, bias=False),
        nn.Sigmoid(),
    ).apply(weights_init)
    criterion = nn.BCELoss()
    optimizer_d = torch.optim.Adam(net_d.parameters(), lr=2e-3, betas=(0.5, 0.999))
    optimizer_g = torch.optim.Adam(net_g.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def step():
        real = torch.tensor(data.standard_normal((3, 1, 16, 16)))
        noise = torch.tensor(data.standard_normal((3, 6, 1, 1)))
        net_d.zero_grad()
        label = torch.full((3,), 1.0, dtype=real.dtype)
        err_real = criterion(net_d(real).view(-1), label)
        err_real.backward()
        fake = net_g(noise)
        label.fill_(0.0)
        err_fake = criterion(net_d(fake.detach()).view(-1), label)
        err_fake.backward()
        optimizer_d.step()
        net_g.zero_grad()
        label.fill_(1.0)
        err_g = criterion(net_d(fake).view(-1), label)
        err_g.backward()
        optimizer_g.step()
        return [err_real, err_fake, err_g]

    return [net_g, net_d], step


@program
def wgan_gp(torch, data):
    nn = torch.nn
    generator = nn.Sequential(
        nn.Linear(4, 16),
        nn.BatchNorm1d(16, 0.8),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(16, 6),
        nn.Tanh(),
    )
    critic = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    optimizer_d = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))

    def gradient_penalty(real, fake):
        alpha = torch.tensor(data.random((real.size(0), 1)))
        between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        scores = critic(between)
        gradients = torch.autograd.grad(
            outputs=scores,
            inputs=between,
            grad_outputs=torch.ones_like(scores),
            create_graph=True,
            retain_graph=True,
            only_inputs=True,
        )[0]
        return ((gradients.view(gradients.size(0), -1).norm(2, dim=1) - 1) ** 2).mean()

    def step():
        real = torch.tensor(data.standard_normal((5, 6)))
        z = torch.tensor(data.standard_normal((5, 4)))
        optimizer_d.zero_grad()
        fake = generator(z)
        loss_d = -torch.mean(critic(real)) + torch.mean(critic(fake))
        loss_d = loss_d + 10 * gradient_penalty(real.data, fake.data)
        loss_d.backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        loss_g = -torch.mean(critic(generator(z)))
        loss_g.backward()
        optimizer_g.step()
        return [loss_d, loss_g]

    return [generator, critic], step


@program
def vit(torch, data):
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self, size=8, patch=4, width=12, depth=2, heads=3, classes=5):
            super().__init__()
            self.conv_proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
            self.class_token = nn.Parameter(torch.zeros(1, 1, width))
            n = (size // patch) ** 2 + 1
            self.pos_embedding = nn.Parameter(torch.empty(1, n, width).normal_(std=0.02))
            layer = nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
                norm_first=True,
            )  # fmt: skip
            self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width, eps=1e-6))
            self.head = nn.Linear(width, classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)

        def forward(self, x):
            x = self.conv_proj(x).flatten(2).permute(0, 2, 1)
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
            return self.head(self.encoder(x + self.pos_embedding)[:, 0])

    model = ViT()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def step():
        images = torch.tensor(data.standard_normal((4, 3, 8, 8)))
        loss = criterion(model(images), torch.tensor(data.integers(0, 5, 4)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return [loss]

    return [model], step


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_written_for_pytorch(name):
    """In float64, where rounding cannot hide a difference."""
    for torch in (tg, pytorch):
        torch.set_default_dtype(torch.float64)
    try:
        ours, our_step = PROGRAMS[name](tg, np.random.default_rng(0))
        theirs, their_step = PROGRAMS[name](pytorch, np.random.default_rng(0))
        for mine, model in zip(ours, theirs, strict=True):
            mine.load_state_dict(model.state_dict())
        for _ in range(STEPS):
            got, wanted = our_step(), their_step()
            for a, b in zip(got, wanted, strict=True):
                assert a.item() == pytest.approx(b.item(), rel=1e-7, abs=1e-9)
    finally:
        for torch in (tg, pytorch):
            torch.set_default_dtype(torch.float32)
