"""The filtering ladder: each way of filtering a pool, at each scale, between the pool's own line and the filter's.

Use `filtering_ladder` for one row per model and shift and `describe_ladder` for it in words. It complements
`empirical.filter_inheritance`, which judges lines of whole groups: here every published model has its own place on the way.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from empirical.line_fits import LineFit
from empirical.robustness import fits_of_groups, models_of_shift, shifts, with_link_errors

SCALES: dict[str, str] = {"s": "small", "m": "medium", "l": "large", "xl": "xlarge"}
"""Scale in a tag of DataComp (commonpool_s_clip_s13m_b4k) -> its name."""

LADDER_COLUMNS = (
    "shift", "scale", "step", "run", "dprime_ref", "dprime_shift", "above_pool", "above_pool_low", "above_pool_high",
    "filter_above_pool", "share_of_the_way", "extrapolated",
)  # fmt: skip
_Z = 1.96


def filtering_ladder(
    accuracies: pd.DataFrame, pool: str, steps: Sequence[str], filter_group: str, reference: str
) -> pd.DataFrame:
    """How far above its pool's line each filtered model lies, beside how far the filter's line lies, in d'.

    above_pool = y - line_pool(x) of a model at (x, y) = (d'_ref, d'_shift), with a 95% interval from its own test images and
    the pool's line; filter_above_pool = line_filter(x) - line_pool(x): both at the model's own x, so that a model that filtering
    moved up the line is compared there. share_of_the_way = above_pool / filter_above_pool, 0 on the pool's line and 1 on the
    filter's; empty where the two lines are not told apart at x. Theorem 3 asks of a filter that scores with the filter's
    CLIP for a share above 0, and for one component for at most 1; it says nothing of filters that use no CLIP. extrapolated: x
    lies outside the reference d' of the filter's own models, so that the way rests on that line being straight.

    Models are those of `pool` (the ladder's foot) and of `steps` whose tag names one of DataComp's scales, in that order.
    Empty without a line for the pool or for the filter (3 models each). Columns: `LADDER_COLUMNS`.
    """
    lines = {
        (group, shift): line
        for (_, group, shift, _, _), line in fits_of_groups(
            accuracies, reference, links=("dprime",), fits=("line",)
        )
    }
    table = with_link_errors(accuracies)
    tags = accuracies.drop_duplicates("run").set_index("run")["pretrained"]
    scale_of = tags.str.extract(r"^(?:commonpool|datacomp)_(xl|s|m|l)_", expand=False).map(SCALES)
    rows = []
    for shift in shifts(table, reference):
        of_pool, of_filter = lines.get((pool, shift)), lines.get((filter_group, shift))
        if of_pool is None or of_filter is None:
            continue
        models = models_of_shift(table, shift, reference)
        models = models[np.isfinite(models["x_dprime"]) & np.isfinite(models["y_dprime"])].assign(
            scale=lambda part: part["run"].map(scale_of)
        )
        own = models.loc[models["group"] == filter_group, "x_dprime"]
        for step in (pool, *steps):
            for scale in SCALES.values():
                for _, model in models[(models["group"] == step) & (models["scale"] == scale)].iterrows():
                    outside = not own.min() <= model["x_dprime"] <= own.max()
                    rows.append(
                        (shift, scale, step, model["run"], *_place(model, of_pool, of_filter), outside)
                    )
    return pd.DataFrame(rows, columns=list(LADDER_COLUMNS))


def _place(model: pd.Series, of_pool: LineFit, of_filter: LineFit) -> tuple[float, ...]:
    x, y = float(model["x_dprime"]), float(model["y_dprime"])
    above = y - of_pool.read(x)
    low, high = of_pool.interval((1.0, x))
    own = _Z * float(np.hypot(model["y_dprime_stderr"], of_pool.slope * model["x_dprime_stderr"]))
    half = float(np.hypot((high - low) / 2, own))
    way = of_filter.read(x) - of_pool.read(x)
    ends = of_filter.interval((1.0, x))
    apart = abs(way) > np.hypot((high - low) / 2, (ends[1] - ends[0]) / 2)
    return x, y, above, above - half, above + half, way, above / way if apart else float("nan")


def describe_ladder(ladder: pd.DataFrame, pool: str, labels: dict[str, str]) -> list[str]:
    """Sentences: per shift, the share of the way from pool to filter at each step and scale; * where extrapolated."""
    sentences = []
    steps = [step for step in pd.unique(ladder["step"]) if step != pool]
    for shift, part in ladder.groupby("shift", sort=False):
        words = []
        for step in steps:
            shares = part[(part["step"] == step) & part["share_of_the_way"].notna()]
            if len(shares):
                each = ", ".join(
                    f"{row['scale']} {row['share_of_the_way']:.0%}{'*' if row['extrapolated'] else ''}"
                    for _, row in shares.iterrows()
                )
                words.append(f"{step} {each}")
        told = "; ".join(words) if words else "pool and filter are not told apart where these models stand"
        sentences.append(f"{labels.get(str(shift), str(shift))}: {told}.")
    return sentences
