r"""What single-source models say about theory's sources: signals, overlaps and noise, with draws of their errors.

Use `measure_sources` on a study's accuracies and overlaps (`empirical.overlap`); the result gives theory's
`SourceStatistics` for any test sets, as measured or as drawn. Units: a source's classifier trained on n samples has length
$v_s=\sqrt{G_{ss}+T_s/n}=1$, so that

$$a_{s,t}=d_s(t),\qquad G_{su,t}=r_{su}(t),\qquad T_{s,t}=n\,(1-r_{ss}(t)).$$

Equal lengths are an assumption (the one that the lower side of the place bracket makes, too): separately trained networks share
no unit in which lengths could be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from empirical.errors import DataError
from empirical.group_means import Means, group_means
from empirical.overlap import OVERLAP_COLUMNS
from empirical.robustness import with_link_errors
from theory.source_statistics import SourceStatistics

NUM_DRAWS = 400


@dataclass(frozen=True, eq=False)
class MeasuredSources:
    """Signals and overlaps of S sources on T test sets at one size, and B draws of their errors.

    signals: (T, S) mean d'. overlaps: (T, S, S) mean correlations, two different seeds on the diagonal. drawn_signals
    (B, T, S) and drawn_overlaps (B, T, S, S) scatter around them as the measurement would if it were repeated; empty (B = 0)
    where the seeds give no standard error. num_classes: (T,). num_seeds: (S,).
    """

    n_train: int
    sources: tuple[str, ...]
    test_sets: tuple[str, ...]
    num_classes: np.ndarray
    num_seeds: np.ndarray
    signals: Float[np.ndarray, "t s"]
    overlaps: Float[np.ndarray, "t s s"]
    drawn_signals: Float[np.ndarray, "b t s"]
    drawn_overlaps: Float[np.ndarray, "b t s s"]

    @property
    def num_draws(self) -> int:
        """B."""
        return len(self.drawn_signals)

    def statistics(self, test_sets: Sequence[str] | None = None) -> SourceStatistics:
        """Theory's statistics on these test sets (all by default), as measured."""
        return self._statistics(self.signals, self.overlaps, test_sets)

    def drawn_statistics(self, draw: int, test_sets: Sequence[str] | None = None) -> SourceStatistics:
        """Theory's statistics on these test sets (all by default) in one draw."""
        return self._statistics(self.drawn_signals[draw], self.drawn_overlaps[draw], test_sets)

    @cached_property
    def drawn_grams(self) -> Float[np.ndarray, "b t s s"]:
        """The drawn overlaps as Gram matrices (`nearest_gram`)."""
        return nearest_gram(self.drawn_overlaps)

    def drawn_margins(
        self, counts: Float[np.ndarray, " s"], test_sets: Sequence[str]
    ) -> Float[np.ndarray, "b t"]:
        """Leading-order d' of a mixture of these counts in every draw: `SourceStatistics.margins`, all draws at once."""
        at = [self.test_sets.index(name) for name in test_sets]
        grams = self.drawn_grams[:, at]
        noise = self.n_train * np.maximum(1 - np.einsum("btss->bts", grams), 0.0)
        squared = np.einsum("s,btsu,u->bt", counts, grams, counts) + noise @ counts
        return (self.drawn_signals[:, at] @ counts) / np.sqrt(squared)

    def _statistics(
        self, signals: np.ndarray, overlaps: np.ndarray, test_sets: Sequence[str] | None
    ) -> SourceStatistics:
        names = self.test_sets if test_sets is None else tuple(test_sets)
        unknown = [name for name in names if name not in self.test_sets]
        if unknown:
            raise DataError(f"no test set {unknown[0]!r}; there are {', '.join(self.test_sets)}")
        at = [self.test_sets.index(name) for name in names]
        grams = np.stack([nearest_gram(overlaps[t]) for t in at])
        noise = self.n_train * np.maximum(1 - np.einsum("tss->ts", grams), 0.0)
        return SourceStatistics(signals[at], grams, noise, self.sources, names)


def nearest_gram(overlaps: Float[np.ndarray, "*b s s"]) -> Float[np.ndarray, "*b s s"]:
    """The nearest matrices (Frobenius) without negative eigenvalues: overlaps measured one by one need not be a Gram matrix."""
    values, vectors = np.linalg.eigh((overlaps + np.swapaxes(overlaps, -1, -2)) / 2)
    return (vectors * np.maximum(values, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def sources_by_size(overlaps: pd.DataFrame) -> dict[int, list[str]]:
    """Size -> the sources that have two seeds or more of it, sizes ascending: what `measure_sources` can measure."""
    own = overlaps[overlaps["first"] == overlaps["second"]]
    return {int(str(n)): list(dict.fromkeys(part["first"])) for n, part in own.groupby("n_train", sort=True)}


def measure_sources(
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    n_train: int,
    sources: Sequence[str] | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    means: Means | None = None,
) -> MeasuredSources:
    r"""Signals and overlaps of single-source models of one size, with draws of their errors from seeds and images.

    A draw adds, independently,

    * to d': seeds, $\mathcal N(0,C/S_s)$ per source with the covariance C between test sets pooled over single-source
      models (`group_means`) and its scale drawn from its own $\chi^2$ law; images, with the covariance of two models'
      accuracies (on the diagonal, of two seeds) that the number of images both get right gives;
    * to overlaps: seeds, $r_{ij}=r_{st}+A_i+A_j+E_{ij}$ with the variances of A (how typical a model is) and E pooled over
      all pairs of sources by analysis of variance; images, the mean standard error of the pairs, which averages over no
      seeds and is taken as independent between pairs: too large rather than too small.

    Args:
        accuracies: a study's accuracies.
        overlaps: a study's overlaps (`empirical.overlap.measure_overlaps`).
        n_train: a size at which every source has two seeds or more.
        sources: the sources wanted; all single sources of that size by default.
        num_draws: B.
        seed: of the draws.
        means: `group_means(accuracies)`, if it is at hand.

    Raises:
        DataError: columns are missing, a source has no models of that size or a single seed, or an infinite d'.
    """
    missing = [column for column in OVERLAP_COLUMNS if column not in overlaps]
    if missing:
        raise DataError(f"the overlaps table lacks the column {missing[0]!r}")
    means = means or group_means(accuracies)
    single = accuracies[(accuracies["kind"] == "single") & (accuracies["n_train"] == n_train)]
    names = tuple(sources) if sources is not None else tuple(dict.fromkeys(single["sources"]))
    groups = [means.groups.get(("single", name, "", n_train)) for name in names]
    found = [group for group in groups if group is not None]
    if not names or len(found) < len(names):
        lacking = next((name for name, group in zip(names, groups, strict=True) if group is None), "any")
        have = sorted({int(n) for n in accuracies.loc[accuracies["kind"] == "single", "n_train"]})
        raise DataError(f"no single-source model of {lacking} at n_train {n_train}; sizes are {have}")
    alone = [name for name, group in zip(names, found, strict=True) if group.num_seeds < 2]
    if alone:
        raise DataError(
            f"{alone[0]} has one seed at n_train {n_train}: how much of its models is noise shows between two seeds; "
            "train with --num-seeds 2 or more"
        )
    signals = np.stack([group.mean for group in found], axis=1)
    for t, s in np.argwhere(~np.isfinite(signals)):
        raise DataError(
            f"{names[s]} has an infinite d' on {means.test_sets[t]} at n_train {n_train} (an accuracy of 0 or 1): use a size or "
            "test set between"
        )
    rng = np.random.default_rng(seed)
    counts = np.array([group.num_seeds for group in found])
    at_size = overlaps[overlaps["n_train"] == n_train]
    blocks = [_pairs(at_size, single, names, test_set) for test_set in means.test_sets]
    measured = np.stack([_block_means(block, counts) for block in blocks])
    seeds = means.seed_covariance("single", n_train)
    b = num_draws if seeds.degrees and np.isfinite(seeds.matrix).all() else 0
    drawn_signals, drawn_overlaps = np.repeat(signals[None], b, 0), np.repeat(measured[None], b, 0)
    if b:
        root = np.linalg.cholesky(nearest_gram(seeds.matrix) + 1e-12 * np.eye(len(seeds.matrix)))
        scale = np.sqrt(seeds.degrees / rng.chisquare(seeds.degrees, size=(b, 1, 1)))
        noise = rng.standard_normal((b, len(names), len(root))) @ root.T  # (B, S, T)
        drawn_signals += scale * (noise / np.sqrt(counts)[:, None]).transpose(0, 2, 1)
        for t, block in enumerate(blocks):
            drawn_signals[:, t] += rng.standard_normal((b, len(names))) @ _root(
                block.image_covariance(counts)
            )
            drawn_overlaps[:, t] += _overlap_errors(block, measured[t], counts, b, rng)
    num_classes = np.array(
        [int(single.loc[single["test_set"] == t, "num_classes"].iloc[0]) for t in means.test_sets]
    )
    return MeasuredSources(
        n_train, names, means.test_sets, num_classes, counts, signals, measured, drawn_signals, drawn_overlaps
    )  # fmt: skip


@dataclass(frozen=True)
class _Pairs:
    """All pairs of M models of one size on one test set; owner (M,) numbers each model's source."""

    owner: np.ndarray
    correlation: np.ndarray
    stderr: np.ndarray
    dprime_covariance: np.ndarray

    def averaging(self, counts: np.ndarray) -> np.ndarray:
        """(S, M): the mean over each source's models."""
        return (self.owner == np.arange(len(counts))[:, None]) / counts[:, None]

    def image_covariance(self, counts: np.ndarray) -> np.ndarray:
        """(S, S) covariance, over test images, of what the models of two sources have in common; on the diagonal, two seeds.

        A model's own part is in the covariance between seeds already (`empirical.image_sharing`).
        """
        average = self.averaging(counts)
        pairs = np.where(np.eye(len(self.owner), dtype=bool), 0.0, self.dprime_covariance)
        means = average @ pairs @ average.T
        return np.where(np.eye(len(counts), dtype=bool), means * counts / (counts - 1), means)


def _pairs(overlaps: pd.DataFrame, single: pd.DataFrame, names: tuple[str, ...], test_set: str) -> _Pairs:
    rows = single[(single["test_set"] == test_set) & single["sources"].isin(names)]
    rows = with_link_errors(rows).sort_values(["sources", "seed"], kind="stable")
    place = {key: i for i, key in enumerate(zip(rows["sources"], rows["seed"], strict=True))}
    m = len(rows)
    images = rows["num_images"].to_numpy(float)
    correct = rows["num_correct"].to_numpy(float)
    r, stderr, both = np.full((m, m), np.nan), np.full((m, m), np.nan), np.diag(correct)
    here = overlaps[overlaps["test_set"] == test_set]
    i = [place.get(key, -1) for key in zip(here["first"], here["first_seed"], strict=True)]
    j = [place.get(key, -1) for key in zip(here["second"], here["second_seed"], strict=True)]
    known = (np.array(i, dtype=int) >= 0) & (np.array(j, dtype=int) >= 0)
    i, j = np.array(i, dtype=int)[known], np.array(j, dtype=int)[known]
    for matrix, column in ((r, "correlation"), (stderr, "correlation_stderr"), (both, "both_correct")):
        matrix[i, j] = matrix[j, i] = here[column].to_numpy(float)[known]
    absent = np.argwhere(np.isnan(r) & ~np.eye(m, dtype=bool))
    if len(absent):
        a, b = (rows.iloc[int(k)] for k in absent[0])
        raise DataError(
            f"no overlap of {a['sources']} seed {a['seed']} and {b['sources']} seed {b['seed']} on {test_set} at n_train "
            f"{int(a['n_train'])}: measure the overlaps of this study again"
        )
    p = correct / images
    covariance = (both / images[0] - np.outer(p, p)) / images[0]
    binomial = np.sqrt(np.maximum(p * (1 - p) / images, 1e-300))
    per_accuracy = rows["dprime_stderr"].to_numpy(float) / binomial  # d d' / d accuracy
    owner = np.array([names.index(name) for name in rows["sources"]])
    return _Pairs(owner, r, stderr, covariance * np.outer(per_accuracy, per_accuracy))


def _block_means(block: _Pairs, counts: np.ndarray) -> np.ndarray:
    """(S, S) mean correlation of two sources' models; the diagonal over pairs of different seeds."""
    average = block.averaging(counts)
    filled = np.where(np.eye(len(block.owner), dtype=bool), 0.0, block.correlation)
    means = average @ filled @ average.T
    # The mean over S^2 pairs of which S are no pair at all.
    return np.where(np.eye(len(counts), dtype=bool), means * counts / (counts - 1), means)


def _overlap_errors(
    block: _Pairs, means: np.ndarray, counts: np.ndarray, num_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """(B, S, S) draws of the error of the mean correlations, from seeds and images."""
    of_model, of_pair = _overlap_variances(block, means, counts)
    s = len(counts)
    eye = np.eye(s, dtype=bool)
    pairs = np.where(eye, counts * (counts - 1) / 2, np.outer(counts, counts))
    average = block.averaging(counts)
    filled = np.where(np.eye(len(block.owner), dtype=bool), 0.0, block.stderr)
    images = average @ filled @ average.T * np.where(eye, counts / (counts - 1), 1.0)
    typical = rng.standard_normal((num_draws, s)) * np.sqrt(of_model / counts)
    upper = np.triu(rng.standard_normal((num_draws, s, s)) * np.sqrt(of_pair / pairs + images**2))
    own = upper + np.triu(upper, 1).transpose(0, 2, 1)
    return typical[:, :, None] + typical[:, None, :] + own


def _overlap_variances(block: _Pairs, means: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Variances of A (one model) and E (one pair) in r_ij = r_st + A_i + A_j + E_ij, pooled over pairs of sources.

    Two-way analysis of variance of each S_s x S_t block: the rows' mean square has expectation V_E + S_t V_A, the columns'
    V_E + S_s V_A, the residual's V_E.
    """
    residual, free, excess, weight = 0.0, 0, 0.0, 0.0
    blocks = [
        block.correlation[np.ix_(block.owner == a, block.owner == b)] - means[a, b]
        for a in range(len(counts))
        for b in range(a + 1, len(counts))
    ]
    for table in blocks:
        rows, columns = table.mean(axis=1), table.mean(axis=0)
        left = table - rows[:, None] - columns
        residual += float((left**2).sum())
        free += (len(rows) - 1) * (len(columns) - 1)
    of_pair = residual / free if free else 0.0
    for table in blocks:
        for line, others in ((table.mean(axis=1), table.shape[1]), (table.mean(axis=0), table.shape[0])):
            excess += float((line**2).sum()) - (len(line) - 1) * of_pair / others
            weight += len(line) - 1
    return max(excess / weight, 0.0) if weight else 0.0, of_pair


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix R with R'R = covariance."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
