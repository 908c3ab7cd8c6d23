r"""Does a rule's advantage rest on one source? Every mixture that holds a source is left out in turn.

The bootstrap of `empirical.scoring` draws sets of sources as if they were independent, but one source is in many of them: the
pairs of six sources share each source five times. The jackknife over the S sources has the standard error

$$\sqrt{\tfrac{S-1}S\sum_s(\theta_{-s}-\bar\theta)^2}$$

of $\theta$, the rule's rms error minus the baseline's, and a t interval with S - 1 degrees of freedom. Use `leave_sources_out`.
"""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.prediction import RULES, mixture_shares

COLUMNS = (
    "rule", "left_out", "num_predictions", "rms", "difference_to_interpolated",
    "difference_to_interpolated_low", "difference_to_interpolated_high",
)  # fmt: skip
NOTHING = "none"
_BASELINE = "interpolated"


def leave_sources_out(predictions: pd.DataFrame) -> pd.DataFrame:
    """Error of each rule over all shifts with each source left out, and with none; columns `COLUMNS`.

    Args:
        predictions: `empirical.prediction.predict_mixtures`.

    Returns:
        One row per rule and left_out. rms and the difference to the baseline's on the same predictions; the 95% interval, in
        the row with nothing left out, is the jackknife's over sources, empty with fewer than three of them. Empty where
        nothing is left to predict.
    """
    wide = predictions.pivot(index=["sources", "n_train", "shift"], columns="rule", values="ratio_predicted")
    if wide.empty or _BASELINE not in wide:
        return pd.DataFrame(columns=list(COLUMNS))
    measured = predictions.pivot(
        index=["sources", "n_train", "shift"], columns="rule", values="ratio_measured"
    )
    errors = wide - measured
    members = [set(mixture_shares(str(s))) for s in errors.index.get_level_values("sources")]
    names = sorted(set().union(*members))
    baseline = errors[_BASELINE].to_numpy(float)
    rows = []
    for rule in (rule for rule in RULES if rule in errors):
        error = errors[rule].to_numpy(float)
        usable = np.isfinite(error) & np.isfinite(baseline)
        found = []
        for left_out in [NOTHING, *names]:
            used = usable & np.array([left_out not in each for each in members])
            if not used.any():
                continue
            rms, other = (float(np.sqrt(np.mean(e[used] ** 2))) for e in (error, baseline))
            found.append([rule, left_out, int(used.sum()), rms, rms - other, np.nan, np.nan])
        theta = np.array([row[4] for row in found[1:]])
        if len(theta) > 2 and rule != _BASELINE:
            stderr = np.sqrt((len(theta) - 1) / len(theta) * np.sum((theta - theta.mean()) ** 2))
            half = float(stdtrit(len(theta) - 1, 0.975) * stderr)
            found[0][5:] = [found[0][4] - half, found[0][4] + half]
        rows += found
    return pd.DataFrame(rows, columns=list(COLUMNS))
