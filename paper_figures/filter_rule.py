"""Filtered pools predicted from single-source models: Theorem 3 as it stands and at the size of equal signal, on fresh seeds."""

from pathlib import Path

from empirical.figures.filter_rules import RULE_WORDS, draw_filter_rules
from empirical.scoring import ALL_SHIFTS
from paper_figures.captions import Caption, interval, number
from paper_figures.committed import JUDGED, Records

STUDY = JUDGED
TABLES = ("filter_scores",)


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's filtering.csv and filter_scores.csv."""
    draw_filter_rules(records["filtering"], records["filter_scores"], stem)


def caption(records: Records) -> Caption:
    """Every rule's error, and by how much the frozen one differs from each baseline."""
    scores = records["filter_scores"]
    scores = scores[scores["shift"] == ALL_SHIFTS].set_index("rule")
    frozen = scores.loc["matched"]
    numbers = {"cells": str(int(frozen["num_predictions"])), "pools": str(int(frozen["num_pools"]))}
    for rule, words in RULE_WORDS.items():
        numbers[f"rms of {words}"] = number(float(scores.loc[rule, "rms"]))
    for baseline in ("raw_pool", "plain", "unturned"):
        value, low, high = (float(frozen[f"difference_to_{baseline}{end}"]) for end in ("", "_low", "_high"))
        numbers[f"matched minus {RULE_WORDS[baseline]}"] = interval(value, low, high, 3)
    numbers |= {"turns": f"{frozen['num_turns']:.0f}", "always up": f"{frozen['turns_up']:.0f}"}
    numbers |= {f"turns of {rule}": f"{scores.loc[rule, 'turns_right']:.0f}" for rule in ("matched", "plain")}
    text = (
        "Filtered pools predicted: d′ ratio of shift to reference, predicted against measured ({cells} cells of pool, filter, "
        "kept share and shift; bars, one standard error). Theorem 3 is told single-source models and the filter's scores of the "
        "pool; read at the filter's size (plain) its rms error is {rms of Theorem 3, plain}, at the size of equal signal "
        "(matched, frozen before this study was trained) {rms of matched (frozen rule)}. The raw pool's ratio, which is told a "
        "model trained on that very pool, has {rms of the raw pool's ratio}: matched minus it {matched minus the raw pool's "
        "ratio}; matched minus the sizes without a turn {matched minus clean size, no turn}, 95% over {pools} pools. Of {turns} "
        "turns larger than two standard errors matched has the direction of {turns of matched}, plain of {turns of plain}, "
        "always up of {always up}. Right: every rule's error."
    )
    return Caption(text, numbers)
