import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.filtering import Pool, filter_pool, filtered_place, with_shuffled_captions
from theory.gaussian import Source, Target
from theory.thresholds import best_threshold, score_statistics, threshold_for_kept_share

TARGET = Target([1.0, 0.5, 0.0])
JUNK = with_shuffled_captions(Source([0.9, 0.4, 0.1]), 0.5)
POOL = Pool([source for source, _ in JUNK], [weight for _, weight in JUNK])
FILTER = np.asarray([0.6, 0.4, 0.3])


@settings(max_examples=30)
@given(st.floats(1e-12, 1.0, exclude_max=True), st.floats(0.1, 10.0))
def test_kept_share_and_threshold_are_inverse(share, scale):
    threshold = threshold_for_kept_share(POOL, scale * FILTER, share)
    np.testing.assert_allclose(filter_pool(POOL, scale * FILTER, threshold).kept_share, share, rtol=1e-8)


def test_shares_in_an_array_and_everything():
    thresholds = np.asarray(threshold_for_kept_share(POOL, FILTER, np.asarray([1.0, 0.5, 0.1])))
    assert thresholds[0] == -np.inf
    assert thresholds[1] < thresholds[2]


def test_score_statistics_are_those_of_the_filter_on_each_component():
    means, stds = score_statistics(POOL, FILTER)
    np.testing.assert_allclose(means, [FILTER @ np.asarray(s.mean) for s in POOL.sources], rtol=1e-12)
    np.testing.assert_allclose(stds, np.linalg.norm(FILTER), rtol=1e-12)


@pytest.mark.parametrize("num_pool", [50, 1000, 1e7])
def test_best_threshold_beats_a_fine_grid_of_thresholds(num_pool):
    best = best_threshold(POOL, FILTER, TARGET, num_pool)
    shares = np.geomspace(10 / num_pool, 1.0, 300)
    grid = filtered_place(POOL, FILTER, threshold_for_kept_share(POOL, FILTER, shares), TARGET, num_pool)
    assert best.margin >= np.max(np.asarray(grid)) - 1e-9
    np.testing.assert_allclose(
        best.margin, filtered_place(POOL, FILTER, best.threshold, TARGET, num_pool), rtol=1e-9
    )
    np.testing.assert_allclose(
        best.kept_share, filter_pool(POOL, FILTER, best.threshold).kept_share, rtol=1e-12
    )
    assert num_pool * best.kept_share >= 10 * (1 - 1e-6)
    assert best.margin >= best.pool_margin


def test_best_threshold_is_stationary_inside():
    best = best_threshold(POOL, FILTER, TARGET, 1000)
    assert np.isfinite(best.threshold)
    around = filtered_place(POOL, FILTER, best.threshold + np.asarray([-1e-3, 0.0, 1e-3]), TARGET, 1000)
    assert around[1] > around[0]
    assert around[1] > around[2]


def test_several_maxima_are_all_found():
    # One of the random pools of a search: two interior maxima and the raw pool within 0.0013 of one another.
    sources = [
        Source([0.3, -0.4, -1.9], 0.02),
        Source([-0.8, 1.1, -0.3], 0.12),
        Source([-0.8, -0.5, 0.0], 0.35),
    ]
    best = best_threshold(Pool(sources, np.asarray([2, 8, 3]) / 13), [-2.4, 0.5, -0.3], TARGET, 1000)
    finite = [threshold for threshold, _ in best.local_maxima if np.isfinite(threshold)]
    assert len(finite) >= 2
    assert [m for _, m in best.local_maxima] == sorted((m for _, m in best.local_maxima), reverse=True)
    assert best.local_maxima[0] == (best.threshold, best.margin)


def test_where_filtering_does_not_pay_everything_is_kept():
    clean = Pool([Source([0.3, 0.1, 0.0])], [1.0])
    best = best_threshold(clean, [-1.0, -0.5, 0.0], TARGET, 500)
    assert best.threshold == -np.inf
    assert best.kept_share == 1.0
    assert best.margin == best.pool_margin


def test_out_of_domain_is_refused():
    for share in (0.0, -0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="kept share"):
            threshold_for_kept_share(POOL, FILTER, share)
    with pytest.raises(ValueError, match="min_kept"):
        best_threshold(POOL, FILTER, TARGET, 5)
    with pytest.raises(ValueError, match="min_kept"):
        best_threshold(POOL, FILTER, TARGET, 50, min_kept=0.5)
    with pytest.raises(ValueError, match="at least 10"):
        best_threshold(POOL, FILTER, TARGET, 50, grid_size=5)
