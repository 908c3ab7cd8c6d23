"""Everything the page shows, as one JSON-ready dictionary; use `report_payload`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from empirical.errors import StudyError
from empirical.figures.elements import RULE_STYLE
from empirical.group_tables import dprime_table, ratio_table
from empirical.prediction import BASELINES, PREDICTION_COLUMNS, PRIMARY_RULE, RULES, mixture_shares
from empirical.records import load_records, read_json
from empirical.report.filters import assumed_filters, measured_pools
from empirical.robustness import group_labels, shifts
from empirical.scoring import SCORE_COLUMNS
from empirical.study_folder import StudyFolder
from theory.plotting import MARKERS
from theory.source_looks import source_looks

_PREDICTED = (
    "sources", "shift", "n_train", "rule", "ratio_predicted", "ratio_predicted_stderr", "ratio_measured",
    "ratio_measured_stderr", "inside_range",
)  # fmt: skip
_SYMBOLS = dict(
    zip(
        MARKERS,
        ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left"),
        strict=True,
    )
)


def read_study(folder: Path) -> dict[str, Any]:
    """A study's tables and provenance; predictions and scores are empty where no mixture was trained and they are not there.

    Raises StudyError naming the missing file and what makes it.
    """
    study = StudyFolder(folder)
    tables = {name: study.table(name) for name in ("accuracies", "trends")}
    has_mixtures = (tables["accuracies"]["kind"] == "input_mixing").any()
    for name, columns in (("predictions", PREDICTION_COLUMNS), ("scores", SCORE_COLUMNS)):
        there = has_mixtures or (folder / f"{name}.csv").exists()
        tables[name] = study.table(name) if there else pd.DataFrame(columns=list(columns))
    if not (folder / "provenance.json").exists():
        raise StudyError(f"{folder / 'provenance.json'}: not there; {study.way_to('provenance.json')}")
    return {**tables, "provenance": read_json(folder / "provenance.json")}


def report_payload(folder: Path) -> dict[str, Any]:
    """What the page is made of: models, means, lines, mixtures, predictions, filters, scores, provenance.

    Raises StudyError for a folder that holds no finished study, DataError for tables that cannot be read.
    """
    study = read_study(folder)
    accuracies, trends, predictions = study["accuracies"], study["trends"], study["predictions"]
    reference = str(study["provenance"].get("reference", "reference"))
    sources = [str(name) for name in pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"])]
    looks = source_looks(sources)
    pools = measured_pools(folder, accuracies, reference)
    overlaps = StudyFolder(folder).table("overlaps") if (folder / "overlaps.csv").exists() else None
    classes = {
        str(k): int(v) for k, v in accuracies.groupby("test_set", sort=False)["num_classes"].first().items()
    }
    return {
        "title": folder.name,
        "reference": reference,
        "shifts": shifts(accuracies, reference),
        "classes": classes,
        "sources": [
            {"name": name, "colour": colour, "symbol": _SYMBOLS[marker]}
            for name, (colour, marker) in looks.items()
        ],
        "rules": [
            {
                "name": rule,
                "words": RULE_STYLE[rule][3],
                "colour": RULE_STYLE[rule][0],
                "primary": rule == PRIMARY_RULE,
                "baseline": rule in BASELINES,
            }
            for rule in RULES
        ],
        "models": _models(accuracies, folder),
        "means": _means(dprime_table(accuracies, reference, overlaps)),
        "lines": _lines(trends),
        "ratios": _ratios(ratio_table(accuracies, reference, overlaps)),
        "predictions": [clean(row) for row in predictions[list(_PREDICTED)].to_dict("records")],
        "scores": [clean(row) for row in study["scores"].to_dict("records")],
        "pools": clean(pools, digits=12),
        "filters": clean(assumed_filters(accuracies, trends, reference, classes[reference], pools)),
        "provenance": study["provenance"],
    }


def clean(value: Any, digits: int = 7) -> Any:
    """A value as JSON can hold it: NaN and infinity become null, numbers plain ones of so many digits (pages stay small)."""
    if isinstance(value, Mapping):
        return {str(key): clean(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item, digits) for item in value]
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def _models(accuracies: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """One entry per run: what its record says, and its counts, probit and d' on every test set."""
    table = accuracies.assign(group=group_labels(accuracies))
    kept = load_records(folder / "records") if (folder / "records").is_dir() else {}
    out = []
    for run, rows in table.groupby("run", sort=False):
        first, record = rows.iloc[0], kept.get(str(run), {})
        about = {key: clean(first[key]) for key in ("kind", "sources", "group", "n_train", "seed")}
        about["heads"] = clean(first["heads_n_train"]) or ""
        about["filter"] = clean(first["filter"]) or ""
        about["kept_share"] = clean(first["kept_share"])
        if record:
            about["seconds"] = round(float(record["seconds"]), 1)
        sets = {
            str(row["test_set"]): [
                int(row["num_correct"]),
                int(row["num_images"]),
                *clean([row["probit"], row["dprime"]]),
            ]
            for _, row in rows.iterrows()
        }
        out.append({"run": str(run), **about, "sets": sets})
    return out


def _means(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean d' of single-source models and mixtures per n and test set: what predictions start from."""
    keys = ["kind", "sources", "heads", "n_train"]
    return [
        {
            **dict(zip(keys, clean(list(key)), strict=True)),
            "dprime": {
                str(r["test_set"]): clean([r["dprime"], r["dprime_stderr"]]) for _, r in rows.iterrows()
            },
        }
        for key, rows in table.groupby(keys, sort=False)
    ]


def _lines(trends: pd.DataFrame) -> list[dict[str, Any]]:
    """Lines of single sources: what the page draws and what the rule of lines is told."""
    kept = [
        "kind",
        "sources",
        "shift",
        "link",
        "fit",
        "slope",
        "slope_low",
        "slope_high",
        "intercept",
        "r2",
        "num_models",
    ]
    return [clean(row) for row in trends.loc[trends["kind"] == "single", kept].to_dict("records")]


def _ratios(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [clean(row) | ({"shares": _shares(str(row["sources"]))}) for row in rows]


def _shares(sources: str) -> dict[str, float]:
    return mixture_shares(sources) if ":" in sources else {sources: 1.0}
