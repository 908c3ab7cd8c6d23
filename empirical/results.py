"""What a study leaves behind for people: tidy tables, figures and a printed summary, from its records alone."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from empirical.errors import DataError, StudyError
from empirical.figures.filter_rules import draw_filter_rules
from empirical.figures.filtering import draw_filtering
from empirical.figures.mixtures import draw_predictions_vs_measurements
from empirical.filter_prediction import (
    filtering_table,
    predict_filter_rules,
    predict_filtering,
)
from empirical.filter_scoring import score_filter_rules
from empirical.prediction import mixture_shares, predict_mixtures
from empirical.records import environment, read_json, write_json, write_text
from empirical.robustness import fit_trends
from empirical.scoring import score_rules
from empirical.source_jackknife import leave_sources_out
from empirical.study_folder import StudyFolder
from empirical.summary import format_filter_scores, format_summary
from empirical.tables import accuracies_table, write_table

if TYPE_CHECKING:
    from empirical.study_plan import Study


@dataclass(frozen=True)
class StudyResults:
    """The tables of a study, the summary as text, and the runs that failed with their reasons."""

    accuracies: pd.DataFrame
    trends: pd.DataFrame
    predictions: pd.DataFrame
    scores: pd.DataFrame
    summary: str
    failures: Mapping[str, str]

    @classmethod
    def none(cls, failures: Mapping[str, str]) -> "StudyResults":
        """No table yet: they are made later, from the records."""
        empty = pd.DataFrame()
        return cls(empty, empty, empty, empty, "Tables and figures are left to --tables-only.", failures)

    def with_analysis(self, text: str) -> "StudyResults":
        """The same with more to say at the end of the summary."""
        return replace(self, summary=f"{self.summary}\n\n{text}") if text else self


def write_results(
    study: "Study", records: Mapping[str, Mapping[str, Any]], failures: Mapping[str, str], *, partial: bool
) -> StudyResults:
    """Write accuracies.csv, trends.csv, predictions.csv, scores.csv, the figures, summary.txt and provenance.json.

    `partial`: the study is still running; the printed summary and the slower figures wait for its end.
    """
    folder, reference = study.context.folder, study.context.reference
    # Records in plan order: the tables do not depend on which run happened to finish first.
    ordered = [records[run.name] for run in study.runs if run.name in records]
    accuracies = accuracies_table(ordered)
    trends = fit_trends(accuracies, reference=reference)
    overlaps, lacking = (None, "") if partial else _overlaps(folder, accuracies)
    predictions = predict_mixtures(accuracies, reference=reference, overlaps=overlaps)
    write_table(accuracies, folder / "accuracies.csv")
    write_table(trends, folder / "trends.csv")
    write_table(predictions, folder / "predictions.csv")
    draw_predictions_vs_measurements(
        accuracies, trends, predictions, folder / "predictions_vs_measurements", reference=reference
    )
    if (accuracies["kind"] == "filtered").any():
        draw_filtering(accuracies, trends, folder / "filtering", reference=reference)
    if partial:
        return StudyResults(accuracies, trends, predictions, pd.DataFrame(), "", failures)
    scores = score_rules(predictions)
    write_table(scores, folder / "scores.csv")
    by_source = leave_sources_out(predictions)
    write_table(by_source, folder / "scores_by_source.csv")
    filter_scores = _write_filtering(folder, ordered, accuracies, overlaps, reference)
    pair = first_pair(predictions)
    if pair and len(set(accuracies.loc[accuracies["kind"] == "single", "sources"])) > len(pair):
        tables = only_sources(pair, accuracies, trends, predictions)
        draw_predictions_vs_measurements(*tables, folder / "first_pair", reference=reference)
    summary = format_summary(accuracies, trends, predictions, scores, reference, by_source)
    if len(filter_scores):
        summary += "\n\n" + format_filter_scores(filter_scores)
    if lacking:
        summary += (
            f"\n\nNo overlaps of these models ({lacking}): errors count all of the test images' noise as common to all seeds, "
            "which is too much, and filtered pools are not predicted."
        )
    summary += skipped_text(data_accounts(folder))
    write_text(folder / "summary.txt", summary + "\n")
    write_json(folder / "provenance.json", provenance(study, ordered, failures))
    return StudyResults(accuracies, trends, predictions, scores, summary, failures)


def _overlaps(folder: Path, accuracies: pd.DataFrame) -> tuple[pd.DataFrame | None, str]:
    """Of the study's single-source models; None, and why, for records without logits or scores that have no overlap."""
    try:
        return StudyFolder(folder).overlaps(accuracies), ""
    except (DataError, StudyError) as error:
        return None, str(error)


def _write_filtering(
    folder: Path,
    records: list[Mapping[str, Any]],
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame | None,
    reference: str,
) -> pd.DataFrame:
    """filtering_account.csv and filtering.csv: what filters did, Theorem 3 beside it; filter_scores.csv: the rules' errors.

    Returns the last, empty where nothing was predicted.
    """
    account = filtering_table(records)
    if account.empty:
        return pd.DataFrame()
    write_table(account, folder / "filtering_account.csv")
    predicted = predict_filtering(accuracies, account, overlaps, reference)
    write_table(predicted, folder / "filtering.csv")
    if overlaps is None or predicted["ratio_predicted"].isna().all():
        return pd.DataFrame()
    scores = score_filter_rules(predict_filter_rules(accuracies, account, overlaps, reference))
    write_table(scores, folder / "filter_scores.csv")
    draw_filter_rules(predicted, scores, folder / "filter_rules")
    return scores


def first_pair(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The two sources mixed at the most shares (the first such pair): the clearest look at what mixing does."""
    pairs: dict[tuple[str, ...], int] = {}
    for sources in pd.unique(predictions["sources"]):
        names = tuple(mixture_shares(str(sources)))
        if len(names) == 2:
            pairs[names] = pairs.get(names, 0) + 1
    return max(pairs, key=lambda names: pairs[names]) if pairs else ()


def only_sources(
    names: Collection[str], accuracies: pd.DataFrame, trends: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rows of three tables that speak of these sources and their mixtures alone."""

    def among(sources: str) -> bool:
        return sources in names or (":" in sources and set(mixture_shares(sources)) <= set(names))

    mixed = accuracies[accuracies["kind"] != "filtered"]
    return (
        mixed[[among(str(sources)) for sources in mixed["sources"]]].reset_index(drop=True),
        trends[[str(sources) in names for sources in trends["sources"]]].reset_index(drop=True),
        predictions[[among(str(sources)) for sources in predictions["sources"]]].reset_index(drop=True),
    )


def provenance(
    study: "Study", records: list[Mapping[str, Any]], failures: Mapping[str, str]
) -> dict[str, Any]:
    """Settings, seeds, versions, devices and time behind the tables.

    `environment` is that of the tables, `environments` those of the runs, each with its number of runs: a study's records
    may come from several machines.
    """
    kinds = Counter(json.dumps(record["environment"], sort_keys=True) for record in records)
    environments = [{"runs": count, **json.loads(text)} for text, count in kinds.most_common()]
    return {
        "settings": dict(study.context.settings),
        "reference": study.context.reference,
        "seeds": list(study.design.seeds),
        "runs": len(records),
        "planned": len(study.runs),
        "failed": dict(failures),
        "training_seconds": round(sum(record["seconds"] for record in records), 1),
        "environment": environment(study.context.device),
        "environments": environments,
        "devices": sorted({each["device_name"] for each in environments}),
        "data": data_accounts(study.context.folder),
    }


def data_accounts(folder: Path) -> dict[str, Any]:
    """How many samples each source and test set gave, and what was skipped for which reason."""
    accounts = {path.stem: read_json(path)["account"] for path in sorted((folder / "arrays").glob("*.json"))}
    return {
        name: {k: v for k, v in account.items() if k != "class_names"} for name, account in accounts.items()
    }


def skipped_text(accounts: Mapping[str, Any]) -> str:
    """One line per source or test set of which samples were skipped; empty when none were."""
    lines = [
        f"  {name}: {sum(account['skipped'].values())} skipped ("
        + ", ".join(f"{count} x {reason}" for reason, count in account["skipped"].items())
        + ")"
        for name, account in accounts.items()
        if account.get("skipped")
    ]
    return "\n\nSamples that could not be used:\n" + "\n".join(lines) if lines else ""


def output_paths(folder: Path) -> list[Path]:
    """The files a reader looks at first."""
    names = (
        "predictions_vs_measurements.png", "first_pair.png", "filtering.png", "filter_rules.png", "world.png",
        "accuracies.csv", "trends.csv", "predictions.csv", "scores.csv", "summary.txt", "records",
    )  # fmt: skip
    return [folder / name for name in names if (folder / name).exists()]
