"""The designed mixture: closed form of two sources, the linear world's truth, intervals, ranks, and the command."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linear_study import SOURCES, TEST_SETS, linear_study, noise
from scipy.special import ndtri

from empirical.design import (
    CANDIDATE_COLUMNS,
    DESIGN_COLUMNS,
    candidates_table,
    central_interval,
    design_mixture,
    designs_of_study,
    designs_table,
    nearest_measured_size,
    rounded_shares,
    target_name,
    target_shifts,
)
from empirical.design_rank import DESIGNED_COLUMNS, rank_designed
from empirical.errors import StudyError
from empirical.measured_sources import MeasuredSources, measure_sources
from empirical.overlap import measure_overlaps
from empirical.tables import write_table
from theory.links import dprime_inverse

ROOT = Path(__file__).resolve().parents[2]


def exact_sources(n: int = 512, names: tuple[str, ...] = ("first", "second")) -> MeasuredSources:
    """What an infinite measurement of the linear world would say."""
    vectors = np.array([SOURCES[name] for name in names])
    targets = np.array(list(TEST_SETS.values()))
    length = np.sqrt((vectors**2).sum(axis=1) + noise(n))
    gram = vectors @ vectors.T / np.outer(length, length)
    t, s = len(targets), len(names)
    return MeasuredSources(
        n, names, tuple(TEST_SETS), np.full(t, 6), np.full(s, 9), targets @ vectors.T / length, np.repeat(gram[None], t, 0),
        np.empty((0, t, s)), np.empty((0, t, s, s)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def study():
    mixtures = ("first:0.5+second:0.5", "first:0.9+second:0.1", "second:0.75+third:0.25")
    return linear_study(seeds=(0, 1, 2, 3), mixtures=mixtures)


@pytest.fixture(scope="module")
def overlaps(study):
    return measure_overlaps(study.accuracies, study.load, study.labels)


def test_two_sources_have_the_closed_form_of_the_portfolio():
    sources = exact_sources()
    design = design_mixture(sources, ["even"], 512)
    a, gram = sources.signals[1], sources.overlaps[1]
    direction = np.linalg.solve(gram + (1 - gram[0, 0]), a)  # equal noise T / n = 1 - r_ss
    assert design.best.shares == pytest.approx(direction / direction.sum(), abs=1e-5)
    assert design.best.margins[0] == pytest.approx(np.sqrt(a @ direction), rel=1e-6)
    assert sum(p for _, p in design.shares) == pytest.approx(1, abs=1e-12)
    assert design.weights == pytest.approx(design.best.shares, abs=6e-4)
    assert np.isnan(design.share_intervals()).all()


def test_more_samples_change_the_mixture_as_noise_falls():
    # With plenty of data directions count, with few it is signal alone: the weaker source's share grows with the budget.
    shares = [design_mixture(exact_sources(), ["even"], n).weights[1] for n in (32, 512, 100_000)]
    assert shares[0] <= shares[1] <= shares[2]
    exact = design_mixture(exact_sources(4096), ["even"], 4096)
    carried = design_mixture(exact_sources(512), ["even"], 4096)
    assert carried.best.shares == pytest.approx(exact.best.shares, abs=1e-4)
    assert carried.predicted(carried.weights, ["even"])[0] == pytest.approx(
        exact.predicted(exact.weights, ["even"])[0], rel=1e-6
    )


def test_the_worst_of_several_shifts_balances_them():
    design = design_mixture(exact_sources(), ["even", "odd"], 512)
    margins = design.predicted(design.best.shares, ["even", "odd"])[0]
    for weights in np.linspace(0, 1, 101):
        other = design.predicted(np.array([weights, 1 - weights]), ["even", "odd"])[0]
        assert other.min() <= margins.min() + 1e-6
    assert design.target == "worst of even, odd"
    assert target_shifts(target_name(["even", "odd"])) == ("even", "odd")
    assert target_shifts("even") == ("even",)


def test_what_is_available_limits_shares():
    free = design_mixture(exact_sources(), ["odd"], 512)
    bound = design_mixture(exact_sources(), ["odd"], 512, {"second": 100})
    assert free.weights[1] > 0.3
    assert bound.weights[1] == pytest.approx(100 / 512, abs=1e-3)
    with pytest.raises(StudyError, match="no source 'moon'"):
        design_mixture(exact_sources(), ["odd"], 512, {"moon": 1})
    with pytest.raises(StudyError, match="odd, budget 512: the budgets hold"):
        design_mixture(exact_sources(), ["odd"], 512, {"first": 10, "second": 10})
    with pytest.raises(StudyError, match="2 samples or more"):
        design_mixture(exact_sources(), [], 512)


def test_intervals_hold_the_truth_and_the_prediction_comes_true(study, overlaps):
    measured = measure_sources(study.accuracies, overlaps, 512, ["first", "second"], num_draws=80)
    design = design_mixture(measured, ["even"], 512)
    truth = design_mixture(exact_sources(), ["even"], 512)
    low, high = design.share_intervals()
    assert low[0] <= truth.best.shares[0] <= high[0]
    assert high[0] - low[0] < 0.6
    # The trained half-and-half mixture beside the prediction of its place.
    value, draws = design.predicted(np.array([0.5, 0.5]), measured.test_sets)
    mixed = study.accuracies.query("kind == 'input_mixing' and sources == 'first:0.5+second:0.5'")
    for t, test_set in enumerate(measured.test_sets):
        rows = mixed[mixed["test_set"] == test_set]["dprime"]
        error = np.hypot(draws[:, t].std(), rows.std() / 2)
        assert rows.mean() == pytest.approx(value[t], abs=4 * error)


def test_designs_look_at_no_mixture(study, overlaps):
    targets = [["even"], ["even", "odd"]]
    table = designs_table(designs_of_study(study.accuracies, overlaps, [512], targets, num_draws=6))
    corrupted = study.accuracies.copy()
    touched = corrupted["kind"] != "single"
    corrupted.loc[touched, "num_correct"] //= 2
    corrupted.loc[touched, "dprime"] -= 1
    again = designs_table(designs_of_study(corrupted, overlaps, [512], targets, num_draws=6))
    pd.testing.assert_frame_equal(table, again)
    assert tuple(table.columns) == DESIGN_COLUMNS
    assert len(table) == 2 * 3
    assert np.allclose(table.groupby("shift")["share"].sum(), 1)
    assert (table["share_low"] <= table["share_high"]).all()
    assert (table["dprime_low"] < table["dprime_predicted"]).all()


def test_processes_share_the_draws_without_changing_them(study, overlaps):
    one, two = (
        designs_of_study(study.accuracies, overlaps, [512], [["even"]], num_draws=6, workers=workers)[
            0
        ].drawn_shares
        for workers in (1, 2)
    )
    assert np.array_equal(one, two)


def test_candidates_hold_equal_shares_and_every_source(study, overlaps):
    designs = designs_of_study(study.accuracies, overlaps, [512], [["even"]], num_draws=30)
    table = candidates_table(designs)
    assert tuple(table.columns) == CANDIDATE_COLUMNS
    assert set(table["candidate"]) == {"designed", "equal shares", *(f"{name} alone" for name in SOURCES)}
    alone = table.query("candidate == 'first alone' and test_set == 'odd'").iloc[0]
    rows = study.accuracies.query(
        "kind == 'single' and sources == 'first' and n_train == 512 and test_set == 'odd'"
    )
    assert alone["dprime_predicted"] == pytest.approx(rows["dprime"].mean(), rel=1e-6)
    on_target = table[table["test_set"] == "even"].set_index("candidate")["dprime_predicted"]
    assert on_target.idxmax() == "designed" or on_target.max() - on_target["designed"] < 1e-3


def test_a_target_that_nobody_learned_stops_no_other_design(study, overlaps):
    nothing = study.accuracies.copy()
    unlearned = nothing["test_set"] == "odd"
    nothing.loc[unlearned, "num_correct"] = nothing.loc[unlearned, "num_images"] // 20  # below chance
    nothing.loc[unlearned, "accuracy"] = (
        nothing.loc[unlearned, "num_correct"] / nothing.loc[unlearned, "num_images"]
    )
    nothing.loc[unlearned, ["dprime", "probit"]] = -0.7
    skipped: list[str] = []
    designs = designs_of_study(nothing, overlaps, [512], [["odd"], ["even"]], 3, on_skip=skipped.append)
    assert [design.target for design in designs] == ["even"]
    (reason,) = skipped
    assert reason.startswith("odd, budget 512: ")
    with pytest.raises(StudyError, match="odd, budget 512"):
        designs_of_study(nothing, overlaps, [512], [["odd"]], 3)


def test_sizes_that_lack_sources_are_not_designed_on(study, overlaps):
    assert nearest_measured_size(overlaps, 60) == 256
    assert nearest_measured_size(overlaps, 10_000) == 512
    with pytest.raises(StudyError, match="two seeds"):
        nearest_measured_size(overlaps[overlaps["first"] != overlaps["second"]], 512)


def test_shares_are_written_in_tenths_of_a_percent():
    shares = rounded_shares(["a", "b", "c", "d"], np.array([0.33333, 0.33333, 0.33234, 0.001]))
    assert [name for name, _ in shares] == ["a", "b", "c"]
    assert sum(p for _, p in shares) == pytest.approx(1, abs=1e-12)
    assert all(round(1000 * p, 9) == round(1000 * p) for _, p in shares)
    assert rounded_shares(["a", "b"], np.array([1e-9, 1.0])) == (("b", 1.0),)


def test_intervals_leave_out_draws_that_failed():
    draws = np.arange(100.0)[:, None].repeat(2, axis=1)
    draws[50:] = np.nan
    low, high = central_interval(draws)
    assert low[0] == pytest.approx(0.025 * 49)
    assert high[1] == pytest.approx(0.975 * 49)


def made_up_designs(sources: str, shift: str = "even", budget: int = 512) -> pd.DataFrame:
    row = dict.fromkeys(DESIGN_COLUMNS, 1.0) | {
        "shift": shift,
        "budget": budget,
        "sources": sources,
        "source": "first",
    }
    return pd.DataFrame([row])


def test_ranks_are_counted_among_the_mixtures_of_the_size(study):
    means = (
        study.accuracies.query("n_train == 512 and test_set == 'even'")
        .groupby(["kind", "sources"])["dprime"]
        .mean()
    )
    mixed = means["input_mixing"].sort_values(ascending=False)
    for place, sources in enumerate(mixed.index):
        row = rank_designed(made_up_designs(sources), study.accuracies).iloc[0]
        assert (row["rank"], row["num_mixtures"], row["num_seeds"]) == (place + 1, 3, 4)
        assert row["num_with_sources"] == 6
        assert row["rank_with_sources"] == 1 + (means.drop(("input_mixing", sources)) > mixed[sources]).sum()
        assert row["rank_low"] <= row["rank"] <= row["rank_high"]
        assert row["ahead_low"] <= row["ahead_of_best"] <= row["ahead_high"]
        assert row["dprime_measured"] == pytest.approx(mixed[sources])
        assert row["ahead_of_best"] == pytest.approx(
            mixed[sources] - means.drop(("input_mixing", sources)).max()
        )
        assert (
            "2 input mixtures and 3 single sources with n_train 512; seeds of the design: 0, 1, 2, 3"
            in row["judged_against"]
        )
    turned = rank_designed(made_up_designs("second:0.1+first:0.9"), study.accuracies).iloc[0]
    assert turned["dprime_measured"] == pytest.approx(mixed["first:0.9+second:0.1"])
    alone = rank_designed(made_up_designs("first"), study.accuracies).iloc[0]
    assert (alone["num_mixtures"], alone["num_with_sources"]) == (4, 6)
    worst = rank_designed(
        made_up_designs("first:0.5+second:0.5", "worst of even, odd"), study.accuracies
    ).iloc[0]
    both = study.accuracies.query("kind == 'input_mixing' and sources == 'first:0.5+second:0.5'")
    assert worst["dprime_measured"] == pytest.approx(
        both.groupby("test_set")["dprime"].mean()[["even", "odd"]].min()
    )


def test_the_gain_of_a_design_is_over_the_best_single_source(study, overlaps):
    """The interval is the widest of all sources', and known overlaps narrow it; a design of one source gains nothing."""
    even = (
        study.accuracies.query("test_set == 'even' and n_train == 512")
        .groupby(["kind", "sources"])["dprime"]
        .mean()
    )
    sources = "first:0.9+second:0.1"
    plain, told = (
        rank_designed(made_up_designs(sources), study.accuracies, overlaps=known).iloc[0]
        for known in (None, overlaps)
    )
    for row in (plain, told):
        assert row["best_source"] == even["single"].idxmax()
        assert row["dprime_best_source"] == pytest.approx(even["single"].max())
        gain = even["input_mixing"][sources] - even["single"].max()
        assert row["gain_over_source"] == pytest.approx(gain)
        assert row["gain_low"] < gain < row["gain_high"]
        if row["best_other"] == row["best_source"]:
            assert row["gain_low"] < row["ahead_low"]
    assert told["gain_high"] - told["gain_low"] < plain["gain_high"] - plain["gain_low"]
    alone = rank_designed(made_up_designs("first"), study.accuracies).iloc[0]
    assert alone[["best_source", "gain_over_source", "gain_low", "gain_high"]].isna().all()


def test_the_interval_of_the_gain_holds_although_the_best_source_was_picked_by_luck():
    """Six equal sources and a mixture as good as they are: the gain looks negative, its interval holds 0 in 95%."""
    rng, held, gains = np.random.default_rng(8), [], []
    names = [f"s{i}" for i in range(6)]
    groups = [("single", name) for name in names] + [("input_mixing", "s0:0.5+s1:0.5")]
    for _ in range(30):
        rows = []
        for (kind, sources), seed in itertools.product(groups, range(6)):
            noise = 0.2 * rng.standard_normal()
            for test_set, right in (("reference", 2.0), ("even", 1.5 + noise)):
                accuracy = float(dprime_inverse(right, 6))
                rows.append(
                    {"run": f"{kind}-{sources}-{seed}", "kind": kind, "sources": sources, "n_train": 512, "seed": seed,
                     "test_set": test_set, "num_classes": 6, "num_images": 10**6, "num_correct": round(accuracy * 10**6),
                     "accuracy": accuracy, "probit": float(ndtri(accuracy)), "dprime": right}
                )  # fmt: skip
        row = rank_designed(made_up_designs("s0:0.5+s1:0.5"), pd.DataFrame(rows)).iloc[0]
        gains.append(row["gain_over_source"])
        held.append(row["gain_low"] <= 0 <= row["gain_high"])
    assert np.mean(gains) < -0.05, "the best measured source is picked by its luck"
    assert sum(held) >= 27


def test_a_design_without_runs_keeps_its_prediction(study):
    row = rank_designed(made_up_designs("first:0.3+third:0.7"), study.accuracies).iloc[0]
    assert tuple(row.index) == DESIGNED_COLUMNS
    assert row["judged_against"] == "not trained"
    assert np.isnan(row["rank"])
    assert row["dprime_predicted"] == 1.0


@pytest.fixture(scope="module")
def folder(study, overlaps, tmp_path_factory):
    path = tmp_path_factory.mktemp("records")
    write_table(study.accuracies, path / "accuracies.csv")
    write_table(overlaps, path / "overlaps.csv")
    return path


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "experiments" / "design_mixture.py")
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_designs_from_records_alone(folder, tmp_path):
    found = command(
        str(folder),
        "--budget",
        "512",
        "--shift",
        "even",
        "--available",
        "first=200",
        "--draws",
        "20",
        "--out",
        str(tmp_path),
    )
    assert found.returncode == 0, found.stderr
    design = pd.read_csv(tmp_path / "design.csv")
    assert tuple(design.columns) == DESIGN_COLUMNS
    assert design.loc[design["source"] == "first", "share"].item() <= 200 / 512 + 1e-3
    assert (tmp_path / "design.png").stat().st_size > 20_000
    assert "Next: python experiments/clip_mixtures.py" in found.stdout
    assert f"--mixture {design['sources'].iloc[0]} --sizes 512" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "512", "--shift", "moon"), "no test set 'moon'"),
        (("--budget", "1"), "--budget must be at least 2, got 1"),
        (("--budget", "0"), "--budget must be at least 2, got 0"),
        (("--budget=-5",), "--budget must be at least 2, got -5"),
        (("--budget", "512", "--seed=-1"), "--seed must be at least 0, got -1"),
        (("--budget", "512", "--available", "first=many"), "write --available SOURCE=COUNT"),
        (("--budget", "512", "--available", "moon=3"), "no source 'moon'"),
    ],
)
def test_bad_input_is_one_message(folder, tmp_path, monkeypatch, capsys, arguments, message):
    import tyro

    from experiments.design_mixture import Arguments, main

    parsed = tyro.cli(Arguments, args=[str(folder), *arguments, "--draws", "2", "--out", str(tmp_path)])
    assert main(parsed) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_candidate_that_is_the_design_is_called_the_same():
    """Neither is ahead of the other: 0% of draws would read as a defeat. A source's name is left as it is."""
    from experiments.design_mixture import describe

    table = pd.DataFrame(
        {"source": ["banana"], "share": [1.0], "share_low": [np.nan], "share_high": [np.nan], "budget": [8]}
    )
    rows = [("designed", "banana", np.nan), ("banana alone", "banana", 0.0), ("fig alone", "fig", 0.9)]
    candidates = pd.DataFrame(rows, columns=["candidate", "sources", "designed_ahead"]).assign(
        test_set="s", within_available=True, dprime_predicted=1.0, dprime_low=np.nan, dprime_high=np.nan,
        accuracy_predicted=0.5, accuracy_low=0.4, accuracy_high=0.6,
    )  # fmt: skip
    lines = describe(table, candidates, ("s",)).splitlines()
    assert "banana           100.0%  [?, ?]" in lines[0]
    assert lines[-2].endswith("the same")
    assert lines[-1].endswith("in 90% of draws")


def test_a_folder_without_tables_is_named(tmp_path, capsys):
    from experiments.design_mixture import Arguments, main

    assert main(Arguments(tmp_path, 512)) == 2
    assert "accuracies.csv" in capsys.readouterr().err
