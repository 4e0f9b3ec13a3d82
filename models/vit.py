"""A Vision Transformer: A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for
Image Recognition at Scale", ICLR 2021, arXiv:2010.11929, section 3.1 and figure 1; a small one.

The layers carry the names of torchvision's `VisionTransformer`. With `image_size=224,
patch_size=16, depth=12, heads=12, dim=768, mlp_dim=3072, num_classes=1000` it is `vit_b_16`, whose
weights can be loaded. As it stands it has 2,693,578 parameters for 10 classes, and takes images of
32 × 32.
"""

import math
from collections import OrderedDict

import tinygrad_cnn as tg
from tinygrad_cnn import Tensor, nn

__all__ = ["ViT"]


class EncoderBlock(nn.Module):
    """Attention and two linear layers, each normalised before and beside a shortcut: (n, l, d)."""

    def __init__(self, heads: int, dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(dim, heads, dropout=0.0, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_dim, dim),
            nn.Dropout(dropout),
        )
        for layer in (self.mlp[0], self.mlp[3]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + self.dropout(y)
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Places are added, then come the blocks: (n, l, d)."""

    def __init__(
        self, length: int, depth: int, heads: int, dim: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(tg.empty(1, length, dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict(
                (f"encoder_layer_{i}", EncoderBlock(heads, dim, mlp_dim, dropout))
                for i in range(depth)
            )
        )
        self.ln = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class ViT(nn.Module):
    """Patches as words of a sentence: images (n, 3, h, h) to scores (n, num_classes)."""

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        patch_size: int = 4,
        depth: int = 6,
        heads: int = 3,
        dim: int = 192,
        mlp_dim: int = 768,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.conv_proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(tg.zeros(1, 1, dim))
        length = (image_size // patch_size) ** 2 + 1  # the patches, and a word for the class
        self.encoder = Encoder(length, depth, heads, dim, mlp_dim, dropout)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(dim, num_classes)))
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (3 * patch_size**2)))
        nn.init.zeros_(self.conv_proj.bias)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f"ViT: `x` is of shape {tuple(x.shape)}, expected images of {self.image_size} × "
                f"{self.image_size} (`image_size`)"
            )
        x = self.conv_proj(x).flatten(2).transpose(1, 2)  # (n, patches, dim)
        x = tg.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1)  # (n, 1 + patches, dim)
        return self.heads(self.encoder(x)[:, 0])  # (n, num_classes)
