r"""The theory of dataset mixing and robustness in the linear dilution setting.

Labels y are ±1; a `Source` trains on x ~ N(yν, Γ), a `Target` tests on x ~ N(yμ, Σ); the averaging classifier of n
samples has a margin on each target, and the margin is exactly its probit accuracy. Theorem 1 (one source is a line),
Theorem 2 (mixing dilutes: a weighted mediant) and Theorem 2b (ensembles follow the mixture) are in
`single_source`, `mixing`, `shares` and `ensembling`, Theorem 3 (filtering with a pre-trained model) in `filtering` and
`thresholds`; when more, worse data is worth adding in `break_even`, the best mixture in `portfolio`. Learners that whiten are
trained in `learners`, solved exactly in `asymptotics`, and weighed by Theorem 4 in `learned_weights`; `escape` says where
dilution ends, `wrong_line` where better on the reference is worse under shift. K classes and linear CLIP are in `multiclass*`
and `linear_clip*`; K-way links and intervals in `links` and `counts`. The sampled twins of the closed forms are in
`monte_carlo` and `exact_*` (exact, cost independent of n and d) and `brute_force*`; the proofs, step by step, in
`theory.proofs` (not loaded here: it needs SymPy).

    from theory import Source, Target, mixture_slope
    ref, shift = Target([1.0, 1.0]), Target([1.0, 0.0])
    robust, fragile = Source([2.0, 1.0], name="robust"), Source([1.0, 3.0], name="fragile")
    half = mixture_slope([robust, fragile], [0.5, 0.5], ref, shift)
    print(half.describe())  # slope 0.4286, a mediant and therefore inside the sources' interval [0.25, 0.6667]

Covariances are a scalar variance, (d,) variances or a (d, d) matrix everywhere. Precision follows JAX's setting.
"""

from theory.asymptotics import (
    Asymptotics,
    asymptotics,
    asymptotics_sweep,
    hard_margin_asymptotics,
    minimum_norm_asymptotics,
    population_solution,
)
from theory.break_even import (
    REGIONS,
    AdditionMap,
    BreakEven,
    addition_map,
    break_even,
    break_even_bar,
    marginal_values,
)
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
from theory.escape import EscapeSetting, effective_noise, square_loss_pulls
from theory.escape_settings import escape_settings
from theory.exact_least_squares import sample_least_squares, sample_pooled_lda, whiten_problem
from theory.exact_minimum_norm import sample_minimum_norm
from theory.exact_ridge import sample_ridge
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
from theory.learned_weights import LearnedWeights, learned_weights
from theory.learners import (
    Trained,
    UncertifiedOptimum,
    draw_mixture,
    train,
    train_hard_margin,
    train_hinge,
    train_lda,
    train_logistic,
    train_ridge,
)
from theory.linear_clip import (
    LinearClip,
    cross_covariance,
    linear_clip_objective,
    linear_contrastive_loss,
    solve_linear_clip,
    truncated_prototypes,
)
from theory.linear_clip_captions import (
    Captions,
    population_cross_covariance,
    sample_cross_covariances,
    sample_pairs,
    zero_shot_score_law,
)
from theory.linear_clip_exponents import Exponent, fit_exponents
from theory.linear_clip_filter import (
    FilteredCaptions,
    FilteredTraining,
    filter_captions,
    keep_pairs,
    train_filter_train,
)
from theory.linear_clip_rates import MatchedPairs, filtered_error, training_errors, unfiltered_error
from theory.links import dprime, dprime_inverse, probit, probit_inverse
from theory.losses import HINGE, LOGISTIC, LOSSES, SQUARE, Loss
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
from theory.multiclass import (
    MulticlassSource,
    MulticlassTarget,
    binary_equivalent,
    class_alignments,
    class_gram,
    multiclass_dprime,
    multiclass_growth_exponent,
    multiclass_slope,
    simplex_means,
    two_class_source,
    two_class_target,
)
from theory.multiclass_brute_force import brute_force_prototypes
from theory.multiclass_sampler import (
    PrototypeDraws,
    draw_class_counts,
    reduce_multiclass,
    sample_accuracies,
    sample_prototypes,
)
from theory.multiclass_scores import (
    ScoreLaw,
    averaging_score_law,
    prototype_accuracy,
    random_counts_accuracy,
    score_accuracy,
)
from theory.noisy_ridge import NoisyRidgeLaw, noisy_ridge_law
from theory.noisy_ridge_sampling import NoisyDraws, sample_noisy_classifiers, train_noisy_classifiers
from theory.portfolio import (
    BestMixture,
    UnconstrainedMixture,
    best_mixture,
    best_mixture_from_statistics,
    unconstrained_mixture,
)
from theory.portfolio_frontier import MixtureFrontier, mixture_frontier
from theory.ratio_law import FiellerSet, RatioLaw, fieller_set
from theory.reduced_problem import ReducedProblem, reduce_problem
from theory.separability import separability_threshold
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
from theory.source_statistics import SourceStatistics, source_statistics
from theory.thresholds import BestThreshold, best_threshold, threshold_for_kept_share
from theory.wrong_line import ModelFamily, NuisanceWorld, TurningPoint, model_family, turning_point

__all__ = [
    "HINGE",
    "LOGISTIC",
    "LOSSES",
    "REGIONS",
    "SQUARE",
    "AdditionMap",
    "Asymptotics",
    "AveragingLaw",
    "Bending",
    "BestMixture",
    "BestThreshold",
    "BreakEven",
    "Captions",
    "EscapeSetting",
    "Exponent",
    "FiellerSet",
    "FilteredCaptions",
    "FilteredDraws",
    "FilteredPool",
    "FilteredSlope",
    "FilteredTraining",
    "LearnedWeights",
    "LinearClip",
    "Loss",
    "MarginDraws",
    "MatchedPairs",
    "MixtureFrontier",
    "MixtureSlope",
    "ModelFamily",
    "MulticlassSource",
    "MulticlassTarget",
    "NoisyDraws",
    "NoisyRidgeLaw",
    "NuisanceWorld",
    "Pool",
    "PrototypeDraws",
    "RatioLaw",
    "ReducedProblem",
    "ScoreLaw",
    "Source",
    "SourceStatistics",
    "Target",
    "Trained",
    "TurningPoint",
    "UncertifiedOptimum",
    "UnconstrainedMixture",
    "VanishingSignal",
    "accuracy",
    "addition_map",
    "alignment",
    "asymptotics",
    "asymptotics_sweep",
    "averaging_classifier",
    "averaging_law",
    "averaging_score_law",
    "bending",
    "best_mixture",
    "best_mixture_from_statistics",
    "best_threshold",
    "binary_equivalent",
    "break_even",
    "break_even_bar",
    "brute_force_averaging",
    "brute_force_classifiers",
    "brute_force_filtered",
    "brute_force_prototypes",
    "class_alignments",
    "class_gram",
    "clopper_pearson",
    "cross_covariance",
    "direction_slope",
    "dprime",
    "dprime_interval",
    "dprime_inverse",
    "draw_class_counts",
    "draw_mixture",
    "effective_noise",
    "ensemble",
    "ensemble_law",
    "ensemble_place",
    "ensemble_slope",
    "escape_settings",
    "fieller_set",
    "filter_captions",
    "filter_pool",
    "filtered_error",
    "filtered_place",
    "filtered_slope",
    "fit_exponents",
    "growth_exponent",
    "halfway_share",
    "hard_margin_asymptotics",
    "keep_pairs",
    "learned_weights",
    "limiting_slope",
    "linear_clip_objective",
    "linear_contrastive_loss",
    "margin",
    "marginal_values",
    "mediant",
    "minimum_norm_asymptotics",
    "mixture_frontier",
    "mixture_place",
    "mixture_slope",
    "mixture_source",
    "model_family",
    "multiclass_dprime",
    "multiclass_growth_exponent",
    "multiclass_slope",
    "multinomial_law",
    "noisy_ridge_law",
    "normalised_ensemble",
    "normalised_ensemble_slope",
    "normalised_ensemble_slope_at",
    "place",
    "place_limit",
    "population_cross_covariance",
    "population_solution",
    "probit",
    "probit_interval",
    "probit_inverse",
    "prototype_accuracy",
    "random_counts_accuracy",
    "reduce_multiclass",
    "reduce_problem",
    "sample_accuracies",
    "sample_averaging",
    "sample_cross_covariances",
    "sample_ensemble",
    "sample_least_squares",
    "sample_minimum_norm",
    "sample_multinomial",
    "sample_noisy_classifiers",
    "sample_pairs",
    "sample_pooled_lda",
    "sample_prototypes",
    "sample_ridge",
    "score_accuracy",
    "separability_threshold",
    "share_for_slope",
    "simplex_means",
    "slope",
    "slope_at",
    "slope_distribution",
    "solve_linear_clip",
    "source_statistics",
    "square_loss_pulls",
    "threshold_for_kept_share",
    "train",
    "train_filter_train",
    "train_hard_margin",
    "train_hinge",
    "train_lda",
    "train_logistic",
    "train_noisy_classifiers",
    "train_ridge",
    "training_errors",
    "truncated_prototypes",
    "turning_point",
    "two_class_source",
    "two_class_target",
    "unconstrained_mixture",
    "unfiltered_error",
    "whiten_problem",
    "with_shuffled_captions",
    "zero_shot_score_law",
]
