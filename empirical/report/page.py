"""Writes the page: its parts, its data and the plotting library in one HTML file; use `write_report`."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from empirical.errors import StudyError
from empirical.records import write_text
from empirical.report.packing import pack
from empirical.report.payload import report_payload

LARGEST = 8_000_000
"""Bytes that a report may have, so that it can be mailed and opened on a phone."""


def part(name: str) -> str:
    """The text of one of the page's files (theory.js, plots.js, view.js, style.css, page.html)."""
    return (resources.files("empirical.report") / name).read_text(encoding="utf-8")


def write_report(folder: Path, path: Path) -> Path:
    """Write the page about the study in `folder`; returns its path.

    The page needs no network: plotting library, data and scripts lie inside it.

    Raises:
        StudyError: no finished study, plotly is not installed, or the page would be larger than `LARGEST` bytes.
        DataError: tables that cannot be read.
    """
    text = render_page(report_payload(folder), plotly_script())
    size = len(text.encode("utf-8"))
    if size > LARGEST:
        raise StudyError(
            f"{folder}: the report would have {size / 1e6:.1f} MB, more than {LARGEST / 1e6:g}; leave runs out of accuracies.csv"
        )
    write_text(path, text)
    return path


def plotly_script() -> str:
    """The plotting library's JavaScript; raises StudyError where plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise StudyError("the report needs plotly; install it with: pip install -e '.[report]'") from error
    return get_plotlyjs()


def render_page(payload: Mapping[str, Any], plotly: str) -> str:
    """The page as text; `payload` from `report_payload`."""
    # To HTML, "</script", "<!--" and "<script" mean something inside a string as well; only strings hold a "<".
    data = json.dumps(pack(payload), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")
    return Template(part("page.html")).substitute(
        title="Mixtures, measured and predicted",
        style=part("style.css"),
        plotly=plotly,
        theory=part("theory.js"),
        plots=part("plots.js"),
        payload=data,
        view=part("view.js"),
    )
