"""Pictures and words of rules for filtered pools, from committed tables."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.figures import filter_rules
from empirical.figures.filter_rules import COMPARED, RULE_WORDS, draw_filter_rules
from empirical.filter_prediction import FROZEN_FILTER_RULE, TOLD_MORE
from empirical.summary import format_filter_scores

FOLDER = Path(__file__).resolve().parents[3] / "paper_figures" / "records" / "gpu_study"


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(FOLDER / "filtering.csv"), pd.read_csv(FOLDER / "filter_scores.csv")


def points(bars: Any) -> np.ndarray:
    """(n, 2) of an errorbar's markers."""
    return np.asarray(bars[0].get_xydata())


def test_every_cell_and_every_rule_is_drawn_with_its_error(tables, tmp_path: Path, monkeypatch) -> None:
    filtering, scores = tables
    monkeypatch.setattr(filter_rules, "save_figure", lambda fig, stem: [stem])
    assert draw_filter_rules(filtering, scores, tmp_path / "rules") == [tmp_path / "rules"]
    fig, overall = plt.gcf(), scores[scores["shift"] == "all shifts"].set_index("rule")
    cells = filtering[filtering["ratio_predicted"].notna()]
    for ax, (column, words) in zip(fig.axes, COMPARED.items(), strict=False):
        drawn = np.concatenate([points(container) for container in ax.containers])
        assert sorted(map(tuple, drawn)) == sorted(zip(cells["ratio_measured"], cells[column], strict=True))
        title = ax.get_title(loc="left")
        rms = ((cells[column] - cells["ratio_measured"]) ** 2).mean() ** 0.5
        assert words in title
        assert f"rms {rms:.3f}" in title
    labels = [label.get_text() for label in fig.axes[3].get_yticklabels()]
    assert sorted(labels) == sorted(RULE_WORDS[rule] for rule in overall.index)
    for place, bar in enumerate(list[Any](fig.axes[3].containers)):
        rule = next(rule for rule, words in RULE_WORDS.items() if words == labels[place])
        assert points(bar)[0, 0] == pytest.approx(overall.loc[rule, "rms"])
        assert (bar[0].get_markerfacecolor() == "white") == (rule in TOLD_MORE)
    plt.close(fig)


def test_nothing_predicted_is_nothing_to_draw(tables, tmp_path: Path) -> None:
    filtering, scores = tables
    with pytest.raises(StudyError, match="nothing to draw"):
        draw_filter_rules(filtering[filtering["ratio_predicted"].isna()], scores, tmp_path / "rules")


def test_the_summary_marks_the_frozen_rule_and_those_that_are_told_more(tables) -> None:
    lines = format_filter_scores(tables[1]).splitlines()
    assert len(lines) == 4 + len(RULE_WORDS) + 2
    turns = tables[1].set_index(["shift", "rule"]).loc[("all shifts", "plain")]
    assert next(line for line in lines if line.split()[0] == "plain").endswith(f" {turns['turns_right']:.0f}")
    assert lines[-1].endswith(f"always raises the ratio: {turns['turns_up']:.0f}.")
    marks = {line.split()[0]: line.split()[1] for line in lines if line.split()[1] in "*+"}
    assert marks == {FROZEN_FILTER_RULE: "*"} | dict.fromkeys(TOLD_MORE, "+")
