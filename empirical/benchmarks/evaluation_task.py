"""One zero-shot evaluation that two evaluators are asked for: `EvaluationTask` and its `Accuracies`."""

from __future__ import annotations

from dataclasses import dataclass, field

from empirical.benchmarks.fresh_process import JsonFile


@dataclass(frozen=True)
class EvaluationTask(JsonFile):
    """Which weights on which test sets; both evaluators read the same file.

    Attributes:
        weights: safetensors file that describes itself (`save_weights` with config and tokenizer).
        config: path of the open_clip JSON config; its stem is the model's name.
        tokenizer: JSON text of the tokenizer.
        test_sets: folders in clip-benchmark's layout, by name.
        batch_size: images per forward pass.
        device: "cpu", "cuda", ...
        threads: of the process that computes.
        workers: processes of the peer's loader (0: none).
    """

    weights: str
    config: str
    tokenizer: str
    test_sets: dict[str, str]
    batch_size: int = 64
    device: str = "cpu"
    threads: int = 1
    workers: int = 0


@dataclass(frozen=True)
class Accuracies(JsonFile):
    """What came of it.

    Attributes:
        accuracy: share of correct images by test set.
        evaluating_seconds: from the first test set's folder to the last one's accuracy; libraries and model are loaded.
        versions: of the libraries.
        seconds: wall clock of the whole process.
        cpu_seconds: processor seconds of it and its own processes.
    """

    accuracy: dict[str, float]
    evaluating_seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = float("nan")
    cpu_seconds: float = float("nan")
