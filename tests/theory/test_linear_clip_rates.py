"""Rates of filtered linear CLIP: closed forms and fitted exponents against simulation (Pareek, Oh and Du's setting)."""

import jax
import numpy as np
import pandas as pd
import pytest

from theory.linear_clip_exponents import fit_exponents
from theory.linear_clip_rates import (
    MatchedPairs,
    Teacher,
    _positive_part,
    filter_pass,
    filtered_error,
    training_errors,
    unfiltered_error,
)

SETTING = MatchedPairs()
KEY = jax.random.key(2025)


def simulate(sizes, shares, num_filters, replicates, teacher: Teacher = "learned"):
    """One row per replicate, n, share and pass."""
    rows = []
    for rep in range(replicates):
        for i, n in enumerate(sizes):
            key = jax.random.fold_in(jax.random.fold_in(KEY, rep), i)
            errors, kept = training_errors(key, SETTING, n, shares, num_filters, teacher)
            rows += [
                {
                    "replicate": rep,
                    "n": n,
                    "share": eta,
                    "filters": t,
                    "error": errors[t, e],
                    "kept": kept[t, e],
                }
                for t in range(num_filters + 1)
                for e, eta in enumerate(shares)
            ]
    return pd.DataFrame(rows)


def check_exponents(rows, wanted, predict, within=0.08):
    """Fitted exponents near the rates, their intervals informative and around what the closed form has."""
    fitted = fit_exponents(rows, ["share", "n"])
    closed = fit_exponents(
        pd.concat(
            [rows.assign(replicate=r, error=predict(*rows[["n", "share"]].to_numpy().T)) for r in (0, 1)]
        ),
        ["share", "n"],
    )
    for name, value in wanted.items():
        found = fitted[name]
        assert abs(found.value - value) < within, found.describe()
        assert found.high - found.low < 2 * within, found.describe()
        assert abs(found.value - closed[name].value) < 4 * found.stderr + 0.02, (
            found.describe(),
            closed[name].value,
        )
    return fitted


def test_latent_scores_against_draws():
    rng = np.random.default_rng(0)
    for rank, noise in ((1, 0.5), (2, 0.5), (3, 1.0)):
        setting = MatchedPairs(20, rank, noise)
        for correlation in (0.0, 1 / (1 + noise**2)):
            z = rng.standard_normal((3, 200_000, rank))
            scale = np.sqrt(1 + noise**2)
            u = scale * (np.sqrt(correlation) * z[0] + np.sqrt(1 - correlation) * z[1])
            v = scale * (np.sqrt(correlation) * z[0] + np.sqrt(1 - correlation) * z[2])
            s = (u * v).sum(1)
            for drawn, exact in zip(
                (s > 0, np.maximum(s, 0) / rank, (v**2).sum(1) * (s > 0) / rank),
                _positive_part(setting, correlation),
                strict=True,
            ):
                assert abs(drawn.mean() - exact) < 4.5 * drawn.std() / np.sqrt(200_000)


def test_closed_forms_against_simulation():
    """Root mean squared errors of every pass, learned and oracle teachers, where errors are small."""
    shares, n, replicates = (1.0, 0.4, 0.2, 0.0), 32_768, 10
    rows = simulate([n], shares[:3], 3, replicates)
    oracle = simulate([n], shares, 3, replicates, "oracle")
    tables: tuple[tuple[pd.DataFrame, Teacher], ...] = ((rows, "learned"), (oracle, "oracle"))
    for table, teacher in tables:
        for (t, eta), group in table.groupby(["filters", "share"]):
            if eta == 0 and t == 0:
                continue
            predicted = filtered_error(SETTING, n, eta, int(t), teacher if t else "learned")
            squared = group["error"] ** 2
            ratio, spread = squared.mean() / predicted**2, squared.std() / np.sqrt(replicates) / predicted**2
            assert abs(ratio - 1) < 4 * spread + 0.03, (teacher, t, eta, ratio, spread)
            if t:
                kept = group["kept"].mean()
                assert abs(kept - filter_pass(SETTING, n, eta).kept_share) < 0.01
    # Mismatched pairs alone repeat a quarter of the teacher's error in every pass: 1 + c + c² + ... with c = 1/5.
    ends = oracle[(oracle["share"] == 0)].groupby("filters")["error"].apply(lambda e: np.sqrt((e**2).mean()))
    assert filter_pass(SETTING, n, 0.0).contraction == pytest.approx(0.2)
    assert ends[3] / ends[1] == pytest.approx(1.24, abs=0.04)


def test_exponents_of_smaller_pools():
    rows = simulate([4096, 16_384, 65_536], (1.0, 0.7, 0.4, 0.2), 1, 8)
    unfiltered = rows[(rows["filters"] == 0) & (rows["share"] * np.sqrt(rows["n"]) >= 6)]
    check_exponents(unfiltered, {"share": -1.0, "n": -0.5}, lambda n, eta: unfiltered_error(SETTING, n, eta))
    filtered = rows[rows["filters"] == 1]
    check_exponents(filtered, {"share": -0.5, "n": -0.5}, lambda n, eta: filtered_error(SETTING, n, eta))


@pytest.mark.slow
def test_exponents_of_the_stated_sizes():
    sizes = [16_384, 65_536, 262_144]
    rows = simulate(sizes, (1.0, 0.7, 0.4, 0.2), 1, 10)
    small = simulate(sizes, (0.1, 0.05, 0.02), 8, 6)
    both = pd.concat([rows[rows["replicate"] < 6], small])
    unfiltered = both[(both["filters"] == 0) & (both["share"] * np.sqrt(both["n"]) >= 6)]
    check_exponents(unfiltered, {"share": -1.0, "n": -0.5}, lambda n, eta: unfiltered_error(SETTING, n, eta))
    filtered = rows[rows["filters"] == 1]
    check_exponents(filtered, {"share": -0.5, "n": -0.5}, lambda n, eta: filtered_error(SETTING, n, eta))
    iterated = small[small["filters"] == 8]
    fitted = check_exponents(iterated, {"n": -0.5}, lambda n, eta: filtered_error(SETTING, n, eta, 8))
    # 1/√n whatever η: next to no dependence is left, unlike after one pass.
    assert abs(fitted["share"].value) < 0.16
    one = fit_exponents(small[small["filters"] == 1], ["share", "n"])
    assert one["share"].value < -0.6


def test_many_passes_forget_the_matched_share():
    """A smaller form of the slow test's last part: after eight passes errors hardly depend on η, after one they do."""
    rows = simulate([65_536], (0.1, 0.05), 8, 4)
    ends = rows.groupby(["filters", "share"])["error"].mean().unstack()
    assert ends.loc[1, 0.05] > 1.4 * ends.loc[1, 0.1]
    assert ends.loc[8, 0.05] < 1.2 * ends.loc[8, 0.1]


def test_laws_of_the_closed_forms():
    eta = np.linspace(0.01, 1, 30)
    one = filter_pass(SETTING, 1000, eta)
    # One pass with an oracle beats no filter, the more the fewer pairs match; at η = 1 all but nothing is gained.
    assert np.all(one.noise < unfiltered_error(SETTING, 1000, eta))
    assert np.all(np.diff(one.noise) < 0)
    assert np.all(np.diff(one.contraction) < 0)
    assert np.all((one.contraction > 0) & (one.contraction < 0.2))
    # Scale: errors fall exactly as 1/√n, and grow with √(d − r).
    np.testing.assert_allclose(
        filtered_error(SETTING, 4000, eta, 3), filtered_error(SETTING, 1000, eta, 3) / 2
    )
    wide = MatchedPairs(74, 2, 0.5)
    np.testing.assert_allclose(filtered_error(wide, 1000, eta, 3), 2 * filtered_error(SETTING, 1000, eta, 3))
    many = filtered_error(SETTING, 1000, eta, 60)
    np.testing.assert_allclose(many, one.noise / (1 - one.contraction), rtol=1e-9)
    np.testing.assert_allclose(filtered_error(SETTING, 1000, eta, 0), unfiltered_error(SETTING, 1000, eta))
    # Less noise, less error, and a better teacher of mismatched pairs.
    quiet = MatchedPairs(20, 2, 0.1)
    assert np.all(filtered_error(quiet, 1000, eta) < filtered_error(SETTING, 1000, eta))
    assert filter_pass(quiet, 1000, 0.0).contraction == pytest.approx(0.01 / 1.01)
    assert np.isinf(unfiltered_error(SETTING, 1000, 0.0))


def test_draws_are_reproducible_and_streamed_in_chunks():
    first, kept = training_errors(KEY, SETTING, 10_000, [1.0, 0.5], 1)
    again, _ = training_errors(KEY, SETTING, 10_000, [1.0, 0.5], 1)
    np.testing.assert_array_equal(first, again)
    assert first.shape == kept.shape == (2, 2)
    np.testing.assert_array_equal(kept[0], 1)
    assert 0.5 < kept[1, 1] < kept[1, 0] < 1
    # The same shares alone see the same pairs.
    lone, _ = training_errors(KEY, SETTING, 10_000, [0.5], 1)
    np.testing.assert_allclose(lone[:, 0], first[:, 1], rtol=1e-3)


def test_exponents_against_a_power_law_with_known_noise():
    rng = np.random.default_rng(3)
    cells = [(n, eta) for n in (10.0, 100.0, 1000.0) for eta in (0.1, 0.5)]
    covered, runs, stderrs, rows = 0, 200, [], pd.DataFrame()
    for _ in range(runs):
        rows = pd.DataFrame(
            [
                {
                    "replicate": r,
                    "n": n,
                    "share": eta,
                    "error": 3 * n**-0.5 / eta * np.exp(0.1 * rng.standard_normal()),
                }
                for r in range(5)
                for n, eta in cells
            ]
        )
        fitted = fit_exponents(rows, ["n", "share"])
        covered += fitted["n"].low < -0.5 < fitted["n"].high
        stderrs.append(fitted["n"].stderr)
    assert abs(covered / runs - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)
    spread = 0.1 / np.sqrt(5 * 6) / np.std(np.log([10.0, 100.0, 1000.0]))
    assert np.mean(stderrs) == pytest.approx(spread, rel=0.15)
    assert "n^-0.5" in fit_exponents(rows.assign(error=rows["n"] ** -0.5), ["n", "share"])["n"].describe()


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"rank must lie between 1 and num_features − 1 = 19, got 20"):
        MatchedPairs(20, 20)
    with pytest.raises(ValueError, match=r"noise must be a finite standard deviation > 0, got 0"):
        MatchedPairs(20, 2, 0)
    with pytest.raises(ValueError, match=r"matched shares must lie in \[0, 1\], got 1.5"):
        unfiltered_error(SETTING, 100, 1.5)
    with pytest.raises(ValueError, match=r"num_pairs must be finite numbers >= 2, got 1"):
        filter_pass(SETTING, 1, 0.5)
    with pytest.raises(ValueError, match=r"got -1 and 'learned'"):
        filtered_error(SETTING, 100, 0.5, -1)
    with pytest.raises(ValueError, match=r"got shape \(2, 2\) and 1"):
        training_errors(KEY, SETTING, 100, np.full((2, 2), 0.5))
    rows = pd.DataFrame({"replicate": [0, 1], "n": [1.0, 2.0], "error": [1.0, 1.0]})
    with pytest.raises(ValueError, match=r"do not tell n apart"):
        fit_exponents(rows, ["n"])
    with pytest.raises(ValueError, match=r"at least two replicates, got 1"):
        fit_exponents(rows.assign(replicate=0), ["n"])
    with pytest.raises(ValueError, match=r"error and n must be finite numbers > 0"):
        fit_exponents(rows.assign(error=0.0), ["n"])
