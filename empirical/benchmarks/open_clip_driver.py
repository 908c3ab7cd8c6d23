"""open_clip's own trainer on a `TrainingTask`: `python -m empirical.benchmarks.open_clip_driver task.json FOLDER`.

It runs in the peer's environment (open_clip's trainer needs webdataset <= 0.2.86) and calls `open_clip_train.main.main` with
the options of its command line. Around it stand only: our model config and tokenizer, so that both train the same model;
a clock around each epoch; and a copy of each step's loss, left on the device until the epoch has ended.

What still differs from our trainer: its loader decodes every image again in every epoch; its random crop stays, but at scale
1, where it takes the whole image; it shuffles shards and a buffer of 5,000 samples, not a permutation of all; its text
tower computes all token positions, and a caption that a batch holds twice twice; it logs every 100 steps. The learning rate
follows the same formula, set at each step by both; weight decay leaves out the same tensors. On a GPU it allows TF32.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from empirical.benchmarks.training_task import Outcome, TrainingTask


def options(task: TrainingTask, logs: Path) -> list[str]:
    """The command line of open_clip's trainer that asks for this task."""
    given: dict[str, Any] = {
        "--model": Path(task.config).stem,
        "--train-data": task.shards,
        "--dataset-type": "webdataset",
        "--train-num-samples": task.num_samples,
        "--epochs": task.epochs,
        "--batch-size": task.batch_size,
        "--workers": task.workers,
        "--lr": task.learning_rate,
        "--wd": task.weight_decay,
        "--beta2": task.beta2,
        "--warmup": task.warmup,
        "--grad-clip-norm": task.gradient_clip,
        "--precision": "amp_bf16" if task.bfloat16 else "fp32",
        "--device": task.device,
        "--seed": task.seed,
        "--save-frequency": 0,  # the weights of the last epoch only
        "--logs": logs,
        "--name": "peer",
    }
    words = [str(word) for pair in given.items() for word in pair]
    words += ["--report-to", "", "--aug-cfg", "scale=(1.0,1.0)"]
    return [*words, "--image-mean", *["0.5"] * 3, "--image-std", *["0.25"] * 3]


class _KeptLosses:
    """A loss that keeps its values without looking at them: looking would make a GPU wait."""

    def __init__(self, loss: Any) -> None:
        self.loss, self.values = loss, []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        losses = self.loss(*arguments, **named)
        self.values.append(losses["contrastive_loss"].detach())
        return losses


def main() -> None:
    """Train, and write the outcome beside open_clip's own logs and checkpoint."""
    task, folder = TrainingTask.read(Path(sys.argv[1])), Path(sys.argv[2])
    import open_clip
    import torch
    import webdataset
    from open_clip_train import main as trainer

    from empirical import conv_tower, tokenizer  # the tower registers itself

    del conv_tower
    torch.set_num_threads(task.threads)
    open_clip.add_model_config(Path(task.config))
    words = tokenizer.from_json(task.tokenizer)
    made: list[_KeptLosses] = []
    outcome = Outcome([], 0, [], {"torch": torch.__version__, "open_clip": open_clip.__version__})
    outcome.versions["webdataset"] = webdataset.__version__
    create_loss, train_one_epoch = trainer.create_loss, trainer.train_one_epoch

    def kept_loss(arguments: Any) -> _KeptLosses:
        made.append(_KeptLosses(create_loss(arguments)))
        return made[-1]

    def timed_epoch(model: Any, data: Any, *arguments: Any, **named: Any) -> None:
        started = time.perf_counter()
        train_one_epoch(model, data, *arguments, **named)
        if task.device.startswith("cuda"):
            torch.cuda.synchronize()
        outcome.epoch_seconds.append(time.perf_counter() - started)
        outcome.samples_per_epoch = data["train"].dataloader.num_samples
        outcome.losses.append(float(torch.stack(made[-1].values).mean()))
        made[-1].values.clear()

    trainer.get_tokenizer = lambda *_, **__: words
    trainer.create_loss, trainer.train_one_epoch = kept_loss, timed_epoch
    trainer.main(options(task, folder / "logs"))
    outcome.write(folder / "outcome.json")


if __name__ == "__main__":
    main()
