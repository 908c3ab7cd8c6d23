"""How far a filter turns the line of a pool: Theorem 3 against kept shares, on the study made on a GPU."""

from pathlib import Path

from empirical.figures.elements import pool_label, readable
from empirical.figures.filter_turn import draw_filter_turn
from paper_figures.captions import Caption
from paper_figures.committed import Records

STUDY = "gpu_study"


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's filtering.csv."""
    draw_filter_turn(records["filtering"], stem)


def caption(records: Records) -> Caption:
    """Ratios of pool, filter and what is kept at half, for every pool, filter and shift."""
    table = records["filtering"]
    table = table[table["pool_size"] == table.groupby("sources")["pool_size"].transform("max")]
    half = table[(table["filter"] != "none") & (table["kept_share"] == 0.5)]
    numbers = {
        f"{pool_label(row['sources'])} kept by {pool_label(row['filter'])} on {readable(row['shift'])}": (
            f"{row['ratio_of_pool']:.3f} to {row['ratio_measured']:.3f} (filter {row['ratio_of_filter']:.3f})"
        )
        for _, row in half.iterrows()
    }
    text = (
        "Pools of pairs filtered by CLIPs of three sources: d′ ratio of shift to reference against the share kept, with 95% "
        "intervals over seeds; dashed, the filter's own models; grey, the raw pool. Theorem 3 expects the ratio to move from "
        "grey towards dashed. At half kept: " + "; ".join(f"{key}: {{{key}}}" for key in numbers) + "."
    )
    return Caption(text, numbers)
