"""Studies at the paper's and at DataComp's scale, as lists of runs: what would be trained, on how many samples.

Use `PAPER_PRESETS`; `empirical.cost_estimate` says what one would cost and `experiments/paper_scale.py` is the command. Source
sizes and models are the published ones; what the paper's public record does not give (batch size, epochs, learning rate) is this
project's choice after open_clip's documented recipe for 12 million captions, and so named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from empirical.errors import StudyError
from empirical.recipe import Recipe
from empirical.reported_numbers import SOURCE_SIZES

PAPER_SIZES: dict[str, int] = {
    "yfcc": 14_826_000,
    "laion": 15_504_742,
    "cc12m": 9_594_338,
    "wit": 5_038_295,
    "redcaps": 11_882_403,
    "shutterstock": 15_540_452,
}
"""Image-text pairs of the paper's six sources (second-hand)."""


@dataclass(frozen=True)
class PlannedRun:
    """One training run: kind, shares of its sources, distinct training pairs, and samples seen over all epochs."""

    kind: str
    shares: Mapping[str, float]
    n_train: int
    samples_seen: int
    seed: int

    @property
    def name(self) -> str:
        """Readable and unique within a preset."""
        mixture = "+".join(f"{source}:{share:.4g}" for source, share in self.shares.items())
        return f"{self.kind}-{mixture}-n{self.n_train}-s{self.seed}"


@dataclass(frozen=True)
class PaperPreset:
    """A study at scale: an open_clip model, its recipe, the sources' sizes and the runs; about says what is whose choice."""

    name: str
    model: str
    recipe: Recipe
    sources: Mapping[str, int]
    runs: tuple[PlannedRun, ...]
    about: str


def _paper() -> PaperPreset:
    epochs = 32
    recipe = Recipe(epochs=epochs, batch_size=1024, learning_rate=1e-3, warmup_fraction=0.05, max_shift=0)
    runs = []
    for source, size in PAPER_SIZES.items():
        for n in (*(n for n in (1_000_000, 2_000_000, 4_000_000, 8_000_000) if n < size), size):
            runs.append(PlannedRun("single", {source: 1.0}, n, epochs * n, 0))  # noqa: PERF401
    n = 4_000_000
    mixtures = [{a: 0.5, b: 0.5} for a, b in combinations(PAPER_SIZES, 2)]
    mixtures.append(dict.fromkeys(PAPER_SIZES, 1 / len(PAPER_SIZES)))
    runs += [PlannedRun("input_mixing", mixture, n, epochs * n, 0) for mixture in mixtures]
    return PaperPreset(
        "paper", "RN50", recipe, PAPER_SIZES, tuple(runs),
        "RN50 at 224 px on the paper's six sources at their real sizes. Epochs, batch size, learning rate, subset sizes and the "
        "list of mixtures are this project's choice (the paper's are not in its public record).",
    )  # fmt: skip


def _datacomp(scale: str, samples_seen: int) -> PaperPreset:
    recipe = Recipe(
        epochs=1, batch_size=4096, learning_rate=5e-4, weight_decay=0.2, max_shift=0,
        warmup_fraction=500 / (samples_seen / 4096),
    )  # fmt: skip
    cc, laion, red, shutter, yfcc = SOURCE_SIZES
    pools = [
        *((source,) for source in SOURCE_SIZES), (cc, laion, red), (cc, laion, shutter), (cc, red, shutter, yfcc),
        (cc, laion, red, shutter, yfcc),
    ]  # fmt: skip
    runs = []
    for pool in pools:
        total = sum(SOURCE_SIZES[source] for source in pool)
        shares = {source: SOURCE_SIZES[source] / total for source in pool}
        runs.append(
            PlannedRun("single" if len(pool) == 1 else "input_mixing", shares, total, samples_seen, 0)
        )
    return PaperPreset(
        f"datacomp-{scale}", "ViT-B-32", recipe, SOURCE_SIZES, tuple(runs),
        f"ViT-B/32, {samples_seen / 1e6:.1f}M samples seen at batch 4096 (DataComp's {scale} scale); nine pools of its Table 18.",
    )  # fmt: skip


PAPER_PRESETS: dict[str, PaperPreset] = {
    preset.name: preset
    for preset in (_paper(), _datacomp("small", 12_800_000), _datacomp("medium", 128_000_000))
}
"""Name -> preset."""


def paper_preset(name: str) -> PaperPreset:
    """The preset of this name. Raises StudyError for another."""
    if name not in PAPER_PRESETS:
        raise StudyError(f"there is no preset {name!r}; the presets are {', '.join(PAPER_PRESETS)}")
    return PAPER_PRESETS[name]
