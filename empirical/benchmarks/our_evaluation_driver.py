"""Our evaluation on an `EvaluationTask`: `python -m empirical.benchmarks.our_evaluation_driver task.json FOLDER`."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

from empirical.benchmarks.evaluation_task import Accuracies, EvaluationTask


def main() -> None:
    """Evaluate, and write the outcome."""
    task, folder = EvaluationTask.read(Path(sys.argv[1])), Path(sys.argv[2])
    import torch

    from empirical.evaluation_sets import load_test_set
    from empirical.model import image_size, load_config, load_model
    from empirical.zero_shot import num_correct, zero_shot_classifier, zero_shot_logits

    torch.set_num_threads(task.threads)
    model, words = load_model(task.weights)
    side = image_size(load_config(task.config))
    found = {}
    started = time.perf_counter()
    for name, root in task.test_sets.items():
        test_set = load_test_set(name, root, side)
        classifier = zero_shot_classifier(
            model, words, test_set.class_names, test_set.templates or [], task.device
        )
        logits = zero_shot_logits(model, classifier, test_set.images, task.device, task.batch_size)
        found[name] = num_correct(logits, test_set.labels) / len(test_set)
    seconds = time.perf_counter() - started
    versions = {name: version(name) for name in ("open_clip_torch", "torch")}
    Accuracies(found, seconds, versions).write(folder / "outcome.json")


if __name__ == "__main__":
    main()
