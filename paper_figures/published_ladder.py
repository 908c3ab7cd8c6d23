"""DataComp's filtering ladder: how far each way of filtering lifts published models off their pool's line."""

from pathlib import Path

from empirical.figures.filtering_ladder import draw_filtering_ladder
from empirical.published import TEST_SETS
from empirical.published_report import PublishedOptions
from paper_figures.captions import Caption, number
from paper_figures.committed import PUBLISHED, Records

STUDY = PUBLISHED


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/published_trends.py`."""
    options = PublishedOptions()
    labels = {role: test_set.label for role, test_set in TEST_SETS.items()}
    draw_filtering_ladder(records["filtering_ladder"], stem, options.pool, options.filter_group, labels)


def caption(records: Records) -> Caption:
    """How many models, and how far filtering by CLIP score lifts them on average per shift."""
    ladder = records["filtering_ladder"]
    steps = ladder[ladder["step"] == PublishedOptions().filtered[0]]
    numbers = {"models": str(ladder["run"].nunique())}
    words = []
    for shift, rows in steps.groupby("shift", sort=False):
        label = TEST_SETS[str(shift)].label if str(shift) in TEST_SETS else str(shift)
        numbers[f"lift {shift}"] = number(float(rows["above_pool"].mean()), 2, sign=True)
        words.append(f"{{lift {shift}}} on {label}")
    text = (
        "DataComp's filtering ladder, {models} published models: height above the line of unfiltered pools in d′, with 95% "
        "intervals of test images and of that line; dashes say where the line of the filter itself (OpenAI's CLIP) lies. "
        "Filtering by CLIP score lifts models by " + ", ".join(words) + " on average over scales."
    )
    return Caption(text, numbers)
