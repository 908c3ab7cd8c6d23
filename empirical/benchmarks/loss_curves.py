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
    """How far two trainers' losses lie apart, epoch by epoch, seed against the same seed.

    Trainers that draw their initial weights from the same seed start alike, so the spread between seeds is common to both
    and drops out of the n paired differences dᵢ: standard error = sd(d)/√n, n - 1 degrees of freedom.

    Returns:
        epoch, ours, ours_sd, peer, peer_sd (means and spread over seeds), difference (mean of ours - peer),
        standard_error, bound and within: |difference| <= bound, the distance that Student's t exceeds as rarely as a
        normal variable 3 standard errors.

    Raises:
        StudyError: fewer than two seeds, or trainers with different seeds or epochs.
    """
    curves = [
        table[table["trainer"] == name].pivot(index="epoch", columns="seed", values="loss")
        for name in (ours, peer)
    ]
    if not (curves[0].index.equals(curves[1].index) and curves[0].columns.equals(curves[1].columns)):
        raise StudyError(f"loss curves of {ours} and {peer} have different seeds or epochs")
    a, b = (curve.to_numpy() for curve in curves)
    n = a.shape[1]
    if n < 2 or not np.isfinite(a - b).all():
        raise StudyError("loss curves: at least two seeds with all their epochs are needed")
    difference, error = (a - b).mean(1), (a - b).std(1, ddof=1) / np.sqrt(n)
    bound = stats.t.isf(stats.norm.sf(STANDARD_ERRORS), n - 1) * error
    return pd.DataFrame(
        {
            "epoch": curves[0].index,
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
        f"{last['ours']:.4f} against {last['peer']:.4f} nats, difference {last['difference']:+.4f} ± {last['standard_error']:.4f}"
    )
