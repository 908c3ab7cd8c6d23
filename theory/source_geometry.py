r"""Sources as the asymptotics see them: covariances reduced to common eigenvectors where they have them, means in that basis.

Use `geometry_of`: covariances that share eigenvectors (isotropic and diagonal ones always do) become a `SpectralLaw`, whose cost
is the number of different eigenvalues, whatever d; others a `DenseLaw` of d x d matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import is_concrete
from theory.gaussian import Source, check_dimensions
from theory.source_law import DenseLaw, Law, SpectralLaw, with_empty_groups


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Geometry:
    """Sources as the fixed points see them, and the way back to their d features.

    Attributes:
        law: what the fixed points depend on (of the same few sizes for any d, if it is spectral).
        rows: means in the basis of the eigenvectors, shape (S, d).
        group: the group of every coordinate, shape (d,); None for a dense law.
        basis: eigenvectors as columns, shape (d, d); None where it is I.
    """

    law: Law
    rows: Float[Array, "... s d"]
    group: Array | None
    basis: Float[Array, "d d"] | None

    @property
    def num_features(self) -> int:
        """d."""
        return self.rows.shape[-1]

    def classifier(
        self, penalty: Array, curvatures: Array, pulls: Array, energies: Array
    ) -> tuple[Float[Array, " d"], Float[Array, "..."]]:
        """Mean weights R Σ pull_s ν_s and the noise's covariance R(Σ energy_s Γ_s)R, in the basis of the eigenvectors.

        The covariance is its diagonal (d,) for a spectral law, a (d, d) matrix for a dense one.
        """
        r = self.law.resolvent(penalty, curvatures)
        if isinstance(self.law, SpectralLaw):
            return (pulls @ self.rows) * r[self.group], (energies @ self.law.variances * r**2)[self.group]
        noise = jnp.einsum("s,sij->ij", energies, self.law.matrices)
        return r @ (pulls @ self.rows), r @ noise @ r


def geometry_of(sources: Sequence[Source]) -> Geometry:
    """The cheapest geometry that holds these sources exactly.

    Inside `jit` or `vmap` common eigenvectors and equal eigenvalues cannot be looked for: isotropic sources still cost O(1),
    diagonal ones O(d), full matrices O(d³).

    Raises:
        ValueError: a source whose covariance is 0, or sources that differ in the number of features.
    """
    d = check_dimensions(*sources)
    rows = jnp.stack([source.mean for source in sources])
    covariances = [source.covariance for source in sources]
    concrete = is_concrete(rows, covariances)
    for index, covariance in enumerate(covariances):
        if concrete and float(cov.trace(covariance, d)) <= 0:
            raise ValueError(
                f"every source needs noise (a covariance > 0), source {sources[index].name or index + 1!r} has none"
            )
    if all(c.ndim == 0 for c in covariances):
        return _grouped(rows, jnp.stack(covariances)[:, None], np.zeros(d, int), None)
    if all(c.ndim < 2 for c in covariances):
        spectra = jnp.stack([jnp.broadcast_to(c, (d,)) for c in covariances])
        return _grouped(rows, *_groups(spectra), None)
    if concrete:
        basis, spectra = _common_eigenvectors(covariances, d)
        if basis is not None:
            turned = jnp.asarray(basis, rows.dtype)
            return _grouped(rows @ turned, *_groups(jnp.asarray(spectra, rows.dtype)), turned)
    matrices = jnp.stack([cov.as_matrix(c, d) for c in covariances])
    return Geometry(DenseLaw(rows, matrices), rows, None, None)


def _grouped(rows: Array, variances: Array, group: np.ndarray, basis: Array | None) -> Geometry:
    num_groups = variances.shape[1]
    sizes = jnp.asarray(np.bincount(group, minlength=num_groups), rows.dtype)
    if num_groups == 1:
        grams = (rows @ rows.T)[None]
    else:
        grams = jax.ops.segment_sum(jnp.einsum("sd,td->dst", rows, rows), jnp.asarray(group), num_groups)
    law = SpectralLaw(sizes, variances, grams)
    # Programs are compiled for each number of groups: powers of two are few.
    law = with_empty_groups(law, 1 << (num_groups - 1).bit_length())
    return Geometry(law, rows, jnp.asarray(group), basis)


def _groups(spectra: Array) -> tuple[Array, np.ndarray]:
    """Variances (S, G) of the groups and the group of every coordinate: those with equal variances for every source."""
    if not is_concrete(spectra):
        return spectra, np.arange(spectra.shape[1])
    values = np.asarray(spectra, np.float64)
    scale = np.abs(values).max(1, keepdims=True)
    rounding = 64 * float(jnp.finfo(spectra.dtype).eps)
    _, first, group = np.unique(
        np.round(values / (scale * rounding)), axis=1, return_index=True, return_inverse=True
    )
    return spectra[:, first], group.reshape(-1)


def _common_eigenvectors(
    covariances: Sequence[Array], d: int
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Eigenvectors (d, d) of all covariances with their variances (S, d), or None twice if there are none in common."""
    matrices = np.stack([np.asarray(cov.as_matrix(c, d), np.float64) for c in covariances])
    matrices_scaled = matrices / np.abs(matrices).max((1, 2), keepdims=True)
    # Eigenvectors of a combination that no coincidence of eigenvalues explains are those of every term, if they commute.
    mixing = np.random.default_rng(0).uniform(0.5, 1.5, len(matrices))
    _, basis = np.linalg.eigh(np.einsum("s,sij->ij", mixing, matrices_scaled))
    turned = basis.T @ matrices_scaled @ basis
    spectra = np.diagonal(turned, axis1=1, axis2=2)
    rounding = 1024 * d * float(jnp.finfo(covariances[0].dtype).eps)
    if np.abs(turned - spectra[:, :, None] * np.eye(d)).max() > rounding:
        return None, None
    return basis, np.diagonal(basis.T @ matrices @ basis, axis1=1, axis2=2)


def stack_geometries(geometries: Sequence[Geometry]) -> Geometry:
    """Geometries of as many sources and features along a new leading axis.

    Raises:
        ValueError: none is given, they differ in the number of sources or features, or one has a full covariance matrix.
    """
    shapes = {geometry.rows.shape for geometry in geometries}
    if len(shapes) != 1:
        raise ValueError(
            f"settings must have the same numbers of sources and features, got (sources, features) {sorted(shapes)}"
        )
    laws = [g.law for g in geometries if isinstance(g.law, SpectralLaw) and g.basis is None]
    if len(laws) != len(geometries):
        raise ValueError("settings must have isotropic or diagonal sources, got a full covariance matrix")
    most = max(len(law.multiplicities) for law in laws)
    padded = [with_empty_groups(law, most) for law in laws]
    return Geometry(
        law=jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded),
        rows=jnp.stack([g.rows for g in geometries]),
        group=jnp.stack([g.group for g in geometries if g.group is not None]),
        basis=None,
    )
