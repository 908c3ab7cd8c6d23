"""One start of a training from a stream, in each of its processes: join the group, train, evaluate. Use `run_stream`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from empirical.interruption import Interrupted, StopSignals
from empirical.process_group import current_world, leave
from empirical.stream_plan import StreamOptions
from empirical.stream_run import evaluate_stream_model, train_from_stream


@dataclass(frozen=True)
class StreamRun:
    """What a start is told.

    Attributes:
        options: see `StreamOptions`; the device "cuda" is the GPU that is this process's own.
        out: folder of this training. indexes: folder of the sources' indexes (default: in `out`).
        test_sets: path of each test set, by name.
        threads: of each process; 0: PyTorch's choice.
    """

    options: StreamOptions
    out: Path
    indexes: Path | None = None
    test_sets: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0


def run_stream(
    run: StreamRun,
    *,
    say: Callable[[str], None] = print,
    stop: StopSignals | None = None,
    goodbye: Callable[[Interrupted], None] = lambda stopped: None,
) -> pd.DataFrame | None:
    """Train, and evaluate in the first process: accuracies of its test sets, None elsewhere or without test sets.

    `goodbye` is called in the first process when a signal has stopped the training, before any process leaves: supervisors
    kill a group of which one process has gone.

    Raises:
        DataError, StudyError, TrainingError, Interrupted: as `train_from_stream`.
    """
    if run.threads > 0:
        torch.set_num_threads(run.threads)
    options = run.options
    if options.device == "cuda":
        # Where each process sees only its own GPU, that one is number 0 for all of them.
        local = int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count())
        options = replace(options, device=f"cuda:{local}")
    on_gpu = options.device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(options.device)
    world = current_world("nccl" if on_gpu else "gloo")
    if world.size > 1:  # torch announces successors of what its own and open_clip's collectives still use
        warnings.filterwarnings("ignore", ".*is deprecated", FutureWarning)
    try:
        train_from_stream(options, run.out, indexes=run.indexes, world=world, say=say, stop=stop)
    except Interrupted as stopped:
        if world.rank == 0:
            goodbye(stopped)
        leave(world)
        raise
    leave(world)
    if world.rank or not run.test_sets:
        return None
    return evaluate_stream_model(run.out, run.test_sets, options.device, say=say)
