"""Commands that one command proposes after another, complete enough to be run as printed.

`study_options` rebuilds a study's own options from its records, `design_command` proposes a design where one can be computed,
`own_data` writes sources and test sets as options. Names in capitals (`NAME=SHARDS`) stand for what only the user knows.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from empirical.errors import DataError, StudyError
from empirical.study_folder import StudyFolder

MODELS = ("conv_tower", "modified_resnet")
"""Configs that a record, which holds a config's content, is recognised by."""


def command(script: str, *words: object) -> str:
    """`python experiments/SCRIPT.py WORDS`, quoted for a shell."""
    return shlex.join(["python", f"experiments/{script}.py", *map(str, words)])


def own_data(sources: Mapping[str, object], test_sets: Mapping[str, object]) -> list[str]:
    """`--source NAME=SHARDS` and `--test-set NAME=PATH` of each; placeholders up to the two test sets that a study needs."""
    wanted = dict(test_sets)
    for name in ("reference", "shift"):
        if len(wanted) < 2:
            wanted.setdefault(name, "PATH")
    words = [word for name, path in sources.items() for word in ("--source", f"{name}={path}")]
    return words + [word for name, path in wanted.items() for word in ("--test-set", f"{name}={path}")]


def study_options(about: Mapping[str, Any]) -> list[str]:
    """The options of `clip_mixtures.py` that train on the data, with the model and by the recipe of a study.

    about: `StudyFolder.about()`. Sizes, seeds and mixtures are the caller's. The preset is one with the study's recipe and, for
    the embedded world, without pools to filter where there is such a one.
    """
    from empirical.presets import PRESETS
    from empirical.recipe import Recipe
    from empirical.study_plan import PRECISIONS

    settings = about.get("settings", {})
    recipe = settings.get("recipe", {})
    epochs = recipe.get("epochs", Recipe().epochs)
    recorded = str(about.get("preset", "default"))
    name = next(
        (
            name
            for name in ("design", recorded, *PRESETS)
            if name in PRESETS and asdict(replace(PRESETS[name].recipe, epochs=epochs)) == recipe
        ),
        recorded if recorded in PRESETS else "default",
    )
    preset = PRESETS[name]
    words = ["--preset", name]
    own = settings.get("sources")
    own = own if isinstance(own, dict) else {}
    tests = {key: path for key, path in settings.get("test_sets", {}).items() if path != "embedded"}
    if own or tests:
        words += own_data(own, tests)
        usual = "reference" if "reference" in tests else next(iter(tests), "reference")
        reference = str(about.get("reference") or usual)
        words += ["--reference", reference] if reference != usual else []
    vocabulary = str(settings.get("vocabulary", ""))
    if vocabulary and vocabulary != ("open_clip" if own or tests else "world"):
        words += ["--vocabulary", vocabulary]
    model = _model(about)
    words += ["--model", model] if model != preset.model else []
    words += ["--epochs", str(epochs)] if epochs != preset.recipe.epochs else []
    images = settings.get("test_images")
    words += ["--test-images", str(images)] if images and images != preset.test_images else []
    precision = next(
        (key for key, name in PRECISIONS.items() if name == settings.get("precision")), "float32"
    )
    return words + (["--precision", precision] if precision != "float32" else [])


def _model(about: Mapping[str, Any]) -> str:
    from empirical.model import load_config

    if "model" in about:
        return str(about["model"])
    config = about.get("settings", {}).get("model_config")
    known = (name for name in MODELS if config is None or load_config(name) == config)
    return next(known, "MODEL.json")


def designable_budget(folder: StudyFolder) -> int | None:
    """The largest size at which a design can start from the folder's single-source models; None where none can be computed.

    It takes two sources or more with two seeds each, and overlaps.csv or logits to measure them from.
    """
    if not (folder.path / "overlaps.csv").is_file() and not (folder.path / "logits").is_dir():
        return None
    try:
        accuracies = folder.accuracies()
    except (DataError, StudyError):
        return None
    single = accuracies[accuracies["kind"] == "single"]
    seeds = single.groupby(["n_train", "sources"])["seed"].nunique()
    sizes = seeds[seeds > 1].groupby(level="n_train").size()
    sizes = sizes[sizes > 1]
    return int(sizes[sizes == sizes.max()].index.max()) if len(sizes) else None


def design_command(folder: StudyFolder) -> str | None:
    """`design_mixture.py` on the folder at its largest size; None where no design can be computed."""
    budget = designable_budget(folder)
    return None if budget is None else command("design_mixture", folder.path, "--budget", budget)


def is_records(folder: Path) -> bool:
    """Whether a folder holds committed records, which nothing is written into, instead of a study that was run there."""
    return not (folder / "study.json").exists()


def beside(folder: Path, ending: str) -> Path:
    """Where what follows from a study goes: next to its folder, or under runs/ for committed records."""
    name = f"{folder.resolve().name}_{ending}"
    return Path("runs") / name if is_records(folder) else folder.parent / name


def mixture_study(mixture: str, sources: Sequence[str], test_sets: Sequence[str]) -> str:
    """`clip_mixtures.py` that trains a mixture of sources known by name alone: the embedded world's, or your own."""
    from empirical.presets import ALL_SOURCES
    from empirical.world import TEST_SET_NAMES

    if set(sources) <= set(ALL_SOURCES) and set(test_sets) <= set(TEST_SET_NAMES):
        return command("clip_mixtures", "--preset", "design", "--mixture", mixture)
    named = own_data(dict.fromkeys(sources, "SHARDS"), dict.fromkeys(test_sets, "PATH"))
    return command("clip_mixtures", "--mixture", mixture, *named)
