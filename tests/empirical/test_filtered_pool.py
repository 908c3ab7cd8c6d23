"""Filtered pools made by hand: the size at which a rule reads its sources, and the limits in which it is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.filter_prediction import FILTER_RULES
from empirical.filtered_pool import FilterAccount, FilteredPool, SizeCurve

SIZES, N0 = np.array([64.0, 256.0, 1024.0, 4096.0]), 1024
CURVES = {
    "a": SizeCurve(SIZES, np.array([[0.6, 0.2], [1.1, 0.5], [1.9, 1.1], [2.6, 1.9]])),
    "b": SizeCurve(SIZES, np.array([[0.5, 0.3], [1.0, 0.7], [1.6, 1.2], [2.4, 1.9]])),
    "f": SizeCurve(SIZES, np.array([[0.7, 0.5], [1.3, 1.0], [2.1, 1.7], [3.1, 2.7]])),
}
OVERLAPS = {
    ("a", "a"): 0.5,
    ("b", "b"): 0.6,
    ("f", "f"): 0.55,
    ("a", "b"): 0.4,
    ("a", "f"): 0.45,
    ("b", "f"): 0.35,
}
OVERLAPS |= {(u, s): r for (s, u), r in OVERLAPS.items()}


def hand_made(parts: list[tuple[str, int, int]], threshold: float, classes: int = 20) -> FilteredPool:
    accounts = tuple(FilterAccount(s, clean, junk, 0.5, 0.1, 0.2, threshold) for s, clean, junk in parts)
    at_n0 = {s: CURVES[s].at(N0)[1] for s, _, _ in parts}
    filter_dprime = CURVES["f"].at(N0)[1]
    return FilteredPool(
        accounts, classes, ("reference", "shift"), at_n0, OVERLAPS, "f", filter_dprime, N0, CURVES
    )


@given(junk=st.floats(0.01, 0.9), n=st.integers(200, 4000), classes=st.sampled_from([2, 20]))
def test_a_raw_pool_is_read_where_its_source_has_as_much_signal(junk: float, n: int, classes: int) -> None:
    """n pairs with the share ε shuffled are n(1 - ε)² pairs of the source: size, and d' on every test set."""
    wrong = round(junk * 10_000)
    pool, size = hand_made([("a", 10_000 - wrong, wrong)], -np.inf, classes), n * (1 - wrong / 10_000) ** 2
    for rule in ("clean_size", "matched", "filter_matched", "unturned"):
        assert pool.size(n, FILTER_RULES[rule]) == pytest.approx(size)
        if size >= SIZES[0]:
            assert pool.dprimes(n, FILTER_RULES[rule]) == pytest.approx(CURVES["a"].at(size)[1])
    assert pool.dprimes(n)[1] / pool.dprimes(n)[0] == pytest.approx(1.1 / 1.9), "plain: the ratio at n_0"


def test_a_clean_raw_pool_of_two_sources_is_the_mediant_at_its_own_size() -> None:
    """Lengths weight the sources; where they are equal, shares do, as in Theorem 2."""
    pool = hand_made([("a", 500, 0), ("b", 500, 0)], -np.inf)
    assert pool.size(256, FILTER_RULES["matched"]) == pytest.approx(256)
    length = {s: pool.lengths[s] * np.sqrt(OVERLAPS[s, s] + (1 - OVERLAPS[s, s]) * N0 / 256) for s in "ab"}
    expected = np.sum([length[s] * CURVES[s].at(256)[1] for s in "ab"], axis=0)
    found = pool.dprimes(256, FILTER_RULES["matched"])
    assert found[1] / found[0] == pytest.approx(expected[1] / expected[0])


@given(
    junk=st.floats(0.05, 0.8), threshold=st.floats(-0.2, 0.9), n=st.integers(64, 4096),
    share=st.floats(0.1, 0.9),
)  # fmt: skip
def test_the_size_of_equal_signal_has_equal_signal_to_noise(
    junk: float, threshold: float, n: int, share: float
) -> None:
    """By its definition: ‖ν'‖²/(T/n_kept) of the kept pairs is ‖ν̄‖²/(T/n*) of the clean sources; it ignores no pull."""
    counts = [("a", round(1e4 * share * (1 - junk)), round(1e4 * share * junk)),
              ("b", round(1e4 * (1 - share) * (1 - junk)), round(1e4 * (1 - share) * junk))]  # fmt: skip
    pool = hand_made(counts, threshold)
    kept, length = pool.kept(), pool.lengths
    total = sum(kept.signed.values())
    mean = {s: w / total for s, w in kept.signed.items()}
    clean = sum(mean[s] * mean[u] * OVERLAPS[s, u] * length[s] * length[u] for s in mean for u in mean)
    size = pool.size(n, FILTER_RULES["matched"])
    assert clean * size == pytest.approx(kept.square(pool.products) * n)
    assert size > pool.size(n, FILTER_RULES["clean_size"]), "a filter that agrees with the pool adds signal"
    for rule, reading in FILTER_RULES.items():
        dprime = pool.dprimes(n, reading)
        ratios = [c.at(m)[1][1] / c.at(m)[1][0] for c in CURVES.values() for m in (*SIZES, n, size)]
        assert min(ratios) - 1e-9 <= dprime[1] / dprime[0] <= max(ratios) + 1e-9, rule


def test_where_junk_leaves_nothing_only_the_filter_is_left() -> None:
    raw = hand_made([("a", 0, 1000)], -np.inf)
    assert raw.size(500, FILTER_RULES["matched"]) == 0
    assert raw.dprimes(500, FILTER_RULES["matched"]) == pytest.approx(0, abs=1e-12)
    kept = hand_made([("a", 0, 1000)], 0.1, classes=10**6).dprimes(500, FILTER_RULES["matched"])
    assert kept[1] / kept[0] == pytest.approx(1.7 / 2.1, rel=1e-4)
