"""Where a study stands: `read_status(folder)`, from its files alone, while it runs or afterwards, here or on a cluster.

Use `StudyStatus.table` for one row per run and `status_text` for what a person reads.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from empirical.errors import StudyError
from empirical.progress import format_duration
from empirical.records import load_records, read_json
from empirical.running import RunningTask, is_running, running_tasks
from empirical.slurm_jobs import job_name, queue

STATES = ("done", "running", "failed", "blocked", "waiting")
"""blocked: needs something that failed; waiting: its turn has not come."""

MOST_SHOWN = 12


@dataclass(frozen=True)
class RunStatus:
    """One run: its state, the reason if it failed, seconds of work so far, and where it runs or ran."""

    run: str
    kind: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    where: str = ""


@dataclass(frozen=True)
class StudyStatus:
    """A study at one moment.

    `preparing` are the data tasks under way, `failed_data` those that failed with their reasons. `remaining_seconds` is
    None while no run tells how fast it goes. `queued` counts jobs that wait in SLURM's queue by the reason it gives.
    """

    folder: Path
    runs: tuple[RunStatus, ...]
    is_running: bool
    executor: str
    preparing: tuple[RunningTask, ...]
    failed_data: Mapping[str, str]
    remaining_seconds: float | None
    workers: int
    queued: Mapping[str, int]
    damaged: tuple[str, ...]
    now: float

    def count(self, state: str) -> int:
        """How many runs are in that state."""
        return sum(run.state == state for run in self.runs)

    def table(self) -> pd.DataFrame:
        """One row per run: run, kind, state, reason, seconds, where."""
        columns = ["run", "kind", "state", "reason", "seconds", "where"]
        return pd.DataFrame([vars(run) for run in self.runs], columns=columns)


def read_status(folder: Path, now: float) -> StudyStatus:
    """The status of the study in `folder`; `now` in seconds since the epoch, as time.time() gives it.

    Raises:
        StudyError: no study was ever started in that folder, or its plan cannot be read.
    """
    plan_path = folder / "study.json"
    if not plan_path.exists():
        raise StudyError(f"{folder}: no study was started here (there is no study.json)")
    plan = read_json(plan_path)
    if not isinstance(plan, Mapping) or "runs" not in plan:
        raise StudyError(f"{plan_path}: written by an older version; start the study again to renew it")
    damaged: list[str] = []
    records = load_records(folder / "records", on_damage=damaged.append)
    running = running_tasks(folder)
    failures = _failures(folder, plan["started"])
    data = {name: cost for name, cost in plan["data"].items() if not _is_prepared(folder, name)}
    runs = _run_states(plan["runs"], records, running, failures, now)
    workers = max(1, len(running)) if running else plan["jobs"]
    return StudyStatus(
        folder=folder,
        runs=tuple(runs.values()),
        is_running=is_running(folder),
        executor=plan["executor"],
        preparing=tuple(task for name, task in running.items() if name in plan["data"]),
        failed_data={
            name: reason for name, (reason, recent) in failures.items() if name in plan["data"] and recent
        },
        remaining_seconds=_remaining(plan, records, runs, data, workers),
        workers=workers,
        queued=_queued(folder) if plan["executor"] == "slurm" else {},
        damaged=tuple(damaged),
        now=now,
    )


def _failures(folder: Path, started: float) -> dict[str, tuple[str, bool]]:
    """(reason, whether it failed since the study was last started) by task."""
    found = {}
    for path in sorted((folder / "failed").glob("[!.]*.json")):
        try:
            note = read_json(path)
        except (StudyError, FileNotFoundError):  # it has just been tried again, with success
            continue
        found[note["task"]] = (note["reason"], note.get("time", 0.0) >= started)
    return found


def _is_prepared(folder: Path, name: str) -> bool:
    label = _short(name)
    return (folder / ("tokenizer.json" if label == "tokenizer" else f"arrays/{label}.json")).exists()


def _short(name: str) -> str:
    return name.removeprefix("data/").removeprefix("arrays/")


def _run_states(
    planned: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    running: Mapping[str, RunningTask],
    failures: Mapping[str, tuple[str, bool]],
    now: float,
) -> dict[str, RunStatus]:
    states: dict[str, RunStatus] = {}
    # A run may be planned before what it needs: heads first, whatever the order.
    pending = list(planned)
    while pending:
        later = []
        for name in pending:
            run = planned[name]
            record, reason = records.get(name), failures.get(name, ("", False))
            bad = next((need for need in run["needs"] if _is_bad(need, states, failures)), "")
            if record is not None and record.get("fingerprint") == run["fingerprint"]:
                where = record["environment"].get("device_name", "")
                state = RunStatus(name, run["kind"], "done", "", float(record["seconds"]), where)
            elif name in running:
                mark = running[name]
                job = f" (job {mark.job})" if mark.job else f" (process {mark.process})"
                state = RunStatus(name, run["kind"], "running", "", now - mark.started, mark.host + job)
            elif reason[1]:
                state = RunStatus(name, run["kind"], "failed", reason[0])
            elif bad:
                state = RunStatus(name, run["kind"], "blocked", f"needs {bad}, which failed")
            elif any(need in planned and need not in states for need in run["needs"]):
                later.append(name)
                continue
            else:
                before = f"failed at an earlier start: {reason[0]}" if reason[0] else ""
                state = RunStatus(name, run["kind"], "waiting", before)
            states[name] = state
        if len(later) == len(pending):
            raise StudyError("study.json: runs need each other in a circle")
        pending = later
    return {name: states[name] for name in planned}


def _is_bad(name: str, states: Mapping[str, RunStatus], failures: Mapping[str, tuple[str, bool]]) -> bool:
    if name in states:
        return states[name].state in ("failed", "blocked")
    return name.startswith("data/") and failures.get(name, ("", False))[1]


def _remaining(
    plan: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, RunStatus],
    data: Mapping[str, float],
    workers: int,
) -> float | None:
    costs = {name: float(run["cost"]) for name, run in plan["runs"].items()}
    measured = [name for name, run in runs.items() if run.state == "done" and costs[name] > 0]
    seconds = sum(float(records[name]["seconds"]) for name in measured)
    to_do = [name for name, run in runs.items() if run.state in ("running", "waiting")]
    if not to_do:
        return 0.0
    if not seconds:
        return None
    rate = sum(costs[name] for name in measured) / seconds
    work = sum(data.values()) / rate
    for name in to_do:
        work += max(0.0, costs[name] / rate - runs[name].seconds)
    return work / workers


def _queued(folder: Path) -> dict[str, int]:
    try:
        jobs = queue(job_name(folder / "slurm"))
    except StudyError:  # looked at from a machine that is not part of the cluster
        return {}
    return dict(Counter(reason for state, reason in jobs.values() if state == "PENDING"))


def status_text(status: StudyStatus) -> str:
    """The status in words and columns."""
    parts = [_headline(status), _by_kind(status)]
    running = [run for run in status.runs if run.state == "running"]
    under_way = [
        f"{_short(task.name)} on {task.host}, {format_duration(status.now - task.started)}"
        for task in status.preparing
    ]
    under_way += [f"{run.run} on {run.where}, {format_duration(run.seconds)}" for run in running]
    parts.append(_listed("Running", under_way))
    failed = [f"{_short(name)}: {reason}" for name, reason in status.failed_data.items()]
    failed += [f"{run.run}: {run.reason}" for run in status.runs if run.state == "failed"]
    parts.append(_listed("Failed", failed))
    parts.append(_listed("Damaged records (their runs are done again)", list(status.damaged)))
    return "\n\n".join(part for part in parts if part)


def _headline(status: StudyStatus) -> str:
    done, total = status.count("done"), len(status.runs)
    open_runs = status.count("running") + status.count("waiting")
    left = status.remaining_seconds
    time_left = (
        "time left unknown until a run has finished"
        if left is None
        else f"about {format_duration(left)} left"
    )
    with_workers = f" with {status.workers} at a time" if left else ""
    if not status.is_running and not status.count("running"):
        words = (
            "finished"
            if not open_runs
            else f"stopped; {time_left}{with_workers}, the command that started it goes on"
        )
    elif not status.is_running:
        words = f"jobs run, their driver does not; {time_left}{with_workers}"
    else:
        words = f"running; {time_left}{with_workers}" if open_runs else "running; writing tables and figures"
    queued = ""
    if status.queued:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in status.queued.items())
        queued = f"\n{sum(status.queued.values())} jobs wait in SLURM's queue ({reasons})"
    return f"{status.folder}: {done} of {total} runs done; {words}{queued}"


def _by_kind(status: StudyStatus) -> str:
    counts = pd.crosstab(
        pd.Series([run.kind for run in status.runs], name="kind"),
        pd.Series([run.state for run in status.runs], name="state"),
    ).reindex(index=list(dict.fromkeys(run.kind for run in status.runs)), columns=list(STATES), fill_value=0)
    rows = [["kind", *STATES, "all"]]
    rows += [
        [str(kind), *map(str, row), str(sum(row))]
        for kind, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)
    ]
    rows.append(["all", *(str(status.count(state)) for state in STATES), str(len(status.runs))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _listed(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    shown = [f"  {line}" for line in lines[:MOST_SHOWN]]
    if len(lines) > MOST_SHOWN:
        shown.append(f"  and {len(lines) - MOST_SHOWN} more (--out status.csv lists all)")
    return "\n".join([f"{title}:", *shown])
