"""Time what the theory package does beside what it replaces, in one run on this machine.

Ours and its peer run by turns on the same problems to the same answer; medians are printed as they are found, with how far the
answers differ. Compile times, cost over n and d, and peak memory are measured apart. Both sides may use all cores; for one core
each put `taskset -c 0` in front. Quote times only from a machine that does nothing else. Needs scikit-learn, which
`pip install -e ".[test]"` brings.

What to look at in benchmark.png: (a) how many times as fast, on a logarithmic axis; (b) a cost that knows neither n nor d.

Examples:
    python experiments/benchmark_theory.py
    python experiments/benchmark_theory.py --only training dprime --repeats 9
    python experiments/benchmark_theory.py --quick --out runs/benchmark_quick
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from empirical.command import Command, print_next, print_written
from empirical.options import check_at_least

if TYPE_CHECKING:
    import pandas as pd

NEXT_COMMAND = "python experiments/dilution_sim.py"
COLUMNS = ["name", "ours_seconds", "peer", "peer_seconds", "ratio", "max_difference"]
Part: TypeAlias = Literal["sampler", "training", "asymptotics", "dprime", "scaling", "memory"]
PARTS: tuple[Part, ...] = ("sampler", "training", "asymptotics", "dprime", "scaling", "memory")


@dataclass(frozen=True)
class Arguments:
    """The theory package beside what it replaces, about three minutes on two cores."""

    out: Path = Path("runs/benchmark_theory")
    """Folder for benchmark.csv, compile.csv, scaling.csv, memory.csv, the figure and provenance.json."""
    only: tuple[Part, ...] = PARTS
    """Parts to run."""
    repeats: int = 5
    """Measured turns of ours and peer, after one that is not measured."""
    seed: int = 0
    """Seed of all data."""
    quick: bool = False
    """Small problems and one turn: shows that everything runs; the times mean nothing."""


def run(arguments: Arguments) -> "dict[str, pd.DataFrame]":
    """Measure, write, draw, summarise; returns the tables by name.

    Raises:
        StudyError: fewer than one turn, or no part.
    """
    import pandas as pd

    from empirical.errors import StudyError
    from empirical.tables import write_table
    from empirical.work_progress import TimedLines
    from theory.benchmarks.figure import draw_benchmark
    from theory.benchmarks.pairs import PAIRS, measure
    from theory.benchmarks.tables import memory_table, scaling_table

    check_at_least(arguments, repeats=1)
    if not arguments.only:
        raise StudyError(f"--only needs at least one of {', '.join(PARTS)}")
    lines = TimedLines()
    rows: list[dict[str, Any]] = []
    first_calls: dict[str, dict[str, Any]] = {}
    missed: list[str] = []
    for part, make in PAIRS.items():
        if part not in arguments.only:
            continue
        for pair in make(arguments.seed, arguments.quick):
            row, first = measure(pair, 1 if arguments.quick else arguments.repeats)
            rows.append(row)
            first_calls.setdefault(pair.function, first)  # later ones of the same function compile nothing
            lines.say(describe(row))
            if pair.aim is not None and row["ratio"] < pair.aim:
                missed.append(
                    f"{pair.name}: {row['ratio']:.3g} of {pair.aim:g} times as fast as {pair.peer_name}"
                )
    tables = {}
    if rows:
        tables["benchmark"] = pd.DataFrame(rows, columns=COLUMNS)
        tables["compile"] = pd.DataFrame(list(first_calls.values()))
    if "scaling" in arguments.only:
        lines.say("cost over n and d")
        tables["scaling"] = scaling_table(arguments.seed, arguments.quick)
    if "memory" in arguments.only:
        lines.say("peak memory in fresh processes")
        tables["memory"] = memory_table(arguments.quick)
    paths = []
    for name, table in tables.items():
        paths.append(arguments.out / f"{name}.csv")
        write_table(table, paths[-1], digits=None)
    paths += draw_benchmark(tables, arguments.out / "benchmark")
    seconds = lines.seconds
    paths.append(keep_provenance(arguments, seconds))
    print(summary(tables, missed, seconds))
    print_written(paths)
    print_next(NEXT_COMMAND, "what the speed is for")
    return tables


def describe(row: dict[str, Any]) -> str:
    """A row of the table of ratios in words."""
    from theory.benchmarks.figure import ratio_text

    return (
        f"{row['name']}: {seconds_text(row['ours_seconds'])}, {row['peer']} {seconds_text(row['peer_seconds'])}: "
        f"{ratio_text(row['ratio'])} times as fast, difference {row['max_difference']:.2g}"
    )


def seconds_text(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def keep_provenance(arguments: Arguments, seconds: float) -> Path:
    """Write what the numbers depend on: config, versions, device, cores, load, and the time they took."""
    import importlib.metadata

    import jax

    from empirical.records import load_average, versions, write_provenance
    from theory.learners_batches import available_cores

    return write_provenance(
        arguments.out,
        arguments,
        seconds,
        str(jax.devices()[0].platform),
        versions={**versions(), "scikit-learn": importlib.metadata.version("scikit-learn")},
        cores_used=available_cores(),
        threads_set={k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
        **load_average(),
    )


def summary(tables: "dict[str, pd.DataFrame]", missed: list[str], seconds: float) -> str:
    """All that was measured, tidy."""
    from theory.benchmarks.figure import ratio_text
    from theory.benchmarks.tables import describe_memory, flatness

    lines = [""]
    if "benchmark" in tables:
        table = tables["benchmark"].copy()
        for column in ("ours_seconds", "peer_seconds"):
            table[column] = table[column].map(seconds_text)
        table["name"] = table["name"].str.split(" (", regex=False).str[0]
        table["ratio"] = table["ratio"].map(ratio_text)
        table["max_difference"] = table["max_difference"].map("{:.2g}".format)
        lines += [table.to_string(index=False), ""]
        slowest = tables["compile"].sort_values("compile_seconds", ascending=False)
        compiled = (
            f"{row.name_} {row.compile_seconds:.2g} s"
            for row in slowest.rename(columns={"name": "name_"}).itertuples()
        )
        lines.append("First call above later ones (compiling): " + ", ".join(compiled))
    if "scaling" in tables:
        scaling = tables["scaling"]
        lines.append(
            f"Cost of 10,000 draws in {len(scaling)} settings up to n = {scaling['n'].max():.0e}, d = {scaling['d'].max():.0e}: "
            f"{seconds_text(scaling['seconds'].min())} to {seconds_text(scaling['seconds'].max())}, "
            f"largest over smallest {flatness(scaling):.2f} (aim 2)"
        )
    if "memory" in tables:
        lines.append(describe_memory(tables["memory"]))
    lines += [f"Aim missed: {text}" for text in missed]
    return "\n".join([*lines, f"Done in {seconds:.0f} s"])


main = Command(Arguments, run, __doc__, stopped="nothing was written", expected=(ValueError,))

if __name__ == "__main__":
    main.exit()
