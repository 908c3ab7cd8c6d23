"""What `experiments/predict_mixtures.py` makes of single-source accuracies: tables and words.

Use `forecast_report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from empirical.errors import DataError
from empirical.forecast_gaps import forecast_gaps
from empirical.mixture_choice import DEFAULT_OVERLAPS, best_mixtures, describe_best, most_robust_source
from empirical.mixture_forecast import (
    DEFAULT_RATIOS,
    SingleSources,
    common_sizes,
    forecast_mixtures,
    listed_mixtures,
    single_sources,
)
from empirical.prediction import PRIMARY_RULE, mixture_shares
from empirical.robustness import fit_trends, left_out, shifts

_MOST_TOLD = 4


@dataclass(frozen=True)
class ForecastReport:
    """Tables by file name (predictions, best mixtures, most robust sources, trends where there are any) and it all in words."""

    tables: Mapping[str, pd.DataFrame]
    summary: str


def forecast_report(
    accuracies: pd.DataFrame,
    reference: str,
    mixtures: Sequence[str] = (),
    ratios: Sequence[float] = (),
    sizes: Sequence[int] = (),
    budgets: Mapping[str, float] | None = None,
    overlaps: Sequence[float] = (),
) -> ForecastReport:
    """Predictions of all pairs, equal mixtures and the mixtures asked for, and the best mixture at the largest size.

    Args:
        accuracies: tidy single-source accuracies, see `empirical.single_source_table`.
        reference: the reference test set.
        mixtures: further mixtures, written a:0.3+b:0.7.
        ratios: first shares of the pairs, see `listed_mixtures`; its default where empty.
        sizes: numbers of training samples, see `forecast_mixtures`; its default where empty.
        budgets: samples there are of each source (all that are not named: no limit), see `best_mixtures`.
        overlaps: overlaps of every two sources to assume, see `best_mixtures`; its default where empty.

    Raises DataError for what cannot be read or predicted, with the way out.
    """
    single = single_sources(accuracies, reference)
    if len(single.names) < 2:
        raise DataError(f"one source only ({', '.join(single.names)}); a mixture needs the models of two")
    asked = [mixture_shares(text) for text in mixtures]
    listed = asked + [
        m for m in listed_mixtures(single.names, tuple(ratios) or DEFAULT_RATIOS) if m not in asked
    ]
    forecast = forecast_mixtures(accuracies, listed, sizes, reference)
    names = shifts(accuracies, reference)
    n_train = int(forecast["n_train"].max())
    best = best_mixtures(single, n_train, names, tuple(overlaps) or DEFAULT_OVERLAPS, budgets)
    robust = most_robust_source(single, n_train, names)
    lines = [*_what_was_read(single, accuracies), ""]
    lines += _forecast_words(forecast, [name for name in names if name in set(forecast["shift"])], n_train)
    missed = [n for n in sizes if n not in set(forecast["n_train"])]
    gaps = {n: forecast_gaps(accuracies, single, n, names) for n in (n_train, *missed)}
    for n, told in gaps.items():
        lines += [f"  n = {n:,}, {line}." for line in told]
    lines += ["", "Best mixture:", *(f"  {sentence}" for sentence in describe_best(best, robust))]
    lines.append(
        "  Overlaps bracket what single-source models cannot tell: train one 50:50 mixture, or average the logits of two models, "
        "to learn it."
    )
    tables = {
        "predictions.csv": forecast,
        "best_mixtures.csv": best,
        "most_robust.csv": robust,
    }
    trends = fit_trends(accuracies, reference)
    if len(trends):
        tables["trends.csv"] = trends
    else:
        lines.append("No trends.csv: no source has the three models that a line needs.")
    return ForecastReport(tables, "\n".join(lines))


def _what_was_read(single: SingleSources, accuracies: pd.DataFrame) -> list[str]:
    lines = [f"{name}: n = {', '.join(f'{n:,}' for n in single.sizes(name))}" for name in single.names]
    seeds = accuracies.groupby(["sources", "n_train"])["seed"].nunique()
    if single.known_seeds:
        lines.append(
            f"{int(seeds.min())} to {int(seeds.max())} seeds per source and size; intervals carry seeds and test images."
        )
    else:
        lines.append(
            "One seed per source and size: intervals carry the test images alone and are too short by what another seed would "
            "change; give further seeds as rows of their own."
        )
    sizes = common_sizes(single)
    lines.append(f"Sizes that two sources or more share: {', '.join(f'{n:,}' for n in sizes) or 'none'}.")
    return lines + left_out(accuracies)


def _forecast_words(forecast: pd.DataFrame, names: Sequence[str], n_train: int) -> list[str]:
    part = forecast[forecast["n_train"] == n_train]
    rule = PRIMARY_RULE if PRIMARY_RULE in set(part["rule"]) else "mediant"
    words = (
        "lines by share"
        if rule == PRIMARY_RULE
        else "the mediant (a source has fewer than 3 models, so no line)"
    )
    lines = [
        f"{part['sources'].nunique()} mixtures at n = {n_train:,}; the most robust by {words}, with every other rule's ratio "
        "(predictions.csv has all):"
    ]
    for shift in names:
        of_shift = part[part["shift"] == shift]
        chosen = of_shift[of_shift["rule"] == rule].sort_values("ratio", ascending=False).head(_MOST_TOLD)
        if chosen.empty:
            lines.append(f"  {shift}: no forecast by this rule")
            continue
        lines.append(f"  {shift}:")
        for _, row in chosen.iterrows():
            others = of_shift[(of_shift["sources"] == row["sources"]) & (of_shift["rule"] != rule)]
            rest = ", ".join(f"{r['rule']} {r['ratio']:.3f}" for _, r in others.iterrows())
            accuracy = f"{row['accuracy_shift']:.1%} [{row['accuracy_shift_low']:.1%}, {row['accuracy_shift_high']:.1%}]"
            lines.append(
                f"    {row['sources']}: d' ratio {row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] ({rest}); "
                f"accuracy {accuracy} at {row['accuracy_ref']:.1%} on the reference{_bracket(row)}"
            )
    return lines


def _bracket(row: pd.Series) -> str:
    if not np.isfinite(row["dprime_ref_bracket_high"]):
        return ""
    return f" (its d' between {row['dprime_ref_bracket_low']:.2f} and {row['dprime_ref_bracket_high']:.2f})"
