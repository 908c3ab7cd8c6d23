"""The README promises only what is there."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from readme_words import README, ROOT, short

from empirical.prediction import RULES
from theory.learner_limits_verdict import verdict


def test_theorem_table_names_functions_and_tests_that_exist() -> None:
    rows = [line for line in README.splitlines() if "`tests/theory/" in line]
    assert len(rows) >= 6
    theory = importlib.import_module("theory")
    for row in rows:
        functions = re.findall(r"`theory\.(\w+)`", row)
        assert functions, row
        for function in functions:
            assert function in theory.__all__, f"{function} is not public"
        (test,) = re.findall(r"`(tests/[\w/]+\.py)`", row)
        text = (ROOT / test).read_text(encoding="utf-8")
        assert any(re.search(rf"\b{function}\b", text) for function in functions), (
            f"{test} tests none of {functions}"
        )


def test_figure_table_names_modules_records_and_commands_that_exist() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((.+?)\) \| `(.+?)` \| `(.+?)` \| `(.+?)` \|$", README, re.M)
    assert len(rows) >= 4
    from paper_figures.committed import MADE_BY, Records
    from paper_figures.make_all import FIGURES, module_of

    assert [name for name, *_ in rows] == list(FIGURES)
    for name, picture, module, folder, command in rows:
        assert picture == f"paper_figures/{name}.png"
        assert (ROOT / picture).is_file()
        assert module == f"paper_figures/{name}.py"
        assert (ROOT / module).is_file()
        records = Records(module_of(name).STUDY)
        assert (ROOT / folder).samefile(records.folder)
        assert (ROOT / folder / "provenance.json").is_file()
        assert (ROOT / command.split()[1]).is_file()
        assert command == MADE_BY[records.folder.name].split(" && ")[0], (
            f"{name}: the message of a missing record says otherwise"
        )
    modules = {
        path.stem
        for path in (ROOT / "paper_figures").glob("*.py")
        if "\ndef draw(" in path.read_text("utf-8")
    }
    # A figure whose study has not been finished yet waits for its records.
    waiting = {
        name
        for name in modules - set(FIGURES)
        if not (ROOT / "paper_figures/records" / module_of(name).STUDY / "provenance.json").is_file()
    }
    assert modules - waiting == set(FIGURES)


def test_the_table_of_rules_is_that_of_the_records() -> None:
    scores = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures/scores.csv").set_index(["rule", "shift"])
    by_source = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures/scores_by_source.csv")
    name = "difference_to_interpolated"
    by_source = by_source.set_index(["rule", "left_out"])
    words = {
        "mediant": "mediant",
        "quadrature": "quadrature",
        "lines": "lines by share",
        "interpolated": "interpolated",
    }
    for rule, start in {**words, "best_source": "best single source"}.items():
        (row,) = re.findall(rf"^\| {start}[^|]*\|(.*)\|$", README, re.M)
        cells = [cell.strip() for cell in row.split("|")]
        for cell, shift in zip(cells, ("v2", "sketch", "rendition", "odd_view", "all shifts"), strict=False):
            assert float(cell) == pytest.approx(scores.loc[(rule, shift), "rms"], abs=5.1e-4)
        if rule == "interpolated":
            continue
        stated = [float(number) for cell in cells[5:] for number in re.findall(r"[+-]\.\d+", cell)]
        bootstrap, jackknife = scores.loc[(rule, "all shifts")], by_source.loc[(rule, "none")]
        expected = [
            *(bootstrap[f"{name}{end}"] for end in ("", "_low", "_high")),
            *(jackknife[f"{name}{end}"] for end in ("_low", "_high")),
            by_source.loc[(rule, "encyclopedia"), name],
        ]
        assert stated == pytest.approx(expected, abs=5.1e-4), rule
    floor = scores.loc[("quadrature", "all shifts"), "noise_floor"]
    assert f"A perfect rule would have an error of {short(floor)}" in " ".join(README.split())
    whole = by_source.xs("none", level="left_out").dropna()
    assert ((whole[f"{name}_low"] < 0) & (whole[f"{name}_high"] > 0)).all(), (
        "no rule is told apart over sources"
    )


def test_the_other_cpus_errors_are_those_of_its_records() -> None:
    scores = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures_other_cpu/scores.csv")
    rms = scores[scores["shift"] == "all shifts"].set_index("rule")["rms"]
    one, two, three, four, five = (short(rms[rule]) for rule in RULES)
    assert f"has {one}, {two}, {three}, {four} and {five} over all shifts" in " ".join(README.split())


def test_counts_of_mixtures_are_those_of_the_records() -> None:
    predictions = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures/predictions.csv")
    verdicts = predictions.drop_duplicates(["sources", "n_train", "shift"])["inside_range"].value_counts()
    words = re.search(r"Of (\d+) mixture x size x shift cells, (\d+) lie inside.*?(\d+) cannot", README, re.S)
    assert words is not None
    total, inside, open_ = map(int, words.groups())
    assert (total, inside, open_) == (
        int(verdicts.sum()),
        int(verdicts["yes"]),
        int(verdicts["inconclusive"]),
    )


def test_quoted_ray_slopes_are_those_of_the_records() -> None:
    trends = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures/trends.csv")
    rays = trends[(trends["link"] == "dprime") & (trends["fit"] == "ray")].set_index(["sources", "shift"])
    pool = "alt_text+junk:0.35 [filter={}]"
    quoted = {
        ("stock", "v2"): ".63 [.59, .67]",
        ("snapshots", "odd_view"): ".62 [.58, .66]",
        ("encyclopedia", "sketch"): ".87 [.73, 1.01]",
        ("stock", "rendition"): ".65 [.60, .71]",
        (pool.format("none"), "sketch"): ".19 [.10, .29]",
        (pool.format("stock"), "sketch"): ".44 [.32, .55]",
        (pool.format("snapshots"), "sketch"): ".37 [.31, .43]",
        ("stock", "sketch"): ".59 [.52, .65]",
        ("snapshots", "sketch"): ".27 [.20, .34]",
    }
    words = " ".join(README.split())
    for key, text in quoted.items():
        assert text in words, key
        row = rays.loc[key]
        numbers = [float(number) for number in re.findall(r"[\d.]+\d", text)]
        assert numbers == pytest.approx([row["slope"], row["slope_low"], row["slope_high"]], abs=5.1e-3), key


def test_the_predictions_of_filtered_pools_are_those_of_their_records() -> None:
    table = pd.read_csv(ROOT / "paper_figures/records/clip_mixtures/filtering.csv")
    table, words = table[table["filter"] != "none"], " ".join(README.split())
    largest = table[table["pool_size"] == table["pool_size"].max()]
    errors = [
        f"{((part[guess] - part['ratio_measured']) ** 2).mean() ** 0.5:.3f}".lstrip("0")
        for part in (table, largest)
        for guess in ("ratio_predicted", "ratio_of_pool", "ratio_of_filter")
    ]
    assert (
        "an rms error of {}, against {} for the raw pool's ratio and {} for the filter's own".format(*errors)
        in words
    )
    assert "; {} against {} and {} on the largest pool".format(*errors[3:]) in words
    turns = [(table[name] - table["ratio_of_pool"]) > 0 for name in ("ratio_predicted", "ratio_measured")]
    right, up = int((turns[0] == turns[1]).sum()), int(turns[1].sum())
    assert f"has the direction of {right} of {len(table)} changes; that filtering always raises" in words
    assert f"always raises the ratio holds in {up}" in words


def test_what_is_said_of_the_exact_limits_is_that_of_their_records() -> None:
    found = verdict(pd.read_csv(ROOT / "paper_figures/records/learner_limits/learner_limits.csv"))
    (fall,) = found.shrinkages
    words = " ".join(README.split())
    assert f"of {found.num_cells} accuracies" in words
    assert (
        f"{found.beyond_3} lie beyond three standard errors (at most {short(100 * found.largest_stderr, 2)} points"
        in words
    )
    assert (
        f"falls to {short(fall.ratio, 2)} ± {short(fall.stderr, 2)} of its size at d = {fall.small}" in words
    )


def test_the_benchmark_table_of_theory_is_that_of_its_records() -> None:
    table = pd.read_csv(ROOT / "paper_figures/records/benchmark_theory/benchmark.csv")
    start = README.index("| theory | ours | peer |")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in README[start:].split("\n\n")[0].splitlines()[2:]
    ]
    assert len(rows) == len(table)
    unit = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
    for (_, ours, peer, ratio), row in zip(rows, table.itertuples(), strict=True):
        for text, seconds in ((ours, row.ours_seconds), (peer, row.peer_seconds)):
            value, name = text.split(",")[0].split()
            assert float(value) * unit[name] == pytest.approx(seconds, rel=0.006), text
        assert float(ratio.replace(",", "")) == pytest.approx(row.ratio, rel=0.005)
    scaling = pd.read_csv(ROOT / "paper_figures/records/benchmark_theory/scaling.csv")
    assert "costs 6.65 to 8.65 ms" in " ".join(README.split())
    seconds = scaling.filter(like="seconds").iloc[:, 0]
    assert [round(1e3 * value, 2) for value in (seconds.min(), seconds.max())] == [6.65, 8.65]


def test_the_benchmark_table_of_training_is_that_of_its_records() -> None:
    start = README.index("| piece | machine | ours | peer |")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in README[start:].split("\n\n")[0].splitlines()[2:]
    ]
    folder = ROOT / "paper_figures/records"
    names = (("benchmark_training", "benchmark_training_large"), ("benchmark_training_gpu",))
    records = [pd.concat([pd.read_csv(folder / n / "benchmark.csv") for n in each]) for each in names]
    for _, machine, ours, peer, ratio in rows:
        table = records["H200" in machine]
        found = [float(text.split(" s")[0]) for text in (ours, peer)]
        near = np.isclose(table["ours_seconds"], found[0], rtol=0.006) & np.isclose(
            table["peer_seconds"], found[1], rtol=0.006
        )
        assert near.any(), (ours, peer)
        assert float(ratio) == pytest.approx(table.loc[near, "ratio"].iloc[0], rel=0.005)
    curves = pd.read_csv(ROOT / "paper_figures/records/benchmark_training/loss_difference.csv")
    last, words = curves.iloc[-1], " ".join(README.split())
    assert f"the last epoch {short(last['ours'])} against {short(last['peer'])} nats" in words
    assert f"paired difference {short(last['difference'])} ± {short(last['standard_error'])}" in words
    assert f"in {(curves['difference'] > 0).sum()} of {len(curves)} epochs ours is the higher one" in words


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_library_example_prints_what_it_says() -> None:
    code, _ = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("slope 0.4286")


def test_the_example_of_a_stream_runs_at_a_smaller_size(tmp_path: Path) -> None:
    from empirical.arrays import Pairs
    from empirical.shards import write_pairs

    _, code = re.findall(r"```python\n(.*?)```", README, re.S)
    for name in ("cc12m", "redcaps"):
        pairs = Pairs(
            np.zeros((20, 3, 8, 8), np.uint8), [f"text {i}" for i in range(20)], [f"{i}" for i in range(20)]
        )
        write_pairs(pairs, tmp_path / "data" / name / "shards", samples_per_shard=8)
    smaller = {
        "total=100_000": "total=20",
        "image_size=224": "image_size=8",
        "batch_size=256": "batch_size=4",
    }
    for large, small in (smaller | {"workers=8": "workers=1"}).items():
        assert large in code
        code = code.replace(large, small)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout.splitlines() == ["cc12m 0.3 0.3 6 0", "redcaps 0.7 0.7 14 0"], result.stderr


def test_the_example_of_single_source_accuracies_is_read(tmp_path: Path) -> None:
    from empirical.forecast_report import forecast_report
    from empirical.single_source_table import read_single_source

    (table,) = re.findall(r"```\n(source,n,.*?)```", README, re.S)
    (tmp_path / "accuracies.csv").write_text(table)
    accuracies = read_single_source(tmp_path / "accuracies.csv")
    report = forecast_report(accuracies, "imagenet", ("yfcc:0.3+laion:0.7",), (), (), {"yfcc": 15e6}, ())
    assert "yfcc:0.3+laion:0.7" in set(report.tables["predictions.csv"]["sources"])


def explanation(command: str) -> str:
    """What --help says; it must not keep anybody waiting for torch or jax."""
    words = [sys.executable, "-X", "importtime", str(ROOT / command), "--help"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    # The simulation's options stand with its panels, which are JAX programs.
    heavy = {"torch"} if command.endswith("dilution_sim.py") else {"torch", "jax", "pandas", "matplotlib"}
    assert "tyro" in loaded
    assert not loaded & heavy
    return result.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "experiments").glob("[a-z]*.py")))
def test_every_experiment_explains_itself(script: str) -> None:
    assert "--out" in explanation(f"experiments/{script}")
    assert f"experiments/{script}" in README


@pytest.mark.parametrize(("script", "option"), [("make_all.py", "--venue"), ("keep.py", "--name")])
def test_commands_about_figures_explain_themselves(script: str, option: str) -> None:
    assert option in explanation(f"paper_figures/{script}")
