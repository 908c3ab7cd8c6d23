"""The frontier of two targets: no mixture of a grid beats a point of it on both, and it reaches from end to end."""

import numpy as np
import pytest
from portfolio_cases import simplex_grid

from theory.gaussian import Source, Target
from theory.portfolio import best_mixture
from theory.portfolio_frontier import mixture_frontier
from theory.source_statistics import source_statistics

D = 60


def vector(*entries):
    return np.r_[np.asarray(entries, float), np.zeros(D - len(entries))]


SOURCES = [
    Source(vector(1.6, 0.3, 1.0, 0.4), 1.0, "stock"),
    Source(vector(0.7, 0.9, 0.1, 0.2), 2.0, "snapshots"),
    Source(vector(0.2, 0.4, 0.9, -0.5), np.r_[np.full(30, 0.5), np.full(30, 1.0)], "sketches"),
]
STYLE = Target(vector(0.5, 1.0, 0.0, 0.0), 1.0, "style")
VIEW = Target(vector(0.5, 0.0, 1.0, 0.2), np.r_[np.full(30, 0.7), np.full(30, 1.6)], "viewpoint")
N = 400


@pytest.mark.parametrize("budgets", [None, [400.0, 150.0, 200.0]])
def test_no_mixture_of_a_fine_grid_beats_a_point_on_both(budgets):
    found = mixture_frontier(SOURCES, STYLE, VIEW, N, budgets, num_points=9)
    assert found.largest_gap <= 1e-6
    assert found.shares.shape == (9, 3)
    grid = simplex_grid(3, 80)
    if budgets is not None:
        grid = grid[(N * grid <= budgets).all(1)]
        assert (N * found.shares <= np.asarray(budgets) * (1 + 1e-9)).all()
    margins = source_statistics(SOURCES, [STYLE, VIEW]).margins(N * grid)
    for point in found.margins:
        assert not (margins > point * (1 + 2e-6)).all(1).any()
        # And some mixture of the grid comes close on both.
        assert (margins / point).min(1).max() > 0.98
    assert (np.diff(found.margins[:, 0]) < 0).all()
    assert (np.diff(found.margins[:, 1]) > 0).all()
    alone = [best_mixture(SOURCES, t, N, budgets).margin for t in (STYLE, VIEW)]
    assert found.margins[0, 0] == pytest.approx(alone[0], rel=1e-5)
    assert found.margins[-1, 1] == pytest.approx(alone[1], rel=1e-5)
    assert "the best for style" in found.describe()


def test_middle_point_is_the_worst_of_two():
    found = mixture_frontier(SOURCES, STYLE, VIEW, N, num_points=5)
    fair = best_mixture(SOURCES, [STYLE, VIEW], N)
    spread = found.margins[:, 1] - found.margins[:, 0]
    assert np.interp(0, spread, found.margins[:, 0]) == pytest.approx(fair.margin, rel=0.01)


def test_targets_that_agree_have_one_point():
    found = mixture_frontier(SOURCES, STYLE, STYLE, N, num_points=2)
    np.testing.assert_allclose(found.margins[0], found.margins[1], rtol=1e-6)


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"num_points must be at least 2, got 1"):
        mixture_frontier(SOURCES, STYLE, VIEW, N, num_points=1)
    with pytest.raises(ValueError, match=r"budgets hold 3 samples"):
        mixture_frontier(SOURCES, STYLE, VIEW, N, [1, 1, 1])
