"""What `experiments/published_trends.py` makes of published accuracies: tables, figures and words.

Use `write_report`; `PublishedOptions` says which groups play which part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from empirical.datacomp_mixtures import describe_table_18, predict_table_18
from empirical.figures.datacomp_mixtures import draw_datacomp_mixtures
from empirical.figures.effective_robustness import draw_effective_robustness
from empirical.figures.filtering_ladder import draw_filtering_ladder
from empirical.figures.published import draw_published
from empirical.filter_inheritance import compare_with_filter, describe, matched_offsets
from empirical.filtering_ladder import describe_ladder, filtering_ladder
from empirical.group_means import image_variance
from empirical.published import (
    KNOWN_SETS,
    REFERENCE,
    YOUR_MODELS,
    PublishedTable,
    accuracies_of_groups,
    assemble,
)
from empirical.published_baselines import (
    baseline_choices,
    compare_choices,
    describe_choices,
    is_baseline_group,
    judged_means,
)
from empirical.records import write_text
from empirical.reported_numbers import (
    CHECKPOINT_GROUPS,
    CHECKPOINT_SOURCE,
    TABLE_18_SOURCE,
    paper_checkpoints,
)
from empirical.robustness import fit_trends, left_out, models_of_shift, shifts, with_link_errors
from empirical.tables import write_table

LADDER = ("basic filter", "text filter", "image filter", "LAION filter", "CLIP score", "DataComp best")


@dataclass(frozen=True)
class PublishedOptions:
    """Which groups play which part, and against what robustness is measured.

    with_reported adds what papers report in print: the paper's checkpoints and DataComp's mixtures.
    """

    pool: str = "unfiltered pools"
    filtered: tuple[str, ...] = ("CLIP score", "LAION filter")
    filter_group: str = "OpenAI"
    baseline: tuple[str, ...] = ()
    references: tuple[str, ...] = (REFERENCE,)
    link: str = "probit"
    with_reported: bool = True
    labels: Mapping[str, str] = field(
        default_factory=lambda: {role: test_set.label for role, test_set in KNOWN_SETS.items()}
    )


def write_report(
    table: PublishedTable,
    accuracies: pd.DataFrame,
    groups: Mapping[str, str],
    options: PublishedOptions,
    out: Path,
) -> tuple[str, list[Path]]:
    """Fit, compare, draw and write everything into `out`; returns the words and the paths written.

    accuracies is `accuracies_of_groups(table, groups)`; the line of each group, Theorem 3 and the ladder use the first reference.
    """
    labels, reference = options.labels, options.references[0]
    if options.with_reported:
        reported = assemble(paper_checkpoints(), "the paper's checkpoints")
        accuracies = pd.concat(
            [
                accuracies,
                accuracies_of_groups(reported, CHECKPOINT_GROUPS, tuple(pd.unique(accuracies["test_set"]))),
            ],
            ignore_index=True,
        )
    plain = accuracies[~accuracies["test_set"].isin(options.references[1:])]
    trends = fit_trends(plain, reference)
    comparison = compare_with_filter(plain, options.pool, options.filtered, options.filter_group, reference)
    offsets = matched_offsets(plain, comparison, reference)
    ladder = filtering_ladder(plain, options.pool, LADDER, options.filter_group, reference)
    choices = baseline_choices(accuracies, options.baseline)
    written: list[Path] = []

    lines = _what_was_read(table, plain, groups, reference, labels)
    lines += ["", "Slopes of the lines in d' (95% intervals):", *_slopes(trends, labels)]
    lines += ["", "Theorem 3 (filtering): what passes a filter inherits the filter's robustness in part."]
    lines += _filtering_words(comparison, offsets, options)
    if len(ladder):
        lines += [
            "",
            "The filtering ladder, share of the way from the pool's line to the filter's (* extrapolated):",
        ]
        lines += [f"  {sentence}" for sentence in describe_ladder(ladder, options.pool, dict(labels))]
    checkpoints = describe_checkpoints(plain, reference, labels) if options.with_reported else []
    if checkpoints:
        lines += ["", f"The paper's own checkpoints ({CHECKPOINT_SOURCE}):", *(f"  {s}" for s in checkpoints)]
    own = describe_ratios(plain, reference, labels, [YOUR_MODELS])
    if own:
        lines += ["", "Your models:", *(f"  {sentence}" for sentence in own)]
    mixtures = predict_table_18() if options.with_reported else None
    if mixtures is not None:
        lines += [
            "",
            f"DataComp's mixtures ({TABLE_18_SOURCE}) against rules that know single sources alone:",
        ]
        lines += [f"  {sentence}" for sentence in describe_table_18(mixtures)]
    lines += ["", "Effective robustness:"]
    tables = {
        "accuracies.csv": accuracies, "trends.csv": trends.drop(columns="kind").rename(columns={"sources": "group"}),
        "filtering.csv": comparison, "filtering_pairs.csv": offsets, "filtering_ladder.csv": ladder,
    }  # fmt: skip
    if mixtures is not None:
        tables["datacomp_mixtures.csv"] = mixtures
    effective = None
    if choices:
        base_lines, models = compare_choices(accuracies, choices, options.references, options.link)
        effective, means = models, judged_means(models)
        tables |= {
            "baselines.csv": base_lines,
            "effective_robustness.csv": models,
            "effective_robustness_means.csv": means,
        }
        lines.append(
            f"  Against {', '.join(labels.get(r, r) for r in options.references)}, link {options.link}."
        )
        lines += [f"  {s}" for s in describe_choices(base_lines, means, options.references, labels)]
    else:
        lines.append(
            "  Not computed: no baseline models. Give imagenet-testbed's robustness_top1s.csv as a second file, or name the "
            "baseline's groups with --baseline."
        )
    summary = "\n".join(lines)

    for name, each in tables.items():
        write_table(each, out / name)
        written.append(out / name)
    write_text(out / "summary.txt", summary + "\n")
    written.append(out / "summary.txt")
    shown = plain[[not is_baseline_group(str(group)) for group in plain["sources"]]]
    written += draw_published(
        shown if len(shown) else plain, trends, comparison, offsets, out / "published_trends", options.pool,
        options.filtered, options.filter_group, reference, labels,
    )  # fmt: skip
    if len(ladder):
        written += draw_filtering_ladder(
            ladder, out / "filtering_ladder", options.pool, options.filter_group, labels
        )
    if mixtures is not None:
        written += draw_datacomp_mixtures(mixtures, out / "datacomp_mixtures")
    if effective is not None and len(effective):
        written += draw_effective_robustness(
            accuracies,
            effective,
            choices,
            out / "effective_robustness",
            options.references,
            options.link,
            labels,
        )
    return summary, written


def _what_was_read(
    table: PublishedTable,
    accuracies: pd.DataFrame,
    groups: Mapping[str, str],
    reference: str,
    labels: Mapping[str, str],
) -> list[str]:
    lines = [f"{len(table.rows)} models read, {len(table.dropped)} left out:"]
    lines += [f"  {sentence}" for sentence in table.dropped]
    lines += table.notes
    for role, models in table.missing().items():
        if role not in set(accuracies["test_set"]):
            continue
        some = ", ".join(models[:3]) + (", ..." if len(models) > 3 else "")
        lines.append(
            f"{labels[role]}: {len(models)} of {len(table.rows)} models have an empty cell and are left out of this shift "
            f"alone ({some})"
        )
    sizes = accuracies[accuracies["test_set"] == reference]["sources"].value_counts(sort=False)
    for name in groups:
        count = int(sizes.get(name, 0))
        lines.append(
            f"group {name}: {count} models" + ("" if count >= 3 else ", drawn without a fit" if count else "")
        )
    return lines + left_out(accuracies)


def _slopes(trends: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    chosen = trends[(trends["link"] == "dprime") & (trends["fit"] == "line")]
    return [
        f"  {row['sources']:24s} {labels.get(row['shift'], row['shift']):16s} {row['slope']:.3f} "
        f"[{row['slope_low']:.3f}, {row['slope_high']:.3f}]  R2 {row['r2']:.3f}  {row['num_models']} models"
        for _, row in chosen.sort_values(["sources", "shift"]).iterrows()
    ]


def _filtering_words(comparison: pd.DataFrame, offsets: pd.DataFrame, options: PublishedOptions) -> list[str]:
    if comparison.empty:
        return [
            f"  Not tested: it needs 3 models or more in each of {options.pool!r}, "
            f"{', '.join(map(repr, options.filtered))} and {options.filter_group!r} (--pool, --filtered, --filter name the "
            "groups)."
        ]
    return [
        "  For a pool of one component the filtered line lies between the pool's and the filter's; a web pool has many "
        "components, whose own lines are not published, so only 'outside' speaks against that special case, and the "
        "general theorem (the hull of all components and the filter) is not put to the test.",
        *(f"  {sentence}" for sentence in describe(comparison, offsets, options.labels)),
    ]


def describe_checkpoints(accuracies: pd.DataFrame, reference: str, labels: Mapping[str, str]) -> list[str]:
    """Sentences on the paper's checkpoints: the d' ratio of each on each shift, with a 95% interval from test images."""
    return describe_ratios(accuracies, reference, labels, list(CHECKPOINT_GROUPS), ["CC12M", "YFCC15M"])


def describe_ratios(
    accuracies: pd.DataFrame,
    reference: str,
    labels: Mapping[str, str],
    groups: Sequence[str],
    beside: Sequence[str] = (),
) -> list[str]:
    """Sentences on each model of the groups and of those `beside` them: d' ratio per shift, 95% intervals from test images."""
    table = with_link_errors(accuracies[accuracies["sources"].isin([*groups, *beside])])
    sentences = []
    for shift in shifts(table, reference) if len(table) else []:
        models = models_of_shift(table, shift, reference)
        if not set(groups) & set(models["group"]):
            continue
        words = []
        for _, model in models.iterrows():
            ratio = model["y_dprime"] / model["x_dprime"]
            if not np.isfinite(ratio):
                words.append(f"{model['run']} none (an accuracy of 0 or 1)")
                continue
            parts = (
                np.array([[-ratio * model["x_dprime_stderr"], model["y_dprime_stderr"]]]) / model["x_dprime"]
            )
            half = 1.96 * np.sqrt(image_variance(parts))
            words.append(f"{model['run']} {ratio:.3f} [{ratio - half:.3f}, {ratio + half:.3f}]")
        sentences.append(f"{labels.get(shift, shift)}, d' ratio: {'; '.join(words)}.")
    return sentences
