"""A noisy pool, what two CLIPs keep of it, and the filters' own lines."""

from pathlib import Path

from empirical.figures.elements import readable
from empirical.figures.filtering import draw_filtering
from paper_figures.captions import Caption, interval
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    accuracies = records["accuracies"]
    if not (accuracies["kind"] == "filtered").any():
        records.note("has no filtered pools, so the panels are empty")
    draw_filtering(accuracies, records["trends"], stem, records.reference)


def caption(records: Records) -> Caption:
    """Ray slopes of the pool, of the filtered pools and of the filters themselves on every shift."""
    trends = records["trends"]
    rays = trends[(trends["link"] == "dprime") & (trends["fit"] == "ray")]
    filters = set(records["accuracies"]["filter"].dropna()) - {"none", ""}
    filtered = rays["kind"] == "filtered"
    numbers = {}
    for _, row in rays[filtered | rays["sources"].isin(filters)].iterrows():
        name = str(row["sources"])
        what = (
            "pool" if name.endswith("[filter=none]") else readable(name.rpartition("filter=")[2].rstrip("]"))
        )
        kept = " filtered by" if row["kind"] == "filtered" and what != "pool" else ""
        key = f"slope pool{kept} {what} on {row['shift']}" if kept else f"slope {what} on {row['shift']}"
        numbers[key] = interval(row["slope"], row["slope_low"], row["slope_high"])
    text = (
        "A pool of alt-text pairs with shuffled captions, what the CLIPs of other sources keep of it, and these sources "
        "themselves: Theorem 3 expects what passes a filter to inherit the filter's slope in part. Slopes of the d′ rays, 95% "
        "intervals: "
        + "; ".join(f"{key.removeprefix('slope ').replace('_', ' ')} {{{key}}}" for key in numbers)
        + "."
    )
    return Caption(text, numbers)
