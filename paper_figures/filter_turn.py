"""How far a filter turns the line of a pool: Theorem 3 against kept shares, on the study made on a GPU."""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.figures.elements import pool_label, readable
from empirical.figures.filter_turn import draw_filter_turn, pools_of
from paper_figures.captions import Caption, number
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's filtering.csv."""
    draw_filter_turn(records["filtering"], stem, pools_of(records["filtering"])[0])


def caption(records: Records) -> Caption:
    """How many filters turn their pool's line towards their own, the predictions' error, and every ratio at half kept."""
    return caption_of(records, pools_of(records["filtering"])[0])


def caption_of(records: Records, shown: list[str]) -> Caption:
    """The caption of a figure that shows these pools; its numbers are those of all pools."""
    table = records["filtering"]
    every = pd.unique(table.loc[table["filter"] != "none", "sources"])
    table = table[table["pool_size"] == table.groupby("sources")["pool_size"].transform("max")]
    kept = table[table["filter"] != "none"]
    half = kept[kept["kept_share"] == 0.5]
    turn = (half["ratio_measured"] - half["ratio_of_pool"]) * (
        half["ratio_of_filter"] - half["ratio_of_pool"]
    )
    predicted = kept[kept["ratio_matched"].notna()]
    up = half["ratio_measured"] > half["ratio_of_pool"]
    numbers = {
        "cells": str(len(half)),
        "towards": str(int((turn > 0).sum())),
        "upwards": str(int(up.sum())),
        "shown": str(len(shown)),
        "pools": str(len(every)),
    }
    text = (
        "Pools of pairs filtered by CLIPs ({shown} of {pools} pools): d′ ratio of shift to reference against the share kept, "
        "with 95% intervals over seeds; dashed, the filter's own models; grey, the raw pool. Theorem 3 expects the ratio to move "
        "from grey towards dashed."
    )
    if len(half):
        text += (
            " At half kept it did in {towards} of {cells} cells (pool, filter, shift) of all pools, and it rose in {upwards}; "
            "noise of the raw pool's ratio moves it towards dashed by itself."
        )
    if len(predicted):
        numbers["predicted cells"] = str(len(predicted))
        for name, column in (("matched", "ratio_matched"), ("plain", "ratio_predicted")):
            numbers[f"rms {name}"] = _rms(predicted[column] - predicted["ratio_measured"])
        numbers["rms pool"] = _rms(predicted["ratio_of_pool"] - predicted["ratio_measured"])
        text += (
            " Crosses, Theorem 3 at the size of equal signal, told single-source models and the filter's scores: rms error "
            "{rms matched} over {predicted cells} cells, against {rms plain} at the filter's size and {rms pool} for the raw "
            "pool's ratio, which is told a model trained on the pool. These pools had been seen when the rule was chosen."
        )
    for _, row in half.iterrows():
        key = f"{pool_label(row['sources'])} kept by {pool_label(row['filter'])} on {readable(row['shift'])}"
        numbers[key] = (
            f"{row['ratio_of_pool']:.3f} to {row['ratio_measured']:.3f} (filter {row['ratio_of_filter']:.3f})"
        )
    return Caption(text, numbers)


def _rms(errors: pd.Series) -> str:
    return number(float(np.sqrt(np.nanmean(errors**2))))
