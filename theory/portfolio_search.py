"""Branch and bound over the noise of the mixture: a best mixture and a proof of how far any other can be ahead.

Where the problem is convex as it stands (see `theory.portfolio_problem`) there is one node and nothing is searched. Otherwise
every node is a box of noise intervals with a convex relaxation, an upper bound from `theory.portfolio_certificates` and a
mixture; the box with the largest bound is split where its chord is worst, until no bound exceeds the best mixture found by
more than the tolerance. The bound is global: it covers every box, also those that were left.
"""

import heapq
from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Float

from theory.portfolio_certificates import proves_empty, upper_bound
from theory.portfolio_cone import InnerProblem, InnerSolution, best_worst_signal, emptiness_prices
from theory.portfolio_polish import polished
from theory.portfolio_problem import MixtureProblem

_ROUNDS = 12
#: Powers of the sources' lengths in which shares are measured: by length, as they are, half-way. The first nearly always does.
_SCALES = (1.0, 0.0, 0.5)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The best p found, its level, the certified upper bound on any level, and the work it took."""

    point: Float[np.ndarray, " s"]
    level: float
    upper_bound: float
    num_boxes: int
    num_solved: int


class _Search:
    def __init__(self, problem: MixtureProblem, start: Float[np.ndarray, " s"], tolerance: float):
        self.problem, self.tolerance = problem, tolerance
        self._inners: dict[float, InnerProblem] = {}
        self.point, self.level = problem.repaired(start), -np.inf
        self.offer(start)

    @property
    def num_solved(self) -> int:
        """Convex programs solved so far."""
        return sum(inner.num_solved for inner in self._inners.values())

    def offer(self, point: Float[np.ndarray, " s"]) -> None:
        """Keep a mixture if it is the best so far."""
        if not point.max() > 0:
            return
        repaired = self.problem.repaired(point)
        level = self.problem.level(repaired)
        if level > self.level:
            self.point, self.level = repaired, level

    def bound(self, box: Float[np.ndarray, "k 2"]) -> tuple[float, Float[np.ndarray, " s"]]:
        """An upper bound on the levels in a box, and the point of its relaxation."""
        best, point = np.inf, self.point
        for power in _SCALES:
            bound, candidate, tight = self._bound(self._inner(power), box)
            if bound < best:
                best, point = bound, candidate
            if tight:
                break
        return best, point

    def _inner(self, power: float) -> InnerProblem:
        if power not in self._inners:
            lengths = self.problem.lengths
            self._inners[power] = InnerProblem(self.problem, lengths.max() ** (1 - power) * lengths**power)
        return self._inners[power]

    def _bound(
        self, inner: InnerProblem, box: Float[np.ndarray, "k 2"]
    ) -> tuple[float, Float[np.ndarray, " s"], bool]:
        level, point, best = self.level, self.point, np.inf
        for _ in range(_ROUNDS):
            lengths, _, _ = self.problem.relaxed_lengths(point, box)
            found = inner.solve(box, level, np.where(lengths > 0, lengths, 1.0))
            if found is None or not found.point.max() > 0:
                best = min(best, self._fallback(box))
                return best, point, best <= self.level
            self.offer(found.point)
            best, point = min(best, self._certified(box, found)), found.point
            if best <= self.level * (1 + 0.1 * self.tolerance):
                return best, point, True
            reached = self._relaxed_level(box, point)
            if np.inf > reached > 0 and best > reached * (1 + 0.1 * self.tolerance):
                best, point = self._sharpened(box, found, reached, best)
            if best <= reached * (1 + 0.1 * self.tolerance):
                return best, point, self._belongs(point, box)
            if not reached > 0 or abs(reached / level - 1) < 1e-9:
                break
            level = reached
        return best, point, False

    def _belongs(self, point: Float[np.ndarray, " s"], box: Float[np.ndarray, "k 2"]) -> bool:
        """Whether a solver's answer is a mixture of the box: if it is none, the level it reaches says nothing."""
        used, noise, slack = float(point.sum()), self.problem.shapes @ point, 1e-6 * box[:, 1]
        inside = (noise >= box[:, 0] - slack) & (noise <= box[:, 1] + slack)
        return self.problem.total[0] - 1e-6 <= used <= self.problem.total[1] + 1e-6 and bool(inside.all())

    def _fallback(self, box: Float[np.ndarray, "k 2"]) -> float:
        """A bound where the cone program has no answer: no mixture in the box, or no signal on all targets at once."""
        _, found = best_worst_signal(self.problem, box)
        if found is not None:
            self.offer(found.point)
            return self._certified(box, found)
        return -np.inf if proves_empty(self.problem, box, *emptiness_prices(self.problem, box)) else np.inf

    def _sharpened(
        self, box: Float[np.ndarray, "k 2"], found: InnerSolution, level: float, best: float
    ) -> tuple[float, Float[np.ndarray, " s"]]:
        """A tighter bound from the polished answer, if polishing helps."""
        better = polished(self.problem, box, found, level)
        if better is None:
            return best, found.point
        bound = self._certified(box, better)
        if bound >= best:
            return best, found.point
        self.offer(better.point)
        return bound, better.point

    def _relaxed_level(self, box: Float[np.ndarray, "k 2"], point: Float[np.ndarray, " s"]) -> float:
        lengths, _, _ = self.problem.relaxed_lengths(point, box)
        if not (lengths > 0).all():
            return np.inf
        return float((self.problem.signals @ point / lengths).min())

    def _certified(self, box: Float[np.ndarray, "k 2"], found: InnerSolution) -> float:
        prices = found.upper_prices, found.lower_prices
        return upper_bound(self.problem, box, found.point, found.target_weights, *prices)


def search(
    problem: MixtureProblem, start: Float[np.ndarray, " s"], tolerance: float, max_boxes: int
) -> SearchResult:
    """Maximise the worst level over the polytope.

    Args:
        problem: the best-mixture problem.
        start: a p with a positive level.
        tolerance: relative gap at which to stop.
        max_boxes: boxes at which to stop whatever the gap; the result tells the gap that is left.
    """
    run = _Search(problem, start, tolerance)
    order, box = count(), problem.initial_box()
    bound, point = run.bound(box)
    heap, closed, num_boxes = [(-bound, next(order), box, point)], -np.inf, 1
    while heap and -heap[0][0] > run.level * (1 + tolerance) and num_boxes < max_boxes:
        bound, _, box, point = heapq.heappop(heap)
        halves = _split(problem, box, point)
        if not halves:
            closed = max(closed, -bound)
            continue
        for half in halves:
            child, child_point = run.bound(half)
            heapq.heappush(heap, (max(bound, -child), next(order), half, child_point))
            num_boxes += 1
    top = max(closed, *(-item[0] for item in heap)) if heap else closed
    return SearchResult(run.point, run.level, float(top), num_boxes, run.num_solved)


def _split(
    problem: MixtureProblem, box: Float[np.ndarray, "k 2"], point: Float[np.ndarray, " s"]
) -> list[Float[np.ndarray, "k 2"]]:
    """The two halves of a box, cut where the worst chord is furthest from the noise; none if there is nothing to gain."""
    rows, offsets = problem.chords(box)
    error = (problem.noises @ point - (rows @ point + offsets) ** 2) * (np.asarray(problem.groups) >= 0)
    squared = np.einsum("s,tsu,u->t", point, problem.grams, point) + problem.noises @ point
    worst = int(np.argmax(error / np.where(squared > 0, squared, 1.0)))
    if error[worst] > 1e-12 * squared[worst]:
        group = problem.groups[worst]
        cut = float(problem.shapes[group] @ point)
    elif len(box):
        # The relaxation is exact at its answer and only the proof is wanting: a smaller box is easier to prove.
        group = int(np.argmax((box[:, 1] - box[:, 0]) / np.where(box[:, 1] > 0, box[:, 1], 1.0)))
        cut = float(box[group].mean())
    else:
        return []
    low, high = box[group]
    margin = 0.1 * (high - low)
    if margin <= 1e-9 * high:
        return []
    cut = float(np.clip(cut, low + margin, high - margin))
    halves = [box.copy(), box.copy()]
    halves[0][group, 1] = halves[1][group, 0] = cut
    return halves
