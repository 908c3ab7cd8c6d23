"""The panel on K classes and linear CLIP: places, damaged captions, rank, and the rates of filtered training.

`linear_clip_tables` fills seven tables: `linear_clip_places` (d′ of averaging prototypes against n), `linear_clip_captions`
(accuracy against the share of wrong or missing captions and against caption noise), `linear_clip_ranks` (accuracy against
rank), `linear_clip_rates` (errors of unfiltered, filtered and repeatedly filtered models against n and the matched share),
`linear_clip_exponents` (fitted exponents with intervals), and for the figure `linear_clip_lines` (smooth predictions of the
first two) and `linear_clip_curves` (smooth closed forms of the rates).

Sizes are chosen for some twelve seconds on one core: the rates use n up to 131,072, which the options can raise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.linear_clip import truncated_prototypes
from theory.linear_clip_captions import Captions, sample_cross_covariances, zero_shot_score_law
from theory.links import dprime, dprime_inverse
from theory.multiclass import MulticlassSource, MulticlassTarget, multiclass_dprime, simplex_means
from theory.multiclass_sampler import draw_class_counts, reduce_multiclass, sample_accuracies
from theory.multiclass_scores import averaging_score_law, prototype_accuracy, random_counts_accuracy
from theory.panels.linear_clip_rates import rate_curves, rate_tables
from theory.panels.panel import Progress, silent
from theory.trial_statistics import agreement

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

#: Norms of the class means on two axes (content, style): two sources, the reference they are tested on.
SOURCES = {"stock": (3.0, 0.5), "snapshots": (1.5, 1.5)}
REFERENCE = (2.0, 1.0)
#: Pairs of the sweep over damaged captions.
CAPTION_PAIRS = 600
#: Classes of the sweep over ranks.
RANK_CLASSES = 20


@dataclass(frozen=True)
class LinearClipOptions:
    """Sizes of the panel on K classes and linear CLIP."""

    num_classes: tuple[int, ...] = (2, 10, 50)
    """K of the places; mixtures are shown for all, sources alone for the second."""
    num_features: int = 2000
    """d of the places; any size costs the same."""
    sizes: tuple[int, ...] = (200, 1_000, 5_000, 30_000, 1_000_000)
    """Training images n of the places."""
    num_trials: int = 300
    """Training sets per place."""
    caption_shares: tuple[float, ...] = (0.0, 0.15, 0.3, 0.5, 0.7)
    """Shares of wrong or missing captions, and variances of caption noise."""
    num_caption_trials: int = 48
    """Linear CLIP models per kind of damage and share."""
    ranks: tuple[int, ...] = (1, 2, 4, 6, 8, 10, 13, 16, 19)
    """Ranks of linear CLIP for 20 classes, at most 19."""
    rank_sizes: tuple[int, ...] = (100, 400, 4_000)
    """Pairs n at which accuracy is measured against rank."""
    rate_sizes: tuple[int, ...] = (8_192, 32_768, 131_072)
    """Pairs n of the rates."""
    matched_shares: tuple[float, ...] = (1.0, 0.7, 0.4, 0.2)
    """Matched shares η of the unfiltered and once filtered models."""
    small_shares: tuple[float, ...] = (0.1, 0.05)
    """Matched shares η at which filtering is repeated."""
    num_filters: int = 4
    """Passes of repeated filtering."""
    num_replicates: int = 5
    """Independent pools per n of the rates."""

    def check(self) -> None:
        """Refuse sizes that would fail later.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        for name in ("num_trials", "num_caption_trials", "num_replicates"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2 for a standard error, got {getattr(self, name)}")
        if len(self.num_classes) < 2 or min(self.num_classes) < 2:
            raise ValueError(f"num_classes must hold two or more numbers >= 2, got {self.num_classes}")
        if self.num_features < 3 * max(self.num_classes):
            raise ValueError(
                f"num_features must be at least 3 times the largest K, got {self.num_features} for {max(self.num_classes)}"
            )
        if not self.ranks or min(self.ranks) < 1 or max(self.ranks) > RANK_CLASSES - 1:
            raise ValueError(f"ranks must lie between 1 and {RANK_CLASSES - 1}, got {self.ranks}")
        if len(self.rate_sizes) < 2 or len(self.matched_shares) < 2 or len(self.small_shares) < 2:
            raise ValueError("exponents need at least two rate_sizes, matched_shares and small_shares")
        if self.num_filters < 2:
            raise ValueError(f"num_filters must be at least 2, got {self.num_filters}")


def num_linear_clip_steps(options: LinearClipOptions) -> int:
    """How often `linear_clip_tables` reports progress."""
    return len(_places(options)) + 3 + len(options.rank_sizes) + 2 * len(options.rate_sizes)


def linear_clip_tables(
    key: Key[Array, ""], options: LinearClipOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Sweep places, captions, ranks and rates; see the module for the tables.

    Args:
        key: random key.
        options: sizes; the defaults if left out.
        progress: called with a few words after every step.

    Returns:
        Seven tables by name.

    Raises:
        ValueError: options out of range.
    """
    options = options or LinearClipOptions()
    options.check()
    keys = jax.random.split(key, 4)
    rates, exponents = rate_tables(
        keys[3],
        options.rate_sizes,
        options.matched_shares,
        options.small_shares,
        options.num_filters,
        options.num_replicates,
        progress,
    )
    return {
        "linear_clip_places": _place_table(keys[0], options, progress),
        "linear_clip_captions": _caption_table(keys[1], options, progress),
        "linear_clip_ranks": _rank_table(keys[2], options, progress),
        "linear_clip_lines": _lines(options),
        "linear_clip_rates": rates,
        "linear_clip_exponents": exponents,
        "linear_clip_curves": rate_curves(
            options.rate_sizes, options.matched_shares, options.small_shares, options.num_filters
        ),
    }


# --- places -----------------------------------------------------------------------------------------------------------


def _places(options: LinearClipOptions) -> list[tuple[int, float, str]]:
    """Curves of the first figure: K, share of the first source, how class counts come about."""
    few, many = options.num_classes[1], options.num_classes[-1]
    curves = [(k, 0.5, "fixed") for k in options.num_classes]
    return [*curves, (few, 1.0, "fixed"), (few, 0.0, "fixed"), (many, 0.5, "random")]


def _place_table(key: Array, options: LinearClipOptions, progress: Progress) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for number, (k, share, counts) in enumerate(_places(options)):
        # Beyond the blocks of the means there is only noise, which the sampler need not hold.
        problem = reduce_multiclass(*_setting(k, 2 * (k - 1)), options.num_features)
        shares = np.asarray([share, 1 - share])
        predicted = _predicted_places(options, k, share, counts, options.sizes)
        for size_number, n in enumerate(options.sizes):
            stream = jax.random.fold_in(jax.random.fold_in(key, number), size_number)
            class_counts = np.outer(shares, np.full(k, n / k))
            if counts == "random":
                class_counts = draw_class_counts(
                    jax.random.fold_in(stream, 1), shares, n, k, options.num_trials, "sources and classes"
                )
            seen = np.asarray(
                sample_accuracies(stream, problem, class_counts, options.num_trials, 32), np.float64
            )
            found, error = _dprime_of(seen[:, 0], k)
            rows.append(
                {
                    "num_classes": k,
                    "share": share,
                    "counts": counts,
                    "n": n,
                    "d": options.num_features,
                    "trials": options.num_trials,
                    "dprime_predicted": predicted[size_number],
                    "dprime_simulated": found,
                    "dprime_stderr": error,
                    "mean_accuracy": seen.mean(),
                }
            )
        progress(f"linear_clip: {k} classes, share {share:g}, {counts} class counts")
    return pd.DataFrame(rows)


def _setting(num_classes: int, num_features: int) -> tuple[list[MulticlassSource], list[MulticlassTarget]]:
    sources = [
        MulticlassSource(simplex_means(num_classes, norms, num_features), 1.0, name)
        for name, norms in SOURCES.items()
    ]
    return sources, [MulticlassTarget(simplex_means(num_classes, REFERENCE, num_features))]


def _predicted_places(
    options: LinearClipOptions, num_classes: int, share: float, counts: str, sizes: Sequence[float | int]
) -> np.ndarray:
    """d′ of one curve, from theory alone."""
    sources, (target,) = _setting(num_classes, options.num_features)
    shares = np.asarray([share, 1 - share])
    if counts == "fixed":
        return np.asarray(multiclass_dprime(sources, shares, target, np.asarray(sizes, np.float64)))
    pooled = MulticlassSource(np.tensordot(shares, [np.asarray(s.means) for s in sources], 1))
    return np.asarray(dprime([random_counts_accuracy(pooled, target, n) for n in sizes], num_classes))


def _dprime_of(accuracies: np.ndarray, num_classes: int) -> tuple[float, float]:
    """d′ of a mean accuracy, with the standard error by the delta method."""
    middle = float(dprime(accuracies.mean(), num_classes))
    low, high = np.asarray(dprime_inverse(np.asarray([middle - 0.01, middle + 0.01]), num_classes))
    return middle, float(accuracies.std(ddof=1) / np.sqrt(len(accuracies)) * 0.02 / (high - low))


# --- damaged captions -------------------------------------------------------------------------------------------------


def _caption_table(key: Array, options: LinearClipOptions, progress: Progress) -> "pd.DataFrame":
    import pandas as pd

    source, target = _caption_setting()
    k, d, n = source.num_classes, source.dimension, CAPTION_PAIRS
    rows = []
    for number, damage in enumerate(("wrong", "missing", "noise")):
        for step, amount in enumerate(options.caption_shares):
            captions = Captions(np.eye(k), **{damage: float(amount)})
            stream = jax.random.fold_in(jax.random.fold_in(key, number), step)
            drawn = sample_cross_covariances(stream, source, captions, n, options.num_caption_trials)
            weights = jnp.einsum("bdq,kq->bkd", drawn, captions.prompts)
            seen = np.asarray(prototype_accuracy(jax.random.fold_in(stream, 1), weights, target, 400))
            law = zero_shot_score_law(source, captions, target, n)
            rows.append(
                {
                    "damage": damage,
                    "amount": amount,
                    "num_classes": k,
                    "n": n,
                    "d": d,
                    "trials": options.num_caption_trials,
                    "signal": captions.signal,
                    "accuracy_predicted": float(law.accuracy()),
                    "accuracy_simulated": seen.mean(),
                    "accuracy_stderr": seen.std(ddof=1) / np.sqrt(len(seen)),
                }
            )
        progress(f"linear_clip: {damage} captions")
    return pd.DataFrame(rows)


def _caption_setting() -> tuple[MulticlassSource, MulticlassTarget]:
    means = simplex_means(10, 2.0, 200)
    return MulticlassSource(means), MulticlassTarget(means)


def _lines(options: LinearClipOptions) -> "pd.DataFrame":
    """Smooth predictions for the figure: d′ of every curve against n, accuracy of every kind of damage against its amount."""
    import pandas as pd

    sizes = np.geomspace(min(options.sizes), max(options.sizes), 20)
    frames = [
        pd.DataFrame(
            {"num_classes": k, "share": share, "counts": counts, "x": sizes,
             "predicted": _predicted_places(options, k, share, counts, list(sizes))}
        )
        for k, share, counts in _places(options)
    ]  # fmt: skip
    source, target = _caption_setting()
    amounts = np.linspace(min(options.caption_shares), max(options.caption_shares), 15)
    for damage in ("wrong", "missing", "noise"):
        laws = [
            zero_shot_score_law(
                source, Captions(np.eye(source.num_classes), **{damage: float(a)}), target, CAPTION_PAIRS
            )
            for a in amounts
        ]
        accuracies = [float(law.accuracy()) for law in laws]
        frames.append(pd.DataFrame({"damage": damage, "x": amounts, "predicted": accuracies}))
    return pd.concat(frames, ignore_index=True)


# --- rank -------------------------------------------------------------------------------------------------------------


def _rank_table(key: Array, options: LinearClipOptions, progress: Progress) -> "pd.DataFrame":
    """Accuracy against rank, for orthonormal prompts and fixed counts: class means are then drawn directly."""
    import pandas as pd

    k, d, trials = RANK_CLASSES, 1000, 40
    # Axes of the classes with falling strength: the later ones are what a small rank leaves out.
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((k, k)))[0]
    means = np.concatenate([axes * np.geomspace(10.0, 0.3, k), np.zeros((k, d - k))], axis=1)
    means -= means.mean(0)
    source, target = MulticlassSource(means), MulticlassTarget(means)
    prompts = jnp.eye(k)
    many = 1 << 13
    limit_key, law_key, draw_key = jax.random.split(key, 3)
    limits = prototype_accuracy(
        limit_key, truncated_prototypes(jnp.asarray(means.T / k), prompts, options.ranks), target, many
    )
    rows = []
    for number, n in enumerate(options.rank_sizes):
        law = averaging_score_law([source], np.full((1, k), n / k), target)
        full, full_error = law.sample_accuracy(jax.random.fold_in(law_key, number), many)
        stream = jax.random.fold_in(draw_key, number)
        noise = np.sqrt(k / n) * np.asarray(jax.random.normal(stream, (trials, k, d)))
        drawn = means + noise
        drawn -= drawn.mean(1, keepdims=True)
        covariances = jnp.asarray(np.swapaxes(drawn, 1, 2) / k)
        weights = truncated_prototypes(covariances, prompts, options.ranks)
        seen = np.asarray(prototype_accuracy(jax.random.fold_in(stream, 1), weights, target, 300))
        rows += [
            {
                "n": n,
                "rank": rank,
                "num_classes": k,
                "d": d,
                "trials": trials,
                "accuracy_simulated": seen[index].mean(),
                "accuracy_stderr": seen[index].std(ddof=1) / np.sqrt(trials),
                "limit": float(limits[index]),
                "full_rank": full,
                "full_rank_stderr": full_error,
            }
            for index, rank in enumerate(options.ranks)
        ]
        progress(f"linear_clip: rank, n = {n:g}")
    return pd.DataFrame(rows)


# --- the finding ------------------------------------------------------------------------------------------------------


def linear_clip_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """The finding in four lines, with how often predictions held within 4 standard errors."""
    places, captions = tables["linear_clip_places"], tables["linear_clip_captions"]
    ranks, rates = tables["linear_clip_ranks"], tables["linear_clip_rates"]
    exponents = tables["linear_clip_exponents"]
    agrees = {name: agreement(tables[f"linear_clip_{name}"]) for name in ("places", "captions", "rates")}
    counted = ", ".join(f"{name} {rows.sum()} of {len(rows)}" for name, rows in agrees.items())
    low, high = places["num_classes"].min(), places["num_classes"].max()
    half = captions[(captions["damage"] == "wrong")].sort_values("amount")
    best = ranks.loc[ranks.groupby("n")["accuracy_simulated"].idxmax()].sort_values("n")
    told = {
        (row.model, row.variable): f"{row.exponent:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in exponents.itertuples()
    }
    small = rates[(rates["model"] == "repeated") & (rates["share"] == rates["share"].min())]
    first = rates[(rates["model"] == "unfiltered") & (rates["share"] == rates["share"].min())]
    gain = (first["error_simulated"].to_numpy() / small["error_simulated"].to_numpy()).max()
    return [
        f"Linear CLIP: within 4 standard errors of theory: {counted} (d′ for {low} to {high} classes, mixtures, random counts)",
        f"  {half['amount'].iloc[-1]:.0%} wrong captions take accuracy from {half['accuracy_simulated'].iloc[0]:.1%} to "
        f"{half['accuracy_simulated'].iloc[-1]:.1%}; best rank of those shown: "
        + ", ".join(f"{row.rank} at n = {row.n:g}" for row in best.itertuples()),
        f"  error exponents in η, n: unfiltered {told['unfiltered', 'share']}, {told['unfiltered', 'n']}; filtered once "
        f"{told['filtered', 'share']}, {told['filtered', 'n']}; repeatedly {told['repeated', 'share']}, {told['repeated', 'n']}",
        f"  filtering repeatedly divides the error by up to {gain:.1f} at η = {rates['share'].min():g}",
    ]
