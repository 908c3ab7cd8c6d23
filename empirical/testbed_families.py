"""Families of ImageNet models: which of imagenet-testbed's models may serve as the baseline of effective robustness.

Use `model_family` for the family that a model's name tells, or `read_families` for a table of your own (columns model and
family). `TESTBED_GROUPS` are the groups that published tables are sorted into, `DEFAULT_BASELINE` the families of the default
baseline: standard models, and the convolutional networks trained on few images or epochs. Without the latter the baseline
ends near 56% reference accuracy, far above what CLIP models of 15 million samples reach.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from empirical.csv_cells import read_csv_cells
from empirical.errors import DataError

TESTBED = "imagenet-testbed: "
"""Start of `pretrained` in rows that come from imagenet-testbed's table; the family follows."""

STANDARD = "standard"
FAMILY_PATTERNS: dict[str, str] = {
    "low_accuracy_cnn": r"_epochs$|_imagenet_subsample_",
    "other_learner": r"^identity32_|_lstsq$",
    "lp_adv": r"adv_trained|adv-train|_(linf|l2)_eps\d|smoothing_adversarial|randomized_smoothing_noise_(?!0\.00)",
    "robust_intv": r"advprop|augmix|mixup|cutmix|CutMix|cutout|_lpf\d|trained_on_SIN|rotation-(standard|worst|random|nocrop)"
    r"|_with_\w+_aws$|deepaugment",
    "more_data": r"noisystudent|x48d|instagram|^BiT-M-|_swsl$|_ssl$|jft|ml-images|imagenet11k|imagenet21k|clip_zeroshot"
    r"|^vit_(base|large)_|^dpn(68b|92|107)$",
}
"""Family -> regular expression on the model's name, the first that matches; `STANDARD` for the rest."""

FAMILY_LABELS: dict[str, str] = {
    STANDARD: "standard models",
    "low_accuracy_cnn": "low-accuracy CNNs",
    "robust_intv": "robustness interventions",
    "lp_adv": "adversarially trained",
    "more_data": "more data",
    "other_learner": "other learners",
}
OTHER_LEARNERS = ("other_learner", "random_features", "random_forests", "linear_pixels", "nearest_neighbors")
"""Families of one model each that learn by other means than networks; imagenet-testbed's own names among them."""


def groups_of_families(families: Mapping[str, str]) -> dict[str, str]:
    """Groups, as `TESTBED_GROUPS`, for the families of a table of one's own (known families keep their labels)."""
    members: dict[str, list[str]] = {}
    for family in dict.fromkeys(families.values()):
        label = "other learners" if family in OTHER_LEARNERS else FAMILY_LABELS.get(family, family)
        members.setdefault(label, []).append(re.escape(family))
    return {label: f"^{re.escape(TESTBED)}({'|'.join(names)})$" for label, names in members.items()}


TESTBED_GROUPS: dict[str, str] = groups_of_families({family: family for family in FAMILY_LABELS})
"""Group -> regular expression on `pretrained`, for rows of imagenet-testbed."""

DEFAULT_BASELINE = (FAMILY_LABELS[STANDARD], FAMILY_LABELS["low_accuracy_cnn"])
"""Groups of the default baseline."""


def model_family(model: str) -> str:
    """The family that a model's name in imagenet-testbed's table tells."""
    for family, pattern in FAMILY_PATTERNS.items():
        if re.search(pattern, model):
            return family
    return STANDARD


def read_families(path: str | Path) -> dict[str, str]:
    """Model -> family from a CSV file with the columns model and family; families may have names of your own.

    Raises DataError for a file that cannot be read, a missing column, an empty cell, or a model with two families.
    """
    table = read_csv_cells(Path(path))
    for column in ("model", "family"):
        if column not in table.columns:
            raise DataError(
                f"{path}: no column {column!r}; a families table has the columns model and family, this one "
                f"{', '.join(map(str, table.columns))}"
            )
    families: dict[str, str] = {}
    for number, model, family in zip(table.index, table["model"], table["family"], strict=True):
        model, family = model.strip(), family.strip()
        if not model or not family:
            raise DataError(f"{path}, row {number}: model and family must both be given")
        if families.setdefault(model, family) != family:
            raise DataError(f"{path}, row {number}: {model} has two families, {families[model]} and {family}")
    return families
