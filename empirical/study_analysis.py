"""Everything a finished study says beyond its lines and rules: overlaps, places, designs and output mixing, as tables.

Use `analyse_study(StudyFolder(path))`; `design_study` alone is for the moment when the single-source models are there and the
designed mixtures are still to be trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from empirical.analysis_summary import analysis_text
from empirical.class_errors import class_counts
from empirical.design import (
    DESIGN_COLUMNS,
    candidates_table,
    designs_of_study,
    designs_table,
    nearest_measured_size,
)
from empirical.design_rank import rank_designed
from empirical.diagnosis import diagnose
from empirical.errors import DataError, StudyError
from empirical.measured_sources import NUM_DRAWS, sources_by_size
from empirical.output_mixing import measure_ensembles
from empirical.output_vs_input import compare_with_input, summarise_output_mixing
from empirical.places import predict_places
from empirical.records import load_records, write_text
from empirical.robustness import shifts
from empirical.study_folder import StudyFolder
from empirical.study_robustness import study_effective_robustness
from empirical.tables import write_table


@dataclass(frozen=True)
class Analysis:
    """Tables by file name (without .csv), all written, what could not be done with the reason, and the whole in words."""

    tables: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...] = ()
    summary: str = ""


def _silent(part: str, done: int, total: int) -> None:
    return


def design_study(
    folder: StudyFolder,
    budgets: Sequence[int] = (),
    targets: Sequence[Sequence[str]] = (),
    num_draws: int = NUM_DRAWS,
    on_progress: Callable[[str, int, int], None] = _silent,
    on_skip: Callable[[str], None] = lambda reason: None,
) -> pd.DataFrame:
    """Design mixtures from the single-source models that a folder has, and write designs.csv and design_candidates.csv.

    budgets: numbers of samples; by default the sizes of the study's mixtures, or its two largest sizes at which all sources
    were measured. targets: each a list of test sets; by default every shift, and the worst of all shifts. designs.csv is
    what the study commits to before a designed mixture is trained; train each row's `sources` at its `budget`.

    A target on which nothing has been learned is left out; on_skip is told why. Raises DataError or StudyError: see
    `empirical.measured_sources.measure_sources` and `empirical.design.designs_of_study`.
    """
    accuracies = folder.accuracies()
    overlaps = folder.overlaps(accuracies, lambda done, total: on_progress("overlaps", done, total))
    if not budgets:
        budgets = _default_budgets(accuracies, overlaps)
    if not targets:
        every = shifts(accuracies, folder.reference)
        targets = [[name] for name in every] + ([every] if len(every) > 1 else [])
    designs = designs_of_study(
        accuracies, overlaps, budgets, targets, num_draws,
        on_progress=lambda done, total: on_progress("designs", done, total), on_skip=on_skip,
    )  # fmt: skip
    table = designs_table(designs)
    write_table(table, folder.path / "designs.csv")
    write_table(candidates_table(designs), folder.path / "design_candidates.csv")
    return table


def _default_budgets(accuracies: pd.DataFrame, overlaps: pd.DataFrame) -> list[int]:
    nearest_measured_size(overlaps, 2)  # raises where there is no size to design at
    sizes = sources_by_size(overlaps)
    most = max(map(len, sizes.values()))
    full = [n for n, names in sizes.items() if len(names) == most]
    mixed = {int(n) for n in accuracies.loc[accuracies["kind"] == "input_mixing", "n_train"]}
    return sorted(mixed & set(full)) or full[-2:]


def analyse_study(
    folder: StudyFolder,
    num_draws: int = NUM_DRAWS,
    redesign: bool = False,
    on_progress: Callable[[str, int, int], None] = _silent,
) -> Analysis:
    """Write a study's further tables into its folder, and the figures of two of them.

    overlaps, effective_robustness, places, designs, designed, output_mixing, output_vs_input, class_errors and diagnosis (.csv);
    effective_robustness and diagnosis (.png and .pdf); analysis.txt tells them in words.

    designs.csv is kept if it is there (the designed mixtures were trained after it) unless `redesign`. Ensembles and class
    errors need the study's logits; from committed records their tables are left as they are. A part that the study is too
    small for is named in the notes with its reason, and the other parts are written.

    Raises StudyError where accuracies.csv is missing, or neither overlaps.csv nor logits are there.
    """
    accuracies, reference = folder.accuracies(), folder.reference
    overlaps = folder.overlaps(accuracies, lambda done, total: on_progress("overlaps", done, total))
    tables: dict[str, pd.DataFrame] = {"overlaps": overlaps}
    notes: list[str] = []

    def keep(name: str, make: Callable[[], pd.DataFrame]) -> None:
        try:
            tables[name] = make()
        except (DataError, StudyError) as error:
            notes.append(f"{name}.csv: {error}")
            return
        write_table(tables[name], folder.path / f"{name}.csv")

    keep("effective_robustness", lambda: study_effective_robustness(accuracies, reference))
    if len(tables.get("effective_robustness", ())):
        from empirical.figures.study_robustness import draw_study_robustness

        draw_study_robustness(tables["effective_robustness"], folder.path / "effective_robustness")
    keep("places", lambda: predict_places(accuracies, overlaps, reference, num_draws))
    if redesign or not (folder.path / "designs.csv").exists():
        keep(
            "designs",
            lambda: design_study(
                folder,
                num_draws=num_draws,
                on_progress=on_progress,
                on_skip=lambda reason: notes.append(f"no design for {reason}"),
            ),
        )
    else:
        tables["designs"] = folder.table("designs")
    designs = tables.get("designs", pd.DataFrame(columns=list(DESIGN_COLUMNS)))
    keep("designed", lambda: rank_designed(designs, accuracies, reference, overlaps))
    counts = None
    if (folder.path / "logits").is_dir():
        counts = class_counts(
            accuracies, folder.logits(), _labels(folder, accuracies),
            on_progress=lambda done, total: on_progress("class errors", done, total),
        )  # fmt: skip
        keep("class_errors", lambda: counts)
        ensembles = _ensembles(folder, accuracies, overlaps, on_progress)
        keep("output_mixing", lambda: compare_with_input(accuracies, ensembles, reference))
        if "output_mixing" in tables:
            keep("output_vs_input", lambda: summarise_output_mixing(tables["output_mixing"]))
    elif (folder.path / "class_errors.csv").exists():
        counts = folder.table("class_errors")
    keep("diagnosis", lambda: diagnose(accuracies, overlaps, counts, reference, num_draws))
    if len(tables.get("diagnosis", ())):
        from empirical.figures.diagnosis import draw_diagnosis

        draw_diagnosis(tables["diagnosis"], folder.path / "diagnosis")
    summary = analysis_text(tables)
    write_text(folder.path / "analysis.txt", summary + "\n")
    return Analysis(tables, tuple(notes), summary)


def _labels(folder: StudyFolder, accuracies: pd.DataFrame) -> dict[str, np.ndarray]:
    logits = folder.logits()
    return {str(name): logits.labels(str(name)) for name in pd.unique(accuracies["test_set"])}


def _ensembles(
    folder: StudyFolder,
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    on_progress: Callable[[str, int, int], None],
) -> pd.DataFrame:
    temperatures = {
        name: float(record["training"]["logit_scale"])
        for name, record in load_records(folder.path / "records").items()
        if record.get("training", {}).get("logit_scale") is not None
    }
    return measure_ensembles(
        accuracies, folder.logits(), _labels(folder, accuracies), temperatures, overlaps, folder.reference,
        lambda done, total: on_progress("ensembles", done, total),
    )  # fmt: skip
