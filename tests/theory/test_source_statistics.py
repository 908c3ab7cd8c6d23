"""Signals, overlaps and noise: against the place of the mixture, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, random_source, random_target

from theory.gaussian import Source, Target
from theory.mixing import mixture_place
from theory.source_statistics import SourceStatistics, source_statistics

COUNTS = np.array([[3.0, 4.0, 5.0], [0.0, 0.0, 1e12]])


@pytest.mark.parametrize("form", FORMS)
def test_margins_are_the_places_of_the_mixtures(form):
    rng = np.random.default_rng(5)
    sources = [random_source(rng, f, 4, f) for f in FORMS]
    targets = [random_target(rng, f, 4) for f in (form, "full")]
    found = source_statistics(sources, targets)
    assert (found.num_sources, found.num_targets) == (3, 2)
    assert found.source_names == ("scalar", "diagonal", "full")
    assert found.target_names == ("target 1", "target 2")
    total = COUNTS.sum(-1)
    for t, target in enumerate(targets):
        expected = mixture_place(sources, COUNTS / total[:, None], target, total)
        np.testing.assert_allclose(found.margins(COUNTS)[:, t], expected, rtol=1e-12)
    one = source_statistics(sources, targets[1])
    np.testing.assert_allclose(one.margins(COUNTS)[:, 0], found.margins(COUNTS)[:, 1], rtol=1e-13)


def test_arrays_are_expanded_and_symmetric():
    found = SourceStatistics([[1.0, 2.0], [0.5, 0.1]], np.eye(2), 3.0, ("a", ""))
    assert found.grams.shape == (2, 2, 2)
    np.testing.assert_array_equal(found.noises, np.full((2, 2), 3.0))
    assert found.source_names == ("a", "source 2")
    np.testing.assert_allclose(found.margins([1, 1]), np.array([3.0, 0.6]) / np.sqrt(2 + 6))
    silent = SourceStatistics([0.0, 1.0], np.diag([0.0, 1.0]), 0.0)
    assert np.isnan(silent.margins([1, 0])[0])


def test_single_precision(float32):
    means = np.random.default_rng(0).standard_normal((3, 500))
    sources, target = [Source(mean) for mean in means], Target(means[0] + means[1])
    assert sources[0].mean.dtype == jnp.float32
    found = source_statistics(sources, target)
    np.testing.assert_allclose(found.signals[0], means @ (means[0] + means[1]), rtol=1e-5)
    np.testing.assert_allclose(found.noises, 500, rtol=1e-6)


def refused(message: str, *arguments: Any) -> None:
    with pytest.raises(ValueError, match=message):
        SourceStatistics(*arguments)


def test_bad_input_raises_with_the_value():
    eye, two = np.eye(2), [1.0, 2.0]
    refused(r"signals must have shape \(T, S\) or \(S,\)", np.ones((1, 1, 2)), eye, 1.0)
    refused(r"grams must have shape \(1, 2, 2\) or fit it, got \(3, 3\)", two, np.eye(3), 1.0)
    refused(r"noises must have shape \(1, 2\) or fit it, got \(3,\)", two, eye, np.ones(3))
    refused(r"every entry of signals must be finite, got nan", [1.0, np.nan], eye, 1.0)
    refused(r"every entry of noises must be >= 0, got -1", two, eye, [1.0, -1.0])
    refused(r"gram of target 1 must be symmetric", two, [[1.0, 0.5], [0.0, 1.0]], 1.0)
    refused(r"no negative eigenvalue .* got -0.5", two, [[4.0, 3.0], [3.0, 1.0]], 1.0)
    refused(r"no negative eigenvalue", two, [[0.0, 1.0], [1.0, 1.0]], 1.0)
    refused(r"one name for each source is needed, 2 in all, got 1", two, eye, 1.0, ["a"])
    found = SourceStatistics([1.0, 2.0], eye, 1.0)
    with pytest.raises(ValueError, match=r"each of the 2 sources, got \(3,\)"):
        found.margins([1, 2, 3])
    with pytest.raises(ValueError, match=r"every count must be a finite number >= 0, got -1"):
        found.margins([1, -1])
    with pytest.raises(ValueError, match=r"sum to more than 0"):
        found.margins([0, 0])
    with pytest.raises(ValueError, match=r"at least one source and one target are needed, got 0 and 1"):
        source_statistics([], Target([1.0]))
    with pytest.raises(ValueError, match=r"inside jit"):
        jax.jit(lambda x: source_statistics([Source(x)], Target([1.0, 0.0])).signals)(jnp.ones(2))
