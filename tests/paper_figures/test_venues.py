"""Figures at the sizes of venues: tueplots' widths, no text outside the page, none over other text of its panel."""

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import theory.plotting
from empirical.errors import StudyError
from paper_figures import make_all
from paper_figures.committed import Records
from paper_figures.venues import VENUES, page_of
from theory.page import Page, current_page, figure_size, on_page, panels, pt

WIDTHS = {"neurips": 5.5, "iclr": 5.5, "icml": 6.75, "arxiv": 6.5}


def faults(figure: Figure) -> list[str]:
    """Visible text that runs out of the page, and axis labels or titles that lie over one another."""
    figure.canvas.draw()
    axes = [ax for ax in figure.findobj(Axes) if isinstance(ax, Axes) and ax.get_visible()]
    # Ticks beyond an axis' limits are not drawn, but matplotlib keeps them: axes know which labels they show.
    ticks = {
        label for ax in axes for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels(which="both")
    }
    shown = {
        repr(ax.get_title(loc="left")): ax.get_tightbbox(for_layout_only=True) for ax in axes if ax.axison
    }
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip() and text not in ticks:
            shown[repr(text.get_text())] = text.get_window_extent()
    found = [
        f"{what} runs out of the page"
        for what, box in shown.items()
        if box is not None and _leaves(box, figure)
    ]
    labels = [t for ax in axes if ax.axison for t in (ax.xaxis.label, ax.yaxis.label, ax._left_title)]  # pyright: ignore
    labels = [label for label in labels if label.get_text().strip()]
    for one, other in itertools.combinations(labels, 2):
        if one.get_window_extent().shrunk(0.97, 0.97).overlaps(other.get_window_extent().shrunk(0.97, 0.97)):
            found.append(f"{one.get_text()!r} lies over {other.get_text()!r}")
    return found


def _leaves(box: Bbox, figure: Figure) -> bool:
    return box.x0 < -2 or box.y0 < -2 or box.x1 > figure.bbox.x1 + 2 or box.y1 > figure.bbox.y1 + 2


def draw_and_check(name: str, page: Page, tmp_path: Path, monkeypatch) -> list[str]:
    seen: list[str] = []
    shown = theory.plotting.plt.close

    def close(figure: Figure) -> None:
        seen.extend(faults(figure))
        width, height = figure.get_size_inches()
        if page.width is not None:
            assert width == pytest.approx(page.width)
            assert height <= page.height + 1e-6 or name == "testbed"
        shown(figure)

    monkeypatch.setattr(theory.plotting.plt, "close", close)
    module = make_all.module_of(name)
    with on_page(page):
        module.draw(Records(module.STUDY), tmp_path / name)
    return seen


@pytest.mark.parametrize("name", ["many_sources", "source_lines", "dilution"])
def test_a_figure_keeps_its_text_on_the_page(name: str, tmp_path: Path, monkeypatch) -> None:
    assert draw_and_check(name, page_of("neurips", ("svg",)), tmp_path, monkeypatch) == []


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["", *VENUES])
@pytest.mark.parametrize("name", make_all.FIGURES)
def test_every_figure_keeps_its_text_on_every_page(
    name: str, venue: str, tmp_path: Path, monkeypatch
) -> None:
    assert draw_and_check(name, page_of(venue, ("png",)), tmp_path, monkeypatch) == []


@pytest.mark.parametrize("venue", VENUES)
def test_pages_have_the_widths_and_text_of_their_venue(venue: str) -> None:
    page = page_of(venue, ("pdf",))
    assert page.width == pytest.approx(WIDTHS.get(venue, 2 * 5.511811), abs=1e-3)
    with on_page(page):
        theory.plotting.use_style()
        assert plt.rcParams["axes.labelsize"] >= 8
        assert plt.rcParams["xtick.labelsize"] >= 6
        assert plt.rcParams["pdf.fonttype"] == 42
        assert 5.0 <= pt(7.5) <= 7.5
    assert current_page().width is None


def test_a_page_leaves_matplotlib_as_it_was() -> None:
    before = dict(plt.rcParams)
    with on_page(page_of("icml", ("pdf",))):
        theory.plotting.use_style()
        assert plt.rcParams["font.family"] == ["serif"]
    assert dict(plt.rcParams) == before


def test_rows_of_panels_break_where_the_page_is_narrow() -> None:
    with on_page(Page("narrow", width=5.0, panel_width=2.2)):
        figure, axes = panels(2, 4, (10.0, 5.0))
        rows = [round(ax.get_subplotspec().rowspan.start) for ax in axes]  # pyright: ignore
        assert rows == [0, 0, 1, 1, 2, 2, 3, 3]
        assert figure.get_figwidth() == 5.0
        figure, axes = panels(2, 3, (10.0, 5.0), flow=True)
        assert [ax.get_subplotspec().rowspan.start for ax in axes] == [0, 0, 1, 1, 2, 2]  # pyright: ignore
        assert figure_size(10.0, 5.0, rows=30)[1] == current_page().height
    assert figure_size(10.0, 5.0) == (10.0, 5.0)
    plt.close("all")


def test_unknown_venues_and_formats_are_named() -> None:
    with pytest.raises(StudyError, match="neurips"):
        page_of("nature", ("pdf",))
    with pytest.raises(ValueError, match="png, pdf, svg"):
        Page(formats=("gif",))
