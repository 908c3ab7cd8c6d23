"""Errors of the bridge: gradients by finite differences, standard errors by hand, and their coverage over repeated studies."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from synthetic_accuracies import accuracies_from_dprime, synthetic_study

from empirical.group_means import GroupMean, SeedCovariance
from empirical.line_fits import LineFit
from empirical.prediction import RULES, inside_range, predict_mixtures, ratio_by_lines, ratio_by_rule

STEP = 1e-6
MANY = 10**12
"""Images enough that their error vanishes beside any other."""


def numerical_gradient(function, values: np.ndarray) -> np.ndarray:
    """Central differences, of the shape of `values`."""
    found = np.zeros_like(values)
    for i in np.ndindex(values.shape):
        move = np.zeros_like(values)
        move[i] = STEP
        found[i] = (function(values + move) - function(values - move)) / (2 * STEP)
    return found


@st.composite
def mixtures(draw, smallest: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Shares (S,) and d' (S, 2), above `smallest` on the reference, of either sign under the shift."""
    count = draw(st.integers(2, 4))
    p = np.array(draw(st.lists(st.floats(0.1, 1), min_size=count, max_size=count)))
    x = draw(st.lists(st.floats(smallest, 3), min_size=count, max_size=count))
    y = draw(st.lists(st.floats(-1, 3), min_size=count, max_size=count))
    return p / p.sum(), np.array([x, y]).T


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "lines"])
@given(mixture=mixtures())
def test_gradients_are_finite_differences(rule, mixture):
    p, values = mixture
    ratios = values[:, 1] / values[:, 0]
    if rule == "best_source" and np.sort(ratios)[-1] - np.sort(ratios)[-2] < 1e-3:
        return  # two sources that tie for the best: no gradient
    if rule == "quadrature" and (
        np.abs(values[:, 1]).min() < 1e-2 or abs(p @ (values[:, 1] * np.abs(values[:, 1]))) < 1e-2
    ):
        return  # sqrt of a signed square has none at 0
    _, _, gradients = ratio_by_rule(rule, p, values, 4, 3, 1)
    expected = numerical_gradient(lambda v: ratio_by_rule(rule, p, v, 2, 0, 1)[0], values)
    assert gradients[:, [3, 1]] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert not gradients[:, [0, 2]].any()


def some_lines(rng: np.random.Generator, count: int) -> list[LineFit]:
    roots = rng.normal(size=(count, 2, 2)) / 10
    return [
        LineFit(
            parameters=rng.uniform(0.3, 0.9, 2),
            covariance=root @ root.T,
            shared_x=rng.normal(size=2) / 20,
            shared_y=rng.normal(size=2) / 20,
            degrees=5,
            r2=0.9,
            num_models=7,
            extra_variance=0.0,
        )
        for root in roots
    ]


def by_lines(p: np.ndarray, parameters: np.ndarray, place: float) -> float:
    return float(p @ (parameters[:, 0] + parameters[:, 1] * place) / place)


@pytest.mark.parametrize("count", [2, 3])
def test_the_error_of_the_lines_rule_is_the_delta_methods(count):
    """Seeds: lines and place vary independently. Images: all points of all lines move together, and so does the place."""
    rng = np.random.default_rng(count)
    p = rng.dirichlet(np.full(count, 3.0))
    fits = some_lines(rng, count)
    parameters = np.array([fit.parameters for fit in fits])
    ref, at = 2, 0
    parts = [GroupMean(rng.uniform(1, 2, 3), np.full(3, 0.07), 2 + s) for s in range(count)]
    root = rng.normal(size=(3, 3)) / 10
    seeds = SeedCovariance(root @ root.T, 9)
    ensemble = GroupMean(np.array([1.1, 1.2, 1.7]), np.array([0.05, 0.06, 0.08]), 3)
    weighted = float(p @ [part.mean[ref] for part in parts])
    for group, place, of_place in ((ensemble, 1.7, 0.08), (None, weighted, 0.07)):
        ratio, at_ref, variance, images = ratio_by_lines(p, fits, parts, group, (ref, at), seeds)
        assert at_ref == pytest.approx(place)
        assert ratio == pytest.approx(by_lines(p, parameters, place))
        by_parameters = numerical_gradient(lambda v, x=place: by_lines(p, v, x), parameters)
        by_place = numerical_gradient(lambda x: by_lines(p, parameters, x[0]), np.array([place]))[0]
        scatter = sum(g @ fit.covariance @ g for g, fit in zip(by_parameters, fits, strict=True))
        # The place is an average over the sources' models, with the shares as weights.
        spread = sum(s**2 * seeds.matrix[ref, ref] / part.num_seeds for s, part in zip(p, parts, strict=True))
        assert variance == pytest.approx(scatter + by_place**2 * spread, rel=1e-6)
        moved = [
            sum((by_parameters * [getattr(fit, name) for fit in fits]).ravel())
            for name in ("shared_x", "shared_y")
        ]
        assert images[0, [ref, at]] == pytest.approx(moved, rel=1e-6)
        assert images[1, ref] == pytest.approx(by_place * of_place, rel=1e-6)
        assert by_place < 0, "the test would not notice a sign"
        assert images[0, 1] == images[1, 1] == images[1, at] == 0


def exact_study(
    means: dict[tuple[str, str], tuple[float, ...]], deviations: np.ndarray, sizes: tuple[int, ...] = (512,)
) -> pd.DataFrame:
    """Every group's seeds lie at its mean plus `deviations` (seeds, T): C is known, images have no error."""
    rows = [
        {"run": f"{kind}-{sources}-{n}-{s}", "kind": kind, "sources": sources, "n_train": n, "seed": s, "test_set": t,
         "true_dprime": value}
        for n in sizes for (kind, sources), mean in means.items() for s, deviation in enumerate(deviations)
        for t, value in zip(("reference", "v2"), mean + deviation, strict=True)
    ]  # fmt: skip
    true = np.array([row["true_dprime"] for row in rows])
    return accuracies_from_dprime(rows, MANY, 10, np.random.default_rng(0)).assign(dprime=true)


def test_standard_errors_are_those_computed_by_hand():
    deviations = np.array([[0.1, 0.02], [-0.1, 0.04], [0.0, -0.06]])
    matrix = deviations.T @ deviations / 2
    means = {
        ("single", "a"): (1.0, 0.6),
        ("single", "b"): (2.0, 0.8),
        ("input_mixing", "a:0.25+b:0.75"): (1.6, 0.9),
    }
    rows = predict_mixtures(exact_study(means, deviations)).set_index("rule")
    bottom, top = 0.25 * 1.0 + 0.75 * 2.0, 0.25 * 0.6 + 0.75 * 0.8
    gradients = {
        "mediant": [share * np.array([-top / bottom**2, 1 / bottom]) for share in (0.25, 0.75)],
        "interpolated": [0.25 * np.array([-0.6, 1.0]), 0.75 * np.array([-0.8 / 4, 1 / 2])],
        "best_source": [np.array([-0.6, 1.0])],
    }
    of_mixture = np.array([-0.9 / 1.6**2, 1 / 1.6])
    measured = of_mixture @ matrix @ of_mixture / 3
    for rule, parts in gradients.items():
        row = rows.loc[rule]
        predicted = sum(g @ matrix @ g for g in parts) / 3
        assert row["ratio_predicted_stderr"] == pytest.approx(np.sqrt(predicted), rel=1e-5)
        assert row["ratio_measured_stderr"] == pytest.approx(np.sqrt(measured), rel=1e-5)
        # Different models: variances add.
        assert row["difference_stderr"] == pytest.approx(np.sqrt(predicted + measured), rel=1e-5)
        assert row["dprime_ref_measured_stderr"] == pytest.approx(np.sqrt(matrix[0, 0] / 3), rel=1e-5)
        assert row["dprime_shift_measured_stderr"] == pytest.approx(np.sqrt(matrix[1, 1] / 3), rel=1e-5)


def test_a_place_within_three_standard_errors_of_zero_has_no_ratio():
    deviations = np.array([[0.2, 0.02], [-0.2, 0.04], [0.0, -0.06]])
    error = np.sqrt(np.mean([0.2**2, 0.2**2, 0.0]) * 3 / 2 / 3)
    for distance in (2.1, 2.9, 3.1):
        means = {("single", "a"): (4.0, 2.0), ("single", "b"): (5.0, 2.0)}
        mixed = ("input_mixing", "a:0.5+b:0.5")
        rows = predict_mixtures(exact_study({**means, mixed: (distance * error, 0.2)}, deviations))
        known = rows["ratio_measured"].notna()
        assert known.eq(distance > 3).all(), "the mixture's own"
        assert known.equals(rows["ratio_measured_stderr"].notna())
        weak = {("single", "a"): (distance * error, 0.2), ("single", "b"): (5.0, 2.0), mixed: (4.0, 2.0)}
        found = predict_mixtures(exact_study(weak, deviations)).query("rule != 'lines'")
        assert found["ratio_predicted"].notna().eq(distance > 3).all(), "a source's"
        assert found["ratio_measured"].notna().all()


def test_images_that_prediction_and_measurement_share_do_not_add_up():
    """Same images, same sign: the difference knows them better than two separate measurements would."""
    means = {
        ("single", "a"): (1.0, 0.6),
        ("single", "b"): (1.2, 0.7),
        ("input_mixing", "a:0.5+b:0.5"): (1.1, 0.65),
    }
    rows = []
    for (kind, sources), mean in means.items():
        for n in (256, 512, 1024):
            for s in range(2):
                for t, value in zip(("reference", "v2"), mean, strict=True):
                    rows.append(
                        {"run": f"{kind}-{sources}-{n}-{s}", "kind": kind, "sources": sources, "n_train": n, "seed": s,
                         "test_set": t, "true_dprime": value + n / 2000}
                    )  # fmt: skip
    table = accuracies_from_dprime(rows, 400, 10, np.random.default_rng(0))
    table["dprime"] = [
        row["true_dprime"] for row in rows
    ]  # no scatter between seeds: all error is the images'
    found = predict_mixtures(table)
    assert (found["ratio_predicted_stderr"] > 0.01).all()
    apart = np.hypot(found["ratio_predicted_stderr"], found["ratio_measured_stderr"])
    assert (found["difference_stderr"] <= apart * (1 + 1e-9)).all()


def verdict(scores: list[float], degrees: int = 20) -> str:
    """Of a mixture so many standard errors above each of its sources; all error is that of seeds under the shift."""
    seeds, one = SeedCovariance(np.diag([0.0, 0.01]), degrees), np.zeros(2)
    error = np.sqrt(2 * 0.01 / 4)
    parts = [GroupMean(np.array([1.0, 0.5 - z * error]), one, 4) for z in scores]
    return inside_range(GroupMean(np.array([1.0, 0.5]), one, 4), parts, 0, 1, seeds)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_verdicts_turn_at_their_quantiles(count):
    """Outside: each source at .975. Inside: two sources picked among S, at 1 - .025 (2 / S)."""
    outside, within = (float(student.ppf(level, 20)) for level in (0.975, 1 - 0.05 / count))
    near = [0.0] * (count - 2)
    for sign in (1, -1):
        assert verdict([sign * (outside + 0.01)] * count) == "no"
        assert verdict([sign * (outside - 0.01), *[sign * 9.0] * (count - 1)]) == "inconclusive"
        assert verdict([sign * (within + 0.01), -sign * (within + 0.01), *near]) == "yes"
        assert verdict([sign * (within + 0.01), -sign * (within - 0.01), *near]) == "inconclusive"
    assert verdict([9.0, -9.0, *near], degrees=0) == "inconclusive"


def test_stated_errors_of_a_prediction_cover_as_often_as_they_say():
    """Repeated studies: predicted - measured, less its expectation, in units of difference_stderr; too wide fails as well."""
    names, sizes, studies = tuple("abcdefgh"), (512, 1024, 1536), 30
    mixed = tuple(f"{a}:0.3+{b}:0.7" for a, b in zip(names[::2], names[1::2], strict=True))

    def study(seed: int, scatter: float) -> pd.DataFrame:
        table = synthetic_study(seed, sizes, (0, 1, 2, 3), names, mixed, ("v2",), scatter, MANY, 20, sizes)
        found = predict_mixtures(table).set_index(["sources", "n_train", "rule"])
        return found.assign(error=found["ratio_predicted"] - found["ratio_measured"])

    expected = study(0, 1e-4)["error"]
    scores = pd.DataFrame(
        [(found["error"] - expected) / found["difference_stderr"] for found in (study(s, 0.05) for s in range(1, 1 + studies))]
    )  # fmt: skip
    for rule in RULES:
        of_rule = scores.xs(rule, axis=1, level="rule").abs().to_numpy()
        # Mixtures share no source and sizes no model; but a source has one line for all sizes.
        independent = studies * len(mixed) * (1 if rule == "lines" else len(sizes))
        for level in (0.6, 0.95):
            # C of 8 sources with 4 seeds each has 24 degrees of freedom.
            share = (of_rule < student.ppf(0.5 + level / 2, 24)).mean()
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / independent), (rule, level, share)
