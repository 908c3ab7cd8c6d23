"""What the README says of the study on a GPU is what its records say."""

import re

import pandas as pd
import pytest
from readme_words import GPU_STUDY, README, short
from scipy.special import stdtrit


def test_the_gpu_studys_rules_and_verdicts_are_those_of_its_records() -> None:
    words = " ".join(README.split())
    scores = (
        pd.read_csv(GPU_STUDY / "scores.csv").set_index(["rule", "shift"]).xs("all shifts", level="shift")
    )
    names = {"mediant": "mediant", "quadrature": "quadrature", "lines": r"lines by share \(primary\)"}
    number = r"([+-]?\.\d+)"
    for rule, name in names.items():
        found = re.search(rf"{name} {number}, {number} \[{number}, {number}\]", words)
        assert found is not None, rule
        columns = ["rms", *(f"difference_to_interpolated{end}" for end in ("", "_low", "_high"))]
        assert [float(n) for n in found.groups()] == pytest.approx(
            list(scores.loc[rule, columns]), abs=5.1e-4
        ), rule
    assert f"noise floor of {short(scores.loc['quadrature', 'noise_floor'])}" in words
    assert f"interpolation {short(scores.loc['interpolated', 'rms'])}" in words
    against = [
        "{} [{}, {}]".format(
            *(short(scores.loc[rule, f"difference_to_best_source{end}"]) for end in ("", "_low", "_high"))
        )
        for rule in names
    ]
    assert (
        f"best single source {short(scores.loc['best_source', 'rms'])}, to which the differences are {against[0]}, {against[1]} "
        f"and {against[2]}."
    ) in words
    predictions = pd.read_csv(GPU_STUDY / "predictions.csv").drop_duplicates(["sources", "n_train", "shift"])
    verdicts = predictions["inside_range"].value_counts()
    inside = predictions[predictions["inside_range"] == "yes"]["shift"].value_counts()
    assert (
        f"Of {len(predictions)} cells, {verdicts['yes']} lie inside their sources' range at 95% (v2 {inside['v2']}, sketch "
        f"{inside['sketch']}, rendition {inside['rendition']}, odd view {inside['odd_view']}), "
        f"{verdicts['no']} outside (stock .8 with encyclopedia .2 at 4,096 on rendition, .772, above .740 and .705), "
        f"{verdicts['inconclusive']} are open"
    ) in words
    (outside,) = predictions[predictions["inside_range"] == "no"].itertuples()
    assert (outside.sources, outside.n_train, outside.shift, round(outside.ratio_measured, 3)) == (
        "stock:0.8+encyclopedia:0.2", 4096, "rendition", 0.772,
    )  # fmt: skip
    by_source = pd.read_csv(GPU_STUDY / "scores_by_source.csv").set_index(["rule", "left_out"])
    name = "difference_to_interpolated"
    without = [short(by_source.loc[(rule, "encyclopedia"), name]) for rule in ("quadrature", "mediant")]
    assert f"without them its advantage is {without[0]}, the mediant's {without[1]}" in words
    ends = [
        f"[{short(row[f'{name}_low'])}, +{short(row[f'{name}_high'])}]"
        for row in (by_source.loc[(rule, "none")] for rule in ("quadrature", "mediant"))
    ]
    assert f"a jackknife over the six sources gives {ends[0]} and {ends[1]}" in words
    each = pd.read_csv(GPU_STUDY / "scores.csv").set_index(["rule", "shift"]).loc["quadrature"]
    above = [
        f"{short(each.loc[shift, 'rms'])} against {short(each.loc[shift, 'noise_floor'])}"
        for shift in ("sketch", "rendition")
    ]
    assert f"quadrature stays above the noise ({above[0]}, {above[1]})" in words


def test_the_brackets_of_places_are_those_of_their_records() -> None:
    verdicts = pd.read_csv(GPU_STUDY / "places.csv")["inside_bracket"].value_counts()
    words = " ".join(README.split())
    assert (
        f"Of {verdicts.sum()} places {verdicts['yes']} lie inside at 95% and {verdicts['no']} outside"
        in words
    )
    assert f"{verdicts['empty']} brackets are empty" in words


def test_the_gpu_studys_designs_and_ensembles_are_those_of_its_records() -> None:
    words = " ".join(README.split())
    designed = pd.read_csv(GPU_STUDY / "designed.csv")
    trained = designed[designed["sources"].str.contains(":")]
    assert f"Of {len(designed)} designs" in words
    assert f"{len(trained)} are mixtures that were then trained" in words
    fewest, most = trained["num_mixtures"].min(), trained["num_mixtures"].max()
    ranks = [(int(trained[name].min()), int(trained[name].max())) for name in ("rank", "rank_with_sources")]
    assert (
        "Among {} to {} mixtures they rank {} to {} (one of them first), with the single sources among them {} to {}.".format(
            fewest, most, *ranks[0], *ranks[1]
        )
    ) in words
    assert (trained["rank"] == 1).sum() == 1
    for row in trained.itertuples():
        ends = (row.gain_over_source, row.gain_low, row.gain_high)
        value, low, high = (f"{end:+.2f}".replace("0.", ".", 1) for end in ends)
        aim = "the worst" if str(row.shift).startswith("worst") else str(row.shift).replace("_", " ")
        assert f"{value} [{low}, {high}] ({aim})" in words
    assert f"clear for {['none', 'one', 'two'][(trained['gain_low'] > 0).sum()]} of seven" in words
    assert not (trained["gain_high"] < 0).any()
    short_of = trained[trained["dprime_measured"] < trained["dprime_low"] - 0.01].iloc[0]
    assert (short_of["shift"], short_of["budget"]) == ("rendition", 2048)
    half = short(1.96 * short_of["dprime_measured_stderr"], 2)
    told = [f"{short_of[f'dprime_{name}']:.2f}" for name in ("measured", "predicted", "low", "high")]
    assert "({} ± {half}; {} [{}, {}])".format(*told, half=half) in words
    assert (designed.drop(trained.index)["ahead_high"] > 0).all()
    ensembles = pd.read_csv(GPU_STUDY / "output_vs_input.csv").set_index(["mixing", "heads", "shift"])
    for heads, sign in (("each", 1), ("share", -1)):
        row = ensembles.loc[("logits", heads, "all shifts")]
        ends = sorted((sign * row["difference_low"], sign * row["difference_high"]))
        text = f"by {short(sign * row['mean_difference'])} [{short(ends[0])}, {short(ends[1])}]"
        assert text in words, text
        assert short(sign * row["place_gain"], 2) in words
        assert f"{row['agreement_share_by_seeds']:.0%} to {row['agreement_share']:.0%}" in words


def test_agreement_by_seeds_is_that_of_the_committed_models() -> None:
    """Ensembles of averaged logits are in accuracies.csv, seed by seed: their seeds' error from there, cell by cell."""
    cells = pd.read_csv(GPU_STUDY / "output_mixing.csv").query("mixing == 'logits'")
    cells = cells[cells["seed_stderr"].notna()].set_index(["heads", "sources", "n_train", "shift"])
    accuracies = pd.read_csv(GPU_STUDY / "accuracies.csv")
    accuracies = accuracies[accuracies["kind"].isin(["input_mixing", "output_mixing"])]
    wide = accuracies.assign(heads=accuracies["heads_n_train"].fillna("")).pivot(
        index=["kind", "heads", "sources", "n_train", "seed"], columns="test_set", values="dprime"
    )
    ratios = wide.div(wide["reference"], axis=0)
    mixtures = ratios.loc["input_mixing"].loc[""]
    for heads in ("each", "share"):
        for (n, shift), part in cells.loc[heads].groupby(["n_train", "shift"]):
            found = (ratios.loc["output_mixing"].loc[heads][shift] - mixtures[shift]).dropna()
            of_size = found.xs(n, level="n_train").unstack("seed")
            residuals = of_size.sub(of_size.mean(axis=1), axis=0)
            degrees = residuals.size - len(residuals)
            variance = float((residuals**2).to_numpy().sum()) / degrees
            means = of_size.mean(axis=1).loc[part.index.get_level_values("sources")].to_numpy()
            stderr = (variance / of_size.shape[1]) ** 0.5
            assert part["difference"].to_numpy() == pytest.approx(means, abs=1e-4)
            assert part["seed_stderr"].to_numpy() == pytest.approx(stderr, rel=1e-2)
            agrees = abs(means) <= stdtrit(degrees, 0.975) * stderr
            assert (
                (part["agrees_by_seeds"] == "yes").to_numpy() == agrees
            ).mean() > 0.99  # five digits are kept


def test_what_is_said_of_noise_and_of_sets_is_that_of_the_records() -> None:
    words = " ".join(README.split())
    scores = pd.read_csv(GPU_STUDY / "scores.csv").set_index(["shift", "rule"])
    for shift, said in (("v2", "0.009"), ("odd_view", "0.010")):
        for rule in ("mediant", "quadrature", "interpolated"):
            row = scores.loc[(shift, rule)]
            assert f"{row['rms']:.3f}" in (said, "0.010"), (shift, rule)
            assert row["rms"] == pytest.approx(row["noise_floor"], rel=0.05), (shift, rule)
    sets = {
        frozenset(part.rpartition(":")[0] for part in str(sources).split("+"))
        for sources in pd.read_csv(GPU_STUDY / "predictions.csv")["sources"].unique()
    }
    holding = sum("encyclopedia" in each for each in sets)
    assert f"But {holding} of the {len(sets)} sets hold encyclopedia" in words
