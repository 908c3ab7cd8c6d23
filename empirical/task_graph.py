"""Tasks that need each other: `TaskGraph` says what is ready, what is blocked and what is left, in constant time each."""

from collections.abc import Iterator, Sequence

from empirical.scheduler import Outcome, Task


class TaskGraph:
    """The tasks still to do; `done` names what is finished already.

    Raises ValueError when a task needs one that is neither planned nor done.
    """

    def __init__(self, tasks: Sequence[Task], done: Sequence[str] = ()) -> None:
        finished, names = set(done), {task.name for task in tasks}
        self._missing: dict[str, set[str]] = {}
        self._dependents: dict[str, list[Task]] = {}
        self._ready: list[Task] = []
        self._blocked: list[tuple[Task, str]] = []
        self._left = len(tasks)
        for task in tasks:
            missing = {name for name in task.needs if name not in finished}
            unknown = sorted(missing - names)
            if unknown:
                raise ValueError(f"task {task.name} needs {unknown[0]}, which is neither planned nor done")
            self._missing[task.name] = missing
            for name in missing:
                self._dependents.setdefault(name, []).append(task)
            if not missing:
                self._ready.append(task)

    @property
    def over(self) -> bool:
        """Whether every task is finished, failed or blocked."""
        return self._left == 0 and not self._blocked

    def ready(self) -> list[Task]:
        """Tasks that became ready since the last call, in plan order among those ready at once."""
        ready, self._ready = self._ready, []
        return ready

    def finished(self, task: Task, value: object) -> Outcome:
        """A task is done: what needed nothing else is ready now."""
        self._left -= 1
        for dependent in self._dependents.pop(task.name, []):
            missing = self._missing.get(dependent.name)
            if missing is None:  # blocked by another task already
                continue
            missing.discard(task.name)
            if not missing:
                self._ready.append(dependent)
        return Outcome(task, value=value)

    def failed(self, task: Task, error: BaseException) -> Outcome:
        """A task failed: what needs it, however indirectly, is blocked."""
        self._left -= 1
        self._block(task.name)
        return Outcome(task, failure=f"{type(error).__name__}: {error}")

    def _block(self, cause: str) -> None:
        causes = [cause]
        while causes:
            name = causes.pop()
            for dependent in self._dependents.pop(name, []):
                if self._missing.pop(dependent.name, None) is not None:
                    self._blocked.append((dependent, name))
                    self._left -= 1
                    causes.append(dependent.name)

    def blocked(self) -> Iterator[Outcome]:
        """Outcomes of the tasks that became blocked since the last call."""
        blocked, self._blocked = self._blocked, []
        for task, cause in blocked:
            yield Outcome(task, failure=f"needs {cause}, which failed", blocked_by=cause)
