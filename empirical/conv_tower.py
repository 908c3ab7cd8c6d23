"""The small image tower of the embedded testbed, registered with timm so that an open_clip JSON can name it.

Importing this module is what makes `"timm_model_name": "conv_tower"` known; `empirical.model.build_model` does it.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional

GRID = 2  # side of the feature grid the head reads; 32 px images arrive there without pooling


class ConvTower(nn.Module):
    """Four stride-2 3x3 conv-BN-ReLU layers and a linear head on a 2 x 2 feature grid.

    An image of S px gives an S/16 x S/16 map, averaged down to 2 x 2 (at 32 px there is nothing to average): one
    set of weights serves every image size from 32 px on. The interface is the one timm's own models have.
    """

    default_cfg: dict[str, Any] = {"input_size": (3, 32, 32), "pool_size": None}  # noqa: RUF012  (timm's name and type)

    def __init__(
        self, widths: tuple[int, ...] = (16, 32, 64, 128), num_classes: int = 64, in_chans: int = 3
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((in_chans, *widths[:-1]), widths, strict=True):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.stem = nn.Sequential(*layers)
        self.num_features = widths[-1] * GRID * GRID
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a fresh linear map to `num_classes` outputs; 0 leaves the flattened features."""
        del global_pool  # the 2 x 2 grid is part of the architecture
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes, bias=False) if num_classes else nn.Identity()

    def forward_features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d rows columns"]:
        """Feature maps before the grid."""
        return self.stem(images)

    def forward_head(self, maps: Float[Tensor, "n d rows columns"]) -> Float[Tensor, "n out"]:
        """Average the maps down to the 2 x 2 grid, flatten, apply the head."""
        if maps.shape[-2:] != (GRID, GRID):
            maps = functional.adaptive_avg_pool2d(maps, GRID)
        return self.head(maps.flatten(1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out"]:
        """Image features, (n, num_classes)."""
        return self.forward_head(self.forward_features(images))


@register_model
def conv_tower(pretrained: bool = False, num_classes: int = 64, **unused: Any) -> ConvTower:
    """timm's entry point; there are no pretrained weights."""
    if pretrained:
        raise ValueError("conv_tower has no pretrained weights: set timm_model_pretrained to false")
    return ConvTower(num_classes=num_classes)
