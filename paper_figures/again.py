"""Make the tables of committed records again with the present code; trains nothing.

python -m paper_figures.again paper_figures/records/gpu_study

From accuracies.csv, overlaps.csv and filtering_account.csv alone: what needs logits (output mixing, class errors) and what was
committed to before training (designs.csv) stays as it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from empirical.command import Command
from empirical.filter_prediction import predict_filter_rules, predict_filtering
from empirical.filter_scoring import score_filter_rules
from empirical.prediction import predict_mixtures
from empirical.records import write_text
from empirical.robustness import fit_trends
from empirical.scoring import score_rules
from empirical.source_jackknife import leave_sources_out
from empirical.study_analysis import analyse_study
from empirical.study_folder import StudyFolder
from empirical.summary import format_filter_scores, format_summary
from empirical.tables import write_table


@dataclass
class Arguments:
    """Trends, predictions, scores, filters, places, designed mixtures, diagnosis and the summary of one folder, again."""

    records: Annotated[Path, tyro.conf.Positional]
    """Folder of the records (or of a study)."""


def run(arguments: Arguments) -> None:
    """Write the tables and print their paths.

    Raises: StudyError for a folder without accuracies.csv or overlaps.csv.
    """
    folder = StudyFolder(arguments.records)
    before = set(folder.path.iterdir()) if folder.path.is_dir() else set()
    for name, table in retold(folder).items():
        write_table(table, folder.path / f"{name}.csv")
        print(folder.path / f"{name}.csv")
    # Records hold tables; the pictures are drawn from them.
    for path in set(folder.path.iterdir()) - before:
        if path.suffix in (".png", ".pdf"):
            path.unlink()


def retold(folder: StudyFolder) -> dict[str, pd.DataFrame]:
    """Tables by name, made from the folder's accuracies and overlaps; summary.txt and what `analyse_study` writes are written."""
    accuracies, reference = folder.accuracies(), folder.reference
    overlaps = folder.overlaps(accuracies)
    trends = fit_trends(accuracies, reference=reference)
    predictions = predict_mixtures(accuracies, reference, overlaps)
    scores = score_rules(predictions)
    tables = {"trends": trends, "predictions": predictions, "scores": scores}
    tables["scores_by_source"] = leave_sources_out(predictions)
    summary = format_summary(accuracies, trends, predictions, scores, reference, tables["scores_by_source"])
    if (folder.path / "filtering_account.csv").exists():
        account = folder.table("filtering_account")
        tables["filtering"] = predict_filtering(accuracies, account, overlaps, reference)
        tables["filter_scores"] = score_filter_rules(
            predict_filter_rules(accuracies, account, overlaps, reference)
        )
        summary += "\n\n" + format_filter_scores(tables["filter_scores"])
    write_text(folder.path / "summary.txt", summary + "\n")
    if (folder.path / "designs.csv").exists():
        analyse_study(folder)
    return tables


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()
