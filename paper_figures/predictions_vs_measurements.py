"""Theory's predictions, told only the single-source runs, beside the measured mixtures and both baselines."""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.figures.accuracy_panel import shown_mixtures
from empirical.figures.mixtures import draw_predictions_vs_measurements
from empirical.prediction import RULES
from empirical.scoring import ALL_SHIFTS
from paper_figures.captions import Caption, interval, number
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    accuracies, trends, predictions = (records[name] for name in ("accuracies", "trends", "predictions"))
    draw_predictions_vs_measurements(accuracies, trends, predictions, stem, records.reference)


def rule_errors(predictions: pd.DataFrame) -> dict[str, str]:
    """Rms error of the d′ ratio of every rule over all mixtures, sizes and shifts: numbers `rms RULE`."""
    errors = predictions.assign(square=(predictions["ratio_predicted"] - predictions["ratio_measured"]) ** 2)
    rms = np.sqrt(errors.groupby("rule")["square"].mean())
    return {f"rms {rule.replace('_', ' ')}": number(rms[rule]) for rule in RULES if rule in rms}


def caption(records: Records) -> Caption:
    """Mixtures, verdicts, and every rule's error with its interval and its difference to the baseline."""
    predictions, scores = records["predictions"], records["scores"]
    verdicts = predictions.drop_duplicates(["sources", "n_train", "shift"])["inside_range"].value_counts()
    numbers = {
        "mixtures": str(predictions["sources"].nunique()),
        "cells": str(int(verdicts.sum())),
        "inside": str(int(verdicts.get("yes", 0))),
        "outside": str(int(verdicts.get("no", 0))),
        "seeds": str(int(predictions["num_seeds"].min())),
    }
    shown = shown_mixtures(records["accuracies"])
    numbers["n shown"] = " or ".join(f"{n:,}" for n in sorted({n for _, n in shown})) or "–"
    words = []
    for _, row in scores[scores["shift"] == ALL_SHIFTS].iterrows():
        rule = str(row["rule"]).replace("_", " ")
        numbers[f"rms {rule}"] = interval(row["rms"], row["rms_low"], row["rms_high"], 3)
        words.append(f"{rule} {{rms {rule}}}")
    text = (
        "Predicted and measured mixtures. Theory was told only the single-source runs of {seeds} seeds and predicts {mixtures} "
        "mixtures. Top: accuracies at n = {n shown}; pies are measured mixtures with 95% intervals. A grey segment leads from "
        "the mixture's place along its predicted line, the sources' lines averaged by share, to the diamond, where the primary "
        "rule expects it: at the ensemble's place. "
        "Bottom: predicted against measured d′ ratio with every rule and both baselines. Rms errors over all shifts: "
        + "; ".join(words)
        + ". Of {cells} mixture, size and shift cells {inside} lie inside their sources' range at 95%, {outside} outside."
    )
    return Caption(text, numbers)
