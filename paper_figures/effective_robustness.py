"""Effective robustness of single sources and mixtures, against the reference alone and beside other test sets."""

from pathlib import Path

import pandas as pd

from empirical.figures.elements import readable
from empirical.figures.study_robustness import draw_study_robustness
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED
TABLES = ("effective_robustness",)


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's effective_robustness.csv."""
    draw_study_robustness(records["effective_robustness"], stem)


def caption(records: Records) -> Caption:
    """The most and the least robust source of every shift, and the range of the mixtures, in points."""
    table = records["effective_robustness"]
    alone = table[table["references"] == records.reference]
    numbers, words = {}, []
    for shift, rows in alone.groupby("shift", sort=False):
        single, mixed = (rows[rows["kind"] == kind] for kind in ("single", "input_mixing"))
        named = []
        for key, at in (("most", "idxmax"), ("least", "idxmin")):
            row = single.loc[getattr(single["effective_robustness"], at)()]
            numbers[f"{key} on {shift}"] = _points(row)
            named.append(f"{readable(str(row['group']))} {{{key} on {shift}}}")
        told = f"{readable(str(shift))} from {named[1]} to {named[0]}"
        if len(mixed):
            low, high = 100 * mixed["effective_robustness"].min(), 100 * mixed["effective_robustness"].max()
            numbers[f"mixtures on {shift}"] = f"{low:+.1f} to {high:+.1f}"
            told += f", mixtures {{mixtures on {shift}}}"
        words.append(told)
    verdicts = alone.loc[alone["kind"] == "single", "verdict"].value_counts()
    numbers |= {
        "above": str(int(verdicts.get("above", 0))),
        "below": str(int(verdicts.get("below", 0))),
        "cells": str(int(verdicts.sum())),
    }
    text = (
        "Effective robustness: accuracy above the probit line of all single-source models, in points, mean over sizes and seeds "
        "with 95% intervals, against the reference alone (Taori et al. 2020) and against it and one more test set (Shi et al. "
        "2023). Strokes are mixtures. Against the reference alone: "
        + "; ".join(words)
        + ". {above} of {cells} sources and shifts lie above the line at 95%, {below} below."
    )
    return Caption(text, numbers)


def _points(row: pd.Series) -> str:
    value, low, high = (100 * float(row[f"effective_robustness{end}"]) for end in ("", "_low", "_high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
