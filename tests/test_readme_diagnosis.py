"""What the README says of where predictions fail is what the records say."""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.robustness import growth_exponents, judged_sizes

ROOT = Path(__file__).resolve().parents[1]
WORDS = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
RECORDS = ROOT / "paper_figures" / "records"
FAILING = ("sketch", "rendition")


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["test_set"].isin(FAILING)].set_index(["sources", "test_set"]).sort_index()


def test_growth_does_not_explain_the_default_studys_failures() -> None:
    accuracies = pd.read_csv(RECORDS / "clip_mixtures" / "accuracies.csv")
    least = judged_sizes(accuracies)
    every, judged = (exponents(growth_exponents(accuracies, n)) for n in (0, least))
    above = [int((table["exponent_low"] > 0.5).sum()) for table in (every, judged)]
    assert above[1] == 0
    assert (
        f"of the {len(every)} exponents on these two shifts {above[0]} exceed it at 95% over all sizes, none from "
        f"{least:,} samples on, where mixtures are judged"
    ) in WORDS


def test_the_gpu_studys_diagnosis_is_that_of_its_records() -> None:
    table = pd.read_csv(RECORDS / "gpu_study" / "diagnosis.csv")
    every, judged = (exponents(table[table["diagnostic"] == f"growth{end}"]) for end in ("", " where judged"))
    above = [int((part["low"] > 0.5).sum()) for part in (every, judged)]
    assert above[1] == 0
    least = judged["sizes"].iloc[0].split()[0]
    assert (
        f"of the {len(every)} exponents on sketch and rendition {above[0]} exceed it at 95% over all sizes, none from "
        f"{int(least):,} samples on"
    ) in WORDS
    assert (judged["value"] < every["value"]).all(), "growth slows down with n"
    mediant = table[(table["diagnostic"] == "bias of mediant") & (table["test_set"] == "sketch")]
    by_size = mediant.dropna(subset="n_train").set_index("n_train")["value"]
    assert (np.diff(by_size) < 0).all(), "the bias grows with n"
    told = [f"{value:.3f}".replace("0.", ".") for value in by_size]
    sizes = [f"{n:,.0f}" for n in by_size.index]
    assert "off by {}, {} and {} on average at {}, {} and {} samples".format(*told, *sizes) in WORDS
    fitted = table[table["diagnostic"].str.endswith("in sample") & (table["test_set"] == "sketch")].iloc[0]
    words = f"the bias at {sizes[-1]} goes from {told[-1]} to {fitted['value']:+.3f}".replace("+0.", "+.")
    assert fitted["n_train"] == by_size.index[-1]
    assert f"{words}, in sample" in WORDS
    differ = table[table["diagnostic"] == "weights differ (p-value)"].set_index("test_set")["value"]
    assert (differ[list(FAILING)] < 0.001).all()
    lines = table[table["diagnostic"] == "intercept"]
    compatible = int(((lines["low"] <= 0) & (lines["high"] >= 0)).sum())
    assert f"Only {compatible} of {len(lines)} d′ intercepts are compatible with 0" in WORDS
