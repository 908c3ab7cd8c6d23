"""Rotate isotropic sources and their targets into the few dimensions that matter, for the exact reduced sampler.

Use `reduce_problem`; the samplers in `theory.monte_carlo` take what it returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.gaussian import Source, Target, check_dimensions

_MAX_RANK = 64


@dataclass(frozen=True, eq=False)
class ReducedProblem:
    """Sources and targets in r coordinates of the span of their means, and what is left of the other d − r dimensions.

    Attributes:
        source_means: coordinates of ν_s, shape (S, r).
        source_variances: γ_s², shape (S,).
        target_means: coordinates of μ_t, shape (T, r).
        target_blocks: Σ_t on the span, shape (T, r, r).
        target_variances: Σ_t off the span is this times I, shape (T,).
        num_orthogonal: d − r, as many dimensions as one likes.
    """

    source_means: Float[Array, "s r"]
    source_variances: Float[Array, " s"]
    target_means: Float[Array, "t r"]
    target_blocks: Float[Array, "t r r"]
    target_variances: Float[Array, " t"]
    num_orthogonal: int

    @property
    def num_sources(self) -> int:
        """The number of sources S."""
        return self.source_means.shape[0]


def _isotropic_part(covariance: np.ndarray, d: int) -> tuple[float, np.ndarray]:
    """σ² and the directions (k, d) in which a covariance differs from σ²I, σ² being its commonest variance."""
    if covariance.ndim == 0:
        return float(covariance), np.zeros((0, d))
    if covariance.ndim == 1:
        variance = float(np.median(covariance))
        odd = np.flatnonzero(~np.isclose(covariance, variance, rtol=1e-6))
        return variance, np.eye(d)[odd]
    eigenvalues, vectors = np.linalg.eigh(covariance)
    variance = float(np.median(eigenvalues))
    return variance, vectors.T[
        ~np.isclose(eigenvalues, variance, rtol=1e-6, atol=1e-9 * abs(eigenvalues).max())
    ]


def reduce_problem(
    sources: Sequence[Source], targets: Sequence[Target], num_features: int | None = None
) -> ReducedProblem:
    """Rotate sources and targets into the span of their means.

    Directions in which some Σ_t differs from its isotropic part are added to the span, so that any Σ_t = σ²I + low rank is exact.

    Args:
        sources: S training distributions with isotropic covariance.
        targets: T test distributions.
        num_features: d, if larger than the length of the means; they are then padded with zeros (and every Σ_t with its
            isotropic part) without being written out, so that d = 10¹² costs nothing.

    Returns:
        A `ReducedProblem` with r at most S + T plus the number of added directions.

    Raises:
        ValueError: a source that is not isotropic, a target that is not isotropic off a small span, or fewer features than
            the means have entries.
    """
    k = check_dimensions(*sources, *targets)
    d = k if num_features is None else int(num_features)
    if d < k:
        raise ValueError(f"num_features must be at least the {k} entries of the means, got {d}")
    variances = []
    for source in sources:
        variance, odd = _isotropic_part(np.asarray(source.covariance, np.float64), k)
        if len(odd):
            raise ValueError(
                f"the reduced sampler needs isotropic sources (covariance γ²I), source {source.name!r} is not: "
                "use theory.brute_force"
            )
        variances.append(variance)
    parts = [_isotropic_part(np.asarray(target.covariance, np.float64), k) for target in targets]
    rows = np.concatenate(
        [np.stack([np.asarray(x.mean, np.float64) for x in (*sources, *targets)]), *[p[1] for p in parts]]
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    _, singular, basis = np.linalg.svd(rows / np.where(lengths > 0, lengths, 1), full_matrices=False)
    basis = basis[singular > 1e-10 * max(float(singular.max()), 1e-300)]
    if len(basis) > max(_MAX_RANK, len(sources) + len(targets)):
        raise ValueError(
            f"the targets' covariances differ from a multiple of I in too many directions (rank {len(basis)} > {_MAX_RANK}): "
            "use theory.brute_force"
        )
    blocks = [basis @ np.asarray(cov.as_matrix(target.covariance, k)) @ basis.T for target in targets]
    dtype = sources[0].mean.dtype
    return ReducedProblem(
        source_means=jnp.asarray(np.stack([np.asarray(s.mean) @ basis.T for s in sources]), dtype),
        source_variances=jnp.asarray(variances, dtype),
        target_means=jnp.asarray(np.stack([np.asarray(t.mean) @ basis.T for t in targets]), dtype),
        target_blocks=jnp.asarray(np.stack(blocks), dtype),
        target_variances=jnp.asarray([p[0] for p in parts], dtype),
        num_orthogonal=d - len(basis),
    )
