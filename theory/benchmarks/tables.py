"""Cost over n and d, and peak memory: the tables of `experiments/benchmark_theory.py` that have no peer.

Use `scaling_table` and `memory_table`; `flatness` and `describe_memory` say what they show.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from theory.benchmarks.timing import median_seconds, peak_memory
from theory.gaussian import Source, Target
from theory.monte_carlo import sample_averaging
from theory.reduced_problem import reduce_problem

if TYPE_CHECKING:
    import pandas as pd

_PRELUDE = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from theory import Source, Target, reduce_problem, sample_averaging
from theory.learners import draw_mixture, train_logistic

def sweep(sizes, features):
    for d in features:
        for n in sizes:
            sources = Source([0.08, 0.02]), Source([0.03, 0.06], 2.0)
            problem = reduce_problem(sources, (Target([1.0, 1.0]), Target([1.0, 0.0])), d)
            jax.block_until_ready(sample_averaging(jax.random.key(0), problem, [n // 2, n // 2], 10_000))

def learners(n, d, num_problems, train):
    source, keys = Source(np.eye(d)[0]), jax.random.split(jax.random.key(0), num_problems)
    draw = lambda keys: jax.lax.map(lambda key: draw_mixture(key, [source], [n]), keys)
    u = jax.block_until_ready(jax.jit(draw)(keys))  # one by one: no copies that would hide what training needs
    if train:
        jax.block_until_ready(train_logistic(u, 0.01, 1e-4))
"""


def scaling_table(seed: int, quick: bool) -> "pd.DataFrame":
    """Seconds that 10,000 draws of the reduced sampler take (from the sources to the margins) at every n and d.

    Returns:
        Columns n, d, seconds.
    """
    import pandas as pd

    exponents = (3, 6, 12) if quick else tuple(range(3, 13))
    features = (10**2, 10**6) if quick else (10**2, 10**3, 10**4, 10**5, 10**6)
    sources = (Source([0.08, 0.02], 1.0), Source([0.03, 0.06], 2.0))
    targets = (Target([1.0, 1.0]), Target([1.0, 0.0]))
    key = jax.random.key(seed)
    settings = [(10**k, d) for d in features for k in exponents]

    def call(n: int, d: int) -> Callable[[], Any]:
        def draw() -> Any:
            problem = reduce_problem(sources, targets, num_features=d)
            return sample_averaging(key, problem, [n // 2, n // 2], 10_000).margins

        return draw

    seconds = median_seconds([call(n, d) for n, d in settings], 3 if quick else 15)
    return pd.DataFrame([{"n": n, "d": d, "seconds": s} for (n, d), s in zip(settings, seconds, strict=True)])


def flatness(scaling: "pd.DataFrame") -> float:
    """The largest cost in the table over the smallest."""
    return float(scaling["seconds"].max() / scaling["seconds"].min())


def memory_table(quick: bool) -> "pd.DataFrame":
    """Peak memory of fresh processes that draw or train, and how much of it is above the imports.

    Returns:
        Columns name, peak_mib, above_imports_mib.
    """
    import pandas as pd

    n, d, few, many = (300, 20, 4, 4) if quick else (2_000, 200, 20, 200)
    items = {
        "imports": "",
        "sampler, n = 1e3, d = 1e2": "sweep([10**3], [10**2])",
        "sampler, n = 1e12, d = 1e6": "sweep([10**12], [10**6])",
        "sampler, 50 settings up to there": "sweep([10**k for k in range(3, 13)], [10**k for k in range(2, 7)])",
    }
    for count in (few,) if quick else (few, many):
        for train in (False, True):
            name = f"{'samples and training' if train else 'samples'} of {count} problems"
            items[name] = f"learners({n}, {d}, {count}, {train})"
    peaks = {name: peak_memory(f"{_PRELUDE}\n{code}\n") for name, code in items.items()}
    columns = {"name": list(peaks), "peak_mib": list(peaks.values())}
    return pd.DataFrame(columns).assign(above_imports_mib=lambda t: t["peak_mib"] - peaks["imports"])


def describe_memory(memory: "pd.DataFrame") -> str:
    """What the table of peaks shows, in a line."""
    peaks = memory.set_index("name")["above_imports_mib"]
    small, large, sweep = (peaks.iloc[i] for i in (1, 2, 3))
    trained = peaks[peaks.index.str.contains("training")].to_numpy()
    drawn = peaks[peaks.index.str.startswith("samples of")].to_numpy()
    extra = ", ".join(f"{x:.0f}" for x in trained - drawn)
    return (
        f"Peak memory above the imports: sampler {small:.0f} MiB at n = 1e3, d = 1e2, {large:.0f} MiB at n = 1e12, d = 1e6, "
        f"{sweep:.0f} MiB for a sweep of 50 settings; training adds {extra} MiB to its samples"
        + (" for 20 and 200 problems" if len(drawn) > 1 else "")
    )
