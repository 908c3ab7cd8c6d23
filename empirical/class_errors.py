"""Accuracy class by class, and the mediant carried out class by class: does unequal class difficulty bend the link?

The link of section 7 takes all classes to be equally hard. Where they are not, the d' of the mean accuracy is not the mean of the
classes' d', and a mixture may look more robust than the mediant of pooled d' says although each class obeys it. Use
`class_counts` for the table of a study and `classwise_ratios` for the mediant applied to every class before pooling.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from empirical.prediction import mixture_shares
from theory.links import dprime, dprime_inverse

CLASS_COLUMNS = (
    "test_set", "n_train", "kind", "sources", "label", "num_seeds", "num_images", "num_correct", "accuracy",
)  # fmt: skip


def class_counts(
    accuracies: pd.DataFrame,
    logits: Callable[[str, str], np.ndarray],
    labels: Mapping[str, np.ndarray],
    sizes: tuple[int, ...] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Right images of every class, summed over seeds, of single sources and input mixtures. Columns `CLASS_COLUMNS`.

    sizes: n_train to look at; the largest size of an input mixture by default. num_images counts an image once per seed.
    Raises DataError for logits that cannot be read.
    """
    chosen = accuracies[accuracies["kind"].isin(["single", "input_mixing"])]
    mixed = chosen.loc[chosen["kind"] == "input_mixing", "n_train"]
    wanted = set(sizes) or ({int(mixed.max())} if len(mixed) else set())
    chosen = chosen[chosen["n_train"].isin(list(wanted))]
    groups = list(chosen.groupby(["n_train", "kind", "sources", "test_set"], sort=False))
    rows = []
    for done, ((n, kind, sources, test_set), part) in enumerate(groups):
        truth = np.asarray(labels[str(test_set)])
        num_classes = int(part["num_classes"].iloc[0])
        images = np.bincount(truth, minlength=num_classes) * len(part)
        correct = np.zeros(num_classes, dtype=np.int64)
        for run in part["run"]:
            right = np.asarray(logits(run, str(test_set))).argmax(axis=1) == truth
            correct += np.bincount(truth[right], minlength=num_classes)
        rows += [
            (test_set, n, kind, sources, k, len(part), images[k], correct[k], correct[k] / images[k])
            for k in np.flatnonzero(images)
        ]
        on_progress(done + 1, len(groups))
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


def classwise_ratios(counts: pd.DataFrame, reference: str = "reference") -> pd.DataFrame:
    """The mediant applied class by class: predicted and measured d' ratio of every mixture on every shift.

    Class k of mixture p has accuracy A_K(sum p_s d_s,k) with d_s,k = A_K^-1 of the accuracy of source s's models on class k;
    the predicted d' is that of the mean of these accuracies, as the measured one is of measured accuracies. Classes that a
    source has all wrong or all right have no finite d' and are left out of prediction and measurement alike (num_classes counts
    the ones used). Columns: sources, n_train, shift, ratio_classwise, ratio_pooled (the plain mediant on the same classes),
    ratio_measured, class_spread (standard deviation over classes of the mixture's measured accuracy on the shift), num_classes.
    """
    rows = []
    for n, part in counts.groupby("n_train", sort=False):
        total = int(part["label"].max()) + 1
        table = part.pivot_table(
            index=["kind", "sources"], columns=["test_set", "label"], values="accuracy", sort=False
        )
        for kind, sources in table.index:
            if kind != "input_mixing":
                continue
            shares = mixture_shares(str(sources))
            keys = [("single", name) for name in shares]
            if not all(key in table.index for key in keys):
                continue
            p = np.array(list(shares.values()))
            place: dict[str, tuple[float, float, float, float, int]] = {}
            for test_set in dict.fromkeys(table.columns.get_level_values(0)):
                single = table.loc[keys, test_set].to_numpy(float)
                mixture = table.loc[(kind, sources), test_set].to_numpy(float)
                used = ((single > 0) & (single < 1)).all(axis=0) & np.isfinite(mixture)
                if not used.any():
                    continue
                d = np.asarray(dprime(single[:, used], total))
                by_class = np.asarray(dprime_inverse(p @ d, total))
                pooled = p @ np.asarray(dprime(single[:, used].mean(axis=1), total))
                place[str(test_set)] = (
                    _dprime_of(by_class.mean(), total), float(pooled), _dprime_of(mixture[used].mean(), total),
                    float(mixture[used].std(ddof=1)) if used.sum() > 1 else np.nan, int(used.sum()),
                )  # fmt: skip
            if reference not in place:
                continue
            x = place[reference]
            rows += [
                (sources, n, shift, y[0] / x[0], y[1] / x[1], y[2] / x[2], y[3], y[4])
                for shift, y in place.items()
                if shift != reference and np.isfinite([*x[:3], *y[:3]]).all()
            ]
    names = [
        "sources",
        "n_train",
        "shift",
        "ratio_classwise",
        "ratio_pooled",
        "ratio_measured",
        "class_spread",
    ]
    return pd.DataFrame(rows, columns=[*names, "num_classes"])


def _dprime_of(accuracy: float, num_classes: int) -> float:
    return float(dprime(float(accuracy), num_classes)) if 0 < accuracy < 1 else np.nan
