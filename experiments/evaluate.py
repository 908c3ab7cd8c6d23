"""Evaluate a CLIP checkpoint zero-shot on ImageNet and its shifted test sets, or on your own; logits are kept.

The names imagenet, imagenet_v2, imagenet_r, imagenet_a, imagenet_sketch and objectnet follow the field's protocols (class
subsets, ObjectNet's mapping files and border), also written imagenet-r or imagenetv2; any other name is a test set of your own.
Layouts: ImageFolder or clip-benchmark's webdatasets.

Examples:
    python experiments/evaluate.py --checkpoint runs/clip_mixtures/models/NAME.safetensors --test-set mine=my_test_set/
    python experiments/evaluate.py --checkpoint epoch_32.pt --model RN50 --test-set imagenet=imagenet/val \\
        --test-set imagenet_r=imagenet-r --test-set objectnet=objectnet-1.0
    python experiments/evaluate.py --checkpoint RN50.safetensors --model RN50 --test-set imagenet_v2=imagenetv2 --limit 100
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from empirical.command import Command, print_next, print_written
from empirical.options import Device, NamedPaths, check_at_least


@dataclass
class Arguments:
    """Zero-shot accuracies of a checkpoint, with counts, intervals and logits."""

    checkpoint: Path
    """Weights: a safetensors file of this project, or of an open_clip model (safetensors or .pt; needs --model)."""
    test_set: NamedPaths
    """A test set; repeat. PATH is an ImageFolder, a folder of webdataset shards, or a pattern of shards."""
    model: str = ""
    """open_clip config of the weights: a name such as RN50 or ViT-B-32-quickgelu, or a JSON file."""
    objectnet_names: Literal["own", "imagenet", "both"] = "both"
    """ObjectNet's prompts: its own 113 names, ImageNet's names (a hit if the best one maps to the class), or both in turn."""
    border: int = -1
    """Pixels cut off every side of ObjectNet's images (default 2 for its own files, 0 for shards)."""
    limit: int = 0
    """Evaluate the first so many images of each of ImageNet's sets only."""
    batch_size: int = 64
    """Images per forward pass."""
    workers: int = 0
    """Threads that decode images of ImageNet's sets. Default: one per core, at most 16."""
    device: Device = "auto"
    out: Path = Path("runs/evaluate")
    """Folder for accuracies.csv, clip_benchmark.jsonl, logits/ and the figure."""


def run(arguments: Arguments) -> int:
    """Carry out what the arguments ask for."""
    from empirical.checkpoints import default_device, load_checkpoint
    from empirical.evaluation import accuracy_rows, clip_benchmark_lines, open_by_name, reference_on_subsets
    from empirical.figures.evaluation import draw_evaluation
    from empirical.records import write_text
    from empirical.tables import write_table

    sets = _named(arguments.test_set)
    check_at_least(arguments, batch_size=1, workers=0)
    device = default_device(arguments.device)
    model, tokenizer = load_checkpoint(arguments.checkpoint, arguments.model)
    name, out = arguments.checkpoint.stem, arguments.out
    # Every set is looked for before the first one is evaluated: a wrong path must not cost hours.
    border = arguments.border if arguments.border >= 0 else None
    tasks = [
        task
        for set_name, path in sets.items()
        for task in open_by_name(set_name, path, arguments.objectnet_names, border, _warn)
    ]
    evaluated = _evaluate(arguments, model, tokenizer, tasks, device)
    results = {each.name: (each.logits, each.labels) for each in evaluated}
    reference = next((each for each in evaluated if each.name == "imagenet"), None)
    if reference is not None:
        results |= reference_on_subsets(reference, [each for each in evaluated if each is not reference])
    accuracies = accuracy_rows(name, results)
    write_table(accuracies, out / "accuracies.csv")
    write_text(out / "clip_benchmark.jsonl", clip_benchmark_lines(name, arguments.model, accuracies))
    figure = draw_evaluation(accuracies, out / "evaluation", name)
    print(
        f"{'test set':28s} {'classes':>7s} {'correct':>8s} {'images':>8s}   accuracy [95% interval]      d'"
    )
    for _, row in accuracies.iterrows():
        print(
            f"{row['test_set']:28s} {row['num_classes']:7d} {row['num_correct']:8d} {row['num_images']:8d}   "
            f"{row['accuracy']:7.2%} [{row['accuracy_low']:.2%}, {row['accuracy_high']:.2%}]  {row['dprime']:6.3f}"
        )
    print_written((out / "accuracies.csv", out / "clip_benchmark.jsonl", out / "logits", *figure))
    print_next(*next_command(arguments, sets, set(results)))
    return 0


def next_command(arguments: Arguments, sets: dict[str, str], names: set[str]) -> tuple[str, str]:
    """Published models beside this one, a second of ImageNet's sets for it, or for sets of your own the model's study."""
    from empirical.next_commands import command
    from empirical.published import TEST_SETS

    study = arguments.checkpoint.resolve().parent.parent
    if {"imagenet", "imagenet_v2"} <= names:
        tables = ("openclip_results.csv", "robustness_top1s.csv", arguments.out / "clip_benchmark.jsonl")
        return command("published_trends", *tables), "the model among published ones"
    if known := set(TEST_SETS) & set(sets):
        wanted = {**sets, ("imagenet_v2" if "imagenet" in known else "imagenet"): "PATH"}
        words = ["--model", arguments.model] if arguments.model else []
        words += ["--limit", str(arguments.limit)] if arguments.limit else []
        words += [word for name, path in wanted.items() for word in ("--test-set", f"{name}={path}")]
        return command(
            "evaluate", "--checkpoint", arguments.checkpoint, *words, "--out", arguments.out
        ), "what robustness is measured against"
    if (study / "study.json").exists():
        return command("report", os.path.relpath(study)), "the model among those of its study"
    return command("predict_mixtures", "ACCURACIES.csv"), (
        f"source,n,test_set,classes,images,accuracy of each single-source model, as in {arguments.out / 'accuracies.csv'}"
    )


def _evaluate(arguments: Arguments, model, tokenizer, tasks: list[tuple[str, Any]], device: str) -> list:
    """Evaluate set by set with progress; each one's logits are saved and its warnings told before the next begins."""
    from empirical.evaluation import evaluate_own_set, evaluate_set
    from empirical.execution import default_templates
    from empirical.progress import counting

    templates, batch_size, classifiers, evaluated = default_templates(), arguments.batch_size, {}, []
    for label, opened in tasks:
        with counting(label) as tell:
            if not sys.stderr.isatty():
                print(f"{label} ...", file=sys.stderr, flush=True)
            if isinstance(opened, str):
                each = evaluate_own_set(model, tokenizer, label, opened, templates, device, batch_size)
            else:
                total = min(arguments.limit or len(opened.files), len(opened.files)) or None
                each = evaluate_set(
                    model, tokenizer, opened, label, templates, device, batch_size, arguments.limit or None,
                    lambda done, tell=tell, total=total: tell(done, total), classifiers,
                    arguments.workers or min(16, os.cpu_count() or 1),
                )  # fmt: skip
        each.save(arguments.out / "logits")
        for sentence in each.warnings:
            _warn(sentence)
        if "none skipped" not in each.account:
            print(f"{each.name}: {each.account}", file=sys.stderr)
        evaluated.append(each)
    return evaluated


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


def _named(values: tuple[str, ...]) -> dict[str, str]:
    from empirical.errors import DataError
    from empirical.named_paths import named_paths
    from empirical.published_long import known_role

    # imagenet-r and imagenetv2 are the sets that others write so
    named = named_paths("--test-set", values, lambda name: known_role(name) or name)
    if not named:
        raise DataError("give at least one --test-set NAME=PATH, such as --test-set imagenet=imagenet/val")
    return named


main = Command(Arguments, run, __doc__, stopped="logits of the sets that are finished are kept")

if __name__ == "__main__":
    main.exit()
