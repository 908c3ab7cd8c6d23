"""Tidy tables of a study: `accuracies.csv` from the records, every table written atomically.

Columns of `accuracies.csv`: run, kind, sources, n_train, seed, test_set, num_classes, num_images, num_correct,
accuracy, accuracy_low, accuracy_high (Clopper-Pearson, 95%), probit, dprime, heads_n_train, filter, kept_share.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from empirical.records import write_atomically
from theory.counts import clopper_pearson
from theory.links import dprime, probit

ACCURACY_COLUMNS = (
    "run", "kind", "sources", "n_train", "seed", "test_set", "num_classes", "num_images", "num_correct",
    "accuracy", "accuracy_low", "accuracy_high", "probit", "dprime", "heads_n_train", "filter", "kept_share",
)  # fmt: skip


def padding(size: int) -> tuple[int, int]:
    """What to pad an array of a growing table by (numpy's before, after), so that JAX, which compiles anew for every
    length, sees few: powers of two, from 256 on.
    """
    return 0, max(256, 1 << max(0, size - 1).bit_length()) - size


def accuracies_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run and test set; accuracy 0 or 1 has an infinite probit and d', its interval says how far."""
    keys = ("run", "kind", "sources", "n_train", "seed", "heads_n_train", "filter", "kept_share")
    rows = [
        {**{key: record[key] for key in keys}, "test_set": name, **counts}
        for record in records
        for name, counts in record["results"].items()
    ]
    if not rows:
        return pd.DataFrame(columns=list(ACCURACY_COLUMNS))
    table = pd.DataFrame(rows)
    correct, images = table["num_correct"].to_numpy(), table["num_images"].to_numpy()
    table["accuracy"] = correct / images
    low, high = clopper_pearson(correct, images)
    table["accuracy_low"], table["accuracy_high"] = np.asarray(low), np.asarray(high)
    room = padding(len(table))
    accuracy = np.pad(table["accuracy"].to_numpy(), room, constant_values=0.5)
    num_classes = np.pad(table["num_classes"].to_numpy(), room, constant_values=2)
    table["probit"] = np.asarray(probit(accuracy))[: len(table)]
    table["dprime"] = np.asarray(dprime(accuracy, num_classes))[: len(table)]
    return table[list(ACCURACY_COLUMNS)].sort_values(
        ["kind", "sources", "n_train", "heads_n_train", "filter", "seed"], kind="stable", ignore_index=True
    )


def write_table(table: pd.DataFrame, path: Path, digits: int | None = 9) -> None:
    """Write a table as CSV, atomically; floats keep so many significant digits (None: all)."""
    form = None if digits is None else f"%.{digits}g"
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=False, float_format=form))
