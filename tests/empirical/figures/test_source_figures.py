"""Figures of sources, pairs and larger mixtures: drawn from what there is, complete or not, whatever the names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1]))

from synthetic_accuracies import synthetic_study

import theory.plotting
from empirical.figures.data_efficiency import draw_data_efficiency
from empirical.figures.many_sources import draw_many_sources, left_out_source, many_source_mixtures
from empirical.figures.output_vs_input import draw_output_vs_input, mixing_pairs
from empirical.figures.pairs import draw_pairs, pairs_of
from empirical.figures.source_lines import draw_source_lines
from empirical.group_tables import ratio_table
from empirical.prediction import PRIMARY_RULE, predict_mixtures
from empirical.robustness import fit_trends

LEAVE_ONE_OUT = ("a:0.5+b:0.5", "a:0.5+c:0.5", "b:0.5+c:0.5", "a:0.333333+b:0.333333+c:0.333334")


@pytest.fixture
def figures(monkeypatch) -> Iterator[list[Figure]]:
    """Every figure that is drawn, kept open until the test has looked at it."""
    kept: list[Figure] = []
    monkeypatch.setattr(theory.plotting.plt, "close", kept.append)
    yield kept
    monkeypatch.undo()
    plt.close("all")


@pytest.fixture(scope="module")
def study() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    accuracies = synthetic_study(
        sources=("a", "b", "c", "d"), mixtures=(*LEAVE_ONE_OUT, "a:0.25+b:0.25+c:0.25+d:0.25", "a:0.2+b:0.8")
    )
    return accuracies, fit_trends(accuracies), predict_mixtures(accuracies)


def words(figure: Figure) -> set[str]:
    return {
        text.get_text() for ax in figure.axes for text in [*ax.get_yticklabels(), *ax.texts, ax.yaxis.label]
    }


def test_slopes_are_drawn_where_the_fits_put_them(study, figures, tmp_path):
    accuracies, trends, _ = study
    draw_source_lines(accuracies, trends, tmp_path / "f")
    rays = trends[(trends["kind"] == "single") & (trends["link"] == "dprime") & (trends["fit"] == "ray")]
    lower = figures[0].axes[2:]
    for ax, shift in zip(lower, ("v2", "sketch"), strict=True):
        drawn = sorted(float(line.get_xdata()[0]) for line in ax.lines if line.get_markersize() == 5)
        assert drawn == pytest.approx(sorted(rays.loc[rays["shift"] == shift, "slope"]))


def test_pairs_are_told_from_larger_mixtures_and_have_every_share(study, figures, tmp_path):
    accuracies, trends, predictions = study
    pairs = pairs_of(accuracies)
    assert next(iter(pairs)) == ("a", "b")
    assert pairs["a", "b"] == {0.5: "a:0.5+b:0.5", 0.8: "a:0.2+b:0.8"}
    assert set(pairs) == {("a", "b"), ("a", "c"), ("b", "c")}
    draw_pairs(accuracies, trends, predictions, tmp_path / "f")
    first = figures[0].axes[0]
    n = accuracies.loc[accuracies["kind"] == "input_mixing", "n_train"].max()
    own = predictions[
        (predictions["rule"] == PRIMARY_RULE) & (predictions["n_train"] == n) & (predictions["shift"] == "v2")
    ]
    drawn = sorted({float(line.get_ydata()[0]) for line in first.lines if line.get_marker() == "D"})
    told = own.set_index("sources").loc[list(pairs["a", "b"].values()), "ratio_predicted"]
    assert drawn == pytest.approx(sorted(told))


def test_all_sources_and_all_but_one_are_named(study, figures, tmp_path):
    accuracies, _, predictions = study
    assert len(many_source_mixtures(ratio_table(accuracies))) == 2
    assert left_out_source(LEAVE_ONE_OUT[3], ["a", "b", "c", "d"]) == "d"
    assert left_out_source("a:0.5+b:0.5", ["a", "b", "c", "d"]) == ""
    draw_many_sources(accuracies, predictions, tmp_path / "f")
    assert {"all 4", "all but\nd"} <= words(figures[0])


def test_output_mixing_is_paired_with_its_own_mixture(study, figures, tmp_path):
    accuracies, _, _ = study
    pairs = mixing_pairs(ratio_table(accuracies))
    assert len(pairs) == 2 * len(ratio_table(accuracies).query("kind == 'input_mixing'"))
    # The synthetic ensembles lie on their mixture's ray, further up or down: equal ratios within error.
    error = np.hypot(pairs["input_ratio_stderr"], pairs["output_ratio_stderr"])
    assert np.mean(np.abs(pairs["input_ratio"] - pairs["output_ratio"]) < 3 * error) > 0.95
    draw_output_vs_input(accuracies, tmp_path / "f")
    assert len(figures[0].axes) == 4


def test_growth_guides_rise_as_the_square_root(study, figures, tmp_path):
    accuracies, _, _ = study
    draw_data_efficiency(accuracies, tmp_path / "f")
    guide = next(line for line in figures[0].axes[0].lines if line.get_linestyle() == "--")
    x, y = guide.get_xdata(), guide.get_ydata()
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(0.5)


def test_chance_and_perfection_are_shown_as_such(figures, tmp_path):
    accuracies = synthetic_study(sources=("a", "b"), mixtures=())
    first = accuracies["run"] == accuracies["run"].iloc[0]
    row = accuracies.index[first & (accuracies["test_set"] == "sketch")]
    accuracies.loc[row, ["num_correct", "accuracy", "probit", "dprime"]] = [0, 0.0, -np.inf, -np.inf]
    low = (accuracies["n_train"] == 256) & (accuracies["test_set"] == "v2") & (accuracies["sources"] == "b")
    accuracies.loc[low, "dprime"] = -0.1
    draw_source_lines(accuracies, fit_trends(accuracies), tmp_path / "f")
    draw_data_efficiency(accuracies, tmp_path / "g")
    assert any("at chance or below" in text for text in words(figures[1]))


def test_a_study_of_sources_alone_is_drawn_without_mixtures(figures, tmp_path):
    accuracies = synthetic_study(sources=("a", "b"), mixtures=())
    predictions = predict_mixtures(accuracies)
    draw_pairs(accuracies, fit_trends(accuracies), predictions, tmp_path / "f")
    draw_many_sources(accuracies, predictions, tmp_path / "g")
    draw_output_vs_input(accuracies, tmp_path / "h")
    assert "none measured" in words(figures[1])
