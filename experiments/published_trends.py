"""Fit robustness trends of published models and hold the filtering theorem against them.

Reads open_clip's `openclip_results.csv` (121 models; https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_results.csv)
or any CSV with one row per model, fits each group of 3 or more models on every shift in probit and in d', and compares
DataComp's unfiltered pools, the pools filtered by OpenAI's CLIP, and OpenAI's CLIP itself with what Theorem 3 expects.

Examples:
    python experiments/published_trends.py openclip_results.csv
    python experiments/published_trends.py openclip_results.csv --group OpenAI=^openai --group "DFN=^dfn"
    python experiments/published_trends.py robustness_top1s.csv --percent --column model=model --column pretrained=model \\
        --column imagenet=val --column imagenet_v2=imagenetv2-matched-frequency-format-val --group ResNets=^resnet
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro


@dataclass
class Arguments:
    """Robustness trends of published models, and whether filtered pools inherit their filter's robustness."""

    results: tyro.conf.Positional[Path]
    """CSV with one row per model, such as open_clip's docs/openclip_results.csv."""
    column: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="ROLE=NAME")] = field(
        default=()
    )
    """Which column plays a role; repeat. Roles: model, pretrained (what groups are matched on), imagenet, imagenet_v2,
    imagenet_r, imagenet_sketch, imagenet_a, objectnet. Defaults: open_clip's columns; absent shifts are left out."""
    group: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=REGEX")] = field(
        default=()
    )
    """A group of models: a regular expression searched in `pretrained`; repeat. Any --group replaces the default groups
    (DataComp's pools and filters, OpenAI, LAION, YFCC15M, CC12M)."""
    pool: str = "unfiltered pools"
    """Group trained on the raw pool."""
    filtered: tuple[str, ...] = ("CLIP score", "LAION filter")
    """Groups trained on what the filter kept of that pool."""
    filter: str = "OpenAI"
    """Group of the filter's own models."""
    percent: bool = False
    """The accuracies are in percent."""
    out: Path = Path("runs/published_trends")
    """Folder for trends.csv, filtering.csv, filtering_pairs.csv, summary.txt and the figure."""


def main(arguments: Arguments) -> int:
    """Read, fit, compare, draw, say; returns the exit status."""
    import jax

    jax.config.update("jax_enable_x64", True)

    from empirical.errors import DataError
    from empirical.figures.published import draw_published
    from empirical.filter_inheritance import compare_with_filter, describe, matched_offsets
    from empirical.published import DEFAULT_GROUPS, REFERENCE, TEST_SETS, accuracies_of_groups, read_published
    from empirical.records import write_atomically
    from empirical.robustness import fit_trends, left_out
    from empirical.tables import write_table

    try:
        columns, groups = (
            _pairs(items, flag)
            for items, flag in ((arguments.column, "--column"), (arguments.group, "--group"))
        )
        table = read_published(arguments.results, columns, arguments.percent)
        accuracies = accuracies_of_groups(table, groups or DEFAULT_GROUPS)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    labels = {role: test_set.label for role, test_set in TEST_SETS.items()}
    trends = fit_trends(accuracies, REFERENCE)
    comparison = compare_with_filter(
        accuracies, arguments.pool, arguments.filtered, arguments.filter, REFERENCE
    )
    offsets = matched_offsets(accuracies, comparison, REFERENCE)

    lines = [f"{len(table.rows)} models read from {arguments.results.name}, {len(table.dropped)} left out:"]
    lines += [f"  {sentence}" for sentence in table.dropped]
    for role, models in table.missing().items():
        some = ", ".join(models[:3]) + (", ..." if len(models) > 3 else "")
        lines.append(
            f"{labels[role]}: {len(models)} of {len(table.rows)} models have an empty cell and are left out of this shift "
            f"alone ({some})"
        )
    sizes = accuracies[accuracies["test_set"] == REFERENCE]["sources"].value_counts(sort=False)
    for name in groups or DEFAULT_GROUPS:
        count = int(sizes.get(name, 0))
        lines.append(
            f"group {name}: {count} models" + ("" if count >= 3 else ", drawn without a fit" if count else "")
        )
    lines += left_out(accuracies)
    lines += ["", "Slopes of the lines in d' (95% intervals):", *_slopes(trends, labels)]
    lines += ["", "Theorem 3 (filtering): what passes a filter inherits the filter's robustness in part."]
    if comparison.empty:
        lines.append(
            f"  Not tested: it needs 3 models or more in each of {arguments.pool!r}, {', '.join(map(repr, arguments.filtered))} "
            f"and {arguments.filter!r} (--pool, --filtered, --filter name the groups)."
        )
    else:
        lines.append(
            "  For a pool of one component the filtered line lies between the pool's and the filter's; a web pool has many "
            "components, whose own lines are not published, so only 'outside' speaks against that special case, and the "
            "general theorem (the hull of all components and the filter) is not put to the test."
        )
        lines += [f"  {sentence}" for sentence in describe(comparison, offsets, labels)]
    summary = "\n".join(lines)

    out = arguments.out
    write_table(_with_group(trends), out / "trends.csv")
    write_table(comparison, out / "filtering.csv")
    write_table(offsets, out / "filtering_pairs.csv")
    write_atomically(out / "summary.txt", lambda path: path.write_text(summary + "\n", encoding="utf-8"))
    figure = draw_published(
        accuracies, trends, comparison, offsets, out / "published_trends", arguments.pool, arguments.filtered, arguments.filter,
        REFERENCE, labels,
    )  # fmt: skip
    print(summary)
    print("\nWritten:")
    for path in (
        out / "trends.csv",
        out / "filtering.csv",
        out / "filtering_pairs.csv",
        out / "summary.txt",
        *figure,
    ):
        print(f"  {path}")
    if groups:
        command = "python experiments/clip_mixtures.py --preset smoke"
    else:
        command = (
            f"python experiments/published_trends.py {arguments.results} --out runs/datacomp_best "
            '--group "unfiltered pools=^commonpool_(s|m|l|xl)_s" --group "DataComp best=^datacomp_(m|l|xl)" '
            '--group "OpenAI=^openai$" --filtered "DataComp best"'
        )
    print(f"Next: {command}")
    return 0


def _pairs(items: tuple[str, ...], flag: str) -> dict[str, str]:
    from empirical.errors import DataError

    pairs = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise DataError(
                f"{flag} {item!r}: write {flag} {'ROLE=NAME' if flag == '--column' else 'NAME=REGEX'}"
            )
        pairs[name] = value
    return pairs


def _with_group(trends: pd.DataFrame) -> pd.DataFrame:
    """The columns of a study's trends.csv with `group` for kind and sources."""
    return trends.drop(columns="kind").rename(columns={"sources": "group"})


def _slopes(trends: pd.DataFrame, labels: dict[str, str]) -> list[str]:
    chosen = trends[(trends["link"] == "dprime") & (trends["fit"] == "line")]
    return [
        f"  {row['sources']:18s} {labels.get(row['shift'], row['shift']):16s} {row['slope']:.3f} "
        f"[{row['slope_low']:.3f}, {row['slope_high']:.3f}]  R2 {row['r2']:.3f}  {row['num_models']} models"
        for _, row in chosen.sort_values(["sources", "shift"]).iterrows()
    ]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
