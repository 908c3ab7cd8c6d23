r"""Laws of the sources: all that the fixed points of `theory.asymptotics` depend on.

With $R=(\lambda I+\sum_sK_s\Gamma_s)^{-1}$ they use four tables, $\nu_s^\top R\nu_t$, $\nu_s^\top R\Gamma_rR\nu_t$,
$\operatorname{tr}(\Gamma_sR)$ and $\operatorname{tr}(\Gamma_sR\Gamma_tR)$. Use `theory.source_geometry.geometry_of` to find the
cheapest law.
"""

from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


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

    signal: Float[Array, "... s s"]
    lengths: Float[Array, "... s s s"]
    traces: Float[Array, "... s"]
    noise: Float[Array, "... s s"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SpectralLaw:
    """Covariances with common eigenvectors: G groups of coordinates in which every Γ_s is a multiple of I.

    Attributes:
        multiplicities: coordinates in each group, shape (G,).
        variances: γ_s² in each group, shape (S, G).
        grams: inner products of the means within each group, shape (G, S, S).
    """

    multiplicities: Float[Array, "... g"]
    variances: Float[Array, "... s g"]
    grams: Float[Array, "... g s s"]

    @property
    def num_features(self) -> Float[Array, ""]:
        """d."""
        return self.multiplicities.sum()

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DenseLaw:
    """Any covariances: every resolvent is a d x d inverse.

    Attributes:
        rows: means, shape (S, d).
        matrices: covariances, shape (S, d, d).
    """

    rows: Float[Array, "... s d"]
    matrices: Float[Array, "... s d d"]

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


#: All that the fixed points depend on.
Law: TypeAlias = SpectralLaw | DenseLaw


def with_empty_groups(law: SpectralLaw, num_groups: int) -> SpectralLaw:
    """The same law with more groups, in which there is nothing."""
    missing = num_groups - len(law.multiplicities)
    sizes, variances, grams = (np.asarray(x) for x in (law.multiplicities, law.variances, law.grams))
    return SpectralLaw(
        jnp.asarray(np.pad(sizes, (0, missing))),
        jnp.asarray(np.pad(variances, ((0, 0), (0, missing)), constant_values=1.0)),
        jnp.asarray(np.pad(grams, ((0, missing), (0, 0), (0, 0)))),
    )
