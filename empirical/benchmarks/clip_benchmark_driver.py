"""clip-benchmark's evaluator on an `EvaluationTask`: `python -m empirical.benchmarks.clip_benchmark_driver task.json FOLDER`.

It runs in the peer's environment and calls the functions that clip-benchmark's own command line calls, in the same way: its
reader of webdatasets, its loader and `zeroshot_classification.evaluate`. (The command line itself imports a captioning toolkit
that needs Java.) The model is open_clip's, from the same weights file; autocast is off, as here.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from empirical.benchmarks.evaluation_task import Accuracies, EvaluationTask


def main() -> None:
    """Evaluate, and write the outcome."""
    task, folder = EvaluationTask.read(Path(sys.argv[1])), Path(sys.argv[2])
    import open_clip
    import torch
    from clip_benchmark.datasets.builder import build_dataset  # pyright: ignore[reportMissingImports]
    from clip_benchmark.metrics.zeroshot_classification import evaluate  # pyright: ignore[reportMissingImports]

    from empirical import conv_tower, tokenizer  # the tower registers itself

    del conv_tower
    torch.set_num_threads(task.threads)
    open_clip.add_model_config(Path(task.config))
    model, _, transform = open_clip.create_model_and_transforms(
        Path(task.config).stem,
        pretrained=task.weights,
        device=task.device,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.25, 0.25, 0.25),
    )
    model.eval()
    words = tokenizer.from_json(task.tokenizer)
    found = {}
    started = time.perf_counter()
    for name, root in task.test_sets.items():
        dataset: Any = build_dataset(f"wds/{name}", root=root, transform=transform, split="test")
        loader: Any = torch.utils.data.DataLoader(
            dataset.batched(task.batch_size), batch_size=None, shuffle=False, num_workers=task.workers
        )
        scores = evaluate(
            model, loader, words, dataset.classes, dataset.templates, device=task.device, amp=False
        )
        found[name] = float(scores["acc1"])
    seconds = time.perf_counter() - started
    versions = {name: version(name) for name in ("clip_benchmark", "open_clip_torch", "webdataset", "torch")}
    Accuracies(found, seconds, versions).write(folder / "outcome.json")


if __name__ == "__main__":
    main()
