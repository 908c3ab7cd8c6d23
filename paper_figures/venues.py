"""Pages of venues: the width, fonts and text sizes that tueplots gives for each; use `page_of`.

| venue | page |
|---|---|
| neurips, iclr | one column of text, 5.5 in |
| icml | both columns, 6.75 in |
| arxiv | 6.5 in, one-inch margins on letter paper (tueplots' TMLR bundle) |
| slides | 16:9 at twice the size of tueplots' beamer page with a tenth larger text, panels as on the screen |
"""

from collections.abc import Callable, Mapping
from typing import Any

from empirical.errors import StudyError
from theory.page import Page

VENUES = ("neurips", "icml", "iclr", "arxiv", "slides")
#: Fonts that come with matplotlib and look like the venues' own, for machines without those.
_FALLBACK = {"font.serif": ["STIXGeneral"], "font.sans-serif": ["DejaVu Sans"]}
_KEPT = (
    "font.family", "font.serif", "font.sans-serif", "mathtext.fontset", "font.size", "axes.labelsize", "axes.titlesize",
    "legend.fontsize", "xtick.labelsize", "ytick.labelsize", "savefig.pad_inches",
)  # fmt: skip
_LINES = {"axes.linewidth": 0.6, "lines.linewidth": 1.2, "xtick.major.size": 2.5, "ytick.major.size": 2.5}


def page_of(venue: str, formats: tuple[str, ...]) -> Page:
    """The page of a venue, or the screen for an empty name.

    Raises StudyError for a venue that is not in `VENUES` and where tueplots is not installed.
    """
    if not venue:
        return Page(formats=formats)
    if venue not in VENUES:
        raise StudyError(f"--venue {venue!r}: there are {', '.join(VENUES)}")
    try:
        from tueplots import bundles
    except ImportError as error:
        raise StudyError(
            f"--venue {venue}: needs tueplots; install it with: pip install -e '.[report]'"
        ) from error
    bundle: Mapping[str, Callable[[], Mapping[str, Any]]] = {
        "neurips": lambda: bundles.neurips2024(usetex=False),
        "iclr": lambda: bundles.iclr2024(usetex=False),
        "icml": lambda: bundles.icml2024(usetex=False, column="full"),
        "arxiv": bundles.tmlr2023,
        "slides": bundles.beamer_moml,
    }
    return _page(venue, bundle[venue](), formats)


def _page(venue: str, bundle: Mapping[str, Any], formats: tuple[str, ...]) -> Page:
    settings = {key: value for key, value in bundle.items() if key in _KEPT}
    width = float(bundle["figure.figsize"][0])
    if venue == "slides":
        width *= 2
        sized = {key: 1.1 * value if key.endswith("size") else value for key, value in settings.items()}
        return Page(venue, width, width * 9 / 16, is_roomy=True, settings=_with_fonts(sized), formats=formats)
    if venue == "arxiv":
        # That bundle sets its text in LaTeX, whose fonts cannot be asked for here: the same serif as the others.
        settings = {**settings, "mathtext.fontset": "stix"}
    return Page(venue, width, settings={**_with_fonts(settings), **_LINES}, formats=formats)


def _with_fonts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The venue's fonts, those that are installed, and otherwise the fallback: an absent font is never asked for."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    out = dict(settings)
    for family, fallback in _FALLBACK.items():
        out[family] = [name for name in settings.get(family, ()) if name in installed] + fallback
    # Text without a size of its own stands inside panels: as small as tick labels.
    out["font.size"] = settings["xtick.labelsize"]
    out["mathtext.fontset"] = "stix" if settings["font.family"] == "serif" else "dejavusans"
    return out
