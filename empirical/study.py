"""Runs a study: data, training on worker processes, tables and figures that refresh while it runs.

`run_study(StudyOptions(...))` may be stopped at any moment and started again in the same folder: finished runs are
read from their records and never repeated.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from empirical.errors import DataError, StudyError
from empirical.execution import StudyContext, execute_run
from empirical.finished import is_finished
from empirical.plan import RunSpec, parse_shares
from empirical.progress import StudyProgress
from empirical.records import exclusive, fingerprint, load_records, remove_leftovers, write_json
from empirical.results import StudyResults, write_results
from empirical.running import announced
from empirical.scheduler import Outcome, Task, run_tasks
from empirical.study_folder import StudyFolder
from empirical.study_plan import Study, StudyOptions, plan_study
from empirical.tables import accuracies_table, write_table


def tasks_to_do(study: Study, finished: Mapping[str, Any]) -> list[Task]:
    """The tasks still to do: data just before the first run that needs it, runs in the order of the plan."""
    context = study.context
    by_name = {task.name: task for task in study.data_tasks}
    tasks: dict[str, Task] = {}

    def add_data(name: str) -> None:
        if name in tasks:
            return
        for needed in by_name[name].needs:
            add_data(needed)
        tasks[name] = by_name[name]

    for run in study.runs:
        if run.name in finished:
            continue
        needs = data_needed(context, run)
        for name in needs:
            add_data(name)
        pending = tuple(name for name in run.needs if name not in finished)
        tasks[run.name] = Task(run.name, execute_run, (context, run), (*needs, *pending))
    return list(tasks.values())


def data_needed(context: StudyContext, run: RunSpec) -> tuple[str, ...]:
    """Names of the data tasks that a run cannot do without."""
    sources = {context.sources[draw.source][run.seed].folder(Path("data")).as_posix() for draw in run.draws}
    tests = (f"data/test-{name}" for name in context.test_sets)
    return (*sorted(sources), *tests, *(("data/tokenizer",) if run.draws else ()))


def finished_runs(
    study: Study, warn: Callable[[str], None], *, records_suffice: bool = False
) -> dict[str, dict[str, Any]]:
    """Records of the planned runs that are complete: same settings, logits (and weights, where trained) at hand.

    `records_suffice`: take records without their logits and weights, as for tables of a study made elsewhere.
    """
    context = study.context
    records = load_records(context.folder / "records", on_damage=warn)
    return {
        run.name: records[run.name]
        for run in study.runs
        if is_finished(context, run, records.get(run.name), record_suffices=records_suffice)
    }


def run_study(options: StudyOptions, progress: StudyProgress) -> StudyResults:
    """Carry out a study and write its tables and figures into `options.out`.

    A source or run that fails is reported (reason in `failed/`), what depends on it is skipped and the others go on;
    without a test set or the vocabulary nothing can go on. Raises `StudyError` or `DataError` for a bad plan, other
    settings in the folder, unusable test sets, or when no run could be finished.
    """
    folder = options.out
    options = with_designs(options)
    study = plan_study(options)
    with exclusive(folder):
        remove_leftovers(folder)
        records = finished_runs(study, progress.warn)
        failures: dict[str, str] = {}
        over = _carry_out(study, options, records, failures, progress)
        if over and study.design.designed_sizes and not options.designed:
            _design(study, records, progress)
            options = with_designs(options)
            study = plan_study(options)
            over = _carry_out(study, options, records, failures, progress)
        if not records:
            reasons = "; ".join(reason for reason in failures.values() if not reason.startswith("needs "))
            raise StudyError(f"no run finished: {reasons}")
        if options.tables_later:
            return StudyResults.none(failures)
        results = write_results(study, records, failures, partial=False)
        if over and study.design.designed_sizes:
            return results.with_analysis(_analyse(folder, progress))
        return results


def _carry_out(
    study: Study,
    options: StudyOptions,
    records: dict[str, dict[str, Any]],
    failures: dict[str, str],
    progress: StudyProgress,
) -> bool:
    """Do what has no record yet, adding to `records` and `failures`; False when the time ran out first."""
    folder = options.out
    for name in records:  # a worker may have died just after its record was in place
        failure_path(folder, name).unlink(missing_ok=True)
    write_plan(study, options)
    tasks = tasks_to_do(study, records)
    first = study.first_look()
    first_drawn = first <= set(records)
    if tasks:
        # A study that goes on has no final words yet: what an earlier end wrote must not be taken for them.
        for name in ("summary.txt", "scores.csv", "provenance.json"):
            (folder / name).unlink(missing_ok=True)
    drawn_at = began = time.monotonic()
    pause = progress.redraw_seconds
    progress.start(study.costs(), [task.name for task in tasks], already=len(records), total=len(study.runs))
    outcomes = _outcomes(tasks, options, tuple(records), progress.say)
    try:
        for outcome in outcomes:
            name = outcome.task.name
            if outcome.failure is not None:
                failures[name] = outcome.failure
                _note_failure(folder, outcome, progress)
                continue
            failure_path(folder, name).unlink(missing_ok=True)
            failures.pop(name, None)  # it failed, or could not be tried, before the designs were made
            if name.startswith("data/"):
                progress.data_ready(name, outcome.value)
                continue
            records[name] = outcome.value
            progress.finished(outcome.value, study.context.reference)
            if options.minutes and time.monotonic() - began > 60 * options.minutes:
                progress.say(
                    f"{options.minutes:g} minutes are over: {len(records)} of {len(study.runs)} runs are done"
                )
                return False
            # A GPU would wait for the drawing: its studies are drawn at their end.
            if options.tables_later or (options.device.startswith("cuda") and options.executor == "local"):
                continue
            now_first = not first_drawn and first <= records.keys() | failures.keys()
            if now_first or (first_drawn and time.monotonic() - drawn_at > pause):
                first_drawn, began_drawing = True, time.monotonic()
                if _refresh(study, records, failures, progress):
                    progress.drawn(folder / "predictions_vs_measurements.png", first=now_first)
                drawn_at = time.monotonic()
                # However large the study has grown, its pictures take a tenth of the time.
                pause = max(progress.redraw_seconds, 9 * (drawn_at - began_drawing))
    finally:
        outcomes.close()
        progress.stop()
    return True


def with_designs(options: StudyOptions) -> StudyOptions:
    """The options with the mixtures that designs.csv in the study's folder commits to, if there is one."""
    path = options.out / "designs.csv"
    if not path.exists():
        return options
    designs = StudyFolder(options.out).table("designs").drop_duplicates(["sources", "budget"])
    designed = tuple(
        (parse_shares(str(sources)), int(budget))
        for sources, budget in zip(designs["sources"], designs["budget"], strict=True)
    )
    return replace(options, designed=designed)


def _design(study: Study, records: Mapping[str, Mapping[str, Any]], progress: StudyProgress) -> None:
    """Design mixtures from the single-source runs alone and write designs.csv before any of them is trained."""
    from empirical.study_analysis import design_study

    folder = study.context.folder
    if (folder / "designs.csv").exists():
        return  # designed meanwhile, for example by experiments/design_mixture.py
    single = [records[run.name] for run in study.runs if run.kind == "single" and run.name in records]
    write_table(accuracies_table(single), folder / "accuracies.csv")
    progress.say("single-source runs are finished: designing the best mixtures from them")
    try:
        design_study(
            StudyFolder(folder),
            study.design.designed_sizes,
            on_skip=lambda reason: progress.warn(f"no design for {reason}"),
        )
    except (DataError, StudyError) as error:
        progress.warn(f"no mixture was designed: {error}")


def _analyse(folder: Path, progress: StudyProgress) -> str:
    """The further tables; what they say, in words."""
    from empirical.study_analysis import analyse_study

    progress.say("measuring overlaps, places, designed mixtures and output mixing")
    try:
        analysis = analyse_study(StudyFolder(folder))
    except (DataError, StudyError) as error:  # records made elsewhere have no logits here
        progress.warn(str(error))
        return ""
    for note in analysis.notes:
        progress.warn(note)
    return analysis.summary


def write_tables(options: StudyOptions, progress: StudyProgress) -> StudyResults:
    """Tables and figures of a study from its records alone, wherever they were made; trains nothing.

    Raises `StudyError` when the folder has no record of the study these options describe.
    """
    study = plan_study(with_designs(options))
    with exclusive(options.out):
        records = finished_runs(study, progress.warn, records_suffice=True)
        if not records:
            raise StudyError(
                f"{options.out / 'records'}: no record of this study; give the options it was made with"
            )
        progress.say(f"{len(records)} of {len(study.runs)} planned runs have a record")
        results = write_results(study, records, {}, partial=False)
        if study.design.designed_sizes:
            return results.with_analysis(_analyse(options.out, progress))
        return results


def _outcomes(
    tasks: list[Task], options: StudyOptions, done: tuple[str, ...], say: Callable[[str], None]
) -> Generator[Outcome, None, None]:
    """Carry out the tasks: as SLURM jobs, on this machine's GPU, or on worker processes."""
    if options.executor == "slurm":
        from empirical.cluster import run_tasks_on_slurm

        tasks = [announced(task, options.out) for task in tasks]
        return run_tasks_on_slurm(
            tasks, slurm=options.slurm, folder=options.out, threads=options.threads, done=done, say=say
        )
    if options.device.startswith("cuda"):
        from empirical.device_executor import run_tasks_on_device

        return run_tasks_on_device(
            tasks, lanes=options.lanes, jobs=options.jobs, threads=options.threads, done=done
        )
    tasks = [announced(task, options.out) for task in tasks]
    return run_tasks(tasks, jobs=options.jobs, threads=options.threads, done=done)


def _refresh(
    study: Study,
    records: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    progress: StudyProgress,
) -> bool:
    """Tables and figures of what is finished so far; a full disk costs the picture, not the study."""
    try:
        write_results(study, records, failures, partial=True)
    except OSError as error:
        progress.warn(f"tables and figures could not be refreshed: {error}")
        return False
    return True


def write_plan(study: Study, options: StudyOptions) -> None:
    """What anybody who looks at the folder needs to know: what is planned, what needs what, what each task costs."""
    costs = study.costs()
    write_json(
        options.out / "study.json",
        {
            "preset": options.preset,
            "model": study.context.model,
            "settings": dict(study.context.settings),
            "seeds": list(study.design.seeds),
            "design": asdict(study.design),
            "started": time.time(),
            "executor": options.executor,
            "jobs": options.jobs if options.executor == "local" else options.slurm.max_parallel,
            "data": {task.name: costs[task.name] for task in study.data_tasks},
            "runs": {
                run.name: {
                    "kind": run.kind,
                    "needs": [*run.needs, *data_needed(study.context, run)],
                    "cost": costs[run.name],
                    "fingerprint": study.context.run_fingerprint(run),
                }
                for run in study.runs
            },
        },
    )


def failure_path(folder: Path, name: str) -> Path:
    """Where the reason for which a task failed is written."""
    return folder / "failed" / f"{fingerprint(name)}.json"


def _note_failure(folder: Path, outcome: Outcome, progress: StudyProgress) -> None:
    name, reason = outcome.task.name, outcome.failure or ""
    if outcome.blocked_by:
        progress.skipped(name, outcome.blocked_by)
        return
    try:
        write_json(failure_path(folder, name), {"task": name, "reason": reason, "time": time.time()})
    except OSError as error:  # the disk may be full: that is what most likely failed the run
        progress.warn(f"the reason could not be kept: {error}")
    if name.startswith(("data/test-", "data/tokenizer")):
        # Every run is judged on every test set: going on would only waste the time.
        raise StudyError(f"{name.removeprefix('data/')}: {reason}")
    progress.failed(name, reason)
