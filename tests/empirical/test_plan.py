import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.errors import StudyError
from empirical.plan import (
    Design,
    FilteringDesign,
    RunSpec,
    format_shares,
    parse_shares,
    plan_runs,
    samples_needed,
    split_counts,
)
from empirical.presets import PRESETS, RATIOS, equal_mixture, pairs_at_ratios, preset_for_sources


def positions(run: RunSpec) -> set[tuple[str, int]]:
    return {(draw.source, i) for draw in run.draws for i in range(draw.start, draw.start + draw.count)}


DESIGN = Design(
    sources=("a", "b", "c"),
    sizes=(8, 16, 32),
    seeds=(0, 1),
    mixtures=((("a", 0.2), ("b", 0.8)), (("a", 0.5), ("b", 0.5)), equal_mixture(("a", "b", "c"))),
    mixture_sizes=(16, 32),
    filtering=(FilteringDesign((("c", 1.0),), 0.35, (0.5,), (20, 40), ((("a", 1.0),), (("b", 1.0),))),),
)


@pytest.mark.parametrize("name", ["smoke", "default", "filters"])
def test_every_preset_keeps_singles_mixtures_and_pools_apart(name: str) -> None:
    runs = plan_runs(PRESETS[name].design(0))
    trained = [run for run in runs if run.draws]
    by_seed = [[run for run in trained if run.seed == seed] for seed in {run.seed for run in trained}]
    for group in by_seed:
        singles = [run for run in group if run.kind == "single"]
        for first, second in itertools.combinations(singles, 2):
            assert not positions(first) & positions(second), (first.name, second.name)
        seen = set().union(*map(positions, singles))
        for run in group:
            if run.kind != "single":
                assert not positions(run) & seen, run.name
        pools = set().union(*(positions(run) for run in group if run.kind == "filtered"))
        mixed = set().union(*(positions(run) for run in group if run.kind == "input_mixing"))
        assert not pools & mixed


def test_names_and_specs_are_unique_and_plain_json() -> None:
    runs = plan_runs(DESIGN)
    assert len({run.name for run in runs}) == len(runs)
    assert len({json.dumps(run.as_dict(), sort_keys=True) for run in runs}) == len(runs)


def test_mixtures_come_with_both_kinds_of_ensembles() -> None:
    runs = {run.name: run for run in plan_runs(DESIGN)}
    for run in [run for run in runs.values() if run.kind == "input_mixing"]:
        ensembles = [
            other
            for other in runs.values()
            if other.heads
            and (other.shares, other.n_train, other.seed) == (run.shares, run.n_train, run.seed)
        ]
        assert {other.heads_n_train for other in ensembles} == {"each", "share"}
        for ensemble in ensembles:
            sizes = [runs[head].n_train for head in ensemble.heads]
            if ensemble.heads_n_train == "each":
                assert sizes == [run.n_train] * len(sizes)
            else:
                assert sum(sizes) == run.n_train
                assert sizes == [draw.count for draw in run.draws]


def test_what_a_run_needs_is_planned_before_it() -> None:
    done: set[str] = set()
    for run in plan_runs(DESIGN):
        assert set(run.needs) <= done, run.name
        done.add(run.name)


def test_the_first_pair_comes_first() -> None:
    runs = plan_runs(PRESETS["default"].design(0))
    first_other = next(
        i for i, run in enumerate(runs) if not {s for s, _ in run.shares} <= {"snapshots", "stock"}
    )
    last_pair_mixture = max(
        i
        for i, run in enumerate(runs)
        if run.kind == "input_mixing" and {s for s, _ in run.shares} == {"snapshots", "stock"}
    )
    assert last_pair_mixture < first_other


def test_samples_needed_covers_every_draw() -> None:
    runs = plan_runs(DESIGN)
    needed = samples_needed(DESIGN)
    assert needed["a"] == max(d.start + d.count for run in runs for d in run.draws if d.source == "a")


def test_designed_mixtures_come_last_and_move_nobody_elses_samples() -> None:
    """Their samples are set aside before they are known, and are nobody else's."""
    aside = dataclasses.replace(DESIGN, designed_sizes=(32,))
    before, needed = plan_runs(DESIGN), samples_needed(aside)
    designed = ((("a", 0.75), ("c", 0.25)), 32)
    runs = plan_runs(dataclasses.replace(aside, designed=(designed, ((("b", 1.0),), 32))))
    assert runs[: len(before)] == before == plan_runs(aside)
    assert [run.kind for run in runs[len(before) :]] == ["input_mixing"] * len(
        DESIGN.seeds
    )  # b alone is trained anyhow
    taken = set().union(*(positions(run) for run in before if run.draws))
    for run in runs[len(before) :]:
        assert not positions(run) & taken
        assert all(draw.start + draw.count <= needed[draw.source] for draw in run.draws)
        assert {draw.source: draw.count for draw in run.draws} == {"a": 24, "c": 8}
    assert needed["b"] == samples_needed(DESIGN)["b"] + 32


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(1000, 5000))
def test_counts_add_up_and_are_nearest(weights: list[float], total: int) -> None:
    shares = tuple((f"s{i}", weight / sum(weights)) for i, weight in enumerate(weights))
    counts = split_counts(shares, total)
    assert sum(counts) == total
    for (_, share), count in zip(shares, counts, strict=True):
        assert abs(count - share * total) < 1


@given(st.floats(0.001, 0.999))
def test_shares_round_trip_through_text(share: float) -> None:
    shares = (("stock", share), ("snapshots", 1 - share))
    for (name, value), (parsed_name, parsed) in zip(shares, parse_shares(format_shares(shares)), strict=True):
        assert name == parsed_name
        assert math.isclose(value, parsed, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((("a", -0.5), ("b", 1.5)), "share -0.5 of a"),
        ((("a", 0.5), ("b", 0.4)), "sum to 0.9"),
        ((("a", 0.5), ("z", 0.5)), "'z'"),
        ((("a", 0.5), ("a", 0.5)), "twice"),
        ((("a", math.nan), ("b", 1.0)), "share nan"),
    ],
)
def test_bad_shares_are_refused(shares: tuple[tuple[str, float], ...], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        Design(("a", "b"), (8,), (0,), (shares,), (8,))


def test_mixture_sizes_need_single_runs_of_the_same_size() -> None:
    with pytest.raises(StudyError, match="mixture size 64"):
        Design(("a", "b"), (8, 16), (0,), ((("a", 0.5), ("b", 0.5)),), (64,))


def test_a_share_below_one_sample_is_refused() -> None:
    with pytest.raises(StudyError, match="less than one sample"):
        split_counts((("a", 0.001), ("b", 0.999)), 10)


def test_a_users_sources_get_every_pair() -> None:
    preset = preset_for_sources(PRESETS["default"], ("x", "y", "z"))
    assert len(preset.mixtures) == len(RATIOS) + 2 + 1
    assert len(pairs_at_ratios("abcdef")) == 15 * 3
