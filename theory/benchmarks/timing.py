"""Measure speed and memory fairly: interleaved medians, first calls apart from later ones, peak memory in a fresh process.

Use `compare` for two ways to the same result, `median_seconds` for the cost of one over many settings, `first_call` for what
compiling costs, and `peak_memory` for what a piece of code needs. Times are wall-clock seconds on the machine at hand: quote them
from a machine that does nothing else.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import jax

_PEAK = """
def _peak():
    try:
        # The peak of this program alone: getrusage also counts the parent it was forked from.
        for line in open("/proc/self/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource, sys
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print("peak", _peak())
"""


@dataclass(frozen=True)
class Comparison:
    """Medians of two ways to the same result, run by turns.

    Attributes:
        seconds: of the first, per call.
        peer_seconds: of the second.
        result: what the first returned last.
        peer_result: what the second returned last.
    """

    seconds: float
    peer_seconds: float
    result: Any
    peer_result: Any

    @property
    def ratio(self) -> float:
        """How many times faster the first is."""
        return self.peer_seconds / self.seconds


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the result of `call` is ready, and the result."""
    started = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - started, result


def compare(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = 5, inner: int = 1) -> Comparison:
    """Run two calls by turns, after one unmeasured call of each, and take medians.

    Args:
        ours: the first way.
        peer: the second.
        repeats: measured turns.
        inner: calls of `ours` in one turn, so that a fast one is not lost in the clock and the caches are as full as its
            peer finds them; its time is divided by it.

    Raises:
        ValueError: fewer than one turn or inner call.
    """
    if repeats < 1 or inner < 1:
        raise ValueError(f"repeats and inner must be at least 1, got {repeats} and {inner}")
    result, peer_result = timed(ours)[1], timed(peer)[1]
    own, other = [], []
    for _ in range(repeats):
        total = 0.0
        for _ in range(inner):
            seconds, result = timed(ours)
            total += seconds
        own.append(total / inner)
        seconds, peer_result = timed(peer)
        other.append(seconds)
    return Comparison(median(own), median(other), result, peer_result)


def median_seconds(calls: Sequence[Callable[[], Any]], repeats: int = 9) -> list[float]:
    """Median seconds of each call; all are called once unmeasured, then round after round, so that slow spells hit all alike.

    Raises:
        ValueError: fewer than one round.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    for call in calls:
        timed(call)
    rounds = [[timed(call)[0] for call in calls] for _ in range(repeats)]
    return [median(column) for column in zip(*rounds, strict=True)]


def first_call(call: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Seconds of the first call, which compiles (if it is the first in this process), and the median of later ones.

    Raises:
        ValueError: no later call.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    first = timed(call)[0]
    return first, median(timed(call)[0] for _ in range(repeats))


def peak_memory(code: str) -> float:
    """Peak resident memory in MiB of a fresh Python process that runs `code`, its imports included.

    Raises:
        RuntimeError: the code failed; the message holds the end of its error output.
    """
    done = subprocess.run([sys.executable, "-c", code + _PEAK], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the measured code failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout.rsplit("peak", 1)[1])
