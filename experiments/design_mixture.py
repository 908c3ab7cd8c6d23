"""Which mixture of the sources should the next model be trained on?

Reads a study's folder (or committed records), measures what each source knows about each test set and how much of it two
sources share, and solves theory's portfolio for a budget and a shift: the recommended shares with intervals, what they should
reach beside equal shares and single sources, and the command that trains it. Only single-source models are looked at.

Examples:
    python experiments/design_mixture.py runs/clip_mixtures --budget 2048 --shift sketch
    python experiments/design_mixture.py runs/clip_mixtures --budget 2048 --shift sketch --shift v2     the worse of the two
    python experiments/design_mixture.py runs/clip_mixtures --budget 4096 --available encyclopedia=1000
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from empirical.command import Command, print_next, print_written
from empirical.options import Repeated, TestSetNames, check_at_least


@dataclass
class Arguments:
    """Recommend a mixture for a budget and a shift, from the single-source models of a study."""

    study: tyro.conf.Positional[Path]
    """Folder of a study (its logits are read), or of records that hold accuracies.csv and overlaps.csv."""
    budget: int
    """Number of training samples. Sizes that the study trained need no extrapolation."""
    shift: TestSetNames = ()
    """The test set whose d' is to be largest; repeat for the worst of several. Default: the worst of all shifts."""
    available: Annotated[Repeated, tyro.conf.arg(metavar="SOURCE=COUNT")] = ()
    """How many samples there are of a source; repeat. Sources that are not named have no limit."""
    draws: int = 400
    """Draws of the measurement's errors (seeds and test images) behind the intervals."""
    seed: int = 0
    """Seed of the draws."""
    out: Path | None = None
    """Folder for design.csv, design_candidates.csv and the figure. Default: STUDY/design, or
    runs/NAME_design for committed records."""


def run(arguments: Arguments) -> int:
    """Design the mixture that the arguments ask for."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from empirical.design import (
        candidates_table,
        design_mixture,
        designs_table,
        nearest_measured_size,
        target_name,
    )
    from empirical.figures.design import draw_design
    from empirical.measured_sources import measure_sources, sources_by_size
    from empirical.named_paths import named_values
    from empirical.next_commands import beside, is_records
    from empirical.progress import counting
    from empirical.robustness import shifts
    from empirical.study_folder import StudyFolder
    from empirical.tables import write_table

    check_at_least(arguments, budget=2, draws=0, seed=0)
    available = named_values("--available", arguments.available, "SOURCE=COUNT, such as web=100000", _count)
    folder = StudyFolder(arguments.study)
    accuracies = folder.accuracies()
    with counting("measuring overlaps") as step:
        overlaps = folder.overlaps(accuracies, step)
    wanted = tuple(dict.fromkeys(arguments.shift)) or tuple(shifts(accuracies, folder.reference))
    size = nearest_measured_size(overlaps, arguments.budget)
    measured = measure_sources(
        accuracies, overlaps, size, sources_by_size(overlaps)[size], arguments.draws, arguments.seed
    )
    with counting("solving the portfolio in every draw") as step:
        design = design_mixture(measured, wanted, arguments.budget, available, step)
    table, candidates = designs_table([design]), candidates_table([design])
    at_home = beside(arguments.study, "design") if is_records(arguments.study) else arguments.study / "design"
    out = arguments.out or at_home
    write_table(table, out / "design.csv")
    write_table(candidates, out / "design_candidates.csv")
    draw_design(table, candidates, accuracies, out / "design")
    print(
        f"Best mixture of {arguments.budget:,} samples for {target_name(wanted)}, by theory from single-source models:"
    )
    print(describe(table, candidates, wanted))
    if size != arguments.budget:
        print(
            f"\nThe sources were measured at n = {size:,}; theory carries them to {arguments.budget:,} (noise falls as 1/n), "
            "which is wrong where models grow faster or slower than it says."
        )
    print_written(out / name for name in ("design.csv", "design_candidates.csv", "design.png"))
    print_next(*next_command(design.sources, arguments, folder))
    return 0


def describe(table, candidates, wanted: tuple[str, ...]) -> str:
    """Shares with intervals, then the design's d' beside equal shares and each source alone."""
    lines = [
        f"  {row['source']:16s} {row['share']:6.1%}  [{row['share_low']:.1%}, {row['share_high']:.1%}]"
        f"  {round(row['share'] * row['budget']):>8,} samples"
        for _, row in table.iterrows()
    ]
    lines += [
        "",
        f"  {'predicted on ' + ', '.join(wanted):40s} d'                    accuracy               designed is ahead",
    ]
    on_target = candidates[candidates["test_set"].isin(wanted)]
    designed = candidates.loc[candidates["candidate"] == "designed", "sources"].iloc[0]
    for words, part in on_target.groupby("candidate", sort=False):
        row = part.loc[part["dprime_predicted"].idxmin()]
        same = row["sources"] == designed
        ahead = "  the same" if same else f"  in {row['designed_ahead']:.0%} of draws"
        ahead = "" if words == "designed" else ahead
        ahead += "" if row["within_available"] else " (needs more samples than there are)"
        lines.append(
            f"  {words:40s} {row['dprime_predicted']:.2f} [{row['dprime_low']:.2f}, {row['dprime_high']:.2f}]    "
            f"{row['accuracy_predicted']:.1%} [{row['accuracy_low']:.1%}, {row['accuracy_high']:.1%}]{ahead}"
        )
    return re.sub(r"\bnan\b%?", "?", "\n".join(lines))


def _count(text: str) -> float:
    if not text.isdigit():
        raise ValueError(text)
    return float(text)


def next_command(sources: str, arguments: Arguments, folder) -> tuple[str, str]:
    """The command that trains the design, on fresh seeds, with the study's own settings; and what it is for."""
    from empirical.next_commands import beside, command, study_options

    if ":" not in sources:
        table = arguments.study / "accuracies.csv"
        return command(
            "predict_mixtures", table
        ), "the design is a single source; what every mixture should reach"
    about = folder.about()
    seeds = [int(seed) for seed in about.get("seeds", [])] or [0]
    return command(
        "clip_mixtures", *study_options(about), "--mixture", sources, "--sizes", arguments.budget,
        "--num-seeds", len(seeds), "--seed", max(seeds) + 1, "--out", beside(arguments.study, "designed"),
    ), "trains it, on fresh seeds"  # fmt: skip


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()
