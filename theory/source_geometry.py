r"""What the asymptotics need to know of sources: resolvents of their covariances, and means seen through them.

With $R=(\lambda I+\sum_sK_s\Gamma_s)^{-1}$ the fixed points of `theory.asymptotics` use four tables,
$\nu_s^\top R\nu_t$, $\nu_s^\top R\Gamma_rR\nu_t$, $\operatorname{tr}(\Gamma_sR)$ and $\operatorname{tr}(\Gamma_sR\Gamma_tR)$.
Use `geometry_of`: covariances that share eigenvectors (isotropic and diagonal ones always do) become a
`SpectralGeometry`, whose cost is the number of different eigenvalues, whatever d; others a `DenseGeometry` of d x d matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import is_concrete
from theory.gaussian import Source, check_dimensions


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Tables:
    """What a resolvent R makes of the sources.

    Attributes:
        signal: ν_sᵀRν_t, shape (S, S).
        lengths: ν_sᵀRΓ_rRν_t, shape (r = S, S, S).
        traces: tr(Γ_sR), shape (S,).
        noise: tr(Γ_sRΓ_tR), shape (S, S).
    """

    signal: Float[Array, "s s"]
    lengths: Float[Array, "s s s"]
    traces: Float[Array, " s"]
    noise: Float[Array, "s s"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SpectralGeometry:
    """Covariances with common eigenvectors: G groups of coordinates in which every Γ_s is a multiple of I.

    Attributes:
        multiplicities: coordinates in each group, shape (G,).
        variances: γ_s² in each group, shape (S, G).
        grams: inner products of the means within each group, shape (G, S, S).
        rows: means in the basis of the eigenvectors, shape (S, d).
        group: the group of every coordinate, shape (d,).
        basis: eigenvectors as columns, shape (d, d); None where it is I.
    """

    multiplicities: Float[Array, " g"]
    variances: Float[Array, "s g"]
    grams: Float[Array, "g s s"]
    rows: Float[Array, "s d"]
    group: Array
    basis: Float[Array, "d d"] | None

    @property
    def num_features(self) -> int:
        """d."""
        return self.rows.shape[-1]

    def resolvent(self, penalty: Array, curvatures: Array) -> Float[Array, " g"]:
        """R in each group."""
        return 1 / (penalty + curvatures @ self.variances)

    def tables(self, penalty: Array, curvatures: Array) -> Tables:
        """The four tables of R."""
        r = self.resolvent(penalty, curvatures)
        scaled = self.variances * r
        return Tables(
            signal=jnp.einsum("g,gst->st", r, self.grams),
            lengths=jnp.einsum("rg,gst->rst", scaled * r, self.grams),
            traces=scaled @ self.multiplicities,
            noise=(scaled * self.multiplicities) @ scaled.T,
        )

    def traces(self, penalty: Array, curvatures: Array) -> Float[Array, " s"]:
        """tr(Γ_sR) alone."""
        return (self.variances * self.resolvent(penalty, curvatures)) @ self.multiplicities

    def classifier(
        self, penalty: Array, curvatures: Array, pulls: Array, energies: Array
    ) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Mean weights R Σ pull_s ν_s and the noise's covariance R(Σ energy_s Γ_s)R, in the basis of the eigenvectors."""
        r = self.resolvent(penalty, curvatures)
        return (pulls @ self.rows) * r[self.group], (energies @ self.variances * r**2)[self.group]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DenseGeometry:
    """Any covariances: every resolvent is a d x d inverse.

    Attributes:
        rows: means, shape (S, d).
        matrices: covariances, shape (S, d, d).
    """

    rows: Float[Array, "s d"]
    matrices: Float[Array, "s d d"]

    basis = None

    @property
    def num_features(self) -> int:
        """d."""
        return self.rows.shape[-1]

    def resolvent(self, penalty: Array, curvatures: Array) -> Float[Array, "d d"]:
        """R."""
        inner = jnp.einsum("s,sij->ij", curvatures, self.matrices)
        return jnp.linalg.inv(inner + penalty * jnp.eye(self.num_features, dtype=inner.dtype))

    def tables(self, penalty: Array, curvatures: Array) -> Tables:
        """The four tables of R."""
        r = self.resolvent(penalty, curvatures)
        seen = self.rows @ r
        products = self.matrices @ r
        return Tables(
            signal=seen @ self.rows.T,
            lengths=jnp.einsum("si,rij,tj->rst", seen, self.matrices, seen),
            traces=jnp.trace(products, axis1=1, axis2=2),
            noise=jnp.einsum("sij,tji->st", products, products),
        )

    def traces(self, penalty: Array, curvatures: Array) -> Float[Array, " s"]:
        """tr(Γ_sR) alone."""
        return jnp.einsum("sij,ji->s", self.matrices, self.resolvent(penalty, curvatures))

    def classifier(
        self, penalty: Array, curvatures: Array, pulls: Array, energies: Array
    ) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Mean weights R Σ pull_s ν_s and the noise's covariance R(Σ energy_s Γ_s)R."""
        r = self.resolvent(penalty, curvatures)
        return r @ (pulls @ self.rows), r @ jnp.einsum("s,sij->ij", energies, self.matrices) @ r


Geometry: TypeAlias = SpectralGeometry | DenseGeometry


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
    return DenseGeometry(rows, jnp.stack([cov.as_matrix(c, d) for c in covariances]))


def _grouped(rows: Array, variances: Array, group: np.ndarray, basis: Array | None) -> SpectralGeometry:
    num_groups = variances.shape[1]
    sizes = jnp.asarray(np.bincount(group, minlength=num_groups), rows.dtype)
    if num_groups == 1:
        grams = (rows @ rows.T)[None]
    else:
        grams = jax.ops.segment_sum(jnp.einsum("sd,td->dst", rows, rows), jnp.asarray(group), num_groups)
    return SpectralGeometry(sizes, variances, grams, rows, jnp.asarray(group), basis)


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


def stack_geometries(geometries: Sequence[Geometry]) -> SpectralGeometry:
    """Spectral geometries of as many sources and features along a new leading axis; short ones get empty groups.

    Raises:
        ValueError: none is given, they differ in the number of sources or features, or one has a full covariance matrix.
    """
    shapes = {geometry.rows.shape for geometry in geometries}
    if len(shapes) != 1:
        raise ValueError(
            f"settings must have the same numbers of sources and features, got (sources, features) {sorted(shapes)}"
        )
    spectral = [g for g in geometries if isinstance(g, SpectralGeometry) and g.basis is None]
    if len(spectral) != len(geometries):
        raise ValueError("settings must have isotropic or diagonal sources, got a full covariance matrix")
    most = max(len(g.multiplicities) for g in spectral)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(_with_empty_groups(g, most) for g in spectral))


def _with_empty_groups(geometry: SpectralGeometry, num_groups: int) -> SpectralGeometry:
    missing = num_groups - len(geometry.multiplicities)
    return SpectralGeometry(
        jnp.pad(geometry.multiplicities, (0, missing)),
        jnp.pad(geometry.variances, ((0, 0), (0, missing)), constant_values=1.0),
        jnp.pad(geometry.grams, ((0, missing), (0, 0), (0, 0))),
        geometry.rows,
        geometry.group,
        geometry.basis,
    )
