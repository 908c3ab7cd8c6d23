"""Several processes that train one model together: `World`, `current_world`, `use_global_batch_norm`.

Started by torchrun; each process computes its share of every global batch, open_clip's loss gathers the features, and
DistributedDataParallel averages the gradients. Batch normalisation must see the global batch as well: with statistics
of its own in each process, a model trains on another objective (and not on the one of a single process).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from empirical.errors import StudyError


@dataclass(frozen=True)
class World:
    """Which of `size` processes this one is; `ALONE` is the only process of its training."""

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int) -> slice:
        """This process's rows of a global batch.

        Raises:
            StudyError: the batch cannot be dealt evenly.
        """
        if batch_size % self.size:
            raise StudyError(
                f"a batch of {batch_size} cannot be dealt to {self.size} processes: choose a multiple of {self.size}"
            )
        each = batch_size // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


ALONE = World()


def current_world(backend: str = "") -> World:
    """The process group torchrun started (joined here if need be); `ALONE` without torchrun.

    `backend` is "gloo" on CPUs and "nccl" on GPUs by default.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    if not distributed.is_initialized():
        if not backend:
            backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend)
    return World(distributed.get_rank(), distributed.get_world_size())


def join_slurm_group() -> int:
    """Tell this process of a SLURM step its place among the step's processes, as torchrun would; returns its rank.

    `current_world` then joins them. The first node of a step is where it was launched.
    """
    number, size = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_NTASKS"])
    several = int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) > 1
    rank = os.environ["SLURM_PROCID"]
    if size > 1:
        os.environ |= {
            "RANK": rank,
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": os.environ["SLURM_LOCALID"],
            "MASTER_ADDR": os.environ["SLURM_LAUNCH_NODE_IPADDR"] if several else "127.0.0.1",
            # Below the ports that systems give away, and another one for each job of a node.
            "MASTER_PORT": str(20_000 + number % 12_000),
        }
    return int(rank)


@cache
def _side_group() -> distributed.ProcessGroup:
    """A group for what is not training: on the CPU whatever the backend, and patient (one process may read for hours)."""
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=2))
    assert isinstance(group, distributed.ProcessGroup)  # every process is a member
    return group


def gather_json(world: World, value: Any) -> list[Any]:
    """Every process's value (JSON), in order of rank, in every process; each waits for all the others here."""
    if world.size == 1:
        return [value]
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world.size)]
    distributed.all_gather(lengths, torch.tensor([len(text)]), group=_side_group())
    longest = int(max(lengths))
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(world.size)]
    distributed.all_gather(texts, nn.functional.pad(text, (0, longest - len(text))), group=_side_group())
    return [
        json.loads(bytes(each[: int(length)].tolist())) for each, length in zip(texts, lengths, strict=True)
    ]


def ask_all(world: World, value: Callable[[], int]) -> Callable[[], int]:
    """Ask every process for a number; the returned function gives the largest one, the same in every process.

    All processes ask, and fetch the answer, at the same places; what they do in between hides the time it takes. Alone, the
    number is looked at when the answer is fetched.
    """
    if world.size == 1:
        return value
    largest = torch.tensor([value()], dtype=torch.int64)
    work = distributed.all_reduce(largest, distributed.ReduceOp.MAX, group=_side_group(), async_op=True)
    assert work is not None

    def answer() -> int:
        work.wait()
        return int(largest)

    return answer


def leave(world: World) -> None:
    """Wait for the others, then leave the group: a process that goes on alone is no longer waited for."""
    if world.size > 1:
        gather_json(world, None)
        _side_group.cache_clear()
        distributed.destroy_process_group()


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation with the mean and variance of all processes' samples, on any backend.

    Like `torch.nn.SyncBatchNorm`, which only runs on GPUs: in training, mean = Σ x / N and var = Σ (x - mean)² / N over
    the global batch, with gradients through both sums; the running variance is the unbiased one, as in torch.
    Inputs (n, C, ...); n may differ between processes.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch normalisation needs (n, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalised input, of the same shape."""
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        per_channel = (1, -1, *[1] * (input.ndim - 2))
        count = input.new_tensor([input.numel() / input.shape[1]])
        sums = all_reduce(torch.cat([input.sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = input - mean.view(per_channel)
        # Two passes, as one pass (E x² - mean²) loses the digits on which float32 agreement rests.
        variance = all_reduce(centred.square().sum(axes)) / total
        with torch.no_grad():
            self._remember(mean, variance * total / (total - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(per_channel)
        if self.affine:
            scaled = scaled * self.weight.view(per_channel) + self.bias.view(per_channel)
        return scaled

    def _remember(self, mean: Tensor, unbiased: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)


def use_global_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Replace a model's batch normalisation, in place and with its weights, by one over all processes' samples.

    SyncBatchNorm on GPUs, `GlobalBatchNorm` elsewhere; the names of the weights stay as they are.
    """
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm) and not isinstance(child, (GlobalBatchNorm, nn.SyncBatchNorm)):
            kind = nn.SyncBatchNorm if device.type == "cuda" else GlobalBatchNorm
            ours = kind(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            ours.load_state_dict(child.state_dict())
            ours.train(child.training)
            # timm's BatchNormAct2d carries an activation that a plain replacement would lose
            act = getattr(child, "act", None)
            setattr(model, name, nn.Sequential(ours, act) if isinstance(act, nn.Module) else ours)
        else:
            use_global_batch_norm(child, device)
