r"""Sources (what a classifier is trained on), targets (what it is tested on), margins and accuracies.

In the linear dilution setting a label y is ±1 with equal probability and features given y are
$\mathcal N(y\,\text{mean}, \text{covariance})$. Use `Source` for training distributions ($\nu_s, \Gamma_s$) and
`Target` for test distributions ($\mu_t, \Sigma_t$); `margin` and `accuracy` judge a linear classifier
$\operatorname{sign}(w\cdot x)$ on a target. Both classes are JAX pytrees, so they pass through `jit` and `vmap`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, UInt32

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, require


@dataclass(frozen=True, init=False, eq=False)
class ClassConditionalGaussian:
    """Features given the label: x | y ~ N(y mean, covariance); the common base of `Source` and `Target`.

    Args:
        mean: (d,) the mean of the positive class; the negative class has its opposite.
        covariance: within-class covariance as a scalar variance, (d,) variances or a (d, d) matrix.
        name: shown in messages and tables.

    Raises:
        ValueError: the mean is not a vector of finite numbers, or the covariance is not one (see
            `theory.covariance.validate_covariance`).
    """

    mean: Float[Array, "..."]
    covariance: Float[Array, "..."]
    name: str

    def __init__(self, mean: ArrayLike, covariance: ArrayLike = 1.0, name: str = ""):
        kind = type(self).__name__
        label = f"{kind} {name!r}" if name else kind
        vector = as_float_array(mean)
        if vector.ndim != 1 or vector.shape[0] == 0:
            raise ValueError(f"the mean of {label} must be a vector of shape (d,), got shape {vector.shape}")
        require(jnp.isfinite(vector), vector, f"every entry of the mean of {label} must be finite")
        matrix = cov.validate_covariance(covariance, vector.shape[0], f"the covariance of {label}")
        object.__setattr__(self, "mean", vector)
        object.__setattr__(self, "covariance", matrix)
        object.__setattr__(self, "name", name)

    @property
    def dimension(self) -> int:
        """The number of features d."""
        return self.mean.shape[-1]

    def sample(
        self, key: Key[Array, ""] | UInt32[Array, "2"], num_samples: int
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Draw labelled samples: features of shape (n, d) and labels ±1 of shape (n,)."""
        label_key, noise_key = jax.random.split(key)
        labels = jax.random.rademacher(label_key, (num_samples,), dtype=self.mean.dtype)
        noise = cov.sample(noise_key, self.covariance, (num_samples, self.dimension))
        return labels[:, None] * self.mean + noise, labels


class Source(ClassConditionalGaussian):
    r"""A training distribution s: x given y ~ N(y $\nu_s$, $\Gamma_s$)."""


class Target(ClassConditionalGaussian):
    r"""A test distribution t: x given y ~ N(y $\mu_t$, $\Sigma_t$); one of them is the reference."""


def register_pytree(kind: type, arrays: tuple[str, ...]) -> None:
    """Let JAX trace through a frozen dataclass whose fields are `arrays` and a `name`."""

    def flatten(item: Any) -> tuple[tuple[Any, ...], str]:
        return tuple(getattr(item, field) for field in arrays), item.name

    def unflatten(name: str, children: Any) -> Any:
        # JAX rebuilds pytrees around tracers and placeholders, so the checks of __init__ are skipped here.
        new = object.__new__(kind)
        for field, value in zip((*arrays, "name"), (*children, name), strict=True):
            object.__setattr__(new, field, value)
        return new

    jax.tree_util.register_pytree_node(kind, flatten, unflatten)


register_pytree(Source, ("mean", "covariance"))
register_pytree(Target, ("mean", "covariance"))


def check_dimensions(*distributions: ClassConditionalGaussian) -> int:
    """The common number of features d.

    Raises:
        ValueError: no distribution was given, or two of them differ in d.
    """
    if not distributions:
        raise ValueError("at least one source is needed, got none")
    dimensions = {item.dimension for item in distributions}
    if len(dimensions) > 1:
        listed = ", ".join(f"{type(x).__name__} {x.name!r}: {x.dimension}" for x in distributions)
        raise ValueError(f"sources and targets must have the same number of features, got {listed}")
    return dimensions.pop()


def margin(weights: ArrayLike, target: Target) -> Float[Array, "..."]:
    r"""The margin of linear classifiers on a target, which is exactly their probit accuracy.

    $$m_t(w) = \frac{w\cdot\mu_t}{\sqrt{w^\top\Sigma_t w}}$$

    Args:
        weights: (..., d) classifiers; their scale does not matter.
        target: the test distribution.

    Returns:
        (...) margins without unit; not a number where $w^\top\Sigma_t w = 0$ and $w\cdot\mu_t = 0$.

    Raises:
        ValueError: the last axis of `weights` is not d.
    """
    array = as_float_array(weights)
    if array.ndim == 0 or array.shape[-1] != target.dimension:
        raise ValueError(
            f"weights must have {target.dimension} entries in the last axis, got shape {array.shape}"
        )
    return array @ target.mean / jnp.sqrt(cov.quadratic_form(target.covariance, array))


def accuracy(weights: ArrayLike, target: Target) -> Float[Array, "..."]:
    r"""The exact accuracy $\Phi(m_t(w))$ of linear classifiers (..., d) on a target, a fraction.

    Raises:
        ValueError: the last axis of `weights` is not d.
    """
    return jax.scipy.special.ndtr(margin(weights, target))


def alignment(source: Source, target: Target) -> Float[Array, ""]:
    r"""$a_{s,t} = \nu_s\cdot\mu_t$, what a source knows about a target (the square of the features' unit).

    Raises:
        ValueError: they differ in the number of features.
    """
    check_dimensions(source, target)
    return source.mean @ target.mean
