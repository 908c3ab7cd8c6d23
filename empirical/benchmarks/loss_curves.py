"""Are the loss curves of two trainers the same to noise? `loss_table`, `difference_table`, `same_to_noise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from empirical.errors import StudyError

STANDARD_ERRORS = 3.0
"""Of a normal variable; for few seeds the bound is the quantile of Student's t with the same probability."""


def loss_table(losses: Mapping[str, Mapping[int, Sequence[float]]]) -> pd.DataFrame:
    """Tidy: trainer, seed, epoch (from 1), loss in nats; `losses` are epoch means by trainer and seed."""
    rows = [
        (trainer, seed, epoch, loss)
        for trainer, runs in losses.items()
        for seed, curve in runs.items()
        for epoch, loss in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows, columns=["trainer", "seed", "epoch", "loss"])


def difference_table(table: pd.DataFrame, ours: str, peer: str) -> pd.DataFrame:
    """How far two trainers' mean losses lie apart, epoch by epoch.

    The variance between seeds is pooled over both trainers (n₁ + n₂ - 2 degrees of freedom): se² = s² (1/n₁ + 1/n₂).

    Returns:
        epoch, ours, ours_sd, peer, peer_sd, difference (ours - peer), standard_error, bound and within:
        |difference| <= bound, the distance that Student's t exceeds as rarely as a normal variable 3 standard errors.

    Raises:
        StudyError: fewer than two seeds of a trainer, or trainers with different epochs.
    """
    curves = {
        name: table[table["trainer"] == name].pivot(index="epoch", columns="seed", values="loss")
        for name in (ours, peer)
    }
    for name, curve in curves.items():
        if curve.shape[1] < 2 or curve.isna().to_numpy().any():
            raise StudyError(f"loss curves of {name}: at least two seeds with the same epochs are needed")
    if not curves[ours].index.equals(curves[peer].index):
        raise StudyError(f"loss curves of {ours} and {peer} have different epochs")
    a, b = (curve.to_numpy() for curve in curves.values())
    n, m = a.shape[1], b.shape[1]
    degrees = n + m - 2
    pooled = ((n - 1) * a.var(1, ddof=1) + (m - 1) * b.var(1, ddof=1)) / degrees
    error = np.sqrt(pooled * (1 / n + 1 / m))
    difference = a.mean(1) - b.mean(1)
    bound = stats.t.isf(stats.norm.sf(STANDARD_ERRORS), degrees) * error
    return pd.DataFrame(
        {
            "epoch": curves[ours].index,
            "ours": a.mean(1),
            "ours_sd": a.std(1, ddof=1),
            "peer": b.mean(1),
            "peer_sd": b.std(1, ddof=1),
            "difference": difference,
            "standard_error": error,
            "bound": bound,
            "within": np.abs(difference) <= bound,
        }
    )


def same_to_noise(differences: pd.DataFrame) -> str:
    """The verdict in a sentence."""
    within, epochs = int(differences["within"].sum()), len(differences)
    farthest = differences.loc[(differences["difference"] / differences["standard_error"]).abs().idxmax()]
    ratio = abs(farthest["difference"]) / farthest["standard_error"]
    verdict = "same to noise" if within == epochs else "not the same"
    last = differences.iloc[-1]
    return (
        f"{verdict}: {within} of {epochs} epochs within the bound of 3 standard errors (as Student's t counts them); "
        f"farthest at epoch {int(farthest['epoch'])}, {ratio:.1f} standard errors; after the last epoch "
        f"{last['ours']:.4f} against {last['peer']:.4f} ± {last['standard_error']:.4f} nats"
    )
