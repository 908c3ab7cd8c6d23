"""Many small models trained at once on one GPU: `TrainingLanes`.

One small model leaves a GPU almost idle: its step is a few hundred kernels of a few microseconds. A lane is a stream of
its own with a model whose step is recorded once and replayed for run after run; a handful of lanes, served in turn by
one thread that never waits for the GPU, keep it busy. On a CPU the lanes take turns epoch by epoch (for tests).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from empirical.execution import Examined, Logits, PreparedRun, StudyContext
from empirical.model import build_model, load_weights
from empirical.tokenizer import Tokenizer
from empirical.train import DRAINED, training
from empirical.trainer import Trainer
from empirical.zero_shot import logits_on_device, zero_shot_classifier

PAUSE_EVERY = 32
"""Steps a lane queues at a time: long enough to keep the GPU fed, short enough for lanes to share it evenly."""

EVALUATION_BATCH = 2500
"""Images per forward pass on a GPU; on a CPU small batches stay in its cache."""


@dataclass(frozen=True)
class FinishedRun:
    """What a lane hands back: numbers in host memory, or why the run failed."""

    prepared: PreparedRun
    logits: Logits | None = None
    weights: Mapping[str, torch.Tensor] | None = None
    details: Mapping[str, Any] | None = None
    seconds: float = 0.0
    error: Exception | None = None


class _RememberedPrompts:
    """A tokenizer that keeps what it made, on the device: every run names the same classes."""

    def __init__(self, tokenizer: Tokenizer, device: torch.device) -> None:
        self.tokenizer, self.device = tokenizer, device
        self._made: dict[tuple[str, ...], torch.Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        key = tuple(texts)
        if key not in self._made:
            self._made[key] = self.tokenizer(list(texts)).to(self.device)
        return self._made[key]


class _Lane:
    def __init__(self, owner: TrainingLanes) -> None:
        self.owner = owner
        on_gpu = owner.device.type == "cuda"
        self.stream = torch.cuda.Stream(owner.device) if on_gpu else None
        self.model = self.trainer = None
        self.loop: Generator[str | None, None, FinishedRun] | None = None
        self.events: deque[Any] = deque()
        self.drain = False

    def on_stream(self) -> Any:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def ready(self) -> bool:
        """Whether the lane wants the host: at most one queued piece is left (none, if it waits for its results)."""
        while self.events and self.events[0].query():
            self.events.popleft()
        return len(self.events) <= (0 if self.drain else 1)

    def advance(self) -> FinishedRun | None:
        assert self.loop is not None
        with self.on_stream():
            try:
                self.drain = next(self.loop) == DRAINED
            except StopIteration as end:
                self.loop = None
                return end.value
            if self.stream is not None:
                self.events.append(self.stream.record_event())
        return None

    def run(self, prepared: PreparedRun) -> Generator[str | None, None, FinishedRun]:
        started = time.perf_counter()
        owner, context = self.owner, self.owner.context
        try:
            initial = build_model(prepared.config, prepared.tokenizer, prepared.seed)
            if prepared.scorer is not None:
                prepared.filter_by(
                    load_weights(prepared.blank_model(), prepared.scorer),
                    owner.device,
                    owner.evaluation_batch,
                )
            if not owner.records_steps or len(prepared.images) < context.recipe.batch_size:
                trainer = Trainer(initial, context.recipe, owner.device, bfloat16=owner.bfloat16)
                trainer.load(prepared.images, prepared.tokens, prepared.seed)
            else:
                trainer = self._recorded(prepared, initial)
            pause = PAUSE_EVERY if owner.device.type == "cuda" else 0
            log = yield from training(trainer, pause_every=pause, watch=False)
            model = trainer.model
            logits = self._evaluate(model, prepared)
            weights = {name: self._to_host(value.detach()) for name, value in model.state_dict().items()}
            yield DRAINED
            details = prepared.details() | {"training": asdict(log)}
            found = {name: (scores.numpy(), owner.test_sets[name].labels) for name, scores in logits.items()}
            return FinishedRun(prepared, found, weights, details, time.perf_counter() - started)
        except Exception as error:  # this run fails alone
            return FinishedRun(prepared, error=error)

    def _recorded(self, prepared: PreparedRun, initial: Any) -> Trainer:
        owner = self.owner
        weights = {name: value.clone() for name, value in initial.state_dict().items()}
        if self.trainer is None:
            trainer = Trainer(
                initial, owner.context.recipe, owner.device, bfloat16=owner.bfloat16, capacity=owner.capacity
            )
            trainer.load(prepared.images, prepared.tokens, prepared.seed)
            trainer.record()
            self.trainer = trainer
        else:
            self.trainer.load(prepared.images, prepared.tokens, prepared.seed)
        self.trainer.restart(weights)
        return self.trainer

    def _evaluate(self, model: Any, prepared: PreparedRun) -> dict[str, torch.Tensor]:
        """Logits on their way to the host (see `_to_host`)."""
        owner = self.owner
        classifiers: dict[Any, Any] = {}
        logits = {}
        for name, test_set in owner.test_sets.items():
            classes = test_set.class_names, test_set.templates
            if classes not in classifiers:
                classifiers[classes] = zero_shot_classifier(model, owner.prompts, *classes, owner.device)
            scores = logits_on_device(
                model, classifiers[classes], test_set.images, owner.device, owner.evaluation_batch
            )
            logits[name] = self._to_host(scores)
        return logits

    def _to_host(self, values: torch.Tensor) -> torch.Tensor:
        """A copy in page-locked host memory, on its way: it has arrived when the lane is drained."""
        on_gpu = self.owner.device.type == "cuda"
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=on_gpu)
        return here.copy_(values, non_blocking=True)


class TrainingLanes:
    """`num_lanes` models in training at once; `start` runs while `free`, `advance` until they come back.

    Args:
        context: of the study.
        tokenizer: of the study.
        test_sets: from `load_test_sets`; their images move to the device once.
        capacity: the largest number of samples of any run.
        num_lanes: models at once.
        records_steps: record steps as CUDA graphs (GPU only).
    """

    def __init__(
        self,
        context: StudyContext,
        tokenizer: Tokenizer,
        test_sets: Mapping[str, Examined],
        *,
        capacity: int,
        num_lanes: int,
        records_steps: bool = True,
    ) -> None:
        self.context, self.capacity = context, capacity
        self.device = torch.device(context.device)
        self.bfloat16 = context.bfloat16
        self.records_steps = records_steps and self.device.type == "cuda"
        self.evaluation_batch = EVALUATION_BATCH if self.device.type == "cuda" else 64
        self.test_sets = {
            name: replace(test_set, images=torch.from_numpy(np.array(test_set.images)).to(self.device))
            for name, test_set in test_sets.items()
        }
        self.prompts: Any = _RememberedPrompts(tokenizer, self.device)
        self._lanes = [_Lane(self) for _ in range(num_lanes)]

    @property
    def free(self) -> int:
        """Lanes without a run."""
        return sum(lane.loop is None for lane in self._lanes)

    @property
    def busy(self) -> bool:
        """Whether any lane has a run."""
        return self.free < len(self._lanes)

    def start(self, prepared: PreparedRun) -> None:
        """Give a run to a free lane."""
        lane = next(lane for lane in self._lanes if lane.loop is None)
        lane.loop, lane.drain = lane.run(prepared), False

    def advance(self) -> tuple[list[FinishedRun], bool]:
        """Serve each lane that wants it once: the runs that came back, and whether any lane wanted it."""
        finished, served = [], False
        for lane in self._lanes:
            if lane.loop is not None and lane.ready():
                served = True
                done = lane.advance()
                if done is not None:
                    finished.append(done)
        return finished, served
