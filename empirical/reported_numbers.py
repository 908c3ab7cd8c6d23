"""Accuracies that papers report in print only, carried over with their sources.

Use `paper_checkpoints` for the checkpoints of the paper this project reworks, in the form of `empirical.published`'s rows, and
`DATACOMP_TABLE_18` for DataComp's single sources and mixtures (`empirical.datacomp_mixtures`). Numbers stand here as printed;
nothing is computed from them in this file.
"""

from dataclasses import dataclass

import pandas as pd

CHECKPOINT_SOURCE = (
    "Udandarao et al. 2024: the RN50 checkpoints of Nguyen et al. 2022, zero-shot with the prompt ensemble"
)
_CHECKPOINTS = (
    ("RN50", "quality_not_quantity_cc12m", 33.14, 40.98, 20.91),
    ("RN50", "quality_not_quantity_yfcc15m", 31.89, 22.56, 7.44),
)
CHECKPOINT_GROUPS: dict[str, str] = {
    "paper CC12M": r"^quality_not_quantity_cc12m$",
    "paper YFCC15M": r"^quality_not_quantity_yfcc15m$",
}
"""Group -> regular expression on `pretrained`, for the paper's checkpoints."""


def paper_checkpoints() -> pd.DataFrame:
    """The paper's own RN50 checkpoints as others measured them: model, pretrained, imagenet, imagenet_r, imagenet_sketch.

    Fractions, printed to a hundredth of a percent. Source: `CHECKPOINT_SOURCE`.
    """
    columns = ["model", "pretrained", "imagenet", "imagenet_r", "imagenet_sketch"]
    rows = [(model, tag, *(round(v / 100, 4) for v in values)) for model, tag, *values in _CHECKPOINTS]
    return pd.DataFrame(rows, columns=pd.Index(columns))


@dataclass(frozen=True)
class ReportedPool:
    """A training pool and what a ViT-B/32 reached on it: sources, scale, accuracy on ImageNet and mean over its shifts."""

    sources: tuple[str, ...]
    scale: str
    imagenet: float
    shifts: float


TABLE_18_SOURCE = "Gadre et al. 2023 (DataComp), Appendix P.2, Table 18: ViT-B/32, 12.8M samples seen at small, 128M at medium"
_CC, _LAION, _RED, _SHUTTER, _YFCC = "CC12M", "LAION15M", "RedCaps", "Shutterstock15M", "YFCC15M"
_TABLE_18 = (
    ((_CC,), (0.099, 0.080), (0.245, 0.189)),
    ((_LAION,), (0.083, 0.076), (0.270, 0.215)),
    ((_RED,), (0.076, 0.066), (0.237, 0.166)),
    ((_SHUTTER,), (0.083, 0.070), (0.229, 0.191)),
    ((_YFCC,), (0.071, 0.046), (0.232, 0.137)),
    ((_CC, _LAION, _RED), (0.097, 0.084), (0.376, 0.287)),
    ((_CC, _LAION, _SHUTTER), (0.091, 0.081), (0.342, 0.278)),
    ((_CC, _RED, _SHUTTER, _YFCC), (0.095, 0.075), (0.360, 0.268)),
    ((_CC, _LAION, _RED, _SHUTTER, _YFCC), (0.093, 0.076), (0.371, 0.285)),
)
DATACOMP_TABLE_18: tuple[ReportedPool, ...] = tuple(
    ReportedPool(sources, scale, *values)
    for sources, small, medium in _TABLE_18
    for scale, values in (("small", small), ("medium", medium))
)
"""Fractions as printed (three decimals), single sources first. Source: `TABLE_18_SOURCE`."""

SOURCE_SIZES: dict[str, int] = {
    _CC: 9_594_338,
    _LAION: 15_504_742,
    _RED: 11_882_403,
    _SHUTTER: 15_540_452,
    _YFCC: 14_826_000,
}
"""Image-text pairs of each source in Nguyen et al. 2022, whose copies DataComp trained on (second-hand)."""

SHIFT_CLASSES: dict[str, tuple[int, int]] = {
    "imagenet_sketch": (1000, 50889),
    "imagenet_v2": (1000, 10000),
    "imagenet_a": (200, 7500),
    "imagenet_o": (200, 2000),
    "imagenet_r": (200, 30000),
    "objectnet": (113, 18574),
}
"""DataComp's six ImageNet shifts, over which Table 18 averages: classes and images (its task list)."""
