"""Our zero-shot evaluation beside clip-benchmark's, each in a fresh process, on the same weights and test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from empirical.benchmarks.evaluation_task import Accuracies, EvaluationTask
from empirical.benchmarks.fresh_process import HERE, PeerEnvironment, row, run_driver
from empirical.errors import StudyError

PEER = "clip_benchmark"
WAY_OUT = (
    '; `pip install --no-deps --target FOLDER clip-benchmark "numpy<2.4"`, then --clip-benchmark-path FOLDER'
)
EQUAL = 2
"""Images by which two counts of correct ones may differ: rounding decides where two classes are all but equal."""


@dataclass(frozen=True)
class ComparedEvaluations:
    """The outcomes of both evaluators, turn by turn; `num_images` are those of all test sets."""

    task: EvaluationTask
    num_images: int
    ours: list[Accuracies]
    peer: list[Accuracies]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of the table of ratios: end to end, and without the start of the process."""
        device, name = (
            self.task.device,
            f"zero-shot, {self.num_images} images in {len(self.task.test_sets)} sets",
        )
        measured = {
            "end to end": "seconds",
            "end to end, processor seconds": "cpu_seconds",
            "once loaded": "evaluating_seconds",
        }
        for what, seconds in measured.items():
            ours, peer = (median(getattr(o, seconds) for o in each) for each in (self.ours, self.peer))
            yield row(f"{name}, {what}", device, ours, PEER, peer)


NUM_SHARDS = 6


def write_test_sets(folder: Path, num_images: int, seed: int = 0) -> dict[str, str]:
    """The embedded world's five test sets in clip-benchmark's layout, by name; shards enough for each of its workers."""
    from empirical.shards import write_test_set
    from empirical.world import TEST_SET_NAMES, render_test_set

    for name in TEST_SET_NAMES:
        write_test_set(render_test_set(name, num_images, seed), folder / name, -(-num_images // NUM_SHARDS))
    return {name: str(folder / name) for name in TEST_SET_NAMES}


def compare_evaluators(
    task: EvaluationTask,
    num_images: int,
    folder: Path,
    environment: PeerEnvironment,
    *,
    repeats: int = 3,
    workers: Sequence[int] = (0,),
    report: Callable[[str], None] = print,
) -> ComparedEvaluations:
    """Evaluate by turns `repeats` times; the peer keeps the number of workers that ended soonest in the first turn.

    Args: num_images, per test set.
    Raises:
        StudyError: a side failed, or the two find accuracies that differ by more than EQUAL images.
    """
    tried = {
        number: _peer(replace(task, workers=number), folder / f"peer_{number}_workers", environment)
        for number in workers
    }
    best = min(tried, key=lambda number: tried[number].seconds)
    task = replace(task, workers=best)
    ours, peer = [], [tried[best]]
    for turn in range(repeats):
        if turn:
            peer.append(_peer(task, folder / f"peer_{turn}", environment))
        ours.append(_evaluate("our_evaluation_driver", task, folder / f"ours_{turn}", HERE, ""))
        check_equal(ours[-1], peer[-1], num_images)
        report(
            f"evaluation: {ours[-1].seconds:.1f} s, {PEER} ({best} workers) {peer[-1].seconds:.1f} s, same accuracies"
        )
    return ComparedEvaluations(task, num_images * len(task.test_sets), ours, peer)


def check_equal(ours: Accuracies, peer: Accuracies, num_images: int) -> None:
    """Raise StudyError unless both counted the same images as correct, up to EQUAL of each set's `num_images`."""
    for name, accuracy in ours.accuracy.items():
        difference = abs(accuracy - peer.accuracy.get(name, float("nan"))) * num_images
        if not difference < EQUAL + 0.5:
            raise StudyError(
                f"test set {name}: accuracy {accuracy:.4f} here, {peer.accuracy.get(name)} by {PEER}; times of different "
                "answers are not compared"
            )


def _peer(task: EvaluationTask, folder: Path, environment: PeerEnvironment) -> Accuracies:
    return _evaluate("clip_benchmark_driver", task, folder, environment, WAY_OUT)


def _evaluate(
    driver: str, task: EvaluationTask, folder: Path, environment: PeerEnvironment, way_out: str
) -> Accuracies:
    folder.mkdir(parents=True)
    task.write(folder / "task.json")
    spent = run_driver(f"{__package__}.{driver}", folder, task.threads, environment, way_out)
    return replace(Accuracies.read(folder / "outcome.json"), **asdict(spent))
