"""Mixtures of all sources, and of all but one: measured ratio, sources' range and predictions."""

from pathlib import Path

import pandas as pd

from empirical.figures.many_sources import draw_many_sources, left_out_source
from empirical.prediction import mixture_shares
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records
from paper_figures.predictions_vs_measurements import rule_errors

STUDY = STUDIED
LEAVE_ONE_OUT = (
    "python experiments/clip_mixtures.py --preset gpu --seed 20 --out runs/gpu_study && "
    "python -m paper_figures.keep runs/gpu_study"
)


def _mixtures(records: Records) -> pd.DataFrame:
    predictions = records["predictions"]
    return predictions[[len(mixture_shares(str(name))) > 2 for name in predictions["sources"]]]


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables; leave-one-out mixtures come with larger studies."""
    accuracies = records["accuracies"]
    sources = list(pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"]))
    if not any(left_out_source(str(name), sources) for name in set(_mixtures(records)["sources"])):
        records.note("has no leave-one-out mixtures, so their rows are absent", LEAVE_ONE_OUT)
    draw_many_sources(
        accuracies, records["predictions"], stem, records.reference, records.optional("overlaps")
    )


def caption(records: Records) -> Caption:
    """How many such mixtures, how many inside their sources' range, and the rules' errors on them."""
    own = _mixtures(records)
    verdicts = own.drop_duplicates(["sources", "n_train", "shift"])["inside_range"].value_counts()
    numbers = rule_errors(own) | {
        "mixtures": str(own["sources"].nunique()),
        "n": " or ".join(f"{n:,}" for n in sorted(set(own.groupby("sources")["n_train"].max()))) or "–",
        "cells": str(int(verdicts.sum())),
        "inside": str(int(verdicts.get("yes", 0))),
        "outside": str(int(verdicts.get("no", 0))),
    }
    errors = "; ".join(f"{key.removeprefix('rms ')} {{{key}}}" for key in numbers if key.startswith("rms "))
    text = (
        "Mixtures of three sources or more ({mixtures} of them) at their largest size (n = {n}): measured d′ ratio with its 95% "
        "interval beside the ratios of its sources (lines with their markers) and what each rule predicted. "
        "{inside} of {cells} cells (mixture, size, shift) lie inside their "
        f"sources' range at 95%, {{outside}} outside. Rms errors: {errors}."
    )
    return Caption(text, numbers)
