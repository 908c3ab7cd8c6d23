"""Studies to write reports of, and a report in a browser: what the tests of this folder share."""

import sys
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # synthetic_accuracies

from empirical.prediction import predict_mixtures
from empirical.robustness import fit_trends
from empirical.scoring import score_rules

STUDY = Path(__file__).resolve().parents[3] / "paper_figures" / "records" / "clip_mixtures"
LARGER = STUDY.with_name("gpu_study")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


def write_study(folder: Path, accuracies: pd.DataFrame, scores: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    predictions = predict_mixtures(accuracies)
    tables = {"accuracies": accuracies, "trends": fit_trends(accuracies), "predictions": predictions}
    if scores:
        tables["scores"] = score_rules(predictions)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "provenance.json").write_text('{"reference": "reference", "seeds": [0, 1]}')


def opened(browser, page: str, size: str = "desk", dark: bool = False):
    width, height = SIZES[size]
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("browser")
    browser.get(page)
    assert browser.execute_script("return document.querySelectorAll('.plot .main-svg').length") > 0
    return browser


def move(browser, slider: str, value: float) -> None:
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));",
        slider,
        value,
    )


def choose(browser, select: str, value: str) -> None:
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change', {bubbles: true}));",
        select,
        value,
    )
