r"""How much of the error of a test set's images is the same for different models, as the overlaps of single-source models say.

Let model s of group g be right on image i with $c_{gsi}$. Over images, the covariance of two models' correctness is the images'
own part, the same for every seed, and what is left is a model's own. With the correctness correlation $\rho$ of two models and
the binomial variance $B=p(1-p)/m$ of one accuracy on m images, the mean over S seeds has the variance

$$\frac CS+\rho_gB_g,\qquad\operatorname{cov}(g,h)=\rho_{gh}\sqrt{B_gB_h},$$

C the variance between seeds, in which the model's own part $(1-\rho_g)B_g$ is already contained: $C/S+B_g$ would count it twice.

$\rho_g$ is measured on two seeds of one source, $\rho_{gh}$ on two different sources, per size and test set. A mixture takes the
largest $\rho_g$ of its sources, and $\rho_{gh}$ with each of them although it has samples of them: their images' errors cancel in
a difference less than they do in truth. Its own $\rho_g$ may be larger than theirs: the error of its value alone is then a little
too small, that of a difference is not. Use `image_sharing`; `empirical.group_means` puts it into errors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float


@dataclass(frozen=True)
class ImageSharing:
    """Correctness correlations: within, (source, n_train) -> (T,) of two seeds; between, n_train -> (T,) of two sources.

    In [0, 1], in the order of the test sets that `image_sharing` was given.
    """

    within: Mapping[tuple[str, int], Float[np.ndarray, " t"]]
    between: Mapping[int, Float[np.ndarray, " t"]]

    def of(
        self, sources: Iterable[str], n_train: int
    ) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]] | None:
        r"""$\rho_g$ (T,) of a group made of these sources, and the share $\rho_{gh}/\max\rho_g$ (T,) that two groups of the size
        have in common of what is not their own; None where it was not measured. With one source at a size, nothing is taken
        as common.
        """
        own = [self.within.get((name, n_train)) for name in sources]
        found = [each for each in own if each is not None]
        if not own or len(found) < len(own):
            return None
        within = np.max(found, axis=0)
        most = np.max([rho for (_, n), rho in self.within.items() if n == n_train], axis=0)
        between = self.between.get(n_train, np.zeros_like(most))
        common = np.divide(between, most, out=np.zeros_like(most), where=most > 0)
        return within, np.clip(common, 0.0, 1.0)


def image_sharing(accuracies: pd.DataFrame, overlaps: pd.DataFrame, test_sets: Sequence[str]) -> ImageSharing:
    """Correlations of correctness from the images that two single-source models both get right.

    Args:
        accuracies: a study's accuracies; the single-source rows are read.
        overlaps: `empirical.overlap.measure_overlaps` of the same study.
        test_sets: the order wanted. A source and size that lacks one of them, or a second seed, is left out.
    """
    keys = ["n_train", "test_set", "sources", "seed"]
    single = accuracies[accuracies["kind"] == "single"].drop_duplicates(keys)
    p = single.set_index(keys)["num_correct"] / single.set_index(keys)["num_images"]
    first, second = (
        p.reindex(
            pd.MultiIndex.from_arrays(
                [overlaps["n_train"], overlaps["test_set"], overlaps[side], overlaps[f"{side}_seed"]]
            )
        ).to_numpy(float)
        for side in ("first", "second")
    )
    both = overlaps["both_correct"].to_numpy(float) / overlaps["num_images"].to_numpy(float)
    scale = np.sqrt(first * (1 - first) * second * (1 - second))
    table = overlaps.assign(
        rho=np.where(scale > 0, (both - first * second) / np.maximum(scale, 1e-300), np.nan)
    )
    table = table[np.isfinite(table["rho"])]
    same = table["first"] == table["second"]
    within = table[same].pivot_table(index=["first", "n_train"], columns="test_set", values="rho")
    between = table[~same].pivot_table(index="n_train", columns="test_set", values="rho")
    return ImageSharing(
        {(str(s), int(n)): row for (s, n), row in _complete(within, test_sets).items()},
        {int(n): row for n, row in _complete(between, test_sets).items()},
    )


def _complete(table: pd.DataFrame, test_sets: Sequence[str]) -> dict:
    """Rows that have every test set, clipped to [0, 1]: sampling noise makes small correlations negative."""
    rows = table.reindex(columns=list(test_sets)).dropna()
    return dict(zip(rows.index, np.clip(rows.to_numpy(float), 0.0, 1.0), strict=True))
