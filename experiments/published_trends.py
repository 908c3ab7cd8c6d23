"""Published models: robustness trends, effective robustness, and what theory says of filtered and mixed training data.

Reads open_clip's `openclip_results.csv` (121 models; https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_results.csv)
or any CSV with one row per model, imagenet-testbed's `robustness_top1s.csv`, clip-benchmark's CSV and JSON, and DataComp's
`eval_results.jsonl`. It fits each group of 3 or more models on every shift in probit and in d'; holds DataComp's unfiltered
pools, filtered pools and the filter (OpenAI's CLIP) against Theorem 3, and DataComp's mixtures of sources against Theorem 2;
and, once ImageNet models are among the files, says how far each group lies above their line and how much the choice of those
models matters.

Examples:
    python experiments/published_trends.py openclip_results.csv
    python experiments/published_trends.py openclip_results.csv robustness_top1s.csv
    python experiments/published_trends.py openclip_results.csv robustness_top1s.csv --reference imagenet --reference imagenet_v2
    python experiments/published_trends.py openclip_results.csv my_model=eval_results.jsonl --group OpenAI=^openai \\
        --group "mine=^my_model$"
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from empirical.command import Command, print_next, print_written
from empirical.options import Repeated, TestSetNames

_DATACOMP = {
    "unfiltered pools": "^commonpool_(s|m|l|xl)_s",
    "DataComp best": "^datacomp_(m|l|xl)",
    "OpenAI": "^openai$",
}


@dataclass
class Arguments:
    """Robustness of published models, and whether filtered and mixed data behave as theory says."""

    results: tyro.conf.Positional[tuple[str, ...]]
    """Files or folders of results. NAME=PATH names the model of a DataComp file (by default its folder does)."""
    format: Literal["auto", "open_clip", "imagenet_testbed", "clip_benchmark", "datacomp"] = "auto"
    """Format of all files; `auto` tells each by its content."""
    column: Annotated[Repeated, tyro.conf.arg(metavar="ROLE=NAME")] = ()
    """Which column of a CSV with one row per model plays a role; repeat. Roles: model, pretrained (what groups are matched on),
    imagenet, imagenet_v2, imagenet_r, imagenet_sketch, imagenet_a, objectnet, and imagenet_on_r, imagenet_on_a,
    imagenet_on_objectnet (ImageNet on a shift's classes). Defaults: open_clip's columns; absent shifts are left out."""
    percent: bool = False
    """Accuracies of such a CSV are in percent (imagenet-testbed's are known to be)."""
    group: Annotated[Repeated, tyro.conf.arg(metavar="NAME=REGEX")] = ()
    """A group of models: a regular expression searched in `pretrained`; repeat. Any --group replaces the default groups
    (DataComp's pools and filters, OpenAI, LAION, YFCC15M, CC12M) and leaves out the paper's checkpoints and DataComp's mixtures;
    imagenet-testbed's families stay."""
    pool: str = "unfiltered pools"
    """Group trained on the raw pool."""
    filtered: tuple[str, ...] = ("CLIP score", "LAION filter")
    """Groups trained on what the filter kept of that pool."""
    filter: str = "OpenAI"
    """Group of the filter's own models."""
    families: Path | None = None
    """CSV with the columns model and family for imagenet-testbed's models; by default their names tell."""
    baseline: Annotated[Repeated, tyro.conf.arg(metavar="GROUP")] = ()
    """Group whose models are the baseline of effective robustness; repeat. Default: "standard models" and "low-accuracy CNNs"."""
    reference: TestSetNames = ()
    """Test set that robustness is measured against (default imagenet); repeat to hold models to several at once. The first one
    is the x axis."""
    link: Literal["probit", "dprime", "logit"] = "probit"
    """Scale on which baselines are straight lines."""
    out: Path = Path("runs/published_trends")
    """Folder for the tables (CSV), summary.txt and the figures."""


def run(arguments: Arguments) -> None:
    """Read, write the report, say."""
    from empirical.errors import DataError
    from empirical.named_paths import named_values
    from empirical.published import (
        DEFAULT_GROUPS,
        REFERENCE,
        TEST_SETS,
        accuracies_of_groups,
        with_your_models,
    )
    from empirical.published_formats import read_results
    from empirical.published_report import PublishedOptions, write_report
    from empirical.records import environment, write_json
    from empirical.testbed_families import TESTBED, TESTBED_GROUPS, groups_of_families, read_families

    references = arguments.reference or (REFERENCE,)
    columns = named_values("--column", arguments.column, "ROLE=NAME")
    groups = named_values("--group", arguments.group, "NAME=REGEX")
    if not arguments.results:
        raise DataError("give at least one file of results, such as openclip_results.csv")
    families = read_families(arguments.families) if arguments.families else None
    table = read_results(arguments.results, columns, arguments.percent, arguments.format, families)
    chosen = groups or DEFAULT_GROUPS
    if table.rows["pretrained"].str.startswith(TESTBED).any():
        chosen = chosen | (groups_of_families(families) if families else TESTBED_GROUPS)
    if not groups:
        chosen = with_your_models(table, chosen)
    accuracies = accuracies_of_groups(table, chosen, (*TEST_SETS, *references))
    options = PublishedOptions(
        arguments.pool, arguments.filtered, arguments.filter, arguments.baseline, references, arguments.link,
        with_reported=not groups,
    )  # fmt: skip
    summary, written = write_report(table, accuracies, chosen, options, arguments.out)
    provenance = arguments.out / "provenance.json"
    names = [Path(text.rpartition("=")[2]).name for text in arguments.results]
    write_json(provenance, {"results": names, "groups": dict(chosen), **environment()})
    print(summary)
    print_written((*written, provenance))
    print_next(_next(arguments, bool(groups), list(table.rows["pretrained"])))


def _next(arguments: Arguments, grouped: bool, pretrained: Sequence[str]) -> str:
    """DataComp's best filter, where such models are among the results; else a first study of one's own."""
    from empirical.next_commands import command

    there = all(any(re.search(pattern, name) for name in pretrained) for pattern in _DATACOMP.values())
    if grouped or not there:
        return command("clip_mixtures", "--preset", "smoke")
    words: list[object] = [*arguments.results]
    words += ["--format", arguments.format] if arguments.format != "auto" else []
    words += [word for column in arguments.column for word in ("--column", column)]
    words += ["--percent"] if arguments.percent else []
    words += ["--families", arguments.families] if arguments.families else []
    words += [word for name in arguments.baseline for word in ("--baseline", name)]
    words += [word for name in arguments.reference for word in ("--reference", name)]
    words += ["--link", arguments.link] if arguments.link != "probit" else []
    words += [word for name, pattern in _DATACOMP.items() for word in ("--group", f"{name}={pattern}")]
    return command("published_trends", *words, "--filtered", "DataComp best", "--out", "runs/datacomp_best")


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()
