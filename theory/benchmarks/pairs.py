"""What the package does, each beside what it replaces: the pairs that `experiments/benchmark_theory.py` times.

`PAIRS` makes the pairs of a part when its turn comes; `measure` times one. Peers are the standard ones, used as their manuals
say: scikit-learn's estimators, SciPy's root finder, plain NumPy. scikit-learn is imported by `training_pairs` only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from theory.arrays import Scalar
from theory.asymptotics import asymptotics
from theory.benchmarks.timing import compare, first_call, median_seconds
from theory.gaussian import Source, Target, accuracy
from theory.learners import draw_mixture, train, train_logistic, train_ridge
from theory.learners_batches import available_cores
from theory.links import dprime
from theory.losses import LOSSES
from theory.monte_carlo import sample_averaging
from theory.reduced_problem import reduce_problem

PENALTY = 0.01
TOLERANCE = 1e-4  # relative accuracy of weights, asked of us and of scikit-learn
_BLOCK_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class Pair:
    """Two ways to the same result.

    Attributes:
        name: what is computed, and in which terms results are compared.
        function: the public function that is timed.
        ours: our call.
        peer_name: what it is held against.
        peer: its call.
        difference: (our result, the peer's) -> their largest difference.
        units: of work in one call of ours; seconds are per unit.
        peer_units: of work in one call of the peer.
        aim: ratio to reach, None where none was set.
        most_repeats: turns that are enough, for peers that take long.
    """

    name: str
    function: str
    ours: Callable[[], Any]
    peer_name: str
    peer: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    units: int = 1
    peer_units: int = 1
    aim: Scalar | None = None
    most_repeats: int = 100


def measure(pair: Pair, repeats: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Time a pair: a row of the table of ratios, and a row of the table of first calls (which compile)."""
    first, later = first_call(pair.ours, 1)
    result = compare(pair.ours, pair.peer, min(repeats, pair.most_repeats))
    seconds, peer_seconds = result.seconds / pair.units, result.peer_seconds / pair.peer_units
    row = {
        "name": pair.name,
        "ours_seconds": seconds,
        "peer": pair.peer_name,
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
        "max_difference": pair.difference(result.result, result.peer_result),
    }
    compiling = {
        "name": pair.function,
        "first_call_seconds": first,
        "later_call_seconds": later,
        "compile_seconds": max(first - later, 0.0),
    }
    return row, compiling


def sampler_pairs(seed: int, quick: bool) -> Iterator[Pair]:
    """The reduced sampler against drawing every feature of every sample."""
    n, d, num_trials = (2_000, 50, 2_000) if quick else (100_000, 1_000, 10_000)
    e = np.eye(d)
    sources = (Source(0.08 * e[0] + 0.02 * e[1], 1.0), Source(0.03 * e[0] + 0.06 * e[1], 2.0))
    targets = (Target(e[0] + e[1]), Target(e[0]))
    problem = reduce_problem(sources, targets)
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    target_means = np.stack([np.asarray(target.mean) for target in targets])
    block = max(1, _BLOCK_ELEMENTS // d)  # rows that stay in the cache: NumPy's fastest way
    margins: list[np.ndarray] = []

    def brute_force() -> np.ndarray:
        total = np.zeros(d)
        for source in sources:
            mean, std = np.asarray(source.mean), float(np.sqrt(source.covariance))
            for start in range(0, n // 2, block):
                size = min(block, n // 2 - start)
                y = rng.choice([-1.0, 1.0], size)
                total += y @ (y[:, None] * mean + std * rng.standard_normal((size, d)))
        margins.append(target_means @ total / np.linalg.norm(total))
        return np.asarray(margins)  # of all calls so far

    def difference(ours: Any, peer: np.ndarray) -> float:
        drawn = np.asarray(ours.margins)
        stderr = drawn.std(0) * np.sqrt(1 / len(peer) + 1 / len(drawn))
        return float(np.abs((drawn.mean(0) - peer.mean(0)) / stderr).max())

    yield Pair(
        name=f"averaging classifier, n = {n:,}, d = {d:,} (difference of mean margins in standard errors)",
        function="sample_averaging",
        ours=lambda: sample_averaging(key, problem, [n // 2, n // 2], num_trials),
        units=num_trials,
        peer_name="NumPy, every sample drawn",
        peer=brute_force,
        difference=difference,
        aim=1000,
    )


def training_pairs(seed: int, quick: bool) -> Iterator[Pair]:
    """Batched training against a loop over scikit-learn's estimators, on the same problems to the same weights."""
    from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
    from threadpoolctl import threadpool_limits

    n, d, num_problems = (300, 20, 8) if quick else (2_000, 200, 200)
    e = np.eye(d)
    sources = (Source(e[0] + 0.5 * e[1], 1.0), Source(0.3 * e[0] + e[1], 2.0))
    keys = jax.random.split(jax.random.key(seed), num_problems)
    u = jax.block_until_ready(jax.vmap(lambda key: draw_mixture(key, sources, (n // 2, n // 2)))(keys))
    y = np.random.default_rng(seed).choice([-1.0, 1.0], n)
    x = np.asarray(u) * y[:, None]

    def loop(make: Callable[[], Any], problems: np.ndarray = x) -> np.ndarray:
        return np.stack([make().fit(features, y).coef_.ravel() for features in problems])

    def best_threads(make: Callable[[], Any]) -> int:
        """How many threads serve the peer's linear algebra best here: small problems often want one."""
        seconds = {}
        for threads in {1, available_cores()}:
            with threadpool_limits(threads):
                seconds[threads] = median_seconds([lambda: loop(make, x[:10])], 3)[0]
        return min(seconds, key=lambda threads: seconds[threads])

    def peer_of(name: str, make: Callable[[], Any]) -> dict[str, Any]:
        threads = best_threads(make)

        def fit_all() -> np.ndarray:
            with threadpool_limits(threads):
                return loop(make)

        words = "1 thread" if threads == 1 else f"{threads} threads"
        return {"peer_name": f"scikit-learn {name}, {words}", "peer": fit_all, "peer_units": 1}

    def difference(ours: Any, peer: np.ndarray) -> float:
        w = np.asarray(getattr(ours, "weights", ours))
        return float((np.linalg.norm(w - peer, axis=1) / np.linalg.norm(peer, axis=1)).max())

    def logistic(solver: str, tolerance: float) -> Callable[[], Any]:
        return lambda: LogisticRegression(
            C=1 / (n * PENALTY), fit_intercept=False, solver=solver, tol=tolerance, max_iter=10_000
        )

    def loosest_tolerance(solver: str) -> float:
        """The peer is not asked for more digits than we are: the loosest setting that gives `TOLERANCE`."""
        few = x[:20]
        exact = loop(logistic("newton-cholesky", 1e-12), few)
        tolerances = 10.0 ** -np.arange(4, 12)
        near = (t for t in tolerances if difference(loop(logistic(solver, t), few), exact) <= TOLERANCE)
        return float(next(near, tolerances[-1]))

    what = f"{num_problems} problems, n = {n:,}, d = {d} (relative difference of weights)"
    for estimator in (Ridge, RidgeClassifier):

        def make(estimator: Any = estimator) -> Any:
            return estimator(alpha=n * PENALTY, fit_intercept=False)

        yield Pair(
            name=f"ridge, {what}",
            function="train_ridge",
            ours=lambda: train_ridge(u, PENALTY, TOLERANCE),
            **peer_of(estimator.__name__, make),
            difference=difference,
            aim=5,
        )
    for solver in ("lbfgs", "newton-cholesky"):
        tolerance = loosest_tolerance(solver)
        yield Pair(
            name=f"logistic, {what}",
            function="train_logistic",
            ours=lambda: train_logistic(u, PENALTY, TOLERANCE),
            **peer_of(f"LogisticRegression, {solver}, tol={tolerance:.0e}", logistic(solver, tolerance)),
            difference=difference,
            aim=5,
        )


def asymptotics_pairs(seed: int, quick: bool) -> Iterator[Pair]:
    """The limit at n/d = 2 against training until the accuracies have a standard error of 0.002."""
    penalties, largest_stderr, batch = [0.01, 0.1, 1.0], 0.02 if quick else 0.002, 8
    settings = (("square", 40),) if quick else (("square", 1_000), ("logistic", 1_000), ("hinge", 250))
    for loss, d in settings:
        n, e = 2 * d, np.eye(d)
        sources = (Source(1.2 * e[0] + 0.3 * e[1], 1.0), Source(0.4 * e[0] + 1.4 * e[1], 2.25))
        targets = (Target(e[0] + e[1]), Target(e[0]))

        def limit(sources: Any = sources, targets: Any = targets, n: int = n, loss: str = loss) -> Any:
            return asymptotics(sources, [0.5, 0.5], n, penalties, loss).accuracies(targets)

        def simulate(sources: Any = sources, targets: Any = targets, n: int = n, loss: str = loss) -> Any:
            key, found = jax.random.key(seed), np.zeros((0, len(penalties), len(targets)))
            while len(found) < batch or found.std(0, ddof=1).max() > largest_stderr * np.sqrt(len(found)):
                key, now = jax.random.split(key)
                draw = jax.vmap(lambda k: draw_mixture(k, sources, (n // 2, n // 2)))
                w = train(LOSSES[loss], draw(jax.random.split(now, batch)), penalties, 1e-3).weights
                new = np.stack([np.asarray(accuracy(w, target)) for target in targets], axis=-1)
                found = np.concatenate([found, new])
            return found.mean(0)

        yield Pair(
            name=f"limit of {loss} at n/d = 2, {len(penalties)} regularisations (difference of accuracies)",
            function=f"asymptotics({loss})",
            ours=limit,
            peer_name=f"training at d = {d:,} to a standard error of {largest_stderr}",
            peer=simulate,
            difference=lambda ours, peer: float(np.abs(np.asarray(ours) - peer).max()),
            most_repeats=3,
        )


def dprime_pairs(seed: int, quick: bool) -> Iterator[Pair]:
    """d′ of many accuracies against a loop of SciPy's root finder over an integral."""
    from scipy.integrate import quad
    from scipy.optimize import brentq
    from scipy.special import log_ndtr, ndtr

    num_classes, many, few = 1_000, 2_048, 5 if quick else 50
    accuracies = np.random.default_rng(seed).uniform(0.01, 0.99, many)
    nodes = np.arange(-9, 9 + 1 / 32, 1 / 16)
    densities = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi) / 16

    def adaptive(m: float) -> float:
        def integrand(z: float) -> float:
            return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * ndtr(z + m) ** (num_classes - 1)

        return quad(integrand, -9, 9)[0]

    def trapezoid(m: float) -> float:
        return float(densities @ np.exp((num_classes - 1) * log_ndtr(nodes + m)))

    for integral, name in ((adaptive, "quad"), (trapezoid, "a fixed trapezoid rule")):

        def invert(integral: Callable[[float], float] = integral) -> np.ndarray:
            return np.asarray([_root(brentq, integral, p) for p in accuracies[:few]])

        yield Pair(
            name=f"d′ among {num_classes:,} classes, {many:,} accuracies, its table kept from call to call (difference of d′)",
            function="dprime",
            ours=lambda: dprime(accuracies, num_classes),
            units=many,
            peer_name=f"SciPy brentq over {name}",
            peer=invert,
            peer_units=few,
            difference=lambda ours, peer: float(np.abs(np.asarray(ours)[: len(peer)] - peer).max()),
            aim=100,
        )


def _root(solver: Callable[..., Any], function: Callable[[float], float], value: float) -> float:
    return float(solver(lambda m: function(m) - value, -5, 15))


#: The parts of the benchmark that have peers: (seed, quick) -> pairs.
PAIRS: Mapping[str, Callable[[int, bool], Iterator[Pair]]] = {
    "sampler": sampler_pairs,
    "training": training_pairs,
    "asymptotics": asymptotics_pairs,
    "dprime": dprime_pairs,
}
