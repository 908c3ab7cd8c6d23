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

from empirical.prediction import RULES
from theory.learner_limits_verdict import verdict

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
        name = "difference_to_interpolated"
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


GPU_STUDY = ROOT / "paper_figures/records/gpu_study"


def short(value: float, digits: int = 3) -> str:
    """The number as the README writes it: no zero before the point."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def test_the_gpu_studys_rules_and_verdicts_are_those_of_its_records() -> None:
    words = " ".join(README.split())
    scores = (
        pd.read_csv(GPU_STUDY / "scores.csv").set_index(["rule", "shift"]).xs("all shifts", level="shift")
    )
    names = {"mediant": "mediant", "quadrature": "quadrature", "lines": r"lines by share \(primary\)"}
    number = r"([+-]?\.\d+)"
    for rule, name in names.items():
        found = re.search(rf"{name} {number}, {number} \[{number}, {number}\]", words)
        assert found is not None, rule
        columns = ["rms", *(f"difference_to_interpolated{end}" for end in ("", "_low", "_high"))]
        assert [float(n) for n in found.groups()] == pytest.approx(
            list(scores.loc[rule, columns]), abs=5.1e-4
        ), rule
    assert f"noise floor of {short(scores.loc['quadrature', 'noise_floor'])}" in words
    assert f"interpolation {short(scores.loc['interpolated', 'rms'])}" in words
    assert f"best single source {short(scores.loc['best_source', 'rms'])}" in words
    predictions = pd.read_csv(GPU_STUDY / "predictions.csv").drop_duplicates(["sources", "n_train", "shift"])
    verdicts = predictions["inside_range"].value_counts()
    inside = predictions[predictions["inside_range"] == "yes"]["shift"].value_counts()
    assert (
        f"Of {len(predictions)} cells, {verdicts['yes']} lie inside their sources' range at 95% (v2 {inside['v2']}, sketch "
        f"{inside['sketch']}, rendition {inside['rendition']}, odd view {inside['odd_view']}), "
        f"{verdicts['no']} outside (stock .8 with encyclopedia .2 at 4,096 on rendition, .772, above .740 and .705), "
        f"{verdicts['inconclusive']} are open"
    ) in words
    (outside,) = predictions[predictions["inside_range"] == "no"].itertuples()
    assert (outside.sources, outside.n_train, outside.shift, round(outside.ratio_measured, 3)) == (
        "stock:0.8+encyclopedia:0.2", 4096, "rendition", 0.772,
    )  # fmt: skip
    by_source = pd.read_csv(GPU_STUDY / "scores_by_source.csv").set_index(["rule", "left_out"])
    name = "difference_to_interpolated"
    without = [short(by_source.loc[(rule, "encyclopedia"), name]) for rule in ("quadrature", "mediant")]
    assert f"without them its advantage is {without[0]}, the mediant's {without[1]}" in words
    ends = [
        f"[{short(row[f'{name}_low'])}, +{short(row[f'{name}_high'])}]"
        for row in (by_source.loc[(rule, "none")] for rule in ("quadrature", "mediant"))
    ]
    assert f"a jackknife over the six sources gives {ends[0]} and {ends[1]}" in words
    each = pd.read_csv(GPU_STUDY / "scores.csv").set_index(["rule", "shift"]).loc["quadrature"]
    above = [
        f"{short(each.loc[shift, 'rms'])} against {short(each.loc[shift, 'noise_floor'])}"
        for shift in ("sketch", "rendition")
    ]
    assert f"quadrature stays above the noise ({above[0]}, {above[1]})" in words


def test_the_brackets_of_places_are_those_of_their_records() -> None:
    verdicts = pd.read_csv(GPU_STUDY / "places.csv")["inside_bracket"].value_counts()
    words = " ".join(README.split())
    assert (
        f"Of {verdicts.sum()} places {verdicts['yes']} lie inside at 95% and {verdicts['no']} outside"
        in words
    )
    assert f"{verdicts['empty']} brackets are empty" in words


def test_the_gpu_studys_designs_and_ensembles_are_those_of_its_records() -> None:
    words = " ".join(README.split())
    designed = pd.read_csv(GPU_STUDY / "designed.csv")
    trained = designed[designed["sources"].str.contains(":")]
    assert f"Of {len(designed)} designs" in words
    assert f"{len(trained)} are mixtures that were then trained" in words
    fewest, most = trained["num_mixtures"].min(), trained["num_mixtures"].max()
    ranks = [(int(trained[name].min()), int(trained[name].max())) for name in ("rank", "rank_with_sources")]
    assert (
        "Among {} to {} mixtures they rank {} to {} (one of them first), with the single sources among them {} to {}.".format(
            fewest, most, *ranks[0], *ranks[1]
        )
    ) in words
    assert (trained["rank"] == 1).sum() == 1
    for row in trained.itertuples():
        ends = (row.gain_over_source, row.gain_low, row.gain_high)
        value, low, high = (f"{end:+.2f}".replace("0.", ".", 1) for end in ends)
        aim = "the worst" if str(row.shift).startswith("worst") else str(row.shift).replace("_", " ")
        assert f"{value} [{low}, {high}] ({aim})" in words
    assert f"clear for {['none', 'one', 'two'][(trained['gain_low'] > 0).sum()]} of seven" in words
    assert not (trained["gain_high"] < 0).any()
    short_of = trained[trained["dprime_measured"] < trained["dprime_low"] - 0.01].iloc[0]
    assert (short_of["shift"], short_of["budget"]) == ("rendition", 2048)
    half = short(1.96 * short_of["dprime_measured_stderr"], 2)
    told = [f"{short_of[f'dprime_{name}']:.2f}" for name in ("measured", "predicted", "low", "high")]
    assert "({} ± {half}; {} [{}, {}])".format(*told, half=half) in words
    assert (designed.drop(trained.index)["ahead_high"] > 0).all()
    ensembles = pd.read_csv(GPU_STUDY / "output_vs_input.csv").set_index(["mixing", "heads", "shift"])
    for heads, sign in (("each", 1), ("share", -1)):
        row = ensembles.loc[("logits", heads, "all shifts")]
        ends = sorted((sign * row["difference_low"], sign * row["difference_high"]))
        text = f"by {short(sign * row['mean_difference'])} [{short(ends[0])}, {short(ends[1])}]"
        assert text in words, text
        assert short(sign * row["place_gain"], 2) in words
        assert f"{row['agreement_share_by_seeds']:.0%} to {row['agreement_share']:.0%}" in words


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
