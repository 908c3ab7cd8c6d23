"""Predict every mixture of your sources from single-source models you already have; nothing is trained.

ACCURACIES.csv has one row per single-source model and test set:

    source,n,test_set,classes,images,accuracy[,seed]
    yfcc,1000000,imagenet,1000,50000,0.1712
    yfcc,1000000,sketch,1000,50889,0.0433

A study's own accuracies.csv is understood as well. The rules are those that this project's default study judged (README): the
mediant of Theorem 2, quadrature, lines by share, and two baselines; none of them is fitted to mixtures. The best mixture comes
from the certified portfolio (theory.best_mixture), for sources that teach the same (overlap 1) to nothing in common (0).

Examples:
    python experiments/predict_mixtures.py accuracies.csv --reference imagenet
    python experiments/predict_mixtures.py accuracies.csv --mixture yfcc:0.3+laion:0.7 --budget yfcc=15000000
    python experiments/predict_mixtures.py runs/clip_mixtures/accuracies.csv --ratio 0.1 --ratio 0.5
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from empirical.command import Command, print_next, print_written
from empirical.options import Mixtures, Repeated

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Arguments:
    """Predict mixtures of training sources, and the best one, from single-source accuracies."""

    accuracies: tyro.conf.Positional[Path]
    """CSV with the columns source, n, test_set, classes, images, accuracy (and seed), or a study's accuracies.csv."""
    reference: str = ""
    """Reference test set. Default: `reference`, else `imagenet`, else the first one in the file."""
    mixture: Mixtures = ()
    """A mixture to predict besides pairs and equal mixtures; repeat for more. Shares sum to 1."""
    ratio: Annotated[tuple[float, ...], tyro.conf.UseAppendAction] = ()
    """Share of the first source in each pair; repeat for more (default .2, .5, .8)."""
    n: Annotated[tuple[int, ...], tyro.conf.UseAppendAction] = ()
    """Size of the mixture; repeat for more. Default: every size that two sources have. Between a source's sizes its d' is
    interpolated in log n."""
    budget: Annotated[Repeated, tyro.conf.arg(metavar="SOURCE=SAMPLES")] = ()
    """How many samples there are of a source, for the best mixture; repeat. Default: no limit."""
    overlap: Annotated[tuple[float, ...], tyro.conf.UseAppendAction] = ()
    """How alike the sources' classifiers are, from 0 to 1, for the best mixture; repeat (default 1, .5, 0: single-source models
    do not tell)."""
    percent: bool = False
    """Accuracies are in percent."""
    out: Path = Path("runs/predict_mixtures")
    """Folder for predictions.csv, best_mixtures.csv, most_robust.csv, summary.txt and the figure."""


def run(arguments: Arguments) -> int:
    """Carry out what the arguments ask for."""
    from empirical.figures.mixture_forecast import draw_mixture_forecast, pick_rule
    from empirical.forecast_report import forecast_report
    from empirical.named_paths import named_values
    from empirical.records import write_text
    from empirical.robustness import shifts
    from empirical.single_source_table import default_reference, read_single_source
    from empirical.tables import write_table

    accuracies = read_single_source(arguments.accuracies, arguments.percent)
    reference = arguments.reference or default_reference(accuracies)
    report = forecast_report(
        accuracies,
        reference,
        arguments.mixture,
        arguments.ratio,
        arguments.n,
        named_values("--budget", arguments.budget, "SOURCE=SAMPLES, such as yfcc=15000000", _number),
        arguments.overlap,
    )
    out, tables = arguments.out, report.tables
    for name, table in tables.items():
        write_table(table, out / name)
    if "trends.csv" not in tables:
        (out / "trends.csv").unlink(missing_ok=True)  # an earlier table's
    write_text(out / "summary.txt", report.summary + "\n")
    rule = pick_rule(tables["predictions.csv"])
    figure = draw_mixture_forecast(
        accuracies, tables["predictions.csv"], out / "predict_mixtures", reference, rule
    )
    print(report.summary)
    print_written((*(out / name for name in tables), out / "summary.txt", *figure))
    sources = list(accuracies["sources"].unique())
    mixture, why = _worth_training(tables["best_mixtures.csv"], sources)
    print_next(
        _training(arguments.accuracies, mixture, sources, [reference, *shifts(accuracies, reference)]), why
    )
    return 0


def _training(table: Path, mixture: str, sources: list[str], test_sets: list[str]) -> str:
    """`clip_mixtures.py` with the options of the study that the table lies in, or with what is known of your own sources."""
    from empirical.next_commands import beside, command, mixture_study, study_options
    from empirical.study_folder import StudyFolder

    about = StudyFolder(table.parent).about() if table.name == "accuracies.csv" else {}
    if "settings" not in about:
        return mixture_study(mixture, sources, test_sets)
    return command(
        "clip_mixtures", *study_options(about), "--mixture", mixture, "--out", beside(table.parent, "mixture")
    )


def _worth_training(best: "DataFrame", sources: list[str]) -> tuple[str, str]:
    """The best mixture of the last objective at the largest overlap where it is one, and why; else two equal parts."""
    last = best.loc[best["objective"] == best["objective"].iloc[-1], "sources"]
    mixtures = [text for text in last if "+" in text]
    if mixtures:
        return mixtures[0], "train the best mixture and see"
    return (
        f"{sources[0]}:0.5+{sources[1]}:0.5",
        "one mixture of equal parts tells how much two sources overlap",
    )


def _number(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise ValueError(text)
    return value


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()
