"""One model with everything a training step needs: `Trainer`.

The same step runs on a CPU, on a GPU, recorded once as a CUDA graph and replayed, and in a process group. It reads its
place in the data from counters that live beside the model, so that a recorded step needs nothing from Python; that a
replayed step launches as one piece is what makes many small models fast on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from open_clip import CLIP, ClipLoss
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from empirical.errors import StudyError, TrainingError
from empirical.model import place
from empirical.model_inputs import ClipModel, as_uint8_tensor, check_images, check_tokens, normalise
from empirical.process_group import ALONE, World, use_global_batch_norm
from empirical.recipe import Recipe, learning_rate
from empirical.text_tower import pooled_text_features, supports_pooling_early

LARGEST_LOGIT_SCALE = math.log(100)
WARM_UP_STEPS = 3
"""Steps on a side stream before a step is recorded: libraries choose their algorithms and allocate in them."""


class Images:
    """Images on the device with a reflected border; a batch is cut out of them with one shift per image."""

    def __init__(self, capacity: int, side: tuple[int, int], max_shift: int, device: torch.device) -> None:
        height, width = side
        if max_shift >= min(height, width):
            raise StudyError(
                f"recipe: max_shift is {max_shift} for images of {height} x {width} px; it must be smaller"
            )
        rows, columns = (
            torch.from_numpy(np.pad(np.arange(s), max_shift, "reflect")) for s in (height, width)
        )
        self.rows, self.columns = rows.to(device), columns.to(device)
        # channels last: convolutions are fastest in it
        self.padded = torch.empty((capacity, len(rows), len(columns), 3), dtype=torch.uint8, device=device)
        # windows[i, dy, dx] is image i shifted by (dy, dx): a view, nothing is copied before a batch is asked for
        self.windows = self.padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)

    def load(self, images: np.ndarray | Tensor) -> None:
        """Put these images at the front."""
        pixels = as_uint8_tensor(images).to(self.padded.device)
        bordered = pixels[:, :, self.rows][:, :, :, self.columns]
        self.padded[: len(pixels)] = bordered.permute(0, 2, 3, 1)

    def batch(self, indices: Int64[Tensor, " b"], shifts: Int64[Tensor, "b 2"]) -> UInt8[Tensor, "b 3 s s"]:
        """The chosen images, each cut out at its shift."""
        return self.windows[indices, shifts[:, 0], shifts[:, 1]].permute(0, 3, 1, 2)


class _Towers(nn.Module):
    """Both towers in one call, which is what DistributedDataParallel wraps."""

    def __init__(self, model: ClipModel, encode_text: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.encode_text = model, encode_text

    def forward(self, pixels: Tensor, captions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.model.encode_image(pixels, normalize=True),
            self.encode_text(captions),
            self.model.logit_scale.exp(),
        )


class Trainer:
    """A model, its optimizer, its data, and `step()`.

    Args:
        model: from `empirical.model.build_model`; trained in place.
        recipe: see `Recipe`.
        device: where everything lies.
        world: this process's part in a process group.
        bfloat16: whether the towers run in bfloat16 autocast.
        capacity: for recorded steps: the largest number of samples any run will have. The trainer is then used for one
            run after the other (`load` each time), all with the recipe's batch size.
    """

    def __init__(
        self,
        model: ClipModel,
        recipe: Recipe,
        device: torch.device,
        *,
        world: World = ALONE,
        bfloat16: bool = False,
        capacity: int | None = None,
    ) -> None:
        self.model, self.recipe, self.device, self.world = model, recipe, device, world
        self.bfloat16, self.capacity = bfloat16, capacity
        if world.size > 1:
            use_global_batch_norm(model, device)
        place(model, device)
        self.recorded = capacity is not None
        if self.recorded:
            _use_native_batch_norm(model)
        self.rate = torch.zeros((), device=device) if self.recorded else recipe.learning_rate
        self.optimizer = _adamw(model, recipe, self.rate)
        # A CUDA graph cannot branch on which captions a batch shares, and a GPU does not mind the repeated work.
        self.embeds_distinct_captions = not self.recorded
        self.loss = (
            ClipLoss()
            if world.size == 1
            else ClipLoss(gather_with_grad=True, rank=world.rank, world_size=world.size)
        )
        self.towers: nn.Module | None = None
        self.images: Images | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.num_samples = self.num_captions = 0

    def load(self, images: np.ndarray | Tensor, tokens: np.ndarray | Tensor, seed: int) -> None:
        """Take the data of a run: uint8 (n, 3, S, S) and int64 (n, context), n >= 2; `seed` orders the samples.

        Raises:
            StudyError: fewer than two samples, images and tokens that fit neither each other nor the model, or more
                samples than the capacity.
        """
        tokens = check_tokens(tokens, self.model)
        check_images(images, self.model, minimum=2)
        if len(images) != len(tokens):
            raise StudyError(f"{len(images)} images but {len(tokens)} captions: one caption per image")
        self._plan_run(len(tokens), min(self.recipe.batch_size, len(tokens)), seed)
        self.generator = torch.Generator().manual_seed(seed)
        if self.images is None:
            self._allocate(images, tokens)
        elif self.num_samples > self.images.padded.shape[0] or self.batch_size < self.recipe.batch_size:
            raise StudyError(
                f"{self.num_samples} samples do not fit a recorded step made for batches of {self.recipe.batch_size} "
                f"and at most {self.capacity} samples"
            )
        assert self.images is not None
        self.images.load(images)
        if self.embeds_distinct_captions:
            captions, self.caption_of = tokens.unique(dim=0, return_inverse=True)
            self.captions = captions.to(self.device)
        else:
            self.captions[: self.num_samples] = tokens.to(self.device)
        rates = [learning_rate(step, self.num_steps, self.recipe) for step in range(self.num_steps)]
        self.rates[: self.num_steps] = torch.tensor(rates, dtype=self.rates.dtype)
        self.steps_done = 0
        self.counter.zero_()

    def _plan_run(self, num_samples: int, batch_size: int, seed: int) -> None:
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.steps_per_epoch = num_samples // batch_size
        self.num_steps = self.recipe.epochs * self.steps_per_epoch
        self.share = self.world.share(batch_size)

    def _allocate(self, images: np.ndarray | Tensor, tokens: Int64[Tensor, "n context"]) -> None:
        capacity = self.capacity or self.num_samples
        side = (int(images.shape[2]), int(images.shape[3]))
        self.images = Images(capacity, side, self.recipe.max_shift, self.device)
        per_epoch = max(capacity // self.batch_size, 1)
        place_of = {"device": self.device, "dtype": torch.int64}
        self.order = torch.zeros((per_epoch, self.batch_size), **place_of)
        self.shifts = torch.zeros((per_epoch, self.batch_size, 2), **place_of)
        self.captions = torch.zeros((capacity, tokens.shape[1]), **place_of)
        self.rates = torch.zeros(per_epoch * self.recipe.epochs, device=self.device)
        self._prepare_steps(per_epoch * self.recipe.epochs, tokens)

    def _prepare_steps(self, most_steps: int, tokens: Int64[Tensor, "n context"]) -> None:
        """Make what every step uses, whatever feeds it; `tokens` are captions to choose the text encoder by."""
        self.losses = torch.zeros(most_steps, device=self.device)
        # the step within the epoch, and within the run
        self.counter = torch.zeros(2, device=self.device, dtype=torch.int64)
        encode_text = _text_encoder(self.model, tokens.to(self.device), whole=self.recorded)
        towers = _Towers(self.model, encode_text)
        if self.world.size > 1:
            ids = [self.device] if self.device.type == "cuda" else None
            # The statistics are the same everywhere already: they are global.
            towers = DistributedDataParallel(towers, device_ids=ids, broadcast_buffers=False)
        self.towers = towers

    def start_epoch(self) -> None:
        """Draw the order and the shifts of the next epoch: a fresh permutation, its incomplete last batch dropped."""
        steps, batch = self.steps_per_epoch, self.batch_size
        order = torch.randperm(self.num_samples, generator=self.generator)[: steps * batch]
        shifts = torch.randint(0, 2 * self.recipe.max_shift + 1, (len(order), 2), generator=self.generator)
        self.order_here = order.view(steps, batch)
        _send(self.order_here, self.order[:steps])
        _send(shifts.view(steps, batch, 2), self.shifts[:steps])
        self.counter[0] = 0

    def step(self) -> None:
        """One update of the model from the next batch."""
        if self.graph is not None:
            self.graph.replay()
        else:
            self._step()
        self.steps_done += 1

    def _next_batch(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """This process's normalised pixels, its captions, and which caption each image has (None: the one in its row)."""
        assert self.images is not None
        at = self.counter[:1]
        rows = self.order.index_select(0, at)[0, self.share]
        shifts = self.shifts.index_select(0, at)[0, self.share]
        pixels = normalise(self.images.batch(rows, shifts), self.model)
        if not self.embeds_distinct_captions:
            return pixels, self.captions[rows], None
        here = self.order_here[self.steps_done % self.steps_per_epoch, self.share]
        distinct, position = self.caption_of[here].unique(return_inverse=True)
        return pixels, self.captions[distinct.to(self.device)], position.to(self.device)

    def _step(self) -> None:
        assert self.towers is not None
        done = self.counter[1:]
        pixels, captions, position = self._next_batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            image_features, text_features, scale = self.towers(pixels, captions)
        text_features = text_features.float()
        if position is not None:
            text_features = functional.embedding(position, text_features)
        bias = getattr(self.model, "logit_bias", None)
        loss = self.loss(image_features.float(), text_features, scale, bias)

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        if isinstance(self.rate, Tensor):
            self.rate.copy_(self.rates.index_select(0, done)[0])
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.steps_done, self.num_steps, self.recipe)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
            self.losses.index_copy_(0, done, loss.detach().to(self.losses.dtype)[None])
            self.counter += 1

    def record(self) -> None:
        """Record the step as a CUDA graph; the model, the counters and the generator end as they were.

        On the current stream, or one of its own where that is the default one, which cannot record.
        """
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        current = torch.cuda.current_stream(self.device)
        here = current
        if current == torch.cuda.default_stream(self.device):
            here = torch.cuda.Stream(self.device)
        self.model.train()
        self.start_epoch()
        side = torch.cuda.Stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.counter.zero_()
                self._step()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        # On this lane's stream: cuBLAS keeps a workspace for each stream, and recordings that shared one would write
        # into each other's sums when they are replayed side by side.
        with torch.cuda.graph(graph, stream=here):
            self._step()
        current.wait_stream(here)
        self.graph = graph
        self.restart(weights)

    def restart(self, weights: dict[str, Tensor]) -> None:
        """Begin anew from these weights: the optimizer remembers nothing, the counters stand at 0."""
        self.model.load_state_dict(weights)
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        self.generator.manual_seed(self.seed)
        self.steps_done = 0
        self.counter.zero_()

    def mean_losses(self, first_epoch: int = 0) -> list[float]:
        """Mean loss of each finished epoch from `first_epoch` on, in nats; each look makes a GPU wait.

        Raises:
            TrainingError: a loss is NaN or infinite; names the step.
        """
        start = first_epoch * self.steps_per_epoch
        losses = self.losses[start : self.steps_done]
        wrong = (~losses.isfinite()).nonzero().flatten()
        if len(wrong):
            step = start + int(wrong[0])
            raise TrainingError(
                f"the loss became {self.losses[step].item()} at step {step} (epoch {step // self.steps_per_epoch + 1} of "
                f"{self.recipe.epochs}); lower learning_rate ({self.recipe.learning_rate}) or gradient_clip "
                f"({self.recipe.gradient_clip})"
            )
        return [float(epoch.mean()) for epoch in losses.split(self.steps_per_epoch)]


def _send(values: Tensor, target: Tensor) -> None:
    """Copy host values into a tensor on the device, behind what its stream has queued.

    From page-locked memory: from any other, the host would wait until the stream is empty, and other lanes with it.
    """
    on_gpu = target.device.type == "cuda"
    target.copy_(values.pin_memory() if on_gpu else values, non_blocking=on_gpu)


def _use_native_batch_norm(model: nn.Module) -> None:
    """Keep cuDNN out of a model's batch normalisation.

    In channels-last layout cuDNN's kernels wait for one another inside the GPU, and need all of their blocks to be there
    at once. Several models side by side leave some of them no room: each waits for ever (seen on an H200 with 4 streams).
    """

    def off(module: nn.Module, _: object) -> None:
        torch.backends.cudnn.enabled = False

    def on(module: nn.Module, _: object, __: object) -> None:
        torch.backends.cudnn.enabled = True

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(off)
            module.register_forward_hook(on, always_call=True)


def _adamw(model: ClipModel, recipe: Recipe, rate: float | Float[Tensor, ""]) -> torch.optim.AdamW:
    """AdamW whose weight decay leaves out biases, normalisation gains and the logit scale."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.AdamW(
        groups,
        lr=rate,
        betas=(recipe.beta1, recipe.beta2),
        fused=fused,
        capturable=isinstance(rate, Tensor),
    )


def _text_encoder(
    model: ClipModel, captions: Int64[Tensor, "n context"], *, whole: bool
) -> Callable[[Tensor], Tensor]:
    """The quick way through the text tower where it gives the same features, otherwise open_clip's own.

    `whole`: look at all token positions, so that no caption's length has to be known on the host.
    """
    if isinstance(model, CLIP) and supports_pooling_early(model, captions[:256]):
        length = captions.shape[1] if whole else None
        return lambda tokens: pooled_text_features(model, tokens, length)
    return lambda tokens: model.encode_text(tokens, normalize=True)
