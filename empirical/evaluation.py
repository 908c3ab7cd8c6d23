"""Evaluate one model on several test sets: images streamed through it, logits, labels and ids saved, counts with intervals.

Use `evaluate_by_name` (or `evaluate_set`) for one set and `reference_on_subsets` for the reference's accuracy on each
shift's classes; `accuracy_rows` makes the tidy table. `experiments/evaluate.py` is the command.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64
from PIL import Image
from torch import Tensor

from empirical.checkpoints import side_of
from empirical.errors import DataError
from empirical.evaluation_sets import load_test_set
from empirical.execution import default_templates
from empirical.imagenet_sets import EvaluationSet, Names, open_imagenet_set
from empirical.model_inputs import ClipModel
from empirical.published import TEST_SETS
from empirical.read_ahead import ahead
from empirical.records import write_json
from empirical.shards import UnreadableSample, decode_image, expand_shards
from empirical.tables import ACCURACY_COLUMNS
from empirical.tokenizer import Tokenizer
from empirical.zero_shot import num_correct, save_logits, zero_shot_classifier, zero_shot_logits
from theory.counts import clopper_pearson
from theory.links import dprime, probit

_CHUNK = 512  # images in memory at a time
_AHEAD = 4  # images decoded ahead, per worker


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Logits of the classes, labels and ids of one evaluated set, and what was noticed on the way.

    columns holds the logits as the model gave them where classes have several columns, else None.
    """

    name: str
    logits: Float32[np.ndarray, "n k"]
    labels: Int64[np.ndarray, " n"]
    ids: list[str]
    columns: np.ndarray | None
    imagenet_labels: tuple[tuple[int, ...], ...]
    warnings: list[str]
    account: str

    def save(self, folder: Path) -> list[Path]:
        """Write NAME.npy (logits, float32), NAME.labels.npy and NAME.ids.json into `folder`."""
        logits = save_logits(self.logits, folder / f"{self.name}.npy")
        labels = folder / f"{self.name}.labels.npy"
        np.save(labels, self.labels, allow_pickle=False)
        ids = folder / f"{self.name}.ids.json"
        write_json(ids, {"ids": self.ids, "warnings": self.warnings, "read": self.account})
        return [logits, labels, ids]


def evaluate_set(
    model: ClipModel,
    tokenizer: Tokenizer,
    test_set: EvaluationSet,
    name: str,
    templates: Sequence[str],
    device: str = "cpu",
    batch_size: int = 64,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    classifiers: dict[tuple[str, ...], Tensor] | None = None,
    workers: int = 1,
) -> Evaluated:
    """Zero-shot logits of a model on every image of a set, a few hundred images in memory at a time.

    Args:
        name: what the result is called (a set may be evaluated by several protocols).
        templates: prompts; column k is the class of `test_set.class_names[k]`.
        limit: at most so many images (the first ones).
        progress: called with the number of images done.
        classifiers: class names -> classifier of this model and these templates; what is missing is added, so that sets of
            the same classes share one (80 prompts for each of 1000 classes take longer than many a set's images).
        workers: threads that decode images, a few ahead of the model.

    Raises DataError when no image can be read, or the model's logits are not numbers.
    """
    known, names = ({} if classifiers is None else classifiers), tuple(test_set.class_names)
    if names not in known:
        known[names] = zero_shot_classifier(model, tokenizer, names, templates, device)
    classifier, side = known[names], side_of(model)
    images: list[np.ndarray] = []
    labels: list[int] = []
    ids: list[str] = []
    parts: list[np.ndarray] = []

    def flush() -> None:
        if images:
            parts.append(zero_shot_logits(model, classifier, np.stack(images), device, batch_size))
            images.clear()
            if progress is not None:
                progress(len(labels))

    def decode(sample: tuple[bytes, int, str]) -> tuple[np.ndarray | str, int, str]:
        data, label, key = sample
        try:
            return decode_image(data, side, test_set.border), label, key
        except UnreadableSample as reason:
            return str(reason), label, key

    with warnings.catch_warnings(), ThreadPoolExecutor(workers, "decode") as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by decode_image's own check
        for image, label, key in ahead(pool, decode, test_set.samples(), _AHEAD * workers):
            if limit is not None and len(labels) >= limit:
                break
            if isinstance(image, str):
                test_set.account.skip(image, key)
                continue
            images.append(image)
            labels.append(label)
            ids.append(key)
            if len(images) == _CHUNK:
                flush()
    flush()
    test_set.account.samples_read = len(labels)
    if not labels:
        raise DataError(f"{name}: no readable labelled image: {test_set.account.summary()}")
    found = np.concatenate(parts)
    label_array = np.array(labels, np.int64)
    noticed = [*test_set.warnings, *test_set.account.notes]
    noticed += (
        [f"{name}: the first {limit:,} images only"]
        if limit is not None
        else test_set.count_warnings(label_array)
    )
    return Evaluated(
        name,
        test_set.class_logits(found),
        label_array,
        ids,
        found if test_set.class_of_column is not None else None,
        test_set.imagenet_labels,
        noticed,
        test_set.account.summary(),
    )


def evaluate_own_set(
    model: ClipModel,
    tokenizer: Tokenizer,
    name: str,
    path: str,
    templates: Sequence[str],
    device: str = "cpu",
    batch_size: int = 64,
) -> Evaluated:
    """`evaluate_set` for a set of one's own (see `load_test_set`), with its own templates where it brings some."""
    test_set = load_test_set(name, path, side_of(model))
    classifier = zero_shot_classifier(
        model, tokenizer, test_set.class_names, test_set.templates or templates, device
    )
    logits = zero_shot_logits(model, classifier, test_set.images, device, batch_size)
    labels = np.asarray(test_set.labels)
    return Evaluated(
        name,
        logits,
        labels,
        test_set.keys,
        None,
        (),
        list(test_set.account.notes),
        test_set.account.summary(),
    )


def open_by_name(
    name: str,
    path: str,
    objectnet_names: Literal["own", "imagenet", "both"] = "own",
    border: int | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> list[tuple[str, EvaluationSet | str]]:
    """(name of the result, opened set) by the field's protocols where the name has one (imagenet, imagenet_v2, ..., objectnet);
    a set of one's own stays its path.

    Args:
        name: what the set is called; one of `empirical.published.TEST_SETS` is opened by its protocol.
        path: its folder, shards or shard index.
        objectnet_names: ObjectNet's prompts: its own, ImageNet's, or both (two results).
        border: pixels to cut off on every side of ObjectNet's images, see `open_imagenet_set`.
        warn: told of a protocol that had to be left out while another one could be followed.

    Raises DataError when there is no such set. Nothing is read yet.
    """
    if name not in TEST_SETS:
        if not Path(path).is_dir():
            expand_shards(path)
        return [(name, path)]
    protocols: dict[str, list[Names]] = {
        "own": ["own"],
        "imagenet": ["imagenet"],
        "both": ["own", "imagenet"],
    }
    found: list[tuple[str, EvaluationSet | str]] = []
    for names in protocols[objectnet_names if name == "objectnet" else "own"]:
        label = f"{name}_imagenet_prompts" if names == "imagenet" else name
        try:
            found.append(
                (label, open_imagenet_set(name, path, names, border if name == "objectnet" else None))
            )
        except DataError as error:
            if not found:  # nothing else was asked for
                raise
            warn(f"{label} left out: {error}")
    return found


def evaluate_by_name(
    model: ClipModel,
    tokenizer: Tokenizer,
    name: str,
    path: str,
    device: str = "cpu",
    batch_size: int = 64,
    warn: Callable[[str], None] = warnings.warn,
) -> list[Evaluated]:
    """A set by the field's protocol where its name has one, else as one's own: `open_by_name`, evaluated with OpenAI's prompts.

    Raises DataError when the set cannot be read.
    """
    templates = default_templates()
    return [
        evaluate_own_set(model, tokenizer, label, opened, templates, device, batch_size)
        if isinstance(opened, str)
        else evaluate_set(model, tokenizer, opened, label, templates, device, batch_size)
        for label, opened in open_by_name(name, path, warn=warn)
    ]


def reference_on_subsets(
    reference: Evaluated, shifts: Sequence[Evaluated]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The reference's images of each shift's classes, judged among these classes: name -> (logits, labels).

    Accuracy on equal terms with a shift of fewer classes (imagenet-testbed's val-on-*-classes). A class that stands for several
    of ImageNet's takes the largest of their logits. Shifts with all of the reference's classes have no entry.
    """
    found = {}
    for shift in shifts:
        ids = shift.imagenet_labels
        num_known = reference.logits.shape[1]
        if not ids or not all(ids) or sum(map(len, ids)) >= num_known or max(map(max, ids)) >= num_known:
            continue
        owner = {i: k for k, labels in enumerate(ids) for i in labels}
        rows = np.flatnonzero([int(label) in owner for label in reference.labels])
        if not len(rows):
            continue
        logits = np.stack([reference.logits[rows][:, list(labels)].max(1) for labels in ids], axis=1)
        labels = np.array([owner[int(label)] for label in reference.labels[rows]], np.int64)
        found[f"{reference.name}_on_{shift.name.removeprefix('imagenet_')}"] = (logits, labels)
    return found


def accuracy_rows(run: str, results: dict[str, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Tidy accuracies (kind "evaluated", columns of `accuracies.csv`) from name -> (logits, labels)."""
    rows = [
        {
            "run": run, "kind": "evaluated", "sources": run, "n_train": 0, "seed": 0, "test_set": name,
            "num_classes": logits.shape[1], "num_images": len(labels), "num_correct": num_correct(logits, labels),
        }
        for name, (logits, labels) in results.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    correct, images = table["num_correct"].to_numpy(), table["num_images"].to_numpy()
    table["accuracy"] = correct / images
    low, high = clopper_pearson(correct, images)
    table["accuracy_low"], table["accuracy_high"] = np.asarray(low), np.asarray(high)
    table["probit"] = np.asarray(probit(table["accuracy"].to_numpy()))
    table["dprime"] = np.asarray(dprime(table["accuracy"].to_numpy(), table["num_classes"].to_numpy()))
    return table.assign(heads_n_train="", filter="", kept_share=1.0)[list(ACCURACY_COLUMNS)]


def clip_benchmark_lines(run: str, model: str, accuracies: pd.DataFrame) -> str:
    """The accuracies as clip-benchmark's JSON lines, which `experiments/published_trends.py` and others read."""
    names = {
        "imagenet": "imagenet1k",
        "imagenet_v2": "imagenetv2",
        "imagenet_r": "imagenet-r",
        "imagenet_a": "imagenet-a",
    }
    lines = []
    for _, row in accuracies.iterrows():
        entry: dict[str, Any] = {
            "dataset": names.get(str(row["test_set"]), str(row["test_set"])),
            "model": Path(model).stem if model.endswith(".json") else model or run, "pretrained": run,
            "task": "zeroshot_classification", "metrics": {"acc1": float(row["accuracy"])}, "language": "en",
        }  # fmt: skip
        lines.append(json.dumps(entry))
    return "\n".join(lines) + "\n"
