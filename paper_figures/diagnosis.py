"""Where predictions fail and what the theory assumes: growth, intercepts, overlaps, weights per target and biases."""

from pathlib import Path

import pandas as pd

from empirical.figures.diagnosis import BIASES, bias_size, draw_diagnosis, growth_rows
from empirical.figures.elements import readable
from paper_figures.captions import Caption, interval
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED
TABLES = ("diagnosis",)


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's diagnosis.csv."""
    draw_diagnosis(records["diagnosis"], stem)


def caption(records: Records) -> Caption:
    """Verdicts on growth and intercepts, and every rule's bias on every shift."""
    table = records["diagnosis"]
    every, lines = (table[table["diagnostic"] == name] for name in ("growth", "intercept"))
    growth, size = growth_rows(table), bias_size(table)
    numbers = {
        "growths": str(len(growth)),
        "growths above, all sizes": str(int((every["low"] > 0.5).sum())),
        "growth sizes": str(growth["sizes"].iloc[0]) if len(growth) else "",
        "bias size": f"{size:,}",
        "growths above": str(int((growth["low"] > 0.5).sum())),
        "growths below": str(int((growth["high"] < 0.5).sum())),
        "intercepts": str(len(lines)),
        "intercepts off zero": str(int(((lines["low"] > 0) | (lines["high"] < 0)).sum())),
    }
    words = []
    for name, (*_, label) in BIASES.items():
        told = _biases(table[(table["diagnostic"] == name) & (table["n_train"] == size)], label, numbers)
        if told:
            words.append(f"{label}: {told}")
    text = (
        "Where predictions fail, and what the theory assumes. Growth of d′ with n: of {growths} exponents {growths above} "
        "lie above 1/2, outside the theory, and {growths below} below, at 95%, at the sizes where mixtures are judged "
        "({growth sizes}), and {growths above, all sizes} above over all sizes; {intercepts off zero} of {intercepts} "
        "intercepts of the sources' d′ lines differ from 0. Mean of predicted minus measured d′ ratio at n = {bias size} "
        "with 95% intervals over sets of sources (the fitted weights are judged on the mixtures that they were fitted "
        "to): " + "; ".join(words) + "."
    )
    return Caption(text, numbers)


def _biases(rows: pd.DataFrame, label: str, numbers: dict[str, str]) -> str:
    told = []
    for _, row in rows.iterrows():
        key = f"bias of {label} on {readable(row['test_set'])}"
        numbers[key] = interval(row["value"], row["low"], row["high"], 3)
        told.append(f"{readable(row['test_set'])} {{{key}}}")
    return ", ".join(told)
