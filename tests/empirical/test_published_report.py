"""Baseline choices, the filtering ladder, DataComp's mixtures and the paper's checkpoints."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import accuracies_from_dprime

from empirical.datacomp_mixtures import (
    AT_PLACE,
    SHARES,
    TABLE_RULES,
    common_dprime,
    describe_table_18,
    predict_table_18,
    range_counts,
)
from empirical.errors import DataError
from empirical.filtering_ladder import describe_ladder, filtering_ladder
from empirical.published import DEFAULT_GROUPS, accuracies_of_groups, assemble
from empirical.published_baselines import baseline_choices, compare_choices, describe_choices, judged_means
from empirical.published_formats import read_results
from empirical.published_report import describe_checkpoints, describe_ratios
from empirical.reported_numbers import (
    CHECKPOINT_GROUPS,
    DATACOMP_TABLE_18,
    SHIFT_CLASSES,
    SOURCE_SIZES,
    paper_checkpoints,
)
from empirical.testbed_families import TESTBED_GROUPS
from theory.links import dprime, dprime_inverse
from theory.mixing import mediant

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TESTBED, OPEN_CLIP = DATA / "imagenet_testbed_top1.csv", DATA / "openclip_results.csv"
LENGTHS = {"s": "_s13m_b4k", "m": "_s128m_b4k", "l": "_s1b_b8k", "xl": "_s13b_b90k"}


def models(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """(group, tag, d' on ImageNet, d' on sketches) as a tidy table."""
    parts = [
        {"run": f"{group}: {tag}", "kind": "published", "sources": group, "n_train": 0, "seed": 0, "test_set": name,
         "true_dprime": value, "model": "ViT", "pretrained": tag}
        for group, tag, x, y in rows
        for name, value in (("imagenet", x), ("sketch", y))
    ]  # fmt: skip
    return accuracies_from_dprime(parts, 10**6, 100, np.random.default_rng(0))


@pytest.fixture(scope="module")
def ladder() -> pd.DataFrame:
    """Pool on the ray .5; step `near` a quarter of the way to the filter's ray .9; step `far` on the filter's."""
    rows = []
    for i, (scale, length) in enumerate(LENGTHS.items()):
        x = 0.8 + 0.7 * i
        rows.append(("pool", f"commonpool_{scale}{length}", x, 0.5 * x))
        rows.append(("near", f"commonpool_{scale}_near{length}", x + 0.2, 0.6 * (x + 0.2)))
        rows.append(("far", f"commonpool_{scale}_far{length}", x + 0.3, 0.9 * (x + 0.3)))
        rows.append(("own", f"own{i}", 1.8 + 0.5 * i, 0.9 * (1.8 + 0.5 * i)))
        rows.append(("other", f"laion{length}", x, 0.3 * x))
    return filtering_ladder(models(rows), "pool", ["near", "far", "absent"], "own", "imagenet")


def test_each_model_is_placed_on_the_way_from_pool_to_filter(ladder):
    assert ladder.groupby("step").size().to_dict() == {"pool": 4, "near": 4, "far": 4}
    assert ladder["scale"].tolist() == 3 * ["small", "medium", "large", "xlarge"]
    for step, share in (("pool", 0.0), ("near", 0.25), ("far", 1.0)):
        found = ladder.loc[ladder["step"] == step]
        assert found["share_of_the_way"].to_numpy() == pytest.approx(np.full(4, share), abs=0.03)
        assert found["filter_above_pool"].to_numpy() == pytest.approx(0.4 * found["dprime_ref"], abs=0.03)
        assert ((found["above_pool_low"] <= share * 0.4 * found["dprime_ref"])
                & (found["above_pool_high"] >= share * 0.4 * found["dprime_ref"])).all()  # fmt: skip


def test_extrapolated_models_are_marked_and_told(ladder):
    near = ladder[ladder["step"] == "near"]
    assert near["extrapolated"].tolist() == [True, True, False, False]
    (sentence,) = describe_ladder(ladder, "pool", {"sketch": "ImageNet-Sketch"})
    assert sentence.startswith("ImageNet-Sketch: near small ")
    assert "%*, medium " in sentence
    assert "far small 1" in sentence or "far small 9" in sentence


def test_without_a_filter_there_is_no_ladder():
    table = models(
        [("pool", f"commonpool_{s}{t}", 1.0 + i, 0.5 + i) for i, (s, t) in enumerate(LENGTHS.items())]
    )
    assert filtering_ladder(table, "pool", ["near"], "own", "imagenet").empty


def test_the_common_dprime_gives_the_mean_back():
    classes = [k for k, _ in SHIFT_CLASSES.values()]
    for value in (0.2, 1.0, 2.5):
        mean = float(np.mean([float(dprime_inverse(value, k)) for k in classes]))
        assert common_dprime(mean) == pytest.approx(value, abs=1e-8)
    assert common_dprime(0.3, 200) == pytest.approx(float(dprime(0.3, 200)), abs=1e-8)


def test_table_18_is_whole_and_predicted_from_single_sources_alone():
    table = predict_table_18()
    assert len(table) == 4 * 2 * len(SHARES) * len(TABLE_RULES)
    row = table.query("scale == 'small' and shares == 'by size' and rule == 'mediant'").iloc[0]
    names = row["sources"].split(" + ")
    pools = {
        pool.sources[0]: pool
        for pool in DATACOMP_TABLE_18
        if len(pool.sources) == 1 and pool.scale == "small"
    }
    d_ref = [float(dprime(pools[n].imagenet, 1000)) for n in names]
    d_shift = [common_dprime(pools[n].shifts) for n in names]
    sizes = np.array([SOURCE_SIZES[n] for n in names], float)
    assert row["ratio_predicted"] == pytest.approx(
        float(mediant(d_shift, d_ref, sizes / sizes.sum())), abs=1e-9
    )
    ranges = table[table["rule"] == "best_source"]
    assert np.allclose(ranges["ratio_predicted"], ranges["highest_source"])
    at_place = table[table["rule"] == AT_PLACE]
    assert np.allclose(at_place["dprime_ref_predicted"], at_place["dprime_ref_measured"])
    assert ((at_place["ratio_predicted"] > at_place["lowest_source"])
            & (at_place["ratio_predicted"] < at_place["highest_source"])).all()  # fmt: skip
    between = table["ratio_measured"].between(table["lowest_source"], table["highest_source"])
    assert between[table["inside_range"] == "yes"].all(), "inside at 95% is inside by its value"
    assert not between[table["inside_range"] == "no"].any()
    clear = table["ratio_measured_stderr"] < 0.2 * np.minimum(
        table["ratio_measured"] - table["lowest_source"], table["highest_source"] - table["ratio_measured"]
    )
    assert clear.any()
    assert (table["inside_range"][clear] == "yes").all()
    # within a fraction of an error of its top source: nobody knows on which side
    close = (table["ratio_measured"] - table["highest_source"]).abs() < 0.5 * table["ratio_measured_stderr"]
    assert close.any()
    assert (table["inside_range"][close] == "inconclusive").all()


def test_errors_of_table_18_are_those_of_redrawn_figures():
    """Redraw printed figures with their stated errors: the ratio scatters as its standard error says."""
    from empirical.datacomp_mixtures import _point

    rng = np.random.default_rng(0)
    pool = DATACOMP_TABLE_18[10]
    _, errors = _point(pool, None)
    images = np.array([n for _, n in SHIFT_CLASSES.values()])
    x = pool.imagenet + np.hypot(
        np.sqrt(pool.imagenet * (1 - pool.imagenet) / 50_000), 0.0005 / 3**0.5
    ) * rng.normal(size=100)
    per_set = rng.normal(size=(100, 6)) * np.sqrt(pool.shifts * (1 - pool.shifts) / images)
    y = pool.shifts + per_set.mean(1) + 0.0005 / 3**0.5 * rng.normal(size=100)
    spread = np.std(np.asarray(dprime(x, 1000))), np.std([common_dprime(v) for v in y])
    assert spread == pytest.approx(errors, rel=4 / np.sqrt(2 * 100))


def test_table_18_in_words():
    text = "\n".join(describe_table_18(predict_table_18()))
    for words in (
        "within its sources'",
        "At equal place",
        "shares by size: mediant",
        "shares equal",
        "At medium scale",
    ):
        assert words in text


def test_the_papers_checkpoints():
    rows = paper_checkpoints()
    assert rows["imagenet_r"].tolist() == [0.4098, 0.2256]
    assert rows["pretrained"].str.match("|".join(CHECKPOINT_GROUPS.values())).all()
    table = models([("paper CC12M", "a", 2.0, 1.6), ("YFCC15M", "b", 2.0, 1.0), ("OpenAI", "c", 3.0, 2.0)])
    (sentence,) = describe_checkpoints(table, "imagenet", {})
    assert "paper CC12M: a 0.799 [0.797, 0.801]" in sentence
    assert "YFCC15M: b 0.499" in sentence
    assert "OpenAI" not in sentence
    assert describe_checkpoints(models([("OpenAI", "c", 3.0, 2.0)]), "imagenet", {}) == []


def baseline_models() -> pd.DataFrame:
    """Standard models on a steep line, low-accuracy CNNs on a flat one, CLIP models far above both."""
    rows = [("standard models", f"s{i}", 2.4 + 0.2 * i, 0.9 * (2.4 + 0.2 * i) - 1.0) for i in range(6)]
    for i in range(6):
        tag = f"low{i}_epochs" if i % 2 else f"low{i}_imagenet_subsample_1"
        rows.append(("low-accuracy CNNs", tag, 0.6 + 0.2 * i, 0.3 * (0.6 + 0.2 * i) + 0.1))
    rows += [("robustness interventions", f"r{i}", 2.0 + 0.1 * i, 0.8 + 0.1 * i) for i in range(3)]
    rows += [("CLIP", f"c{i}", 1.5 + 0.5 * i, 1.3 + 0.5 * i) for i in range(3)]
    return models(rows)


def test_choices_of_baseline_and_what_they_move():
    table = baseline_models()
    choices = baseline_choices(table)
    assert list(choices) == [
        "standard models + low-accuracy CNNs", "standard models", "standard models + CNNs on fewer images",
        "all that saw ImageNet alone",
    ]  # fmt: skip
    assert [len(runs) for runs in choices.values()] == [12, 6, 9, 15]
    lines, judged = compare_choices(table, choices, ["imagenet"], "dprime")
    slopes = lines[lines["term"] == "imagenet"].set_index("choice")["value"]
    assert slopes["standard models"] == pytest.approx(0.9, abs=0.02)
    assert slopes["standard models + low-accuracy CNNs"] < 0.8
    means = judged_means(judged)
    assert set(means["group"]) == {"CLIP"}
    assert (means["effective_robustness"] > 0.1).all()
    text = "\n".join(describe_choices(lines, means, ["imagenet"], {"sketch": "ImageNet-Sketch"}))
    assert "Baseline standard models (6 models), slopes: ImageNet-Sketch 0.9" in text
    (cell,) = re.findall(r"^  CLIP +(\S+) \((\S+) to (\S+)\)$", text, re.M)
    assert [float(number) for number in cell] == pytest.approx(
        [100 * means["effective_robustness"].iloc[0], 100 * means["effective_robustness"].min(),
         100 * means["effective_robustness"].max()], abs=0.06,
    )  # fmt: skip
    assert "lowest to highest of the 4 choices" in text


def test_ratios_of_models_with_nothing_right_are_said_to_be_none():
    table = models([("mine", "good", 2.0, 1.0), ("mine", "bad", -3.0, -12.0), ("other", "o", 1.0, 1.0)])
    (sentence,) = describe_ratios(table, "imagenet", {"sketch": "S"}, ["mine"])
    assert sentence.startswith("S, d' ratio: mine: good 0.50")
    assert sentence.endswith("mine: bad none (an accuracy of 0 or 1).")
    assert describe_ratios(table, "imagenet", {}, ["absent"], ["other"]) == []


def test_a_chosen_baseline_comes_first_and_must_exist():
    table = baseline_models()
    assert next(iter(baseline_choices(table, ["CLIP"]))) == "CLIP"
    with pytest.raises(DataError, match="no group 'absent'"):
        baseline_choices(table, ["absent"])
    assert baseline_choices(models([("CLIP", "c", 1.0, 0.5)])) == {}


@pytest.mark.skipif(not TESTBED.exists(), reason="imagenet-testbed's table is not beside the repository")
def test_the_choice_of_baseline_moves_imagenet_rs_slope_as_the_readme_says():
    """Standard models end far above what CLIP models of 15 million samples reach; low-accuracy CNNs go on below."""
    words = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    table = read_results([TESTBED, OPEN_CLIP])
    groups = TESTBED_GROUPS | {"YFCC15M": DEFAULT_GROUPS["YFCC15M"], "CC12M": DEFAULT_GROUPS["CC12M"]}
    accuracies = accuracies_of_groups(table, groups)
    on_imagenet = accuracies[accuracies["test_set"] == "imagenet"].groupby("sources")["accuracy"]
    assert on_imagenet.min()["standard models"] == pytest.approx(0.56, abs=0.01)
    assert on_imagenet.min()["low-accuracy CNNs"] < 0.05
    assert 0.17 < on_imagenet.min()["YFCC15M"] <= on_imagenet.max()["CC12M"] < 0.37
    lines, _ = compare_choices(accuracies, baseline_choices(accuracies), ["imagenet"], "probit")
    slopes = lines[(lines["term"] == "imagenet") & (lines["shift"] == "imagenet_r")].set_index("choice")[
        "value"
    ]
    for choice, words_before in (
        ("standard models", "standard models alone give a probit slope of "),
        ("standard models + low-accuracy CNNs", "on ImageNet-R, with low-accuracy CNNs "),
    ):
        assert words_before + f"{slopes[choice]:.2f}".removeprefix("0") in words


def test_the_readme_quotes_what_is_computed():
    words = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    table = predict_table_18().query("shares == 'by size'")
    numbers = ("none", "one", "two", "three", "four", "five", "six", "seven", "all eight")
    seen, place = (
        {name: numbers[count] for name, count in range_counts(table, rule).items()}
        for rule in ("mediant", AT_PLACE)
    )
    assert (
        "of DataComp's eight mixtures {yes} lie inside their sources' range of d′ ratios at 95% at equal samples seen, {no} "
        "outside, {inconclusive} are open ({between} between by their values alone); at equal place on the line".format(
            **seen
        )
    ) in words
    assert (
        "at equal place on the line {yes}, {no} and {inconclusive} ({between} by their values)".format(
            **place
        )
        in words
    )
    mediant_rows = table[table["rule"] == "mediant"]
    bias = (mediant_rows["ratio_predicted"] - mediant_rows["ratio_measured"]).groupby(mediant_rows["scale"])
    assert bias.max().max() < 0
    assert (
        f"(by {-bias.mean()['small']:.3f} at small and {-bias.mean()['medium']:.3f} at medium scale)".replace(
            "0.", "."
        )
        in words
    )
    reported = accuracies_of_groups(assemble(paper_checkpoints(), "the paper"), CHECKPOINT_GROUPS)
    (sketch,) = [s for s in describe_checkpoints(reported, "imagenet", {}) if s.startswith("imagenet_sketch")]
    for quoted in re.findall(
        r"\.\d{3} \[\.\d{3}, \.\d{3}\]", words.partition("## Published models")[2].partition("## Your own")[0]
    ):
        assert quoted.replace(".", "0.") in sketch
