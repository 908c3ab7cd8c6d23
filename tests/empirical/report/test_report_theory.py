"""The page's own arithmetic, run in a JavaScript engine, beside the Python it mirrors, at places that are in no table."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_mini_racer import MiniRacer
from scipy.special import ndtr, ndtri

from empirical.filter_prediction import FILTER_RULES, FROZEN_FILTER_RULE, PREDICTION_COLUMNS
from empirical.filter_prediction import filtered_pools as predicted_pools
from empirical.filtered_pool import FilterAccount, FilteredPool, SizeCurve
from empirical.prediction import RULES, predict_ratio
from empirical.report.filters import measured_pools, pool_payload
from empirical.report.page import part
from empirical.report.payload import clean
from theory import Pool, Source, Target, filter_pool, filtered_slope, mixture_slope, with_shuffled_captions
from theory.links import dprime, dprime_inverse

NUMBERS = st.floats(0.05, 4.0)
PAIRS = st.tuples(NUMBERS, st.floats(-0.5, 4.0))


@pytest.fixture(scope="module")
def page():
    engine = MiniRacer()
    engine.eval(part("theory.js"))

    def call(function: str, *arguments: Any) -> Any:
        text = ", ".join(json.dumps(argument) for argument in arguments)
        return json.loads(str(engine.eval(f"JSON.stringify(Theory.{function}({text}))")))

    return call


@settings(max_examples=60)
@given(share=st.floats(0, 1), dprime=st.tuples(PAIRS, PAIRS), lines=st.tuples(PAIRS, PAIRS))
def test_rules_are_those_of_the_bridge_at_any_share(page, share, dprime, lines):
    shares = [1 - share, share]
    for rule in RULES:
        here = page("predictRatio", rule, shares, dprime, lines)
        there = predict_ratio(rule, shares, dprime, lines if rule == "lines" else ())
        assert here == pytest.approx(there, abs=1e-6, rel=1e-9)


@settings(max_examples=15)
@given(share=st.floats(0, 1), first=PAIRS, second=PAIRS)
def test_the_mediant_is_theorem_2(page, share, first, second):
    # A source whose mean lies along (d'_ref, d'_shift) has these margins on targets along the axes.
    reference, shift = Target([1.0, 0.0]), Target([0.0, 1.0])
    sources = [Source(list(first)), Source(list(second))]
    theorem = float(mixture_slope(sources, [1 - share, share], reference, shift).slope)
    assert page("predictRatio", "mediant", [1 - share, share], [first, second])[0] == pytest.approx(
        theorem, abs=1e-6, rel=1e-6
    )


def test_links_are_those_of_the_theory(page):
    for num_classes in (2, 20, 200, 1000):
        for value in (-1.5, -0.2, 0.0, 0.731, 2.2, 4.4):
            accuracy = float(dprime_inverse(value, num_classes))
            assert page("accuracyOfDprime", value, num_classes) == pytest.approx(accuracy, abs=1e-9)
            assert page("probitOfDprime", value, num_classes) == pytest.approx(
                float(ndtri(accuracy)), abs=1e-6
            )
        for accuracy in (1e-4, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.99, 0.999, 0.9999):
            there = float(dprime(accuracy, num_classes))
            assert page("dprimeOfAccuracy", accuracy, num_classes) == pytest.approx(there, abs=1e-6)
    for x in np.linspace(-7, 7, 57):
        assert page("normalCdf", float(x)) == pytest.approx(float(ndtr(x)), rel=1e-9, abs=1e-15)
        if x > 5:
            continue  # 1 - 1e-8 has too few digits left to tell its quantile
        assert page("normalQuantile", float(ndtr(x))) == pytest.approx(float(x), abs=1e-7)


@settings(max_examples=25)
@given(
    threshold=st.floats(-3, 5), junk=st.floats(0, 0.9), num_classes=st.sampled_from([2, 10, 20]),
    strength=st.floats(0.3, 4), alignment=st.floats(0.3, 0.99), pool_slope=st.floats(0.1, 1.2), filter_slope=st.floats(0.1, 1.2),
)  # fmt: skip
def test_a_filtered_slope_is_theorem_3(
    page, threshold, junk, num_classes, strength, alignment, pool_slope, filter_slope
):
    a = strength * (num_classes - 1) / num_classes
    length = a / alignment
    # Filter along the first axis; the pool's mean, equal to the reference's, makes the given angle with it.
    mean = np.array([a, np.sqrt(length**2 - a**2)])
    second = (pool_slope * length**2 - filter_slope * a * a) / mean[1]
    reference, shift = Target(mean.tolist()), Target([filter_slope * a, float(second)])
    components = with_shuffled_captions(Source(mean.tolist()), junk, num_classes)
    pool = Pool([source for source, _ in components], [weight for _, weight in components])
    theorem = filtered_slope(pool, [1.0, 0.0], threshold, reference, shift)
    kept = filter_pool(pool, [1.0, 0.0], threshold)
    told = {
        "poolSlope": pool_slope, "filterSlope": filter_slope, "dprimeFilter": strength, "numClasses": num_classes, "junk": junk,
        "alignment": alignment,
    }  # fmt: skip
    here = page("filteredSlope", told, threshold)
    assert here["kept"] == pytest.approx(float(kept.kept_share), abs=1e-9)
    assert here["pullWeight"] == pytest.approx(float(theorem.filter_weight), abs=1e-6)
    assert here["slope"] == pytest.approx(float(theorem.slope), abs=1e-6)


POSITIVE = st.floats(0.2, 3.0)
READINGS = {"filter": FILTER_RULES["plain"], "signal": FILTER_RULES[FROZEN_FILTER_RULE]}
"""The page's word for each rule that it draws."""


@st.composite
def pool_fields(draw):
    """Fields of pools of one or two sources with overlaps of a positive Gram matrix."""
    names = ("one", "two")[: draw(st.integers(1, 2))]
    parts = tuple(
        (
            name, draw(st.integers(50, 5000)), draw(st.integers(1, 5000)), draw(st.floats(0.2, 0.6)), draw(st.floats(-0.1, 0.15)),
            draw(st.floats(0.05, 0.4)), 0.0,
        )
        for name in names
    )  # fmt: skip
    every = (*names, "filter")
    directions = np.array([[1.0, draw(st.floats(-0.8, 0.8)), draw(st.floats(-0.8, 0.8))] for _ in every])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    scale = [draw(st.floats(0.4, 0.95)) for _ in every]
    gram = np.outer(scale, scale) * np.maximum(directions @ directions.T, 0.05)
    overlaps = {(s, u): float(gram[i, j]) for i, s in enumerate(every) for j, u in enumerate(every)}
    dprime = {name: np.array([draw(POSITIVE), draw(POSITIVE)]) for name in names}
    own = np.array([draw(POSITIVE), draw(POSITIVE)])
    classes, n_train = draw(st.sampled_from([2, 20])), draw(st.sampled_from([256, 8192]))
    curves = {
        name: SizeCurve(sizes, np.array([[draw(POSITIVE), draw(POSITIVE)] for _ in sizes]))
        for name in (*names, "filter")
        for sizes in [
            np.array(sorted(draw(st.sets(st.sampled_from([64.0, 512.0, 2048.0, 8192.0]), min_size=1))))
        ]
    }
    return parts, classes, ("reference", "shift"), dprime, overlaps, "filter", own, n_train, curves


@settings(max_examples=40)
@given(fields=pool_fields(), threshold=st.floats(-3, 3), read=st.sampled_from(list(READINGS)))
def test_a_measured_pool_is_predicted_as_in_python(page, fields, threshold, read):
    """The share kept and d' at any threshold, in standard deviations above the clean pairs' mean score; by both rules."""
    pool = FilteredPool(tuple(FilterAccount(*part) for part in fields[0]), *fields[1:])
    counts = np.array([part.clean for part in pool.parts], dtype=float)
    over = [
        float(np.average([getattr(p, name) for p in pool.parts], weights=counts))
        for name in ("clean_score", "spread")
    ]
    cut = over[0] + threshold * over[1]
    there = replace(pool, parts=tuple(replace(part, threshold=cut) for part in pool.parts))
    kept, size = there.kept_share(), 4000
    told = pool_payload(
        "pool", "filter", size, [pool], pd.DataFrame(columns=list(PREDICTION_COLUMNS), dtype=float)
    )
    here = page("filteredPools", clean(told, digits=15), ["reference", "shift"], threshold, read)
    assert here["kept"] == pytest.approx(kept, rel=1e-7)
    assert here["size"] == pytest.approx(there.size(kept * size, READINGS[read]), rel=1e-6)
    expected = there.dprimes(kept * size, READINGS[read])
    assert [here["dprime"][name] for name in pool.test_sets] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_where_a_size_was_not_measured_the_page_has_the_plain_rule_alone():
    parts = (FilterAccount("one", 10, 10, 0.4, 0.1, 0.2, 0.0),)
    sizes = np.array([64.0, 512.0])
    holes = {"one": SizeCurve(sizes, np.array([[1.0, np.nan], [1.0, 1.0]]))}
    for curves in ({}, {"one": SizeCurve(sizes[:0], np.empty((0, 2)))}, holes):
        pool = FilteredPool(
            parts, 20, ("reference", "shift"), {"one": np.ones(2)}, {("one", "one"): 0.5, ("one", "f"): 0.4,
            ("f", "one"): 0.4, ("f", "f"): 0.5}, "f", np.ones(2), 512, curves,
        )  # fmt: skip
        told = pool_payload(
            "p", "f", 100, [pool], pd.DataFrame(columns=list(PREDICTION_COLUMNS), dtype=float)
        )
        assert told["curves"] is None


@pytest.mark.parametrize("read", list(READINGS))
def test_the_committed_studys_pools_are_predicted_as_in_python(page, read):
    folder = Path(__file__).resolve().parents[3] / "paper_figures" / "records" / "gpu_study"
    tables = [pd.read_csv(folder / f"{name}.csv") for name in ("accuracies", "filtering_account", "overlaps")]
    found = predicted_pools(*tables)
    told = {(each["pool"], each["filter"]): each for each in measured_pools(folder, tables[0], "reference")}
    assert len(told) >= 8
    for (name, by, size), pools in found.items():
        if (name, by) not in told or told[name, by]["poolSize"] != size:
            continue
        here = page("filteredPools", clean(told[name, by], digits=12), list(pools[0].test_sets), 0.3, read)
        expected, shares = [], []
        for pool in pools:
            counts = [part.clean for part in pool.parts]
            score, spread = (
                np.average([getattr(p, k) for p in pool.parts], weights=counts)
                for k in ("clean_score", "spread")
            )
            cut = float(score + 0.3 * spread)
            there = replace(pool, parts=tuple(replace(part, threshold=cut) for part in pool.parts))
            shares.append(there.kept_share())
            expected.append(there.dprimes(shares[-1] * size, READINGS[read]))
        assert here["kept"] == pytest.approx(np.mean(shares), rel=1e-7)
        assert list(here["dprime"].values()) == pytest.approx(np.mean(expected, axis=0), abs=1e-6)


def test_an_unknown_rule_is_an_error(page):
    with pytest.raises(Exception, match="no rule moon"):
        page("predictRatio", "moon", [1.0], [[1.0, 1.0]])
