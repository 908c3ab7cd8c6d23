# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From two single-source runs to the mixture
#
# You have trained CLIP on two sources, each alone. How robust will their mixture be, before you train it? This tutorial
# trains two small sources of the embedded world, lets theory predict the mixture from them alone, trains the mixture, and
# holds the two against each other. It is an ordinary script: `python docs/tutorials/from_two_runs_to_the_mixture.py` runs it
# in about a minute on two cores, and any notebook program opens it as a notebook (jupytext's percent format).

# %%
import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from empirical.group_tables import dprime_table, ratio_table
from empirical.prediction import RULES, mixture_shares, predict_ratio
from empirical.progress import StudyProgress
from empirical.study import run_study
from empirical.study_plan import StudyOptions
from theory import Source, Target, mixture_slope

jax.config.update("jax_enable_x64", True)

FOLDER = Path(os.environ.get("TUTORIAL_FOLDER") or tempfile.mkdtemp(prefix="tutorial-"))
#: "smoke" takes under a minute; "default" shows the same with six sources and less noise, in five to ten.
PRESET = os.environ.get("TUTORIAL_PRESET", "smoke")


# %% [markdown]
# ## 1. Two sources, trained alone
#
# A study is a list of runs: every source at several sizes and seeds, then the mixtures, on samples that no single-source
# run saw. Records of finished runs stay in the folder, so running this again trains nothing twice. (Cells define, the last
# one runs: workers are spawned and import this file, which must therefore do nothing when imported.)


# %%
def train() -> pd.DataFrame:
    """Accuracies of all runs, one row per run and test set."""
    # Two seeds at least: how much they differ is what intervals are made of.
    seeds = {"num_seeds": 2} if PRESET == "smoke" else {}
    options = StudyOptions(out=FOLDER, preset=PRESET, jobs=2, overrides=seeds)
    return run_study(options, StudyProgress(quiet=True)).accuracies


# %% [markdown]
# ## 2. What theory is told
#
# The margin behind an accuracy among K classes is d′: where models of one source stand, on the reference set and on a shift.
# Their ratio is the source's robustness on that shift.


# %%
def single_source_margins(accuracies: pd.DataFrame, shift: str, n_train: int) -> pd.DataFrame:
    """d' of each source's models on the reference set and on the shift, means over seeds."""
    single = dprime_table(accuracies[accuracies["kind"] == "single"])
    at_size = single[(single["n_train"] == n_train) & single["test_set"].isin(["reference", shift])]
    return at_size.pivot(index="sources", columns="test_set", values="dprime")[["reference", shift]]


# %% [markdown]
# ## 3. Theorem 2 in the linear setting
#
# A mixture's slope is a *mediant*: sources are weighted by share times reference signal, not by share. In the linear
# setting, a source whose mean has the measured margins along two targets gives that number exactly.


# %%
def mediant_by_theorem(margins: pd.DataFrame, share: float) -> float:
    """Theorem 2's slope of the mixture with this share of the second source."""
    reference, shift = Target([1.0, 0.0]), Target([0.0, 1.0])
    sources = [
        Source(list(map(float, row)), name=str(name))
        for name, row in zip(margins.index, margins.to_numpy(), strict=True)
    ]
    return float(mixture_slope(sources, [1 - share, share], reference, shift).slope)


# %% [markdown]
# ## 4. Every rule, at any share
#
# The bridge carries this to CLIP. Its rules are frozen, none is fitted to mixtures, and two baselines go with them.


# %%
def predictions(margins: pd.DataFrame, share: float) -> dict[str, float]:
    """d' ratio of the mixture by each rule that needs no fitted line."""
    pairs = [tuple(map(float, row)) for row in margins.to_numpy()]
    return {rule: predict_ratio(rule, [1 - share, share], pairs)[0] for rule in RULES if rule != "lines"}


# %% [markdown]
# ## 5. The measured mixture beside them
#
# The mixture was trained too: on which side of the predictions does it lie, and is the difference larger than its error? With
# a smoke-sized study the intervals are wide; the default study narrows them.


# %%
def measured_mixture(accuracies: pd.DataFrame, pair: tuple[str, str], shift: str, n_train: int) -> pd.Series:
    """The mixture of this pair at this size: its shares as text, d' ratio and 95% interval."""
    ratios = ratio_table(accuracies)
    names = [f"{pair[0]}:", f"{pair[1]}:"]
    own = ratios[
        (ratios["kind"] == "input_mixing")
        & (ratios["shift"] == shift)
        & (ratios["n_train"] == n_train)
        & [all(name in text for name in names) and text.count(":") == 2 for text in ratios["sources"]]
    ]
    return own.iloc[0]


def main() -> pd.DataFrame:
    """The whole way, once; returns predictions beside the measurement, one row per shift."""
    accuracies = train()
    mixed = accuracies[accuracies["kind"] == "input_mixing"]
    name = str(mixed["sources"].iloc[0])
    shares, n_train = mixture_shares(name), int(mixed.loc[mixed["sources"] == name, "n_train"].max())
    first, second = shares
    rows = []
    for shift in [str(s) for s in pd.unique(accuracies["test_set"]) if s != "reference"]:
        margins = single_source_margins(accuracies, shift, n_train).loc[[first, second]]
        told = predictions(margins, shares[second])
        # The rule "mediant" is Theorem 2, whatever the models.
        assert np.isclose(told["mediant"], mediant_by_theorem(margins, shares[second]))
        found = measured_mixture(accuracies, (first, second), shift, n_train)
        rows.append(
            {
                "shift": shift,
                **told,
                "measured": found["ratio"],
                "low": found["ratio_low"],
                "high": found["ratio_high"],
            }
        )
    table = pd.DataFrame(rows).set_index("shift")
    print(
        f"{name}, {n_train:,} samples: d' ratio of shift to reference, predicted and measured (95% interval)"
    )
    print(table.round(3).to_string())
    return table


# %%
if __name__ == "__main__":
    main()
    print(f"\nRecords, tables and figures are in {FOLDER}")
    print(f"Next: python experiments/report.py {FOLDER}")

# %% [markdown]
# ## Where to go from here
#
# * Your own shards: `python experiments/clip_mixtures.py --source a=A/ --source b=B/ --test-set imagenet=val/ ...`
# * Every share at once, live: `python experiments/report.py FOLDER`.
# * Why the mediant, step by step: the derivations of Theorem 2 in `docs/derivations.md`.
