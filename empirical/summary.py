"""A study told in words and tables.

Use `format_summary` for the text that a study prints at its end and keeps as summary.txt, `format_filter_scores`
for what its filters add to it, `text_table` for tables like its own.
"""

import numpy as np
import pandas as pd

from empirical.filter_prediction import FROZEN_FILTER_RULE, TOLD_MORE
from empirical.prediction import BASELINES, PRIMARY_RULE, RULES, mixture_shares
from empirical.robustness import growth_exponents, judged_sizes, left_out
from empirical.scoring import ALL_SHIFTS, mixture_verdicts, summarise_lines, summarise_mixtures
from empirical.source_jackknife import NOTHING

_VERDICT_WORDS = {"yes": "inside", "no": "outside", "inconclusive": "?"}


def format_summary(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
    reference: str = "reference",
    by_source: pd.DataFrame | None = None,
) -> str:
    """The study in words and tables: lines, growth, mixtures inside their sources' range, rules beside the baselines."""
    parts = [
        _lines_text(trends),
        _growth_text(accuracies, reference),
        _inside_text(predictions, accuracies),
        _rules_text(scores, predictions),
        _by_source_text(by_source),
    ]
    extreme = left_out(accuracies)
    if extreme:
        parts.append("Left out of fits:\n" + "\n".join(f"  {sentence}" for sentence in extreme))
    return "\n\n".join(part for part in parts if part)


def _lines_text(trends: pd.DataFrame) -> str:
    probit, dprime = (summarise_lines(trends, link) for link in ("probit", "dprime"))
    if probit.empty:
        return "No source has three models yet: no line is fitted."
    both = probit.merge(dprime, on=["sources", "shift"], how="left", suffixes=("", "_dprime"))
    compatible = int(((dprime["intercept_low"] <= 0) & (dprime["intercept_high"] >= 0)).sum())
    cells = [
        [row["sources"], row["shift"], _value(row, "slope"), f"{row['r2']:.3f}", str(row["num_models"]),
         _value(row, "slope", end="_dprime"), _value(row, "intercept", end="_dprime"), f"{row['r2_dprime']:.3f}"]
        for _, row in both.iterrows()
    ]  # fmt: skip
    headings = ["source", "shift", "probit slope", "R2", "models", "d' slope", "d' intercept", "R2 in d'"]
    return (
        "Robustness of each source: lines of its single-source models, 95% intervals. Theorem 1 asks for intercept 0 in d': "
        f"{compatible} of {len(dprime)} intervals hold it.\n" + text_table(headings, cells)
    )


def _growth_text(accuracies: pd.DataFrame, reference: str) -> str:
    from_size = judged_sizes(accuracies)
    tables = [growth_exponents(accuracies, least) for least in dict.fromkeys((0, from_size))]
    if tables[0].empty:
        return ""
    rows = []
    for name in [reference, *(n for n in pd.unique(accuracies["test_set"]) if n != reference)]:
        parts = [growth[growth["test_set"] == name] for growth in tables]
        if len(parts[0]):
            rows.append([name, *(words for part in parts for words in _growth_words(part))])
    words = [f"from {from_size} samples" if i else "all sizes" for i in range(len(tables))]
    headings = [heading for each in words for heading in (f"range, {each}", "above 1/2 at 95%")]
    return (
        "Growth dlog d'/dlog n of single-source models, d' = c n^e fitted to d' (Theorem 1 bounds it by 1/2; test sets above it "
        "are outside the\ntheory"
        + (f"; mixtures are judged from {from_size} samples on" if from_size else "")
        + "):\n"
        + text_table(["test set", *headings], rows)
    )


def _growth_words(part: pd.DataFrame) -> tuple[str, str]:
    """The range over sources, and those above the bound."""
    if part.empty:
        return "", ""
    above = part.loc[part["exponent_low"] > 0.5, "sources"]
    return f"{part['exponent'].min():.2f} to {part['exponent'].max():.2f}", ", ".join(above) or "none"


def _inside_text(predictions: pd.DataFrame, accuracies: pd.DataFrame) -> str:
    counts = summarise_mixtures(predictions)
    if counts.empty:
        sources = accuracies.loc[accuracies["kind"] == "single", "sources"].unique()
        if len(sources) == 1 and set(accuracies["kind"]) <= {"single", "filtered"}:
            return f"One source ({sources[0]}): nothing to mix. Give a second one to learn how they mix."
        return "No mixture has been measured together with all of its sources yet."
    cells = [[str(v) for v in row] for row in counts.itertuples(index=False)]
    verdicts = mixture_verdicts(predictions)
    names = [str(name) for name in verdicts.columns[2:]]
    each = [
        [_mixture_text(str(sources)), str(n), *(_VERDICT_WORDS.get(str(v), "-") for v in answers)]
        for sources, n, *answers in verdicts.itertuples(index=False)
    ]
    return (
        "Does each mixture's d' ratio lie inside the range of its sources' (Theorem 2)? At 95%; ? = inconclusive"
        + ("; - = not measured:\n" if any("-" in row[2:] for row in each) else ":\n")
        + text_table(["mixture", "n_train", *names], each)
        + "\n\nThe same counted, each mixture and size as one:\n"
        + text_table(["shift", "inside", "outside", "inconclusive", "mixtures x sizes"], cells)
        + _needed_text(predictions)
    )


def _needed_text(predictions: pd.DataFrame) -> str:
    """How many seeds the inconclusive cells would need, shift by shift."""
    if "seeds_needed" not in predictions:
        return ""
    once = predictions.drop_duplicates(["sources", "n_train", "shift"])
    once = once[(once["inside_range"] == "inconclusive") & once["seeds_needed"].notna()]
    if once.empty:
        return ""
    cells = []
    enough = [seeds for seeds in (3, 6, 12, 24, 48) if seeds > once["num_seeds"].min()]
    for shift, part in once.groupby("shift", sort=False):
        needed = part["seeds_needed"].to_numpy(float)
        counts = [str(int((needed <= seeds).sum())) for seeds in enough]
        cells.append([str(shift), str(len(part)), *counts, str(int(np.isinf(needed).sum()))])
    headings = [
        "shift",
        "inconclusive",
        *(f"decided by {seeds} seeds" for seeds in enough),
        "need more test images",
    ]
    return (
        "\n\nSeeds that would decide the inconclusive ones with 80% power, were the measured differences the true ones:\n"
        + text_table(headings, cells)
    )


def _mixture_text(sources: str) -> str:
    """`snapshots 20% + stock 80%`; equal shares of more than three sources are said once."""
    shares = mixture_shares(sources)
    if len(shares) > 3 and max(shares.values()) - min(shares.values()) < 1e-6:
        return f"{' + '.join(shares)} (equal shares)"
    return " + ".join(f"{name} {100 * share:.3g}%" for name, share in shares.items())


def _by_source_text(table: pd.DataFrame | None) -> str:
    """Each rule's advantage over interpolating with every mixture of one source left out."""
    if table is None or table["left_out"].nunique() < 3:
        return ""
    wide = table.pivot(index="rule", columns="left_out", values="difference_to_interpolated")
    names = [name for name in pd.unique(table["left_out"]) if name != NOTHING]
    whole = table[table["left_out"] == NOTHING].set_index("rule")
    cells = [
        [rule, _value(whole.loc[rule], "difference_to_interpolated", sign="+"),
         *("" if np.isnan(wide.loc[rule].get(name, np.nan)) else f"{wide.loc[rule, name]:+.3f}" for name in names)]
        for rule in whole.index
        if rule != "interpolated"
    ]  # fmt: skip
    return (
        "The same difference to interpolated over all shifts without one source's mixtures, with a 95% jackknife interval over "
        "the sources:\n"
        + text_table(["rule", "all", *(f"no {name}" for name in names)], cells)
        + f"\nTold apart from 0 by that interval: {', '.join(_apart(whole)) or 'none'}."
    )


def _apart(rows: pd.DataFrame) -> list[str]:
    low, high = (rows[f"difference_to_interpolated_{end}"] for end in ("low", "high"))
    return [str(rule) for rule in rows.index[(low > 0) | (high < 0)]]


def _rules_text(scores: pd.DataFrame, predictions: pd.DataFrame) -> str:
    if scores.empty:
        return (
            ""
            if predictions.empty
            else "No rule is judged yet: no mixture has a measured d' ratio to hold it against."
        )
    num_seeds = int(predictions["num_seeds"].min())
    cells = [
        [row["shift"], row["rule"] + (" *" if row["rule"] == PRIMARY_RULE else ""), _value(row, "rms"), f"{row['bias']:+.3f}",
         f"{row['noise_floor']:.3f}" if np.isfinite(row["noise_floor"]) else "one seed",
         *(("" if row["rule"] == b else _value(row, f"difference_to_{b}", sign="+")) for b in BASELINES)]
        for _, row in scores.iterrows()
    ]  # fmt: skip
    overall = scores[scores["shift"] == ALL_SHIFTS].set_index("rule")
    clusters = int(scores["num_mixtures"].max())
    interval = (
        f"95% bootstrap interval over {clusters} sets of sources"
        if clusters > 1
        else "no interval: one set of sources"
    )
    sentences = [
        _verdict(overall.loc[rule], rule) for rule in RULES if rule in overall.index and rule not in BASELINES
    ]
    return (
        "Error of the predicted d' ratio, nothing fitted to mixtures (rms with "
        f"{interval}; bias = predicted - measured; * primary rule; differences < 0 beat the baseline):\n"
        + text_table(["shift", "rule", "rms", "bias", "noise floor", "minus interpolated", "minus best source"], cells)
        + "\n" + "\n".join(sentences)
        + "\nRead this with care: sets of sources share single-source models, so these intervals are somewhat too short, and"
        + f"\nrules are judged on at least 6 seeds; this study has {num_seeds}."
    )  # fmt: skip


def format_filter_scores(scores: pd.DataFrame) -> str:
    """The errors of the rules for filtered pools (`empirical.filter_scoring`), over all shifts."""
    overall = scores[scores["shift"] == ALL_SHIFTS]
    against = ("raw_pool", "plain", "unturned")
    cells = [
        [row["rule"] + (" *" if row["rule"] == FROZEN_FILTER_RULE else " +" if row["rule"] in TOLD_MORE else ""),
         _value(row, "rms"), f"{row['bias']:+.3f}",
         *("" if row["rule"] == b else _value(row, f"difference_to_{b}", sign="+") for b in against),
         "" if np.isnan(row["turns_right"]) else f"{row['turns_right']:.0f}"]
        for _, row in overall.iterrows()
    ]  # fmt: skip
    turns = overall.iloc[0]
    return (
        f"Filtered pools: error of the predicted d' ratio over {overall['num_predictions'].max()} cells of pool, filter, kept "
        f"share and shift\n(rms with 95% bootstrap interval over {overall['num_pools'].max()} pools; * frozen rule; + told a "
        f"model trained on the pool; noise of the measurement {overall['noise_floor'].max():.3f}):\n"
        + text_table(["rule", "rms", "bias", *(f"minus {b}" for b in against), "turns right"], cells)
        + f"\nTurns right: of the {turns['num_turns']:.0f} changes of the ratio by filtering that are larger than two standard "
        "errors, those with the sign of\nthe rule's own turn (kept pairs minus raw pool, both predicted). The guess that "
        f"filtering always raises the ratio: {turns['turns_up']:.0f}."
    )


def _verdict(row: pd.Series, rule: str) -> str:
    words = []
    for baseline in BASELINES:
        low, high = row[f"difference_to_{baseline}_low"], row[f"difference_to_{baseline}_high"]
        if not np.isfinite(low):
            return f"Over all shifts {rule} cannot be judged against the baselines: one set of sources has no interval."
        word = "better than" if high < 0 else "worse than" if low > 0 else "not told apart from"
        words.append(f"{word} {baseline}")
    return f"Over all shifts {rule} is {' and '.join(words)} at 95%."


def _value(row: pd.Series, name: str, sign: str = "", end: str = "") -> str:
    value, low, high = (float(row[f"{name}{bound}{end}"]) for bound in ("", "_low", "_high"))
    text = f"{value:{sign}.3f}"
    return f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]" if np.isfinite(low) else text


def text_table(headings: list[str], cells: list[list[str]]) -> str:
    """Plain text in columns, readable in a terminal and in a file alike."""
    widths = [max(len(line[i]) for line in [headings, *cells]) for i in range(len(headings))]
    lines = [headings, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
