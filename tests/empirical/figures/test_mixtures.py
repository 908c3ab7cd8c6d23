"""The figures of a study: complete, partial and empty tables, names of any kind, many sources."""

import itertools
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.path import Path as Outline
from scipy.special import ndtri

sys.path.append(str(Path(__file__).parents[1]))

from synthetic_accuracies import synthetic_study

from empirical.figures import filtering, published
from empirical.figures import mixtures as module
from empirical.figures.accuracy_panel import places_on_axes, shown_mixtures
from empirical.figures.elements import legend_below, mixture_label, mixture_marker, source_colours
from empirical.figures.filtering import draw_filtering
from empirical.figures.mixtures import draw_predictions_vs_measurements
from empirical.prediction import PRIMARY_RULE, RULES, predict_mixtures
from empirical.robustness import fit_trends
from theory.counts import clopper_pearson
from theory.links import dprime_inverse


@pytest.fixture
def kept_figures(monkeypatch):
    """Figures stay open for inspection; what is drawn can then be read back."""
    figures = []

    def keep(fig, stem):
        figures.append(fig)
        return []

    for drawing in (module, filtering, published):
        monkeypatch.setattr(drawing, "save_figure", keep)
    yield figures
    plt.close("all")


def draw(accuracies: pd.DataFrame, stem: Path) -> list[Path]:
    return draw_predictions_vs_measurements(
        accuracies, fit_trends(accuracies), predict_mixtures(accuracies), stem
    )


def test_a_complete_study_writes_png_and_pdf(tmp_path):
    paths = draw(synthetic_study(), tmp_path / "predictions_vs_measurements")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    assert plt.get_fignums() == []


def test_one_column_per_shift_and_every_rule_in_the_ratio_panel(kept_figures, tmp_path):
    accuracies = synthetic_study()
    predictions = predict_mixtures(accuracies)
    draw(accuracies, tmp_path / "x")
    axes = kept_figures[0].axes
    assert len(axes) == 4
    ratio = axes[2]  # shift v2, bottom row
    drawn = {tuple(np.round(line.get_xdata(), 9)) for line in ratio.lines}
    for rule in RULES:
        expected = predictions.loc[
            (predictions["shift"] == "v2") & (predictions["rule"] == rule), "ratio_predicted"
        ].to_numpy()
        assert tuple(np.round(expected, 9)) in drawn
    legend = {text.get_text() for text in kept_figures[0].legends[0].get_texts()}
    assert {
        "stock",
        "snapshots",
        "forum",
        "mixture, measured (n = 2,048)",
        "predicted: lines by share (primary)",
    } <= legend


def test_the_predicted_line_passes_through_the_primary_prediction(kept_figures, tmp_path):
    accuracies = synthetic_study()
    draw(accuracies, tmp_path / "x")
    placed = places_on_axes(predict_mixtures(accuracies), accuracies, "reference")
    rows = placed[(placed["rule"] == PRIMARY_RULE) & (placed["shift"] == "v2")]
    diamonds = np.array(
        [line.get_xydata()[0] for line in kept_figures[0].axes[0].lines if line.get_marker() == "D"]
    )
    for _, row in rows.iterrows():
        distance = np.abs(diamonds - row[["x_predicted", "y_predicted"]].to_numpy(float)).max(axis=1)
        assert distance.min() < 1e-6


def test_the_legend_stays_inside_the_figure_and_off_the_panels(kept_figures, tmp_path):
    names = tuple(f"a_rather_long_source_name_{i}" for i in range(9))
    mixtures = tuple(f"{a}:0.5+{b}:0.5" for a, b in itertools.pairwise(names))
    draw(synthetic_study(sources=names, mixtures=mixtures, shifts=("v2", "sketch", "odd")), tmp_path / "x")
    fig = kept_figures[0]
    fig.canvas.draw()
    box = fig.legends[0].get_window_extent()
    assert fig.bbox.x0 <= box.x0
    assert box.x1 <= fig.bbox.x1
    for ax in fig.axes:
        assert not box.overlaps(ax.get_window_extent())


@pytest.mark.parametrize("until", ["nothing", "one model", "first pair", "no ensemble", "one seed"])
def test_partial_studies_are_drawn(until, tmp_path):
    accuracies = synthetic_study(mixtures=("stock:0.5+snapshots:0.5",), shifts=("v2",))
    part = {
        "nothing": accuracies.iloc[:0],
        "one model": accuracies[accuracies["run"] == accuracies["run"].iloc[0]],
        "first pair": accuracies[(accuracies["sources"] != "forum") & (accuracies["n_train"] >= 1024)],
        "no ensemble": accuracies[accuracies["kind"] != "output_mixing"],
        "one seed": accuracies[accuracies["seed"] == 0],
    }[until]
    assert all(path.exists() for path in draw(part, tmp_path / "partial"))


def test_an_accuracy_of_one_is_not_moved_to_a_place_that_it_does_not_have(kept_figures, tmp_path):
    accuracies = synthetic_study(mixtures=(), shifts=("v2",))
    row = accuracies.query("sources == 'stock' and n_train == 2048 and test_set == 'v2'").index[0]
    accuracies.loc[row, ["num_correct", "accuracy", "probit", "dprime"]] = [1500, 1.0, np.inf, np.inf]
    draw(accuracies, tmp_path / "x")
    top = kept_figures[0].axes[0]
    low = float(ndtri(clopper_pearson(1500, 1500)[0]))
    assert bars(top) == [("^", pytest.approx(accuracies.loc[row - 1, "probit"]), pytest.approx(low))]
    assert top.get_ylim()[0] < low < top.get_ylim()[1]
    assert "0% or 100%" in kept_figures[0].legends[0].get_texts()[-1].get_text()
    highest = accuracies.loc[
        np.isfinite(accuracies["probit"]) & (accuracies["test_set"] == "v2"), "probit"
    ].max()
    assert (
        np.nanmax(np.concatenate([line.get_ydata() for line in top.lines if line.get_markersize() == 3.0]))
        == highest
    )


def bars(ax: Axes) -> list[tuple[str, float, float]]:
    """(arrowhead, x and y of the finite end) of every open-ended bar that reaches the frame."""
    found = []
    for line, head in itertools.pairwise(ax.lines):
        marker = head.get_marker()
        if isinstance(marker, str) and marker in "<>v^" and not head.get_clip_on():
            (x, y), stop = np.asarray(line.get_xydata())
            assert np.array_equal(stop, np.asarray(head.get_xydata())[0])
            limit = {
                "<": ax.get_xlim()[0],
                ">": ax.get_xlim()[1],
                "v": ax.get_ylim()[0],
                "^": ax.get_ylim()[1],
            }[marker]
            assert stop["<>v^".index(marker) // 2] == limit
            found.append((marker, x, y))
    return found


def without_hits(accuracies: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    table = accuracies.copy()
    table.loc[chosen, ["num_correct", "accuracy"]] = [0, 0.0]
    table.loc[chosen, ["probit", "dprime"]] = -np.inf
    return table


def test_mixtures_and_ensembles_without_a_single_hit_are_bars_too(kept_figures, tmp_path):
    accuracies = synthetic_study(mixtures=("stock:0.5+snapshots:0.5",), shifts=("v2",), mixture_sizes=(2048,))
    mixed = accuracies["kind"].isin(["input_mixing", "output_mixing"]) & (accuracies["test_set"] == "v2")
    draw(without_hits(accuracies, mixed), tmp_path / "x")
    high = float(ndtri(clopper_pearson(0, 3000)[1]))  # two seeds of 1500 images
    found = bars(kept_figures[0].axes[0])
    assert [marker for marker, _, _ in found] == ["v", "v"]
    assert [y for _, _, y in found] == pytest.approx([high, high])


def test_filtered_and_published_models_without_a_hit_are_bars(kept_figures, tmp_path):
    accuracies = filtering_study(("v2",))
    row = (accuracies["filter"] == "stock") & (accuracies["n_train"] == 600) & (accuracies["seed"] == 0)
    trends = fit_trends(accuracies)
    draw_filtering(without_hits(accuracies, row & (accuracies["test_set"] == "v2")), trends, tmp_path / "f")
    high = float(ndtri(clopper_pearson(0, 1500)[1]))
    assert [(m, y) for m, _, y in bars(kept_figures[0].axes[0])] == [("v", pytest.approx(high))]

    models = synthetic_study(mixtures=(), shifts=("v2",), seeds=(0,))
    models = without_hits(models, (models["sources"] == "forum") & (models["n_train"] == 256))
    nothing = pd.DataFrame()
    published.draw_published(
        models,
        fit_trends(models),
        nothing,
        nothing,
        tmp_path / "p",
        "pool",
        ["clip"],
        "openai",
        "reference",
        {},
    )
    # No hit on either set: one bar to the left, one down, from the same point.
    assert bars(kept_figures[1].axes[0]) == [
        ("<", pytest.approx(high), pytest.approx(high)),
        ("v", pytest.approx(high), pytest.approx(high)),
    ]


def test_a_pair_has_curves_over_the_share_from_source_to_source(kept_figures, tmp_path):
    shares = ("stock:0.2+snapshots:0.8", "stock:0.5+snapshots:0.5", "stock:0.8+snapshots:0.2")
    accuracies = synthetic_study(sources=("stock", "snapshots"), mixtures=shares, shifts=("v2",))
    assert len(shown_mixtures(accuracies)) == 6
    draw(accuracies, tmp_path / "x")
    top = kept_figures[0].axes[0]
    curves = [
        line.get_xydata()
        for line in top.lines
        if line.get_linestyle() == "--" and len(line.get_xydata()) == 5
    ]
    assert len(curves) == 4  # two rules at two sizes
    placed = places_on_axes(predict_mixtures(accuracies), accuracies, "reference")
    for curve, (n, rule) in zip(
        curves, itertools.product((1024, 2048), ("mediant", PRIMARY_RULE)), strict=True
    ):
        for place, mixture in zip(curve[1:-1], shares[::1], strict=True):
            row = placed[(placed["sources"] == mixture) & (placed["n_train"] == n) & (placed["rule"] == rule)]
            assert place == pytest.approx(row[["x_predicted", "y_predicted"]].to_numpy(float)[0])
        # The ends: snapshots alone, where the mediant is the mean d' of its own models.
        own = accuracies[(accuracies["sources"] == "snapshots") & (accuracies["n_train"] == n)]
        mean = own.groupby("test_set", sort=False)["dprime"].mean()
        if rule == "mediant":
            assert curve[0] == pytest.approx(ndtri(dprime_inverse(mean.to_numpy(), 20)), abs=1e-9)
        else:
            assert curve[0][0] == pytest.approx(ndtri(dprime_inverse(mean["reference"], 20)), abs=1e-9)


def test_ticks_and_words_of_a_full_study_do_not_overlap(kept_figures, tmp_path):
    names = ("alt_text", "encyclopedia", "forum", "snapshots", "stock", "web_crawl")
    mixtures = tuple(f"{a}:0.5+{b}:0.5" for a, b in itertools.combinations(names, 2))[:9]
    draw(synthetic_study(sources=names, mixtures=mixtures, shifts=("v2", "sketch")), tmp_path / "x")
    fig = kept_figures[0]
    fig.canvas.draw()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            texts = [t for t in axis.get_ticklabels() if t.get_text()]
            inside = [t.get_window_extent() for t, at in zip(texts, axis.get_majorticklocs(), strict=False)]
            assert all(not a.overlaps(b) for a, b in itertools.pairwise(inside))
        assert all(text.get_fontsize() >= 6.5 for text in ax.texts)


def test_many_mixtures_are_thinned_to_the_largest_size():
    names = tuple("abcdefg")
    mixtures = tuple(f"{a}:0.5+{b}:0.5" for i, a in enumerate(names) for b in names[i + 1 :])
    table = synthetic_study(sources=names, mixtures=mixtures, shifts=("v2",), seeds=(0,))
    shown = shown_mixtures(table)
    assert len(shown) == 14
    assert {n for _, n in shown} == {2048}


def test_slices_of_a_pie_meet_the_rim():
    fig, ax = plt.subplots()
    mixture_marker(ax, 0.5, 0.5, {"a": 0.2, "b": 0.3, "c": 0.5}, {"a": "red", "b": "green"})
    slices = [line for line in ax.lines if line.get_marker() != "o"]
    assert [line.get_markerfacecolor() for line in slices] == ["red", "green", "#9A9A9A"]
    for line in slices:
        outline = line.get_marker()
        assert isinstance(outline, Outline)
        extent = np.abs(outline.vertices).max()
        assert line.get_markersize() == pytest.approx(6.0 * extent)
    plt.close(fig)


def test_colours_are_distinct_however_many_sources():
    for count in (1, 7, 8, 15):
        colours = source_colours([f"s{i}" for i in range(count)])
        assert len(set(colours.values())) == count


def test_labels_of_mixtures():
    assert mixture_label("stock:0.2+web_crawl:0.8") == "stock + web crawl (20:80)"
    assert mixture_label("+".join(f"s{i}:0.25" for i in range(4))) == "4 sources"


def test_legend_breaks_lines_that_are_too_long():
    fig = plt.figure(figsize=(3, 3), layout="constrained")
    from empirical.figures.elements import dot

    legend_below(fig, [dot("red")] * 4, ["a label of some length"] * 4)
    fig.canvas.draw()
    lefts = {round(text.get_window_extent().x0) for text in fig.legends[0].get_texts()}
    assert len(lefts) == 1  # one column
    plt.close(fig)


def filtering_study(shifts: tuple[str, ...] = ("v2", "sketch")) -> pd.DataFrame:
    sources = synthetic_study(sources=("stock", "snapshots"), mixtures=(), shifts=shifts)
    pools = synthetic_study(
        seed=5, sources=("raw", "by_stock", "by_snapshots"), mixtures=(), sizes=(300, 600), shifts=shifts
    )
    names = {"raw": "none", "by_stock": "stock", "by_snapshots": "snapshots"}
    pools = pools.assign(
        kind="filtered", filter=pools["sources"].map(names), run="f-" + pools["run"], kept_share=0.5
    )
    return pd.concat([sources, pools.assign(sources="pool+junk:0.35")], ignore_index=True)


def test_filtered_pools_are_drawn_beside_the_filters(tmp_path):
    accuracies = filtering_study()
    paths = draw_filtering(accuracies, fit_trends(accuracies), tmp_path / "filtering")
    assert all(path.stat().st_size > 5_000 for path in paths)


@pytest.mark.parametrize("part", ["raw only", "no single", "nothing"])
def test_partial_filtering_is_drawn(part, tmp_path):
    accuracies = filtering_study(("v2",))
    accuracies = {
        "raw only": accuracies[accuracies["filter"] == "none"],
        "no single": accuracies[accuracies["kind"] == "filtered"],
        "nothing": accuracies.iloc[:0],
    }[part]
    assert draw_filtering(accuracies, fit_trends(accuracies), tmp_path / "filtering")[0].exists()
