"""Do two studies agree?

Compares every group of models that both hold (same sources and shares, kind and size): accuracies, d' and d' ratios, each
difference with a 95% interval and a verdict, and how many seeds it would take where the verdict is open. Good for a study and
its repetition on fresh seeds, two recipes, or two machines.

Examples:
    python experiments/compare_studies.py runs/clip_mixtures runs/clip_mixtures_fresh
    python experiments/compare_studies.py paper_figures/records/clip_mixtures runs/clip_mixtures --out runs/comparison
"""

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from empirical.command import Command, print_next, print_written


@dataclass
class Arguments:
    """Compare two studies group by group."""

    a: tyro.conf.Positional[Path]
    """Folder of the first study, or of its committed records."""
    b: tyro.conf.Positional[Path]
    """Folder of the second; differences are b - a."""
    out: Path = Path("runs/comparison")
    """Folder for comparison.csv, comparison_summary.csv and the figure."""


def run(arguments: Arguments) -> int:
    """Compare the two studies that the arguments name."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from empirical.comparison import compare_studies, summarise_comparison
    from empirical.errors import StudyError
    from empirical.figures.comparison import draw_comparison
    from empirical.study_folder import StudyFolder
    from empirical.tables import write_table

    folders = [StudyFolder(path) for path in (arguments.a, arguments.b)]
    tables = [folder.accuracies() for folder in folders]
    if folders[0].reference != folders[1].reference:
        raise StudyError(
            f"the studies have different references ({folders[0].reference} and {folders[1].reference}): "
            "ratios cannot be compared"
        )
    comparison = compare_studies(tables[0], tables[1], folders[0].reference)
    if comparison.empty:
        raise StudyError(
            f"{arguments.a} and {arguments.b} have no group in common: the same sources, kind and n_train are needed"
        )
    summary = summarise_comparison(comparison)
    write_table(comparison, arguments.out / "comparison.csv")
    write_table(summary, arguments.out / "comparison_summary.csv")
    names = tuple(path.resolve().name for path in (arguments.a, arguments.b))
    names = names if names[0] != names[1] else ("a", "b")
    draw_comparison(comparison, arguments.out / "comparison", (names[0], names[1]))
    print(f"a = {arguments.a}, b = {arguments.b}: {len(comparison)} comparisons of groups that both have\n")
    print(describe(summary))
    for label, table in zip("ab", tables, strict=True):
        if (
            table.groupby(["kind", "sources", "n_train", "heads_n_train", "filter"])["seed"].nunique().max()
            == 1
        ):
            print(
                f"\n{label} has one seed of everything: how much seeds differ is unknown, so there is no verdict."
            )
    names = ("comparison.csv", "comparison_summary.csv", "comparison.png")
    print_written(arguments.out / name for name in names)
    print_next(*next_command(folders[::-1]))
    return 0


def next_command(folders) -> tuple[str, str]:
    """A design from the first of the studies that one can be computed from; else forecasts of every mixture."""
    from empirical.next_commands import command, design_command

    for folder in folders:
        if design := design_command(folder):
            return design, "the best mixture of its sources"
    return command("predict_mixtures", folders[0].path / "accuracies.csv"), "what its mixtures should reach"


def describe(summary) -> str:
    """The summary as text; what is told apart stands beside what chance alone would tell apart."""
    lines = [
        f"  {'quantity':10s}{'test set':14s}{'groups':>7s}{'b higher':>10s}{'a higher':>10s}{'open':>6s}{'no interval':>13s}"
        f"{'by chance':>11s}"
        f"{'mean b - a':>12s}   seeds that an open one needs (median)"
    ]
    for _, row in summary.iterrows():
        needed = row["median_seeds_needed"]
        words = "" if needed != needed else "more test images" if needed == float("inf") else f"{needed:.0f}"
        lines.append(
            f"  {row['quantity']:10s}{row['test_set']:14s}{row['num_groups']:>7d}{row['b_higher']:>10d}{row['a_higher']:>10d}"
            f"{row['not_told_apart']:>6d}{row['no_interval']:>13d}"
            f"{row['expected_by_chance']:>11.1f}{row['mean_difference']:>+12.3f}   {words}"
        )
    return "\n".join(lines)


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()
