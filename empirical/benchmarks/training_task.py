"""One training that two trainers are asked for: `TrainingTask` and its `Outcome`, as JSON between processes.

Importing this module loads no torch, so that a process which only starts others stays light.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from empirical.benchmarks.fresh_process import JsonFile


@dataclass(frozen=True)
class TrainingTask(JsonFile):
    """What to train, on what, and how; both trainers read the same file.

    Attributes:
        config: path of an open_clip JSON config whose vocabulary is the tokenizer's; its stem is the model's name.
        tokenizer: JSON text of the tokenizer.
        shards: webdataset shards as a brace pattern, equal numbers of samples in each.
        num_samples: samples in all of them, a multiple of workers times batch_size.
        image_size: side of the images, in pixels.
        epochs, batch_size, learning_rate, weight_decay, beta2, gradient_clip: of AdamW.
        warmup: steps of the linear warm-up; half a cosine follows.
        seed: of the weights and of the order of samples.
        device: "cpu", "cuda", ...
        bfloat16: autocast of the towers.
        threads: of the process that computes.
        workers: processes of the peer's loader (0: none, the trainer decodes).
        recorded: whether our step is recorded as a CUDA graph.
        models: how many our process trains, one after the other, with the seeds from `seed` on; the peer's trains one.
    """

    config: str
    tokenizer: str
    shards: str
    num_samples: int
    image_size: int
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    beta2: float = 0.98
    gradient_clip: float = 1.0
    warmup: int = 1
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False
    threads: int = 1
    workers: int = 0
    recorded: bool = False
    models: int = 1


@dataclass
class Outcome(JsonFile):
    """What came of a task.

    Attributes:
        seconds: wall clock of the whole process, from its start to its exit with the weights on disk.
        epoch_seconds: of each epoch.
        samples_per_epoch: images seen in each.
        losses: each epoch's mean contrastive loss in nats.
        versions: of the libraries that computed.
        cpu_seconds: processor seconds of it and its own processes.
    """

    epoch_seconds: list[float]
    samples_per_epoch: int
    losses: list[float]
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = float("nan")
    cpu_seconds: float = float("nan")

    @property
    def images_per_second(self) -> float:
        """In the steady state: the median over the epochs after the first, which starts workers and warms caches."""
        later = self.epoch_seconds[1:] or self.epoch_seconds
        return self.samples_per_epoch / median(later)
