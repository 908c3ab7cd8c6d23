"""Designed mixtures among all mixtures that were trained: predicted and measured d', and their ranks."""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.figures.designed import draw_designed
from paper_figures.captions import Caption, number
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED
TABLES = ("designed", "accuracies")


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's designed.csv and accuracies.csv."""
    draw_designed(records["designed"], records["accuracies"], stem)


def caption(records: Records) -> Caption:
    """How many designs are best, how many may be, and how many predictions hold their measurement.

    A design that is one source is judged by the models that it was chosen for: it counts for ranks, not for predictions.
    """
    table = records["designed"]
    ranked: pd.DataFrame = table[np.isfinite(table["rank"].to_numpy(float))]
    trained = ranked[[":" in str(name) for name in ranked["sources"]]]
    # Half widths of both 95% intervals, added in quadrature.
    predicted = (trained["dprime_high"] - trained["dprime_low"]).to_numpy(float) / 2
    half = np.hypot(1.96 * trained["dprime_measured_stderr"].to_numpy(float), predicted)
    error = (trained["dprime_measured"] - trained["dprime_predicted"]).to_numpy(float)
    known = np.isfinite(half) & np.isfinite(error)
    within = np.abs(error[known]) <= half[known]
    gains = trained[np.isfinite(trained["gain_over_source"].to_numpy(float))]
    numbers = {
        "gains": str(len(gains)),
        "above sources": str(int((gains["gain_over_source"] > 0).sum())),
        "above sources at 95": str(int((gains["gain_low"] > 0).sum())),
        "below sources at 95": str(int((gains["gain_high"] < 0).sum())),
        "designs": str(len(ranked)),
        "trained": str(len(trained)),
        "one source": str(len(ranked) - len(trained)),
        "not trained": str(len(table) - len(ranked)),
        "first": str(int((ranked["rank"] == 1).sum())),
        "trained first": str(int((trained["rank"] == 1).sum())),
        "may be first": str(int((ranked["rank_low"] == 1).sum())),
        "ahead": str(int((ranked["ahead_low"] > 0).sum())),
        "behind": str(int((ranked["ahead_high"] < 0).sum())),
        "mixtures": str(int(ranked["num_mixtures"].max())) if len(ranked) else "0",
        "median rank": f"{ranked['rank'].median():g}" if len(ranked) else "–",
        "within": str(int(within.sum())),
        "judged": str(int(known.sum())),
        "bias": number(float(np.mean(error[known])), sign=True) if known.any() else "–",
    }
    text = (
        "Mixtures designed from single-source models alone, committed to before they were trained, among all mixtures of as "
        "many samples (up to {mixtures}). {first} of {designs} designs rank first (median rank {median rank}) and {may be first} "
        "are not told apart from the first; {one source} are one source, judged by the models that they were chosen for; of the "
        "{trained} mixtures trained by design {trained first} rank first. {above sources} of {gains} are better than every "
        "single source of as many samples ({above sources at 95} at 95%, {below sources at 95} worse at 95%; in the panels, "
        "the gain over the best of them). Against the best other mixture or source {ahead} "
        "are ahead and {behind} behind at 95%. {within} of {judged} measured d′ of trained designs agree with their prediction "
        "at 95%; measured minus predicted is {bias} on average."
    )
    return Caption(text, numbers)
