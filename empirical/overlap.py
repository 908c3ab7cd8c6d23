r"""Overlaps of models: how much of what two models know, as a test set sees it, is the same.

Theory's best mixture (section 5) and the place of a mixture (section 11) need $G_{st}=\nu_s^\top\Sigma\nu_t$ of two sources. A
cosine of weights means nothing between separately trained networks, but the scores of their models on one test set do: with
$\hat w_s=\nu_s+\text{noise}$ trained on samples of its own, the within-class covariance of the scores of two models is
$\hat w_s^\top\Sigma\hat w_t$, whose mean is $G_{st}$ for two sources, $G_{ss}$ for two seeds of one source, and
$G_{ss}+T_s/n$ for a model with itself. So the within-class **correlation**

$$r_{st}=\frac{G_{st}}{\sqrt{(G_{ss}+T_s/n)(G_{tt}+T_t/n)}},\qquad r_{ss}=\frac{G_{ss}}{G_{ss}+T_s/n}$$

is the overlap in units in which each model has length 1, and $1-r_{ss}$ is the share of noise in a model's squared length.

The score of K classes is the K - 1 differences between the right class's logit and the others (only differences count, and a
temperature cancels in the correlation). Use `measure_overlaps` for the table of a study, `score_overlaps` for logits at hand and
`within_class_spread` for the length of one head.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from empirical.errors import DataError
from empirical.robustness import check_accuracies

OVERLAP_COLUMNS = (
    "n_train", "test_set", "first", "first_seed", "second", "second_seed", "correlation", "correlation_stderr",
    "both_correct", "num_images",
)  # fmt: skip


@dataclass(frozen=True)
class ScoreOverlaps:
    """Every pair of M models on one test set; all arrays are (M, M).

    correlation: within-class correlation of the scores (1 on the diagonal); stderr: its standard error from the images;
    both_correct: images that both models get right, on the diagonal those that one does.
    """

    correlation: Float[np.ndarray, "m m"]
    stderr: Float[np.ndarray, "m m"]
    both_correct: Int[np.ndarray, "m m"]


def score_overlaps(
    logits: Sequence[Float[np.ndarray, "n k"]], labels: Int[np.ndarray, " n"]
) -> ScoreOverlaps:
    r"""Within-class correlation of the scores of M models on one test set, in one pass over its classes.

    With $\delta^m_{ik}=z^m_{iy_i}-z^m_{ik}$ less its mean over the images of class $y_i$:
    $r_{lm}=A_{lm}/\sqrt{A_{ll}A_{mm}}$, $A_{lm}=\sum_i a_{i,lm}$, $a_{i,lm}=\sum_k\delta^l_{ik}\delta^m_{ik}$. The standard error
    is the delta method's over images: $\sum_i\bigl[a_{i,lm}-\tfrac{r_{lm}}2(a_{i,ll}+a_{i,mm})\bigr]^2$ for scores scaled to
    $A_{mm}=1$.

    Args:
        logits: M matrices (n, K) of one shape; memory maps are read class by class.
        labels: (n,) right classes.

    Raises:
        DataError: no models, shapes that do not fit, labels out of range, logits that are not numbers, or a model whose scores
            do not vary within classes.
    """
    labels = np.asarray(labels)
    shapes = {np.shape(each) for each in logits}
    if len(shapes) != 1 or next(iter(shapes))[0] != len(labels):
        raise DataError(f"logits need one common shape with {len(labels)} rows, got {sorted(shapes)}")
    num_classes = next(iter(shapes))[1]
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(f"labels must lie in 0 to {num_classes - 1}, and there must be some")
    m = len(logits)
    total, squares, with_own, of_owns = (np.zeros((m, m)) for _ in range(4))
    both = np.zeros((m, m), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        scores = np.stack([np.asarray(each[rows], dtype=np.float32) for each in logits])  # (m, n_c, K)
        if not np.isfinite(scores).all():
            broken = int(np.flatnonzero(~np.isfinite(scores).all(axis=(1, 2)))[0])
            raise DataError(f"logits of model {broken} are not numbers: it has diverged; leave it out")
        right = (scores.argmax(axis=2) == label).astype(np.float32)
        both += np.rint(right @ right.T).astype(np.int64)
        scores = scores[:, :, label, None] - scores
        scores -= scores.mean(axis=1, keepdims=True)
        by_image = scores.transpose(1, 0, 2)
        products = (by_image @ by_image.transpose(0, 2, 1)).astype(np.float64)  # (n_c, m, m)
        own = np.einsum("imm->im", products)
        total += products.sum(axis=0)
        squares += np.einsum("ilm,ilm->lm", products, products)
        with_own += np.einsum("ilm,il->lm", products, own)
        of_owns += own.T @ own
    length = np.sqrt(np.diagonal(total))
    if not np.all(length > 0):
        flat = int(np.flatnonzero(~(length > 0))[0])
        raise DataError(f"the scores of model {flat} do not vary within classes: no overlap can be measured")
    scale = np.outer(length, length)
    r = total / scale
    squares, with_own = squares / scale**2, with_own / (scale * length[:, None] ** 2)
    of_owns = of_owns / scale**2
    ends = np.diagonal(of_owns)
    variance = squares - r * (with_own + with_own.T) + r**2 / 4 * (ends[:, None] + 2 * of_owns + ends)
    return ScoreOverlaps(r, np.sqrt(np.maximum(variance, 0.0)), both)


def within_class_spread(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float:
    r"""Length of a head as a test set sees it: root mean square of $\delta_{ik}$ over images and wrong classes.

    The score of `score_overlaps`, in units of the logits. Raises DataError for labels that do not fit.
    """
    labels = np.asarray(labels)
    if len(labels) != len(logits) or len(labels) == 0:
        raise DataError(f"{len(logits)} rows of logits but {len(labels)} labels")
    total = 0.0
    for label in np.unique(labels):
        scores = np.asarray(logits[labels == label], dtype=np.float64)
        scores = scores[:, label, None] - scores
        total += float(((scores - scores.mean(axis=0)) ** 2).sum())
    return float(np.sqrt(total / (len(labels) * (logits.shape[1] - 1))))


def measure_overlaps(
    accuracies: pd.DataFrame,
    logits: Callable[[str, str], np.ndarray],
    labels: Mapping[str, np.ndarray],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """The overlap of every pair of single-source models of one size on every test set: one row per pair.

    With accuracies.csv this is all that `empirical.measured_sources` needs: designs and places are redrawn from the two
    tables, without logits.

    Args:
        accuracies: a study's table; its single-source models are compared, those of equal n_train with each other.
        logits: run and test set -> logits (n, K).
        labels: test set -> labels (n,).
        on_progress: called with (blocks done, blocks in all).

    Returns:
        Columns n_train, test_set, first, first_seed, second, second_seed (sources and seeds, first <= second),
        correlation, correlation_stderr (from the images), both_correct, num_images.

    Raises:
        DataError: see `score_overlaps`; the message names the size and the test set.
    """
    if accuracies.empty:
        return pd.DataFrame(columns=list(OVERLAP_COLUMNS))
    check_accuracies(accuracies, str(accuracies["test_set"].iloc[0]))
    single = accuracies[accuracies["kind"] == "single"]
    blocks = list(single.groupby(["n_train", "test_set"], sort=False))
    tables = []
    for done, ((n_train, test_set), models) in enumerate(blocks):
        models = models.sort_values(["sources", "seed"], kind="stable")
        if len(models) > 1:
            try:
                found = score_overlaps(
                    [logits(run, str(test_set)) for run in models["run"]], labels[str(test_set)]
                )
            except DataError as error:
                runs = ", ".join(models["run"].iloc[:3])
                raise DataError(f"{test_set}, n_train {n_train} ({runs}, ...): {error}") from error
            i, j = np.triu_indices(len(models), 1)
            names, seeds = models["sources"].to_numpy(), models["seed"].to_numpy()
            columns = (
                n_train, test_set, names[i], seeds[i], names[j], seeds[j], found.correlation[i, j], found.stderr[i, j],
                found.both_correct[i, j], len(labels[str(test_set)]),
            )  # fmt: skip
            tables.append(pd.DataFrame(dict(zip(OVERLAP_COLUMNS, columns, strict=True))))
        on_progress(done + 1, len(blocks))
    if not tables:
        return pd.DataFrame(columns=list(OVERLAP_COLUMNS))
    return pd.concat(tables).sort_values(["n_train", "test_set"], kind="stable", ignore_index=True)


@dataclass(frozen=True)
class SavedLogits:
    """Logits and labels of a study's folder: `SavedLogits(folder)(run, test_set)` and `.labels(test_set)`."""

    folder: Path

    def __call__(self, run: str, test_set: str) -> np.ndarray:
        """Logits (n, K), memory-mapped. Raises DataError for a missing or damaged file."""
        from empirical.zero_shot import load_logits

        return load_logits(self.folder / "logits" / run / f"{test_set}.npy", mmap=True)

    def labels(self, test_set: str) -> np.ndarray:
        """Labels (n,) of a test set. Raises DataError where the study holds none."""
        from empirical.arrays import load_test_set_arrays

        return np.asarray(load_test_set_arrays(self.folder / "arrays" / f"test-{test_set}").labels)
