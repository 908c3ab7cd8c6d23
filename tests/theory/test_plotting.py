import itertools
import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from theory import plotting
from theory.links import dprime, probit
from theory.plotting import panel_letters, probit_axes


@pytest.fixture
def ax():
    with plt.style.context("default"):
        plotting.use_style()
        figure, axes = plt.subplots(figsize=(4, 3))
        yield axes
        plt.close(figure)


def labels(axis):
    axis.axes.figure.canvas.draw()
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_style_embeds_fonts_and_uses_the_palette(ax):
    assert plt.rcParams["pdf.fonttype"] == 42
    colours = [entry["color"].upper() for entry in plt.rcParams["axes.prop_cycle"]]
    assert [colour if colour.startswith("#") else f"#{colour}" for colour in colours] == list(
        plotting.PALETTE.values()
    )


def test_probit_axes_put_round_percentages_at_their_probits(ax):
    ax.set_xlim(-1.6, 2.6)
    plotting.probit_axes(ax, "x")
    texts, ticks = labels(ax.xaxis), ax.get_xticks()
    assert len(ticks) >= 4
    assert "50%" in texts
    np.testing.assert_allclose(ticks, ndtri([float(text.rstrip("%")) / 100 for text in texts]), atol=1e-9)


@pytest.mark.parametrize("limits", [(-3.5, 3.5), (0.0, 0.1), (1.0, 1.2), (-0.02, 0.03), (2.0, 4.5)])
def test_percent_ticks_never_crowd_and_never_vanish(ax, limits):
    ax.set_xlim(*limits)
    plotting.probit_axes(ax, "x")
    ax.figure.canvas.draw()
    boxes = sorted(
        (t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()), key=lambda box: box.x0
    )
    assert len(boxes) >= 2
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


def test_dprime_axes_show_accuracy_on_the_opposite_side(ax):
    ax.set(xlim=(0.0, 2.0), ylim=(0.0, 1.5))
    plotting.dprime_axes(ax, 20, "x")
    ax.figure.canvas.draw()
    (opposite,) = ax.child_axes
    texts = [tick.get_text() for tick in opposite.get_xticklabels() if tick.get_text()]
    expected = dprime(np.asarray([float(text.rstrip("%")) / 100 for text in texts]), 20)
    np.testing.assert_allclose(opposite.get_xticks(), expected, atol=1e-6)
    plotting.dprime_axes(ax, 20, "y", ticks="percent")
    assert all(text.endswith("%") for text in labels(ax.yaxis) if text)


def test_probit_scale_drops_zero_and_one_and_straightens_margins(ax):
    accuracies = ndtr(np.linspace(-2, 2, 9))
    ax.set_xscale("probit")
    ax.plot(np.r_[0.0, accuracies, 1.0], np.arange(11), "o")
    ax.set_xlim(0.01, 0.99)
    positions = ax.get_xaxis_transform().transform(np.c_[accuracies, np.zeros(9)])[:, 0]
    np.testing.assert_allclose(np.diff(positions), np.diff(positions)[0], rtol=1e-6)
    transformed = ax.xaxis.get_transform().transform(np.asarray([0.0, 0.5, 1.0]))
    assert np.isnan(transformed[[0, 2]]).all()
    assert transformed[1] == 0


def test_save_figure_writes_both_files_atomically_and_reproducibly(tmp_path):
    def draw(stem):
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        return plotting.save_figure(figure, stem)

    png, pdf = draw(tmp_path / "made" / "a.b")
    assert (png.name, pdf.name) == ("a.b.png", "a.b.pdf")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert pdf.read_bytes()[:5] == b"%PDF-"
    assert sorted(path.name for path in png.parent.iterdir()) == ["a.b.pdf", "a.b.png"]
    again = draw(tmp_path / "made" / "c")
    assert again[1].read_bytes() == pdf.read_bytes()
    assert not plt.get_fignums()


def test_unknown_axis_is_refused(ax):
    with pytest.raises(ValueError, match="which must be"):
        plotting.probit_axes(ax, "z")


def test_importing_theory_leaves_matplotlib_and_pandas_alone():
    code = "import theory, sys; print(sorted({'matplotlib', 'pandas', 'torch', 'scipy.stats'} & set(sys.modules)))"
    with warnings.catch_warnings():
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("height", [1.2, 1.3, 1.8, 3.0])
@pytest.mark.parametrize(
    ("low", "high"), [(0.25, 0.4), (0.05, 0.7), (0.68, 0.77), (0.78, 0.87), (0.52, 0.77)]
)
def test_short_axes_have_round_ticks(low: float, high: float, height: float) -> None:
    """Three ticks or more, at whole or half percents, apart from one another: never 34.9%."""
    figure, ax = plt.subplots(figsize=(3, height))
    ax.set_ylim(float(probit(low)), float(probit(high)))
    probit_axes(ax, "y")
    figure.canvas.draw()
    shown = [float(label.get_text().rstrip("%")) for label in ax.get_yticklabels()]
    assert len(shown) >= 3
    assert all((2 * value).is_integer() for value in shown)
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(one.y1 < other.y0 for one, other in itertools.pairwise(boxes))
    plt.close(figure)


def test_panels_beyond_the_alphabet_have_letters() -> None:
    figure, axes = plt.subplots(4, 7)
    panel_letters(list(axes.flat))
    titles = [ax.get_title(loc="left") for ax in axes.flat]
    assert titles[25:] == ["z", "aa", "ab"]
    plt.close(figure)
