"""The exact limits between the sizes that were trained: `limit_curves`, the lines of the learners' figure."""

import numpy as np
import pandas as pd

from theory.asymptotics import asymptotics, hard_margin_asymptotics
from theory.learner_limits import LEARNERS, mixtures
from theory.separability import separability_threshold

CURVE_COLUMNS = ("mixture", "learner", "penalty", "samples_per_feature", "margin", "separable_below")
NUM_POINTS = 60


def limit_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Margins Φ⁻¹(accuracy) on each mixture's first target in the limit n/d = δ, for δ from 0.4 to 10; half a minute.

    table: the cells of the study (`theory.learner_limits.with_predictions`): their mixtures, learners and penalties at the
    largest d. separable_below: the δ under which data are separable, for the hard margin, which ends there. Columns
    `CURVE_COLUMNS`; a hard margin has penalty 0.
    """
    d = int(table["d"].max())
    cells = table[table["d"] == d]
    deltas = np.geomspace(0.4, 10, NUM_POINTS)
    parts = []
    for mixture in mixtures(d):
        reference = mixture.targets[:1]
        own = cells[cells["mixture"] == mixture.name]
        for learner in (name for name in LEARNERS if name in set(own["learner"])):
            if learner == "hard_margin":
                most = float(separability_threshold(mixture.sources, mixture.shares))
                below = deltas[deltas < 0.995 * most]
                limit = hard_margin_asymptotics(mixture.sources, mixture.shares, below * d)
                parts.append((mixture.name, learner, 0.0, below, limit.margins(reference)[:, 0], most))
                continue
            for penalty in sorted(own.loc[own["learner"] == learner, "penalty"].unique()):
                limit = asymptotics(mixture.sources, mixture.shares, deltas * d, float(penalty), learner)
                parts.append((mixture.name, learner, penalty, deltas, limit.margins(reference)[:, 0], np.nan))
    tables = [pd.DataFrame(dict(zip(CURVE_COLUMNS, part, strict=True))) for part in parts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(CURVE_COLUMNS))
