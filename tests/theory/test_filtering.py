import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.brute_force import brute_force_filtered
from theory.classifiers import AveragingLaw
from theory.filtering import (
    Pool,
    direction_slope,
    filter_pool,
    filtered_place,
    filtered_slope,
    with_shuffled_captions,
)
from theory.finite_size import LowRankCovariance, expected_margin
from theory.gaussian import Source, Target

D = 4
FULL = np.asarray([[1.5, 0.3, 0.0, 0.2], [0.3, 1.0, -0.2, 0.0], [0.0, -0.2, 0.8, 0.1], [0.2, 0.0, 0.1, 1.2]])
SOURCES = (
    Source([0.9, 0.3, 0.0, 0.1], 1.0, "scalar"),
    Source([0.2, 0.8, 0.1, 0.0], np.asarray([0.5, 1.0, 2.0, 1.5]), "diagonal"),
    Source([-0.5, 0.1, 0.3, 0.0], FULL, "full"),
)
POOL = Pool(SOURCES, [0.5, 0.3, 0.2])
FILTER = np.asarray([0.7, 0.9, 0.2, -0.1])
REFERENCE, SHIFT = Target([1.0, 0.6, 0.0, 0.0]), Target([0.3, 0.9, 0.1, 0.0], 2.25)


def draw(pool, size, seed=0):
    """u = y x of `size` pairs with the component of each, straight from the definition."""
    generator = np.random.default_rng(seed)
    component = generator.choice(len(pool.sources), p=np.asarray(pool.weights), size=size)
    u = np.empty((size, pool.dimension))
    for j, source in enumerate(pool.sources):
        covariance = np.asarray(source.covariance)
        matrix = covariance if covariance.ndim == 2 else np.diag(np.broadcast_to(covariance, pool.dimension))
        rows = component == j
        u[rows] = generator.multivariate_normal(np.asarray(source.mean), matrix, size=rows.sum())
    return u, component


def assert_close_to_sample_mean(values, expected, k=4.5):
    error = values.std(0) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - np.asarray(expected)) < k * error).all()


@pytest.mark.parametrize("threshold", [-0.5, 0.8, 2.2])
def test_kept_shares_means_and_covariances_are_those_of_a_sample(threshold):
    u, component = draw(POOL, 400_000)
    kept = filter_pool(POOL, FILTER, threshold)
    passed = u @ FILTER >= threshold
    assert_close_to_sample_mean(passed.astype(float), kept.kept_share)
    assert_close_to_sample_mean(u[passed], kept.mean)
    centred = u[passed] - u[passed].mean(0)
    assert_close_to_sample_mean(np.einsum("ni,nj->nij", centred, centred), kept.covariance)
    for j in range(3):
        mine = passed[component == j]
        assert_close_to_sample_mean(mine.astype(float), kept.component_kept_shares[j])
        assert_close_to_sample_mean((component[passed] == j).astype(float), kept.weights[j])
        part = u[passed & (component == j)]
        assert_close_to_sample_mean(part, kept.component_means[j])
        rest = part - part.mean(0)
        assert_close_to_sample_mean(np.einsum("ni,nj->nij", rest, rest), kept.component_covariance(j))


def test_a_low_threshold_gives_the_pool():
    for threshold in (-np.inf, -1e3):
        kept = filter_pool(POOL, FILTER, threshold)
        np.testing.assert_allclose(kept.kept_share, 1.0, rtol=1e-12)
        np.testing.assert_allclose(kept.weights, POOL.weights, rtol=1e-12)
        np.testing.assert_allclose(kept.mean, POOL.weights @ POOL.means, rtol=1e-12)
        result = filtered_slope(POOL, FILTER, threshold, REFERENCE, SHIFT)
        mean = np.asarray(POOL.weights @ POOL.means)
        expected = mean @ SHIFT.mean / (1.5 * mean @ REFERENCE.mean)
        np.testing.assert_allclose(result.slope, expected, rtol=1e-12)
        np.testing.assert_allclose(result.filter_weight, 0.0, atol=1e-12)


def test_a_high_threshold_keeps_finite_shares_of_what_survives():
    kept = filter_pool(POOL, FILTER, np.asarray([30.0, 200.0]))
    assert kept.kept_share[1] == 0.0  # underflow of the share itself
    np.testing.assert_allclose(kept.weights.sum(-1), 1.0, rtol=1e-12)
    assert np.isfinite(kept.mean).all()


def test_thresholds_in_an_array_equal_thresholds_one_by_one():
    thresholds = np.asarray([[-np.inf, 0.3], [1.0, 2.0]])
    together = filtered_slope(POOL, FILTER, thresholds, REFERENCE, SHIFT)
    places = filtered_place(POOL, FILTER, thresholds, SHIFT, 1000)
    for index in np.ndindex(2, 2):
        alone = filtered_slope(POOL, FILTER, thresholds[index], REFERENCE, SHIFT)
        np.testing.assert_allclose(together.slope[index], alone.slope, rtol=1e-12)
        np.testing.assert_allclose(
            places[index], filtered_place(POOL, FILTER, thresholds[index], SHIFT, 1000), rtol=1e-12
        )


def test_scale_of_the_filter_is_only_the_unit_of_the_threshold():
    one, ten = filter_pool(POOL, FILTER, 0.7), filter_pool(POOL, 10 * FILTER, 7.0)
    np.testing.assert_allclose(one.mean, ten.mean, rtol=1e-12)
    np.testing.assert_allclose(one.covariance, ten.covariance, rtol=1e-10, atol=1e-12)


# --- slopes -----------------------------------------------------------------------------------------------------------

positive = st.floats(0.05, 2.0)


def isotropic_pools(components):
    """Numbers for components in the positive quadrant (mean, mean, variance, weight each) and a filter."""
    row = st.tuples(positive, positive, st.floats(0.3, 2.0), st.floats(0.1, 1.0))
    return st.tuples(st.lists(row, min_size=components, max_size=components), st.tuples(positive, positive))


def build(case):
    rows, direction = case
    weights = np.asarray([row[3] for row in rows])
    return Pool([Source(row[:2], row[2]) for row in rows], weights / weights.sum()), np.asarray(direction)


REF2, SHIFT2 = Target([1.0, 0.4]), Target([0.3, 0.9], 4.0)
GRID = np.r_[-np.inf, np.linspace(-4, 8, 60)]


@settings(max_examples=25)
@given(isotropic_pools(components=1))
def test_slope_of_one_component_moves_monotonically_from_pool_to_filter(case):
    pool, direction = build(case)
    slope = np.asarray(filtered_slope(pool, direction, GRID, REF2, SHIFT2).slope)
    steps = np.diff(slope)
    target = float(direction_slope(direction, REF2, SHIFT2))
    assert (steps * np.sign(target - slope[0]) >= -1e-12).all()
    far = filtered_slope(pool, direction, 1e6, REF2, SHIFT2).slope
    np.testing.assert_allclose(far, target, rtol=1e-4)


@settings(max_examples=25)
@given(isotropic_pools(components=3))
def test_slope_stays_in_the_hull_of_the_components_and_the_filter(case):
    pool, direction = build(case)
    result = filtered_slope(pool, direction, GRID, REF2, SHIFT2)
    assert result.is_mediant.all()
    assert (result.slope >= result.low * (1 - 1e-12)).all()
    assert (result.slope <= result.high * (1 + 1e-12)).all()
    own = float(direction_slope(direction, REF2, SHIFT2))
    np.testing.assert_allclose(result.pull_slopes, own, rtol=1e-10)
    weights = np.concatenate([result.component_weights, result.pull_weights], axis=-1)
    slopes = np.concatenate([result.component_slopes, result.pull_slopes])
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-10)
    np.testing.assert_allclose(weights @ slopes, result.slope, rtol=1e-10)


def test_slope_of_several_components_can_leave_the_interval_of_pool_and_filter():
    # Pool .571 -> .469 -> filter .5: the steep component scores low and is filtered away before the filter's own pull.
    reference, shift = Target([1.0, 0.0]), Target([0.0, 1.0])
    pool = Pool([Source([1.0, 0.4], 0.35), Source([0.4, 0.4], 0.35)], [0.5, 0.5])
    direction = np.asarray([1.0, 0.5])
    slope = np.asarray(
        filtered_slope(pool, direction, np.r_[-np.inf, np.linspace(0, 40, 800)], reference, shift).slope
    )
    np.testing.assert_allclose(slope[0], 0.8 / 1.4, rtol=1e-9)
    assert slope.min() < 0.47
    np.testing.assert_allclose(slope[-1], 0.5, atol=0.01)
    assert 0 < slope.argmin() < len(slope) - 1


@pytest.mark.parametrize("threshold", [0.4, [-np.inf, 0.4]])
def test_a_component_without_weight_is_outside_the_interval(threshold):
    """What nothing is kept of does not widen the interval."""
    first, second = Source([1.0, 0.5]), Source([0.6, 0.5])
    present = filtered_slope(Pool([first, second], [0.6, 0.4]), [1.0, 0.2], threshold, REF2, SHIFT2)
    absent = filtered_slope(
        Pool([first, second, Source([0.1, 0.9])], [0.6, 0.4, 0.0]), [1.0, 0.2], threshold, REF2, SHIFT2
    )
    assert len(absent.component_slopes) == 3
    np.testing.assert_allclose(absent.slope, present.slope)
    np.testing.assert_allclose([absent.low, absent.high], [present.low, present.high])
    assert absent.high < absent.component_slopes.max()


def test_a_pool_of_which_all_is_kept_is_not_pulled():
    pool = Pool([Source([1.0, 0.5]), Source([0.6, 0.5])], [0.6, 0.4])
    found = filtered_slope(pool, [1.0, 0.0], -np.inf, REF2, SHIFT2)
    np.testing.assert_allclose(
        [found.low, found.high], [found.component_slopes.min(), found.component_slopes.max()]
    )


def test_negative_signal_is_reported_not_hidden():
    pool = Pool([Source([1.0, 0.5]), Source([-0.6, 0.5])], [0.6, 0.4])
    result = filtered_slope(pool, [1.0, 0.2], -np.inf, REF2, SHIFT2)
    assert not result.is_mediant
    assert result.slope > result.high


def test_without_proportional_covariances_the_limit_of_margins_is_given():
    bent = Target([0.3, 0.9], np.asarray([1.0, 9.0]))
    pool, direction = Pool([Source([1.0, 0.3]), Source([0.3, 1.0])], [0.5, 0.5]), [1.0, 1.0]
    result = filtered_slope(pool, direction, 0.4, REF2, bent)
    assert not result.is_mediant
    law = AveragingLaw(filter_pool(pool, direction, 0.4).mean, jax.numpy.zeros(()))
    np.testing.assert_allclose(result.slope, law.place(bent) / law.place(REF2), rtol=1e-10)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_shuffled_captions_are_right_by_chance_and_carry_no_signal(num_classes):
    source = Source([1.0, 0.5], 0.7, "alt text")
    (clean, clean_weight), (wrong, wrong_weight) = with_shuffled_captions(source, 0.4, num_classes)
    assert clean is source
    np.testing.assert_allclose(clean_weight, 0.6 + 0.4 / num_classes)
    np.testing.assert_allclose(clean_weight + wrong_weight, 1.0)
    np.testing.assert_allclose(
        clean_weight * clean.mean + wrong_weight * wrong.mean, 0.6 * source.mean, rtol=1e-6
    )
    assert "wrong caption" in wrong.name


def test_junk_is_not_merely_removed():
    # The wrong captions that pass carry a mean along Γf, with the sign of the filter's belief.
    parts = with_shuffled_captions(Source([1.0, 0.0]), 0.6)
    pool = Pool([source for source, _ in parts], [weight for _, weight in parts])
    kept = filter_pool(pool, [1.0, 1.0], 1.5)
    assert kept.component_means[1, 1] > 0.5
    assert kept.mean[1] > 0.3  # no component has any mean along the second axis


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [REFERENCE, SHIFT, Target([0.3, 0.9, 0.1, 0.0], FULL)])
def test_place_and_slope_match_classifiers_trained_on_filtered_pools(target):
    thresholds = np.asarray([-np.inf, 0.5, 1.6])
    sample = brute_force_filtered(jax.random.key(5), POOL, FILTER, thresholds, [target, REFERENCE], 250, 6000)
    margins = np.asarray(sample.draws.margins)
    place = np.asarray(filtered_place(POOL, FILTER, thresholds, target, 250, second_order=True))
    leading = np.asarray(filtered_place(POOL, FILTER, thresholds, target, 250))
    kept = np.asarray(filter_pool(POOL, FILTER, thresholds).kept_share)
    for k in range(3):
        error = margins[:, k, 0].std() / np.sqrt(6000)
        assert abs(margins[:, k, 0].mean() - place[k]) < 4.5 * error
        assert abs(margins[:, k, 0].mean() - leading[k]) < 4.5 * error + 2.0 / (250 * kept[k])
        passed = np.asarray(sample.num_kept)[:, k] / 250
        assert abs(passed.mean() - kept[k]) <= 4.5 * passed.std() / np.sqrt(6000)


def test_second_order_is_needed_and_shrinks_like_one_over_n():
    sizes = np.asarray([100, 1000, 10_000])
    gaps = [
        float(filtered_place(POOL, FILTER, 0.5, SHIFT, n, True) - filtered_place(POOL, FILTER, 0.5, SHIFT, n))
        for n in sizes.tolist()
    ]
    np.testing.assert_allclose(np.asarray(gaps) * sizes / (gaps[-1] * sizes[-1]), 1.0, atol=0.2)


@pytest.mark.parametrize(("num_pool", "threshold"), [(120, 1.28), (60, 0.84), (300, 1.645)])
def test_the_number_kept_is_random_and_costs_its_share(num_pool, threshold):
    """A dozen pairs pass, give or take: E 1/N lies (1 - kept share)/(n kept share) above 1/E N."""
    d, trials, rng = 300, 8000, np.random.default_rng(num_pool)
    mean, spread, ahead = np.eye(d)[0], np.ones(d), np.ones(d)
    spread[0], ahead[1] = 1e-4, 0.01  # nearly all length is noise across the signal and the filter
    pool, target = Pool([Source(mean, spread)], [1.0]), Target(mean, ahead)
    scores = rng.standard_normal((trials, num_pool))
    passed = scores >= threshold
    kept = passed.sum(1)
    assert kept.min() > 0
    # Across the filter the pairs know nothing of their score: the mean of those that pass is drawn at once.
    weights = mean + np.sqrt(spread) * rng.standard_normal((trials, d)) / np.sqrt(kept)[:, None]
    weights[:, 1] = (scores * passed).sum(1) / kept
    margins = weights @ mean / np.sqrt(weights**2 @ ahead)
    share = float(filter_pool(pool, np.eye(d)[1], threshold).kept_share)
    assert abs(kept.mean() - num_pool * share) < 4.5 * kept.std() / np.sqrt(trials)
    # Most of a margin's spread is the number kept's, whose expectation is known.
    margins = margins - np.cov(margins, kept)[0, 1] / kept.var(ddof=1) * (kept - num_pool * share)
    error = margins.std() / np.sqrt(trials)
    place = float(filtered_place(pool, np.eye(d)[1], threshold, target, num_pool, second_order=True))
    assert abs(margins.mean() - place) < 4.5 * error
    # Where length is noise, the margin grows as sqrt(N): E sqrt(N) falls short by 1/8 of Var N / (E N)^2.
    assert place / 8 * (1 - share) / (num_pool * share) > 12 * error, (
        "the test would not notice a fixed number"
    )


def test_factored_moments_equal_dense_ones():
    generator = np.random.default_rng(1)
    factors, scales = generator.standard_normal((D, 3)), np.asarray([0.5, 0.2, -0.01])
    for base in (np.asarray(1.3), np.asarray([1.0, 2.0, 0.5, 1.5]), FULL):
        covariance = LowRankCovariance(*(jax.numpy.asarray(x) for x in (base, factors, scales))) / 40.0
        mean = jax.numpy.asarray([0.5, 0.3, 0.1, -0.2])
        dense = AveragingLaw(mean, covariance.dense())
        for target in (REFERENCE, Target(np.ones(D), FULL)):
            value = expected_margin(mean, covariance, target)
            np.testing.assert_allclose(value, dense.expected_margin(target), rtol=1e-10)
            np.testing.assert_allclose(
                expected_margin(mean, covariance, target, second_order=False), dense.place(target), rtol=1e-10
            )


def test_out_of_domain_is_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        Pool(SOURCES, [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=">= 0"):
        Pool(SOURCES, [1.5, -0.5, 0.0])
    with pytest.raises(ValueError, match="same number of features"):
        Pool([Source([1.0]), Source([1.0, 2.0])], [0.5, 0.5])
    with pytest.raises(ValueError, match="at least one source"):
        Pool([], [])
    for bad in (np.zeros(D), np.ones(3), np.full(D, np.nan)):
        with pytest.raises(ValueError, match="A filter needs"):
            filter_pool(POOL, bad, 0.0)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="a threshold must be"):
            filter_pool(POOL, FILTER, bad)
    with pytest.raises(ValueError, match="no variance"):
        filter_pool(Pool([Source([1.0, 0.0], 0.0)], [1.0]), [1.0, 0.0], 0.0)
    with pytest.raises(ValueError, match="fewer than one"):
        filtered_place(POOL, FILTER, 9.0, SHIFT, 100)
    with pytest.raises(ValueError, match="one threshold at a time"):
        _ = filter_pool(POOL, FILTER, np.zeros(2)).covariance
    with pytest.raises(ValueError, match="reference signal"):
        direction_slope([0.0, 1.0], Target([1.0, 0.0]), SHIFT2)
    with pytest.raises(ValueError, match="captions"):
        with_shuffled_captions(SOURCES[0], 1.2)
    with pytest.raises(ValueError, match="2 or more classes"):
        with_shuffled_captions(SOURCES[0], 0.2, 1)
