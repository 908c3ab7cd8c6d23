"""How robust each source is on every shift: lines through its sizes, and their slopes with intervals."""

from pathlib import Path

from empirical.figures.elements import readable
from empirical.figures.source_lines import draw_source_lines
from paper_figures.captions import Caption, interval
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    draw_source_lines(records["accuracies"], records["trends"], stem, records.reference)


def caption(records: Records) -> Caption:
    """Slopes of the most robust source of each shift, with intervals."""
    trends = records["trends"]
    rays = trends[(trends["kind"] == "single") & (trends["link"] == "dprime") & (trends["fit"] == "ray")]
    single = records["accuracies"].query("kind == 'single'")
    numbers = {"sources": str(single["sources"].nunique()), "models": str(single["run"].nunique())}
    words = []
    for shift, rows in rays.groupby("shift", sort=False):
        best = rows.loc[rows["slope"].idxmax()]
        numbers[f"slope {shift}"] = interval(best["slope"], best["slope_low"], best["slope_high"])
        words.append(f"{readable(str(best['sources']))} on {readable(str(shift))}, {{slope {shift}}}")
    for _, row in rays.iterrows():
        key = f"slope of {readable(row['sources'])} on {row['shift']}"
        numbers[key] = interval(row["slope"], row["slope_low"], row["slope_high"])
    text = (
        "Robustness of {sources} sources: accuracy under shift against reference accuracy of {models} single-source models "
        "(means over seeds, 95% intervals, probit axes) and the slope of each source's ray in d′. Largest slopes: "
        + "; ".join(words)
        + "."
    )
    return Caption(text, numbers)
