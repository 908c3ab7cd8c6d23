r"""Sources as the asymptotics see them: covariances reduced to common eigenvectors where they have them, means in that basis.

Use `geometry_of`: covariances that share eigenvectors (isotropic and diagonal ones always do) become a `SpectralLaw`, whose cost
is the number of different eigenvalues, whatever d; others a `DenseLaw` of d x d matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import is_concrete
from theory.gaussian import Source, check_dimensions
from theory.source_law import DenseLaw, Law, SpectralLaw, with_empty_groups

#: Arrays of one library or the other: computed with NumPy where values are known, with JAX inside `jit`.
Batched: TypeAlias = Any


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

    def classifiers(
        self, penalty: Batched, curvatures: Batched, pulls: Batched, energies: Batched
    ) -> tuple[Batched, Batched]:
        """Mean weights R Σ pull_s ν_s and the noise's covariance R(Σ energy_s Γ_s)R, in the basis of the eigenvectors.

        Args:
            penalty: λ, shape (B,); like the others NumPy or JAX arrays.
            curvatures: K_s, shape (B, S).
            pulls: p_sF_s, shape (B, S).
            energies: X_s/n, shape (B, S).

        Returns:
            The mean, shape (B, d), and the covariance: its diagonal (B, d) for a spectral law, (B, d, d) for a dense one.
        """
        # Operators only, so that NumPy arrays stay NumPy arrays: no program is compiled for each size of a batch.
        xp: Any = np if isinstance(pulls, np.ndarray) else jnp
        rows, law = xp.asarray(self.rows), self.law
        if isinstance(law, SpectralLaw):
            variances, group = xp.asarray(law.variances), xp.asarray(self.group)
            r = 1 / (penalty[:, None] + _combined(curvatures, variances))
            noise = _combined(energies, variances) * r**2
            place = xp.broadcast_to(group, (len(r), group.shape[-1]))
            mean = _combined(pulls, rows) * xp.take_along_axis(r, place, 1)
            return mean, xp.take_along_axis(noise, place, 1)
        matrices = xp.asarray(law.matrices)
        inner = xp.einsum("bs,sij->bij", curvatures, matrices)
        r = xp.linalg.inv(inner + penalty[:, None, None] * xp.eye(self.num_features, dtype=inner.dtype))
        mean = (r @ (pulls @ rows)[..., None])[..., 0]
        return mean, r @ xp.einsum("bs,sij->bij", energies, matrices) @ r


def _combined(coefficients: Batched, values: Batched) -> Batched:
    """Σ_s c_s v_s for coefficients (B, S) and values (S, G) or (B, S, G)."""
    return (coefficients[:, None, :] @ values)[:, 0]


def geometry_of(sources: Sequence[Source]) -> Geometry:
    """The cheapest geometry that holds these sources exactly.

    Inside `jit` or `vmap` common eigenvectors and equal eigenvalues cannot be looked for: isotropic sources still cost O(1),
    diagonal ones O(d), full matrices O(d³).

    Raises:
        ValueError: a source whose covariance is 0, or sources that differ in the number of features.
    """
    d = check_dimensions(*sources)
    concrete = is_concrete(list(sources))
    # Concrete sources are reduced by NumPy: JAX would compile every step again for each d.
    xp: Any = np if concrete else jnp
    rows = xp.stack([xp.asarray(source.mean) for source in sources])
    covariances = [xp.asarray(source.covariance) for source in sources]
    for index, covariance in enumerate(covariances):
        if concrete and not covariance.any():
            raise ValueError(
                f"every source needs noise (a covariance > 0), source {sources[index].name or index + 1!r} has none"
            )
    if all(c.ndim == 0 for c in covariances):
        return _grouped(rows, xp.stack(covariances)[:, None], np.zeros(d, int), None)
    if all(c.ndim < 2 for c in covariances):
        spectra = xp.stack([xp.broadcast_to(c, (d,)) for c in covariances])
        return _grouped(rows, *_groups(spectra), None)
    if concrete:
        basis, spectra = _common_eigenvectors(covariances, d)
        if basis is not None:
            turned = np.asarray(basis, rows.dtype)
            return _grouped(rows @ turned, *_groups(np.asarray(spectra, rows.dtype)), turned)
    matrices = xp.stack([cov.as_matrix(jnp.asarray(c), d) for c in covariances])
    return Geometry(DenseLaw(jnp.asarray(rows), jnp.asarray(matrices)), jnp.asarray(rows), None, None)


def _grouped(rows: Batched, variances: Batched, group: np.ndarray, basis: np.ndarray | None) -> Geometry:
    num_groups = variances.shape[1]
    # Programs are compiled for each number of groups: powers of two are few.
    size = 1 << (num_groups - 1).bit_length()
    sizes = np.bincount(group, minlength=size).astype(rows.dtype)
    xp: Any = np if isinstance(rows, np.ndarray) else jnp
    members = np.zeros((size, len(group)), rows.dtype)
    members[group, np.arange(len(group))] = 1
    grams = (
        xp.einsum("gd,sd,td->gst", members, rows, rows, optimize="optimal")
        if num_groups > 1
        else (rows @ rows.T)[None]
    )
    padded = xp.concatenate([variances, xp.ones((len(rows), size - num_groups), rows.dtype)], axis=1)
    law = SpectralLaw(jnp.asarray(sizes), jnp.asarray(padded), jnp.asarray(grams))
    return Geometry(law, jnp.asarray(rows), jnp.asarray(group), None if basis is None else jnp.asarray(basis))


def _groups(spectra: Batched) -> tuple[Batched, np.ndarray]:
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
    covariances: Sequence[Batched], d: int
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Eigenvectors (d, d) of all covariances with their variances (S, d), or None twice if there are none in common."""
    matrices = np.stack([np.asarray(cov.as_matrix(jnp.asarray(c), d), np.float64) for c in covariances])
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
        law=jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(x) for x in leaves])), *padded),
        rows=jnp.asarray(np.stack([np.asarray(g.rows) for g in geometries])),
        group=jnp.asarray(np.stack([np.asarray(g.group) for g in geometries])),
        basis=None,
    )
