"""Tasks that need one another: `Task`, `Outcome`, and `TaskGraph`, which knows what may start next.

Every step costs the same however many tasks there are, apart from a logarithm.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "OutOfMemoryError", "out of memory")
"""What torch says on a CPU, the system, and torch on a GPU."""


@dataclass(frozen=True)
class Task:
    """One call on a worker: `function(*arguments)` once every task named in `needs` is done."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the reason it failed (`blocked_by` names the failed task it needed)."""

    task: Task
    value: Any = None
    failure: str | None = None
    blocked_by: str = ""


def reason_of(error: BaseException) -> str:
    """An error as the reason for which a task failed; every library's way to run out of memory gets the same words."""
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY):
        return f"out of memory: {words}"
    return words


class TaskGraph:
    """What is still to do; earlier tasks in the list are handed out first.

    A task is handed out by `ready`, comes back by `give_back` (its worker died) or is settled by `finished`, `failed` or
    `settle`; tasks that need one that failed are never handed out: `blocked` yields their outcomes.

    Raises:
        ValueError: a task needs one that is neither planned nor done, or tasks need each other in a circle.
    """

    def __init__(self, tasks: Sequence[Task], done: Sequence[str] = ()) -> None:
        finished = set(done)
        self._place = {task.name: i for i, task in enumerate(tasks)}
        self._tasks = {task.name: task for task in tasks}
        self._unmet: dict[str, int] = {}
        self._dependants: dict[str, list[str]] = {}
        for task in tasks:
            needs = [name for name in dict.fromkeys(task.needs) if name not in finished]
            for name in needs:
                if name not in self._tasks:
                    raise ValueError(f"task {task.name} needs {name}, which is neither planned nor done")
                self._dependants.setdefault(name, []).append(task.name)
            self._unmet[task.name] = len(needs)
        self._heap = [(place, name) for name, place in self._place.items() if not self._unmet[name]]
        self._handed_out: set[str] = set()
        self._blocked: deque[Outcome] = deque()
        self._unfinished = set(self._tasks)
        self._refuse_circles()

    def _refuse_circles(self) -> None:
        unmet = dict(self._unmet)
        reached = [name for _, name in self._heap]
        for name in reached:
            for dependant in self._dependants.get(name, ()):
                unmet[dependant] -= 1
                if not unmet[dependant]:
                    reached.append(dependant)
        if len(reached) < len(self._tasks):
            circle = sorted(self._unfinished.difference(reached))
            raise ValueError(f"tasks need each other in a circle: {', '.join(circle[:5])}")

    @property
    def over(self) -> bool:
        """Whether every task is finished or failed, and the outcome of every blocked one was handed out."""
        return not self._unfinished and not self._blocked

    def ready(self, limit: int | None = None) -> list[Task]:
        """Hand out the next tasks that have all they need, at most `limit`."""
        taken: list[Task] = []
        while self._heap and (limit is None or len(taken) < limit):
            _, name = heapq.heappop(self._heap)
            if name in self._unfinished and name not in self._handed_out:
                self._handed_out.add(name)
                taken.append(self._tasks[name])
        return taken

    def take(self, name: str) -> None:
        """Hand out this very task, whatever it needs: it is already under way."""
        self._handed_out.add(name)

    def give_back(self, task: Task) -> None:
        """The task was not carried out after all; it is the next of its place in the list."""
        self._handed_out.discard(task.name)
        heapq.heappush(self._heap, (self._place[task.name], task.name))

    def finished(self, task: Task, value: Any) -> Outcome:
        """A task is done: what needed nothing else is ready now."""
        return self.settle(Outcome(task, value=value))

    def failed(self, task: Task, error: BaseException | str) -> Outcome:
        """A task failed: what needs it, however indirectly, is blocked."""
        failure = error if isinstance(error, str) else reason_of(error)
        return self.settle(Outcome(task, failure=failure))

    def settle(self, outcome: Outcome) -> Outcome:
        """Take note of how a task ended."""
        name = outcome.task.name
        self._unfinished.discard(name)
        self._handed_out.discard(name)
        for dependant in self._dependants.get(name, ()):
            if dependant not in self._unfinished or dependant in self._handed_out:
                continue
            if outcome.failure is None:
                self._unmet[dependant] -= 1
                if not self._unmet[dependant]:
                    heapq.heappush(self._heap, (self._place[dependant], dependant))
            else:
                self._unfinished.discard(dependant)
                reason = f"needs {name}, which failed"
                self._blocked.append(Outcome(self._tasks[dependant], failure=reason, blocked_by=name))
        return outcome

    def blocked(self) -> Iterator[Outcome]:
        """Outcomes of the tasks that can no longer be carried out, each once."""
        while self._blocked:
            yield self.settle(self._blocked.popleft())
