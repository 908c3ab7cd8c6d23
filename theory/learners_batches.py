"""Run a program for one problem on many: one after the other inside JAX, side by side on the processor's cores.

Problems are independent and a small one fits into a cache, so this beats one batched program; working memory does not grow
with their number.
Use `for_each` inside a compiled function and `on_all_cores` to call it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from theory.arrays import is_concrete

_SMALL_PROBLEM = 1 << 20  # numbers in the samples of one problem


def for_each(solve: Callable[[Array], Any], which: Array, count: Array) -> Any:
    """Results of `solve` on the indices which[0], ..., which[count - 1], one after the other, in arrays as long as `which`.

    The number of problems is not part of the program, so that any number of them shares one compilation.
    """
    shapes = jax.eval_shape(solve, which[0])
    empty = jax.tree.map(lambda s: jnp.zeros((which.shape[0], *s.shape), s.dtype), shapes)

    def body(i: Any, results: Any) -> Any:
        return jax.tree.map(lambda all_of_them, one: all_of_them.at[i].set(one), results, solve(which[i]))

    return jax.lax.fori_loop(0, count, body, empty)


def available_cores() -> int:
    """Processor cores that this process may use: those it is bound to, and no more than OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit))) if limit.isdecimal() else cores


def on_all_cores(
    program: Callable[..., tuple[Array, ...]],
    samples: Array,
    *rest: Array,
    places: np.ndarray | None = None,
) -> tuple[Array, ...]:
    """Run a program that takes problems one by one on equal parts of them at the same time, one part for each core.

    Args:
        program: (samples, indices, how many of these, *rest) -> results, as long as the indices.
        samples: (B, n, d); indices into them are handed out, not slices, which would copy them.
        *rest: further arguments.
        places: the problems to solve (None: all).
    """
    num_problems = samples.shape[0]
    places = np.arange(num_problems) if places is None else places
    cores = available_cores()
    large = samples.size > _SMALL_PROBLEM * num_problems  # keeps all cores busy by itself
    on_cpu = jax.default_backend() == "cpu" and is_concrete(samples, rest)
    parts = np.array_split(places, cores if on_cpu and not large and len(places) >= 2 * cores else 1)
    width = -(-num_problems // len(parts))

    def solve(part: np.ndarray) -> tuple[Array, ...]:
        results = program(samples, jnp.asarray(np.resize(part, width)), jnp.asarray(len(part)), *rest)
        return jax.tree.map(lambda values: values[: len(part)], results)

    if len(parts) == 1:
        return solve(parts[0])
    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(lambda part: jax.block_until_ready(solve(part)), parts))
    return jax.tree.map(lambda *values: jnp.concatenate(values), *results)
