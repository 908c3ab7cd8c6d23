"""Settings in which a learner escapes dilution, above or below its sources, and their neighbours in which it does not.

Use `escape_settings`; `theory.escape.predict` says what the exact asymptotics expect of each, `theory.escape.simulate` trains
them. Features in order: in the settings of subtraction a robust core and a spurious feature, in those of whitening two robust
features, one of which each source has, and one that both share. All other features are noise. Slopes at d = 400 (40
classifiers each; averaging never leaves the sources):

| setting | sources | averaging | limit | trained |
|---|---|---|---|---|
| over-fitted spurious source | .143, .500 | .222 | .674 | .674 ± .001 |
| interpolation | .143, .500 | .222 | .541 | .545 ± .006 |
| spurious feature of its own | .412, 1.000 | .500 | 1.117 | 1.117 ± .001 |
| noisy copies, shift keeps the shared feature | .750, .786 | .767 | .923 | .923 ± .001 |
| quiet copies | .500, .429 | .467 | .563 | .564 ± .002 |
| noisy copies | .500, .500 | .500 | .181 | .181 ± .001 |
| noisy copies, unequal sources | .500, .429 | .467 | .160 | .159 ± .001 |
| over-fitted robust source | .857, .500 | .778 | .326 | .326 ± .001 |
| quiet copies, shift keeps the shared feature | .750, .786 | .767 | .698 | .697 ± .001 |
| over-fitted spurious source, strong penalty | .143, .500 | .222 | .389 | .390 ± .001 |
| interpolation of few samples | .143, .500 | .222 | .423 | .416 ± .008 |
| over-fitted spurious source, logistic | .143, .500 | .222 | .456 | .457 ± .001 |
| long source that points elsewhere | .048, .833 | .173 | .691 | .692 ± .001 |
| common noise of any shape | .200, .600 | .467 | .392 | .394 ± .001 |
| isotropic noise of two levels | .500, .429 | .467 | .466 | .464 ± .002 |
"""

from typing import Any

import numpy as np

from theory.escape import EscapeSetting
from theory.gaussian import Source, Target


def escape_settings(num_features: int = 400) -> tuple[EscapeSetting, ...]:
    """Fifteen settings: five above the best source, four below the worst, six between them, each with the reason.

    Args:
        num_features: d of the sources and targets, at least 8.

    Raises:
        ValueError: fewer than 8 features.
    """
    if num_features < 8:
        raise ValueError(f"the settings need at least 8 features, got {num_features}")

    def vector(entries: tuple[float, ...], rest: float = 0.0) -> np.ndarray:
        return np.r_[np.asarray(entries, float), np.full(num_features - len(entries), rest)]

    def source(mean: tuple[float, ...], noise: tuple[float, ...] | float = 1.0, name: str = "") -> Source:
        covariance: Any = vector(noise, 1.0) if isinstance(noise, tuple) else noise
        return Source(vector(mean), covariance, name)

    def targets(ref: tuple[float, ...], shift: tuple[float, ...]) -> tuple[Target, Target]:
        return Target(vector(ref), name="ref"), Target(vector(shift), name="shift")

    spurious = source((1.0, 6.0), name="long spurious"), source((1.0, 1.0), name="balanced")
    core = targets((1.0, 1.0), (1.0, 0.0))

    def copies(foreign: float, second: float = 1.5) -> tuple[Source, Source]:
        """Each source has one robust feature of its own; `foreign` is its variance along the other's."""
        first = source((2.0, 0.0, 1.0), (1.0, foreign, 1.0), "first view")
        return first, source((0.0, second, 1.0), (foreign, 1.0, 1.0), "second view")

    loses_shared = targets((0.5, 0.5, 1.0), (0.5, 0.5, 0.0))
    keeps_shared = targets((0.5, 0.5, 1.0), (0.25, 0.25, 1.0))
    common = (4.0, 0.5, 1.0)
    return (
        EscapeSetting(
            "over-fitted spurious source",
            "subtraction",
            "above",
            "The long spurious source is fitted beyond its labels, so least squares takes it away from the other one: "
            "what is left is more robust than either.",
            spurious,
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "interpolation",
            "subtraction",
            "above",
            "With fewer samples than features the interpolator sees noise γ²d/n instead of γ²; at n = d/2 that is still "
            "too little to keep the spurious source from being over-fitted.",
            spurious,
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=0.5,
        ),
        EscapeSetting(
            "spurious feature of its own",
            "subtraction",
            "above",
            "Subtracting a source that has all the other one has and a spurious feature on top leaves a negative weight "
            "on that feature: more margin under the shift than on the reference.",
            (source((3.5, 5.0), name="core and spurious"), source((1.5, 0.0), name="core")),
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "noisy copies, shift keeps the shared feature",
            "whitening",
            "above",
            "Each robust feature is noisy in the source that lacks it; pooled noise makes both look noisy, the learner "
            "turns to the shared feature, and this shift happens to keep it.",
            copies(9.0),
            *keeps_shared,
            loss="hinge",
            penalty=0.01,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "quiet copies",
            "whitening",
            "above",
            "Each robust feature is nearly silent in the source that lacks it; pooled noise makes both look clean, and "
            "the learner turns from the shared feature, which the shift destroys, to the robust ones.",
            copies(0.1),
            *loses_shared,
            loss="logistic",
            penalty=0.01,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "noisy copies",
            "whitening",
            "below",
            "Each source finds its own robust feature; in the mixture both look noisy and the learner relies on the "
            "shared feature, which the shift destroys.",
            copies(9.0, 2.0),
            *loses_shared,
            loss="logistic",
            penalty=0.01,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "noisy copies, unequal sources",
            "whitening",
            "below",
            "The same for sources that differ in robustness: the mixture is less robust than the more fragile of the two.",
            copies(9.0),
            *loses_shared,
            loss="logistic",
            penalty=0.01,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "over-fitted robust source",
            "subtraction",
            "below",
            "The long source is the robust one here, and it is what least squares takes away: the same subtraction "
            "leaves less than the worst source has.",
            (source((6.0, 1.0), name="long robust"), source((1.0, 1.0), name="balanced")),
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "quiet copies, shift keeps the shared feature",
            "whitening",
            "below",
            "Pooled noise makes the robust features look clean, and this shift weakens them and keeps the shared one "
            "that the learner turned from.",
            copies(0.1),
            *keeps_shared,
            loss="square",
            penalty=0.01,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "over-fitted spurious source, strong penalty",
            "none",
            "inside",
            "A penalty adds to the noise the classifier sees; beyond p(ν₁·ν₂ − ‖ν₂‖²) = 2.5 no source is over-fitted.",
            spurious,
            *core,
            loss="square",
            penalty=4.0,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "interpolation of few samples",
            "none",
            "inside",
            "At n = d/4 the interpolator sees noise 4γ², more than the 2.5 up to which the spurious source is subtracted.",
            spurious,
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=0.25,
        ),
        EscapeSetting(
            "over-fitted spurious source, logistic",
            "none",
            "inside",
            "A decreasing loss stops pulling where a source is fitted, it never pulls back: the weight of the spurious "
            "source is small and positive.",
            spurious,
            *core,
            loss="logistic",
            penalty=0.1,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "long source that points elsewhere",
            "none",
            "inside",
            "Length alone does not subtract: what is over-fitted must point along the other source, and these two "
            "hardly do.",
            (source((0.3, 6.0), name="long spurious"), source((1.0, 0.2), name="core")),
            *core,
            loss="square",
            penalty=0.001,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "common noise of any shape",
            "none",
            "inside",
            "Noise of any shape turns the sources' lines, but what is common to both whitens their mixture as it whitens "
            "them: the mediant holds for the whitened features.",
            (source((2.0, 0.0, 1.0), common, "first view"), source((0.0, 1.5, 1.0), common, "second view")),
            *loses_shared,
            loss="square",
            penalty=0.0,
            samples_per_feature=10,
        ),
        EscapeSetting(
            "isotropic noise of two levels",
            "none",
            "inside",
            "Noise levels that differ change the weights of the mediant, not its sign, for a decreasing loss.",
            (source((2.0, 0.0, 1.0), 4.0, "loud"), source((0.0, 1.5, 1.0), 1.0, "calm")),
            *loses_shared,
            loss="logistic",
            penalty=0.01,
            samples_per_feature=10,
        ),
    )
