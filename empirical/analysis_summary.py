"""What a study's further tables say, in words and small tables: the text that is kept as analysis.txt.

Use `analysis_text` on the tables of `empirical.study_analysis.analyse_study`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from empirical.places import score_places
from empirical.power import seeds_text
from empirical.scoring import ALL_SHIFTS
from empirical.summary import text_table


def analysis_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """Ranks of designed mixtures, places, output against input mixing, effective robustness and diagnosis; what there is."""
    parts = [
        _designed(tables.get("designed")),
        _places(tables.get("places")),
        _output_mixing(tables.get("output_vs_input")),
        _effective_robustness(tables.get("effective_robustness")),
        _diagnosis(tables.get("diagnosis")),
    ]
    return "\n\n".join(part for part in parts if part)


def _designed(table: pd.DataFrame | None) -> str:
    if table is None or table.empty:
        return ""
    cells = []
    for _, row in table.iterrows():
        trained = row["judged_against"] != "not trained"
        cells.append(
            [str(row["shift"]), str(row["budget"]), str(row["sources"]),
             f"{row['dprime_predicted']:.2f} [{row['dprime_low']:.2f}, {row['dprime_high']:.2f}]",
             f"{row['dprime_measured']:.2f} ± {1.96 * row['dprime_measured_stderr']:.2f}" if trained else "not trained",
             f"{row['rank']:.0f} of {row['num_mixtures']:.0f} [{row['rank_low']:.0f}, {row['rank_high']:.0f}]" if trained else "",
             f"{row['ahead_of_best']:+.2f} [{row['ahead_low']:+.2f}, {row['ahead_high']:+.2f}]" if trained else "",
             seeds_text(float(row["seeds_needed"])) if trained else "",
             f"{row['rank_with_sources']:.0f} of {row['num_with_sources']:.0f}" if trained else "",
             f"{row['gain_over_source']:+.2f} [{row['gain_low']:+.2f}, {row['gain_high']:+.2f}] {row['best_source']}"
             if np.isfinite(row["gain_over_source"]) else ""]
        )  # fmt: skip
    headings = [
        "aim",
        "samples",
        "designed mixture",
        "d' predicted",
        "measured",
        "rank",
        "ahead of the best other",
        "to tell",
        "rank with sources",
        "gain over the best source",
    ]
    trained = table[table["judged_against"] != "not trained"]
    mixed = trained["sources"].astype(str).str.contains(":")
    first = int((trained.loc[mixed, "rank"] == 1).sum())
    return (
        "The designed mixtures, from single-source models alone, among all mixtures trained with as many samples (ranks that the "
        f"errors allow in brackets).\n{first} of {int(mixed.sum())} mixtures trained by design rank first; {int((~mixed).sum())} "
        "designs are a single source, judged by the very models that it was chosen for.\n"
        + _gains(trained[mixed])
        + text_table(headings, cells)
    )


def _gains(mixed: pd.DataFrame) -> str:
    """How many designed mixtures are better than every single source."""
    gains = mixed[np.isfinite(mixed["gain_over_source"].to_numpy(float))]
    if gains.empty:
        return ""
    ahead, sure, behind = (
        int(count.sum())
        for count in (gains["gain_over_source"] > 0, gains["gain_low"] > 0, gains["gain_high"] < 0)
    )
    return (
        f"{ahead} of {len(gains)} mixtures are better than every single source of as many samples ({sure} at 95%, {behind} worse "
        "at 95%; the interval is over all\nsources at once, and the best of several measured sources is rather too high).\n"
    )


def _places(table: pd.DataFrame | None) -> str:
    if table is None or table.empty:
        return ""
    cells = [
        [str(row["test_set"]), str(row["num"]), f"{row['rms_place']:.3f}", f"{row['bias_place']:+.3f}",
         f"{row['noise_place']:.3f}", f"{row['rms_of_low_end']:.3f}",
         *(["", ""] if np.isnan(row["rms_ratio"]) else [f"{row['rms_ratio']:.3f}", f"{row['bias_ratio']:+.3f}"])]
        for _, row in score_places(table).iterrows()
    ]  # fmt: skip
    verdicts = table["inside_bracket"].value_counts()
    inside, outside, empty = (int(verdicts.get(verdict, 0)) for verdict in ("yes", "no", "empty"))
    headings = [
        "test set",
        "mixtures",
        "rms of d'",
        "bias",
        "noise",
        "rms of mean d'",
        "rms of ratio",
        "bias of ratio",
    ]
    return (
        "Places of mixtures from the overlap of single-source models (not one of the frozen rules), beside the mean d' by share; "
        f"{outside} of {len(table)} places lie outside their bracket at 95%, {inside} inside; {empty} brackets are empty, "
        "since a source's d' grows faster than n^(1/2) between the sizes they are read from:\n"
        + text_table(headings, cells)
    )


def _output_mixing(table: pd.DataFrame | None) -> str:
    if table is None or table.empty:
        return ""
    cells = []
    for _, row in table[table["shift"] == ALL_SHIFTS].iterrows():
        cells.append(
            [str(row["mixing"]), str(row["heads"]), str(row["num_comparisons"]),
             _with_interval(row, "mean_difference", "difference"), _with_interval(row, "rms", "rms", ""),
             f"{row['noise_floor']:.3f}", _agreement(row),
             f"{row['place_gain']:+.2f}"]
        )  # fmt: skip
    headings = [
        "mixing",
        "heads",
        "cells",
        "ensemble - mixture",
        "rms",
        "noise floor",
        "agree at 95%",
        "d'_ref gained",
    ]
    return "Output mixing against input mixing, d' ratio over all shifts:\n" + text_table(headings, cells)


def _agreement(row: pd.Series) -> str:
    """`56% to 72%`: by the seeds' error alone, and with all of the images' error beside it."""
    low, high = float(row["agreement_share_by_seeds"]), float(row["agreement_share"])
    if np.isnan(high):
        return ""
    return f"at most {high:.0%}" if np.isnan(low) else f"{low:.0%} to {high:.0%}"


def _with_interval(row: pd.Series, name: str, stem: str, sign: str = "+") -> str:
    low, high = float(row[f"{stem}_low"]), float(row[f"{stem}_high"])
    text = f"{float(row[name]):{sign}.3f}"
    return f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]" if np.isfinite(low) else text


def _effective_robustness(table: pd.DataFrame | None) -> str:
    if table is None or table.empty:
        return ""
    cells = []
    for (references, shift), part in table[table["kind"] == "single"].groupby(
        ["references", "shift"], sort=False
    ):
        above, below = (
            ", ".join(part.loc[part["verdict"] == verdict, "group"]) for verdict in ("above", "below")
        )
        cells.append([str(references).replace("+", " and "), str(shift), above or "none", below or "none"])
    return (
        "Effective robustness of single sources against the line of all of them, at equal accuracy on one or two references:\n"
        + text_table(["references", "shift", "above at 95%", "below at 95%"], cells)
    )


def _diagnosis(table: pd.DataFrame | None) -> str:
    if table is None or table.empty:
        return ""
    growth, judged = (table[table["diagnostic"] == name] for name in ("growth", "growth where judged"))
    sets = [str(name) for name in pd.unique(growth["test_set"])]
    biases = [str(name) for name in pd.unique(table["diagnostic"]) if str(name).startswith("bias")]
    cells = []
    for test_set in sets:
        here = table[table["test_set"] == test_set].set_index("diagnostic")
        row = [test_set]
        for exponents in (growth, judged):
            here_only = exponents[exponents["test_set"] == test_set]
            row.append(_range(here_only["value"]))
            row.append(f"{(here_only['low'] > here_only['expected']).sum()} of {len(here_only)}")
        for name in ("growth from overlap", "own overlap"):
            values = table.loc[(table["diagnostic"] == name) & (table["test_set"] == test_set), "value"]
            row.append(_range(values))
        p = here["value"].get("weights differ (p-value)", np.nan)
        row.append("" if not np.isfinite(p) else f"{p:.3f}")
        cells.append(row)
    text = (
        "What the theory assumes and was measured: growth dlog d'/dlog n (bound 1/2) over all sizes and over those from the "
        f"smallest mixture's on\n({_first(judged, 'sizes')} samples), and the part that noise falling as 1/n allows; overlap of "
        "two seeds; whether mixtures weight their sources on a\nshift as on the reference:\n"
        + text_table(
            ["test set", "growth, all sizes", "above 1/2 at 95%", "where judged", "above 1/2 at 95%", "by noise", "own overlap",
             "p, equal weights"], cells,
        )
    )  # fmt: skip
    found = table[table["diagnostic"].isin(biases)].sort_values("n_train", kind="stable")
    shifts = [name for name in sets if name in set(found["test_set"])]
    rows = []
    for name in biases:
        for sizes, part in found[found["diagnostic"] == name].groupby("sizes", sort=False):
            by_shift = part.set_index("test_set")
            told = [
                _bias(float(by_shift["value"].get(s, np.nan)), str(by_shift["verdict"].get(s, "")))
                for s in shifts
            ]
            rows.append([name, str(sizes), *told])
    return (
        text
        + "\n\nBias of the d' ratio, predicted - measured (* apart from 0 at 95%); compare rows of one size:\n"
        + text_table(["", "n", *shifts], rows)
    )


def _range(values: pd.Series) -> str:
    return f"{values.min():.2f} to {values.max():.2f}" if len(values) else ""


def _first(table: pd.DataFrame, column: str) -> str:
    return str(table[column].iloc[0]) if len(table) else "none"


def _bias(value: float, verdict: str) -> str:
    return "" if np.isnan(value) else f"{value:+.3f}" + ("*" if verdict.startswith("mixtures") else "")
