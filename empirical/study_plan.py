"""From what a user asks for to a planned study: `plan_study(StudyOptions(...))` checks everything it can beforehand.

A `Study` holds the context that workers receive, the runs, and the tasks that prepare data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from empirical.cluster import EXECUTORS, SlurmOptions
from empirical.data import EMBEDDED, SourceData, origin, prepare_source, prepare_test_set
from empirical.errors import DataError, StudyError
from empirical.execution import StudyContext
from empirical.plan import Design, RunSpec, Shares, plan_runs, samples_needed
from empirical.presets import PRESETS, Preset, preset_for_sources
from empirical.records import write_text
from empirical.scheduler import Task
from empirical.shard_index import is_index, load_index
from empirical.shards import expand_shards

EVALUATION_COST = 0.3
"""Time to evaluate an image, in units of the time to train on one for one epoch (measured: 7,500 images in 0.7 s)."""

RENDERING_COST = 2.0
"""Time to render, write and read a sample, in the same unit."""

PRECISIONS = {"float32": "float32", "bfloat16": "bfloat16 autocast"}
"""What the towers compute in, as `--precision` names it and as records do."""

WEB_CONTEXT_LENGTH = 77
"""Token positions for captions of the web, as in open_clip; the embedded world's captions fit the configs' own."""


@dataclass(frozen=True)
class StudyOptions:
    """What a user asks for; empty `sources` and `test_sets` mean the embedded world's, empty `mixtures` the preset's.

    `lanes` is how many models a GPU trains at once; after `minutes` (0: never) the study stops
    as if interrupted. `designed` are mixtures that the study itself designed, with their budgets. `tables_later`
    leaves tables and figures to `study.write_tables`.
    """

    out: Path
    preset: str = "default"
    sources: Mapping[str, str] = field(default_factory=dict)
    test_sets: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    vocabulary: str = ""
    model: str = ""
    device: str = "cpu"
    jobs: int = 2
    threads: int = 1
    lanes: int = 4
    precision: str = ""
    minutes: float = 0.0
    tables_later: bool = False
    seed: int = 0
    mixtures: tuple[Shares, ...] = ()
    designed: tuple[tuple[Shares, int], ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    executor: str = "local"
    slurm: SlurmOptions = field(default_factory=SlurmOptions)


@dataclass(frozen=True)
class Study:
    """A planned study: its context, its runs, and the tasks that prepare its data."""

    context: StudyContext
    design: Design
    runs: tuple[RunSpec, ...]
    data_tasks: tuple[Task, ...]

    def costs(self) -> dict[str, float]:
        """Expected time of every task, in training samples."""
        evaluated = self.context.test_images * len(self.context.test_sets)
        costs = {
            run.name: run.cost * self.context.recipe.epochs + EVALUATION_COST * evaluated * (not run.heads)
            for run in self.runs
        }
        for task in self.data_tasks:
            source = next((argument for argument in task.arguments if isinstance(argument, SourceData)), None)
            costs[task.name] = RENDERING_COST * source.num_samples if source is not None else float(evaluated)
        return costs

    def first_look(self) -> set[str]:
        """Runs after which the first figure is worth drawing: the first pair at the design's sizes, first seed, mixed."""
        design = self.design
        pair = {source for source, _ in design.mixtures[0]} if design.mixtures else set(design.sources)
        return {
            run.name
            for run in self.runs
            if run.seed == design.seeds[0]
            and {source for source, _ in run.shares} <= pair
            and (run.kind == "input_mixing" or (run.kind == "single" and run.n_train in design.sizes))
        }


def plan_study(options: StudyOptions) -> Study:
    """Turn options into a study; raises `StudyError` or `DataError` for what cannot work, before any work is done."""
    _check_numbers(options)
    preset = _preset(options)
    design = replace(preset.design(options.seed), designed=options.designed)
    runs = tuple(plan_runs(design))
    needed = samples_needed(design)
    test_sets = _test_sets(options)
    settings = _settings(options, preset, test_sets)
    if options.sources or settings["vocabulary"].startswith("captions:"):
        # Which of a user's samples a seed uses, and which words are frequent, depends on these.
        settings |= {"samples_needed": needed, "seeds": list(design.seeds)}
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
        reference=_reference(options, test_sets),
        model=options.model or preset.model,
        test_images=preset.test_images,
        recipe=preset.recipe,
        device=options.device,
        settings=settings,
    )
    return Study(context, design, runs, tuple(_data_tasks(context, design.seeds[0])))


def _check_numbers(options: StudyOptions) -> None:
    for name, value, least in (
        ("jobs", options.jobs, 1),
        ("threads", options.threads, 1),
        ("seed", options.seed, 0),
        ("lanes", options.lanes, 1),
    ):
        if value < least:
            raise StudyError(f"--{name} {value}: must be at least {least}")
    for name, value in options.overrides.items():
        if min(value) < 1 if isinstance(value, tuple) else value < 1:
            raise StudyError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    if options.executor not in EXECUTORS:
        raise StudyError(f"--executor {options.executor}: choose from {', '.join(EXECUTORS)}")
    if options.executor == "slurm":
        # The device is on the nodes, not here.
        options.slurm.check(needs_gpu=options.device.startswith("cuda"))
    elif options.device != "cpu":
        from empirical.checkpoints import default_device

        default_device(options.device)


def _preset(options: StudyOptions) -> Preset:
    if options.preset not in PRESETS:
        raise StudyError(f"preset {options.preset!r}: choose from {', '.join(PRESETS)}")
    preset = PRESETS[options.preset]
    if options.sources:
        preset = preset_for_sources(preset, tuple(options.sources))
        if not options.test_sets:
            raise StudyError(
                "your own sources need test sets of their own classes: add --test-set NAME=PATH (at least two)"
            )
        for name, pattern in options.sources.items():
            _find_shards(f"source {name}", pattern)
    if options.mixtures:
        # A filter trained on a mixture needs that mixture; a design is judged among the preset's own mixtures.
        filtering = tuple(
            replace(pool, scorers=tuple(s for s in pool.scorers if len(s) == 1 or s in options.mixtures))
            for pool in preset.filtering
        )
        preset = replace(preset, mixtures=options.mixtures, filtering=filtering, designed_sizes=())
    recipe = {name: value for name, value in options.overrides.items() if hasattr(preset.recipe, name)}
    preset = replace(preset, recipe=replace(preset.recipe, **recipe))
    preset = replace(preset, **{k: v for k, v in options.overrides.items() if k not in recipe})
    if not set(preset.mixture_sizes) <= set(preset.sizes):
        preset = replace(preset, mixture_sizes=tuple(sorted(preset.sizes)[-2:]))
    return replace(preset, designed_sizes=tuple(n for n in preset.designed_sizes if n in preset.sizes))


def _test_sets(options: StudyOptions) -> dict[str, str]:
    if not options.test_sets:
        from empirical.world import TEST_SET_NAMES

        return dict.fromkeys(TEST_SET_NAMES, EMBEDDED)
    for name, path in options.test_sets.items():
        if not Path(path).is_dir():
            _find_shards(f"test set {name}", path)
    # The reference comes first: it is prepared first, and lends its class names to shifted sets without any.
    first = _reference(options, options.test_sets)
    return {first: options.test_sets[first], **options.test_sets}


def _find_shards(what: str, pattern: str) -> None:
    try:
        if is_index(pattern):
            gone = load_index(pattern).changed_shards()
            if gone:
                raise DataError(
                    f"{pattern}: {len(gone)} of its shards are missing or changed, such as {gone[0]}; put them back, or "
                    "build the index again"
                )
        else:
            expand_shards(pattern)
    except DataError as error:
        raise DataError(f"{what}: {error}") from error


def _reference(options: StudyOptions, test_sets: Mapping[str, str]) -> str:
    reference = options.reference or ("reference" if "reference" in test_sets else next(iter(test_sets)))
    if reference not in test_sets:
        raise StudyError(f"reference {reference!r} is not a test set; there are: {', '.join(test_sets)}")
    if len(test_sets) < 2:
        raise StudyError(
            f"only one test set ({reference}): robustness needs a reference and at least one shifted test set"
        )
    return reference


def _settings(options: StudyOptions, preset: Preset, test_sets: Mapping[str, str]) -> dict[str, Any]:
    """Everything that changes a run's numbers, as plain JSON: its fingerprint goes into every record."""
    from empirical.model import image_size, load_config
    from empirical.tokenizer import build_tokenizer

    model = options.model or preset.model
    config = load_config(model)
    # The world's few words cannot name the classes of anybody else's test set.
    vocabulary = options.vocabulary or ("open_clip" if options.sources or options.test_sets else "world")
    build_tokenizer(vocabulary, captions=["a word"])
    embedded = EMBEDDED in {*test_sets.values(), *([] if options.sources else [EMBEDDED])}
    settings: dict[str, Any] = {
        "model_config": config,
        "recipe": asdict(preset.recipe),
        "image_size": image_size(config),
        "vocabulary": vocabulary,
        "test_sets": dict(test_sets),
        "precision": PRECISIONS[options.precision or "float32"],
        "sources": dict(options.sources) or EMBEDDED,
        "files": {name: origin(path) for name, path in {**options.sources, **options.test_sets}.items()},
    }
    if embedded:
        from empirical.world import WORLD_HASH

        settings |= {"world_hash": WORLD_HASH, "test_seed": options.seed, "test_images": preset.test_images}
    return settings


def _data_tasks(context: StudyContext, test_seed: int) -> list[Task]:
    tasks: dict[str, Task] = {}
    for by_seed in context.sources.values():
        for source in by_seed.values():
            name = source.folder(Path("data")).as_posix()
            tasks.setdefault(name, Task(name, prepare_source, (context.folder, source)))
    for name, path in context.settings["test_sets"].items():
        image_size, num_images = context.settings["image_size"], context.test_images
        reference = context.reference if name != context.reference and path != EMBEDDED else None
        arguments = (context.folder, name, path, image_size, num_images, test_seed, reference)
        needs = (f"data/test-{reference}",) if reference else ()
        tasks[f"data/test-{name}"] = Task(f"data/test-{name}", prepare_test_set, arguments, needs)
    # A vocabulary counted from captions needs every source; the others need nothing.
    counted = context.settings["vocabulary"].startswith("captions:")
    needs = tuple(name for name in tasks if not name.startswith("data/test-")) if counted else ()
    tasks["data/tokenizer"] = Task("data/tokenizer", prepare_tokenizer, (context,), needs)
    return list(tasks.values())


def prepare_tokenizer(context: StudyContext) -> None:
    """Write the study's tokenizer: the world's words, open_clip's own, or the most frequent words of the captions."""
    from empirical.arrays import load_pairs
    from empirical.data import CAPTION_SAMPLE
    from empirical.model import context_length, load_config
    from empirical.tokenizer import build_tokenizer

    kind = context.settings["vocabulary"]
    captions: list[str] = []
    if kind.startswith("captions:"):
        for by_seed in context.sources.values():
            for folder in sorted({source.folder(context.folder) for source in by_seed.values()}):
                captions += load_pairs(folder).captions[:CAPTION_SAMPLE]
    length = context_length(load_config(context.model)) if kind == "world" else WEB_CONTEXT_LENGTH
    text = build_tokenizer(kind, captions=captions, context_length=length).to_json()
    write_text(context.folder / "tokenizer.json", text)


def describe_plan(study: Study) -> Sequence[tuple[str, int, int]]:
    """(kind, number of runs, training samples seen in total) of each kind of run, for `--dry-run`."""
    rows: dict[str, list[int]] = {}
    for run in study.runs:
        row = rows.setdefault(run.kind, [0, 0])
        row[0] += 1
        row[1] += run.cost * study.context.recipe.epochs
    return [(kind, count, samples) for kind, (count, samples) in rows.items()]


def measured_rate(study: Study, num_samples: int = 512) -> float:
    """Training samples per second of one worker on this machine, from a short training run on noise (a few seconds)."""
    import numpy as np
    import torch

    from empirical.model import build_model, load_config
    from empirical.recipe import Recipe
    from empirical.tokenizer import build_tokenizer
    from empirical.train import train

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        size = study.context.settings["image_size"]
        tokenizer = build_tokenizer("captions:8", captions=["a b c d e f g h"], context_length=10)
        images = np.random.default_rng(0).integers(0, 256, (num_samples, 3, size, size), dtype=np.uint8)
        batch = study.context.recipe.batch_size
        model = build_model(load_config(study.context.model), tokenizer, seed=0)
        recipe, tokens = Recipe(epochs=2, batch_size=batch), tokenizer(["a b c"] * num_samples)
        train(model, images, tokens, recipe, 0, device=study.context.device)  # warms up
        return train(model, images, tokens, recipe, 0, device=study.context.device).samples_per_second
    finally:
        torch.set_num_threads(before)
