"""Training on data larger than memory: `StreamTrainer` takes the steps of `Trainer` on the batches of a `SampleStream`.

The loop is `empirical.train.training`, the step is `Trainer`'s; only where a batch comes from differs. What a step sees
follows from (seed, epoch, step): its samples by the stream's order, their shifts and whatever else is random here. So
a run that goes on from a checkpoint (`empirical.training_checkpoint`) sees what it would have seen undisturbed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from empirical.errors import StudyError
from empirical.model_inputs import ClipModel, check_images, check_tokens, normalise
from empirical.process_group import ALONE, World
from empirical.recipe import Recipe
from empirical.streams import Batch, SampleStream
from empirical.tokenizer import Tokenizer
from empirical.trainer import Images, Trainer

_EXAMPLES = ("", "a photo of a red thing", "one word after another " * 40)
"""Captions of every length, on which the text encoder is chosen: the same ones on every start and in every process."""


class StreamTrainer(Trainer):
    """A model, its optimizer, and a stream of batches; `training(trainer)` runs it.

    Args:
        model: from `empirical.model.build_model`; trained in place.
        recipe: see `Recipe`; its batch size is the stream's.
        stream: made with share=world.share(batch_size), so that each process decodes its own rows only.
        tokenizer: the model's.
        seed: of the shifts, and of dropout if the model has any; the order is the stream's own.
        device: where everything lies.
        world: this process's part in a process group.
        bfloat16: whether the towers run in bfloat16 autocast.

    The batch that the last step was taken on is `batch`.

    Raises:
        StudyError: the stream's batches, shares or images are not what recipe, world or model ask for.
    """

    def __init__(
        self,
        model: ClipModel,
        recipe: Recipe,
        device: torch.device,
        stream: SampleStream,
        tokenizer: Tokenizer,
        seed: int,
        *,
        world: World = ALONE,
        bfloat16: bool = False,
    ) -> None:
        if stream.batch_size != recipe.batch_size:
            raise StudyError(
                f"the stream gives batches of {stream.batch_size}, the recipe asks for {recipe.batch_size}"
            )
        side = stream.image_size
        check_images(np.empty((0, 3, side, side), np.uint8), model, minimum=0)
        super().__init__(model, recipe, device, world=world, bfloat16=bfloat16)
        self.stream, self.tokenizer = stream, tokenizer
        self._plan_run(len(stream), recipe.batch_size, seed)
        if stream.share != self.share:
            raise StudyError(
                f"the stream gives rows {stream.share.start} to {stream.share.stop} of each batch, this process trains on "
                f"{self.share.start} to {self.share.stop}: make it with share=world.share(batch_size)"
            )
        self.images = Images(self.share.stop - self.share.start, (side, side), recipe.max_shift, device)
        self._prepare_steps(self.num_steps, check_tokens(tokenizer(_EXAMPLES), model))
        self.steps_done = 0
        self.batch: Batch | None = None
        self._batches: Iterator[Batch] = iter(())

    @property
    def place(self) -> tuple[int, int]:
        """The epoch and the step in it that come next."""
        return divmod(self.steps_done, self.steps_per_epoch)

    def start_epoch(self) -> None:
        """Open the stream at the place where the run stands."""
        self._end_batches()
        self._batches = self.stream.batches(*self.place)

    def shifts_of(self, epoch: int, step: int) -> Int64[Tensor, "b 2"]:
        """Shifts of the whole batch of one step, in 0..2 max_shift; a function of (seed, epoch, step) alone."""
        generator = np.random.default_rng([self.seed, epoch, step])
        return torch.from_numpy(
            generator.integers(0, 2 * self.recipe.max_shift + 1, (self.batch_size, 2), np.int64)
        )

    def _next_batch(self) -> tuple[Tensor, Tensor, Tensor | None]:
        assert self.images is not None
        epoch, step = self.place
        self.batch = next(self._batches)
        self._seed_step(epoch, step)
        tokens = check_tokens(self.tokenizer(self.batch.captions), self.model)
        distinct, position = tokens.unique(dim=0, return_inverse=True)
        self.images.load(self._to_device(torch.from_numpy(self.batch.images)))
        rows = torch.arange(len(self.batch.images), device=self.device)
        shifts = self._to_device(self.shifts_of(epoch, step)[self.share])
        pixels = normalise(self.images.batch(rows, shifts), self.model)
        return pixels, self._to_device(distinct), self._to_device(position)

    def _to_device(self, values: Tensor) -> Tensor:
        # Page-locked, so that the host goes on to the next batch while the GPU works.
        on_gpu = self.device.type == "cuda"
        return values.pin_memory().to(self.device, non_blocking=True) if on_gpu else values

    def _seed_step(self, epoch: int, step: int) -> None:
        """Dropout differs between steps and processes, and a resumed run repeats it."""
        seed = np.random.SeedSequence([self.seed, epoch, step, self.world.rank]).generate_state(1)
        torch.default_generator.manual_seed(int(seed[0]))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(int(seed[0]))

    def state(self) -> dict[str, Any]:
        """Weights, optimizer, place and losses so far: what `restore` goes on from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps_done": self.steps_done,
            "losses": self.losses[: self.steps_done].clone(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken. Raises: StudyError when it is that of another model or a longer run."""
        steps_done, losses = state["steps_done"], state["losses"]
        if not (0 <= steps_done == len(losses) <= self.num_steps):
            raise StudyError(f"the checkpoint stands at step {steps_done} of a run of {self.num_steps} steps")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise StudyError(f"the checkpoint is that of another model: {error}") from error
        self.steps_done = steps_done
        self.losses[:steps_done] = losses.to(self.device)
        self.counter.fill_(steps_done)

    def close(self) -> None:
        """Stop reading; the workers are the stream's to end."""
        self._end_batches()

    def _end_batches(self) -> None:
        if isinstance(self._batches, Generator):
            self._batches.close()
