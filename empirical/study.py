"""Runs a study: plan, data, training on worker processes, tables and figures that refresh while it runs.

`run_study(StudyOptions(...))` may be stopped at any moment and started again in the same folder: finished runs are
read from their records and never repeated.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from empirical.data import EMBEDDED, SourceData, prepare_source, prepare_test_set
from empirical.errors import StudyError
from empirical.execution import StudyContext, execute_run
from empirical.plan import Design, RunSpec, plan_runs, samples_needed
from empirical.presets import PRESETS, Preset, preset_for_sources
from empirical.progress import StudyProgress
from empirical.records import exclusive, fingerprint, load_records, read_json, write_atomically, write_json
from empirical.results import StudyResults, write_results
from empirical.scheduler import Task, run_tasks
from empirical.shards import expand_shards

EVALUATION_COST = 0.3
"""Time to evaluate an image, in units of the time to train on one for one epoch (measured: 7,500 images in 0.7 s)."""

RENDERING_COST = 2.0
"""Time to render, write and read a sample, in the same unit."""


@dataclass(frozen=True)
class StudyOptions:
    """What a user asks for; empty `sources` and `test_sets` mean the embedded world's."""

    out: Path
    preset: str = "default"
    sources: Mapping[str, str] = field(default_factory=dict)
    test_sets: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    tokenizer: str = ""
    model: str = ""
    device: str = "cpu"
    jobs: int = 2
    threads: int = 1
    seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A planned study: its context, its runs, and the tasks that prepare its data."""

    context: StudyContext
    design: Design
    runs: tuple[RunSpec, ...]
    data_tasks: tuple[Task, ...]

    def cost(self, name: str) -> float:
        """Expected time of a task, in training samples."""
        return self._costs[name]

    @property
    def _costs(self) -> dict[str, float]:
        evaluated = self.context.settings["test_images"] * len(self.context.test_sets)
        costs = {
            run.name: run.cost * self.context.recipe.epochs + EVALUATION_COST * evaluated * (not run.heads)
            for run in self.runs
        }
        for task in self.data_tasks:
            source = next((argument for argument in task.arguments if isinstance(argument, SourceData)), None)
            costs[task.name] = RENDERING_COST * source.num_samples if source is not None else float(evaluated)
        return costs


def plan_study(options: StudyOptions) -> Study:
    """Turn options into a study; raises `StudyError` for anything that cannot work, before any work is done."""
    if options.preset not in PRESETS:
        raise StudyError(f"preset {options.preset!r}: choose from {', '.join(PRESETS)}")
    preset: Preset = PRESETS[options.preset]
    if options.sources:
        preset = preset_for_sources(preset, tuple(options.sources))
        if not options.test_sets:
            raise StudyError(
                "your own sources need test sets of their own classes: add --test-set NAME=PATH (at least two)"
            )
        for pattern in options.sources.values():
            expand_shards(pattern)
    recipe_overrides = {k: v for k, v in options.overrides.items() if hasattr(preset.recipe, k)}
    preset = replace(preset, recipe=replace(preset.recipe, **recipe_overrides))
    preset = replace(preset, **{k: v for k, v in options.overrides.items() if k not in recipe_overrides})
    if preset.mixture_sizes and not set(preset.mixture_sizes) <= set(preset.sizes):
        preset = replace(preset, mixture_sizes=tuple(sorted(preset.sizes)[-2:]))
    design = preset.design(options.seed)
    runs = tuple(plan_runs(design))
    needed = samples_needed(runs)
    settings = _settings(options, preset, needed, design)
    test_sets = _test_sets(options)
    paths = dict(options.sources) or dict.fromkeys(design.sources, EMBEDDED)
    sources = {
        name: {
            seed: SourceData(name, paths[name], seed, design.seeds, needed[name], settings["image_size"])
            for seed in design.seeds
        }
        for name in design.sources
    }
    context = StudyContext(
        folder=options.out,
        sources=sources,
        test_sets=tuple(test_sets),
        reference=settings["reference"],
        model=settings["model"],
        recipe=preset.recipe,
        device=options.device,
        settings=settings,
    )
    return Study(context, design, runs, tuple(_data_tasks(context, test_sets, preset.test_images)))


def _test_sets(options: StudyOptions) -> dict[str, str]:
    if options.test_sets:
        return dict(options.test_sets)
    from empirical.world import TEST_SET_NAMES

    return dict.fromkeys(TEST_SET_NAMES, EMBEDDED)


def _settings(
    options: StudyOptions, preset: Preset, needed: Mapping[str, int], design: Design
) -> dict[str, Any]:
    """Everything that changes a run's numbers, as plain JSON: its fingerprint goes into every record."""
    from empirical.model import image_size, load_config

    test_sets = _test_sets(options)
    reference = options.reference or ("reference" if "reference" in test_sets else next(iter(test_sets)))
    if reference not in test_sets:
        raise StudyError(f"reference {reference!r} is not a test set; there are: {', '.join(test_sets)}")
    if len(test_sets) < 2:
        raise StudyError(
            f"only one test set ({reference}): robustness needs a reference and at least one shifted test set"
        )
    model = options.model or preset.model
    config = load_config(model)
    embedded = not options.sources or EMBEDDED in test_sets.values()
    settings: dict[str, Any] = {
        "preset": options.preset,
        "model": model,
        "model_config": config,
        "recipe": asdict(preset.recipe),
        "image_size": image_size(config),
        "tokenizer": options.tokenizer or ("open_clip" if options.sources else "world"),
        "test_sets": test_sets,
        "test_images": preset.test_images,
        "reference": reference,
        "sources": dict(options.sources) or EMBEDDED,
    }
    if embedded:
        from empirical.world import WORLD_HASH

        settings["world_hash"] = WORLD_HASH
    if options.sources:
        settings |= {"samples_needed": dict(needed), "seeds": list(design.seeds)}
    return settings


def _data_tasks(context: StudyContext, test_sets: Mapping[str, str], test_images: int) -> list[Task]:
    tasks: dict[str, Task] = {}
    for by_seed in context.sources.values():
        for source in by_seed.values():
            name = str(source.folder(Path("data")))
            tasks.setdefault(name, Task(name, prepare_source, (context.folder, source)))
    for name, path in test_sets.items():
        arguments = (context.folder, name, path, context.settings["image_size"], test_images)
        tasks[f"data/test-{name}"] = Task(f"data/test-{name}", prepare_test_set, arguments)
    # A vocabulary counted from captions needs every source; the others need nothing.
    counted = context.settings["tokenizer"].startswith("captions:")
    needs = tuple(name for name in tasks if not name.startswith("data/test-")) if counted else ()
    tasks["data/tokenizer"] = Task("data/tokenizer", prepare_tokenizer, (context,), needs)
    return list(tasks.values())


def prepare_tokenizer(context: StudyContext) -> None:
    """Write the study's tokenizer: the world's words, open_clip's own, or the most frequent words of the captions."""
    from empirical.arrays import load_pairs
    from empirical.data import CAPTION_SAMPLE
    from empirical.model import context_length, load_config
    from empirical.tokenizer import build_tokenizer

    kind = context.settings["tokenizer"]
    captions: list[str] = []
    if kind.startswith("captions:"):
        for by_seed in context.sources.values():
            for folder in {source.folder(context.folder) for source in by_seed.values()}:
                captions += load_pairs(folder).captions[:CAPTION_SAMPLE]
    # The configs' context fits the world's short captions; captions of the web get open_clip's own length.
    length = context_length(load_config(context.model)) if kind == "world" else 77
    text = build_tokenizer(kind, captions=captions, context_length=length).to_json()
    write_atomically(context.folder / "tokenizer.json", lambda path: path.write_text(text, encoding="utf-8"))


def run_tasks_of(study: Study, finished: Mapping[str, Any]) -> list[Task]:
    """The tasks still to do: data first where a run needs it, then runs in the order of the plan."""
    context = study.context
    tests = tuple(f"data/test-{name}" for name in context.test_sets)
    tasks: dict[str, Task] = {}
    by_name = {task.name: task for task in study.data_tasks}
    for run in study.runs:
        if run.name in finished:
            continue
        names = {context.sources[draw.source][run.seed].folder(Path("data")) for draw in run.draws}
        needs = (*sorted(str(name) for name in names), *tests, *(("data/tokenizer",) if run.draws else ()))
        for name in needs:
            tasks.setdefault(name, by_name[name])
            for inner in by_name[name].needs:
                tasks.setdefault(inner, by_name[inner])
        pending = tuple(name for name in run.needs if name not in finished)
        tasks[run.name] = Task(run.name, execute_run, (context, run), (*needs, *pending))
    return list(tasks.values())


def finished_runs(study: Study, warn: Any) -> dict[str, dict[str, Any]]:
    """Records of the planned runs that are complete: same settings, logits (and weights, where trained) at hand."""
    context = study.context
    records = load_records(context.folder / "records", on_damage=warn)
    finished = {}
    for run in study.runs:
        record = records.get(run.name)
        if record is None:
            continue
        if record.get("fingerprint") != context.run_fingerprint(run):
            changed = sorted(
                key
                for key in {*context.settings, *record.get("settings", {})}
                if context.settings.get(key) != record.get("settings", {}).get(key)
            )
            raise StudyError(
                f"{context.record_path(run.name)} was made with other settings ({', '.join(changed) or 'other samples'}); "
                f"choose another --out, or the settings of that study"
            )
        files = [context.logits_path(run.name, name) for name in context.test_sets]
        if run.draws:
            files.append(context.weights_path(run.name))
        if all(path.exists() for path in files):
            finished[run.name] = record
    return finished


def run_study(options: StudyOptions, progress: StudyProgress) -> StudyResults:
    """Carry out a study and write its tables and figures into `options.out`.

    Returns the tables and the failures. Raises `StudyError` (bad plan, other settings in the folder) or `DataError`
    (unreadable data) before training starts; a run that fails later is reported and the others go on.
    """
    study = plan_study(options)
    folder = options.out
    with exclusive(folder):
        stated = {
            "settings": dict(study.context.settings),
            "seeds": list(study.design.seeds),
            "design": asdict(study.design),
        }
        write_json(folder / "study.json", stated)
        finished = finished_runs(study, progress.warn)
        tasks = run_tasks_of(study, finished)
        records = dict(finished)
        failures: dict[str, str] = {}
        first = {
            run.name
            for run in study.runs
            if run.draws and {d.source for d in run.draws} <= _first_pair(study)
        }
        first_drawn = first <= set(records)
        drawn_at = time.monotonic()
        progress.start(
            {task.name: study.cost(task.name) for task in tasks}, already=len(finished), total=len(study.runs)
        )
        for outcome in run_tasks(tasks, jobs=options.jobs, threads=options.threads, done=tuple(finished)):
            failed_path = folder / "failed" / f"{fingerprint(outcome.task.name)}.json"
            if outcome.failure is not None:
                failures[outcome.task.name] = outcome.failure
                write_json(failed_path, {"task": outcome.task.name, "reason": outcome.failure})
                progress.failed(outcome.task.name, outcome.failure)
                continue
            failed_path.unlink(missing_ok=True)
            if outcome.task.name.startswith("data/"):
                progress.data_ready(outcome.task.name, outcome.value)
                continue
            records[outcome.task.name] = outcome.value
            progress.finished(outcome.value, study.context.reference)
            now_first = not first_drawn and first <= set(records)
            if now_first or (first_drawn and time.monotonic() - drawn_at > progress.redraw_seconds):
                first_drawn = True
                write_results(study, records, failures, partial=True)
                drawn_at = time.monotonic()
                progress.drawn(folder / "predictions_vs_measurements.png", first=now_first)
        progress.stop()
        if not records:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failures.items())[:3])
            raise StudyError(f"no run finished. {reasons}")
        return write_results(study, records, failures, partial=False)


def _first_pair(study: Study) -> set[str]:
    return (
        {source for source, _ in study.design.mixtures[0]}
        if study.design.mixtures
        else set(study.design.sources)
    )


def describe_plan(study: Study) -> Sequence[tuple[str, int, int]]:
    """(kind, number of runs, training samples in total) of each kind of run, for `--dry-run`."""
    rows: dict[str, list[int]] = {}
    for run in study.runs:
        row = rows.setdefault(run.kind, [0, 0])
        row[0] += 1
        row[1] += run.cost * study.context.recipe.epochs
    return [(kind, count, samples) for kind, (count, samples) in rows.items()]


def read_study(folder: Path) -> dict[str, Any]:
    """The stated settings of a finished or running study."""
    path = folder / "study.json"
    if not path.exists():
        raise StudyError(
            f"{folder}: no study here (no study.json); run experiments/clip_mixtures.py --out {folder} first"
        )
    return read_json(path)
