r"""The theory of dataset mixing and robustness in the linear dilution setting.

Labels y are ±1; a `Source` trains on x ~ N(yν, Γ), a `Target` tests on x ~ N(yμ, Σ); the averaging classifier of n
samples has a margin on each target, and the margin is exactly its probit accuracy. Theorem 1 (one source is a line),
Theorem 2 (mixing dilutes: a weighted mediant) and Theorem 2b (ensembles follow the mixture) are in
`single_source`, `mixing`, `shares` and `ensembling`, Theorem 3 (filtering with a pre-trained model) in `filtering` and
`thresholds`; K-way links and intervals are in `links` and `counts`. The sampled twins of the closed forms are in
`monte_carlo` (exact, cost independent of n and d) and `brute_force`.

    from theory import Source, Target, mixture_slope
    ref, shift = Target([1.0, 1.0]), Target([1.0, 0.0])
    robust, fragile = Source([2.0, 1.0], name="robust"), Source([1.0, 3.0], name="fragile")
    half = mixture_slope([robust, fragile], [0.5, 0.5], ref, shift)
    print(half.describe())  # slope 0.4286, a mediant and therefore inside the sources' interval [0.25, 0.6667]

Covariances are a scalar variance, (d,) variances or a (d, d) matrix everywhere. Precision follows JAX's setting.
"""

from theory.brute_force import (
    FilteredDraws,
    brute_force_averaging,
    brute_force_classifiers,
    brute_force_filtered,
)
from theory.classifiers import AveragingLaw, averaging_classifier, averaging_law, multinomial_law
from theory.counts import clopper_pearson, dprime_interval, probit_interval
from theory.ensembling import (
    ensemble,
    ensemble_law,
    ensemble_place,
    ensemble_slope,
    normalised_ensemble,
    normalised_ensemble_slope,
    normalised_ensemble_slope_at,
)
from theory.filtering import (
    FilteredPool,
    FilteredSlope,
    Pool,
    direction_slope,
    filter_pool,
    filtered_place,
    filtered_slope,
    with_shuffled_captions,
)
from theory.gaussian import Source, Target, accuracy, alignment, margin
from theory.links import dprime, dprime_inverse, probit, probit_inverse
from theory.mixing import (
    MixtureSlope,
    VanishingSignal,
    limiting_slope,
    mediant,
    mixture_place,
    mixture_slope,
    mixture_source,
)
from theory.monte_carlo import MarginDraws, sample_averaging, sample_ensemble, sample_multinomial
from theory.ratio_law import FiellerSet, RatioLaw, fieller_set
from theory.reduced_problem import ReducedProblem, reduce_problem
from theory.shares import halfway_share, share_for_slope
from theory.single_source import (
    Bending,
    bending,
    growth_exponent,
    place,
    place_limit,
    slope,
    slope_at,
    slope_distribution,
)
from theory.thresholds import BestThreshold, best_threshold, threshold_for_kept_share

__all__ = [
    "AveragingLaw",
    "Bending",
    "BestThreshold",
    "FiellerSet",
    "FilteredDraws",
    "FilteredPool",
    "FilteredSlope",
    "MarginDraws",
    "MixtureSlope",
    "Pool",
    "RatioLaw",
    "ReducedProblem",
    "Source",
    "Target",
    "VanishingSignal",
    "accuracy",
    "alignment",
    "averaging_classifier",
    "averaging_law",
    "bending",
    "best_threshold",
    "brute_force_averaging",
    "brute_force_classifiers",
    "brute_force_filtered",
    "clopper_pearson",
    "direction_slope",
    "dprime",
    "dprime_interval",
    "dprime_inverse",
    "ensemble",
    "ensemble_law",
    "ensemble_place",
    "ensemble_slope",
    "fieller_set",
    "filter_pool",
    "filtered_place",
    "filtered_slope",
    "growth_exponent",
    "halfway_share",
    "limiting_slope",
    "margin",
    "mediant",
    "mixture_place",
    "mixture_slope",
    "mixture_source",
    "multinomial_law",
    "normalised_ensemble",
    "normalised_ensemble_slope",
    "normalised_ensemble_slope_at",
    "place",
    "place_limit",
    "probit",
    "probit_interval",
    "probit_inverse",
    "reduce_problem",
    "sample_averaging",
    "sample_ensemble",
    "sample_multinomial",
    "share_for_slope",
    "slope",
    "slope_at",
    "slope_distribution",
    "threshold_for_kept_share",
    "with_shuffled_captions",
]
