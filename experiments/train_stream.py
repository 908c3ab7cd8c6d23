"""Train one CLIP on data larger than memory: an exact mixture of sources, streamed from webdataset shards.

Which samples are seen, in which order and with which shifts follows from the seeds alone. Killed anywhere, the same command
goes on from its last checkpoint, in mid-epoch; finished, it trains nothing again. SIGTERM, SIGUSR1, SIGUSR2, SIGHUP or Ctrl-C
(once; twice stops at once) end the training after its step with a checkpoint of exactly there, in all processes of a group,
with exit status 128 + the signal's number: 143 for SIGTERM.

What to look at: the plan before it starts (repeats!), account.csv (the share of each source as asked and as seen, and what
could not be read), and loss.png (a loss that stays at chance has learnt nothing).

Examples:
    python experiments/train_stream.py --source "web=web/{00000..00999}.tar" --samples 1000000 --model RN50 --device cuda
    python experiments/train_stream.py --source a=a/ --source b=b/ --mixture a:0.25+b:0.75 --test-set imagenet=val/ \\
        --test-set sketch=sketch/ --out runs/a25
    torchrun --nproc-per-node 8 experiments/train_stream.py --source a=a/ --model RN50 --batch-size 1024
    python experiments/train_stream.py --source a=a/ --model RN50 --batch-size 1024 --executor slurm \\
        --slurm.partition gpu --slurm.gpus-per-run 8
"""

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from empirical.command import Command, print_next, print_written
from empirical.options import Device, NamedPaths, NamedShards
from empirical.stream_cluster import StreamSlurmOptions

if TYPE_CHECKING:
    from empirical.stream_process import StreamRun


@dataclass(frozen=True)
class Arguments:
    """Train a CLIP on a mixture of sources, streamed from their shards."""

    source: NamedShards
    """A source; repeat. SHARDS: plain .tar shards (a folder, a glob, a range {000..099}), or the folder of a shard index."""
    mixture: str = ""
    """Shares, such as a:0.25+b:0.75 (default: equal shares of all sources)."""
    samples: int = 0
    """Samples per epoch (default: as many as the sources hold at these shares, none twice)."""
    model: str = "conv_tower"
    """conv_tower (32 px, trains on a CPU), modified_resnet, an open_clip config such as RN50 or ViT-B-32, or a JSON file."""
    epochs: int = 16
    """Passes over the samples."""
    batch_size: int = 64
    """Images per step, of all processes together."""
    learning_rate: float = 1e-3
    """Highest learning rate: linear warm-up, then a cosine to 0 over all steps."""
    weight_decay: float = 0.1
    """Of tensors with two or more dimensions."""
    warmup_fraction: float = 0.1
    """Share of all steps with a rising learning rate."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    max_shift: int = 2
    """Images are shifted by up to so many pixels per axis, their border reflected."""
    vocabulary: str = "open_clip"
    """open_clip (byte pairs), captions:N (the N most frequent words of up to 20,000 captions per source), or world."""
    seed: int = 0
    """Of the weights, the order and the shifts."""
    source_seed: int = 0
    """Of which samples are drawn: with the same one, the samples of a small training are part of a larger one's."""
    repeat: bool = False
    """Let a source that has too few samples give some of them more than once per epoch; the plan says how often."""
    chunk: int = 1
    """Shuffle runs of so many neighbours on disk, mixed within 64 of them: for disks that are slow to seek."""
    workers: int = 2
    """Decoders per process."""
    worker_kind: Literal["threads", "processes"] = "threads"
    """Threads suit photographs, processes small images."""
    checkpoint_every: int = 500
    """Steps between checkpoints; there is one after each epoch as well."""
    test_set: NamedPaths = ()
    """A test set for the trained model; repeat. As in evaluate.py; more can be added after the training is finished."""
    device: Device = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on a GPU, float32 on a CPU."""
    threads: int = 0
    """CPU threads of each process (default: PyTorch's choice; 1 is fastest for conv_tower)."""
    indexes: Path | None = None
    """Folder for the sources' indexes, which trainings may share (default: OUT/indexes)."""
    out: Path = Path("runs/train_stream")
    """Folder of this training: model.safetensors, account.csv, loss.csv, loss.png, accuracies.csv, provenance.json."""
    executor: Literal["local", "slurm"] = "local"
    """local: this process, or those of torchrun; slurm: a job (pip install ".[cluster]") with a process for each GPU, in a folder
    that all nodes see. Preempted or out of time, it goes on by itself; after a lost connection the same command finds it."""
    slurm: StreamSlurmOptions = field(default_factory=StreamSlurmOptions)
    """Used with --executor slurm."""


def run(arguments: Arguments) -> int:
    """Carry out what the arguments ask for; returns the exit status."""
    from empirical.interruption import Interrupted, StopSignals
    from empirical.next_commands import command
    from empirical.stream_cluster import train_on_slurm
    from empirical.stream_process import run_stream
    from empirical.stream_run import check_test_sets

    def say(line: str) -> None:
        print(line, flush=True)

    def goodbye(stopped: Interrupted) -> None:
        print(f"\n{stopped}; go on with: {same_command()}", file=sys.stderr, flush=True)

    training = stream_run(arguments)
    check_test_sets(training.test_sets)
    out = training.out
    if arguments.executor == "slurm":
        accuracies = train_on_slurm(training, arguments.slurm, say=say)
    else:
        try:
            with StopSignals() as stop:
                accuracies = run_stream(training, say=say, stop=stop, goodbye=goodbye)
        except Interrupted as stopped:
            return stopped.exit_status
        if int(os.environ.get("RANK", "0")):
            return 0
    if accuracies is not None:
        say(f"\n{'test set':28s} {'classes':>7s} {'images':>8s}   accuracy [95% interval]      d'")
        for _, row in accuracies.iterrows():
            say(
                f"{row['test_set']:28s} {row['num_classes']:7d} {row['num_images']:8d}   {row['accuracy']:7.2%} "
                f"[{row['accuracy_low']:.2%}, {row['accuracy_high']:.2%}]  {row['dprime']:6.3f}"
            )
    files = ("model.safetensors", "account.csv", "loss.csv", "loss.png", "accuracies.csv", "provenance.json")
    print_written(path for path in (out / name for name in files) if path.exists())
    if len(training.test_sets) > 1 and len(training.options.shares) == 1:
        print_next(
            command("predict_mixtures", "ACCURACIES.csv"),
            f"{out / 'accuracies.csv'} joined with such a table of another source",
        )
    else:
        sets = training.test_sets or {"imagenet": "PATH", "sketch": "PATH"}
        words = [word for name, path in sets.items() for word in ("--test-set", f"{name}={path}")]
        print_next(
            command("evaluate", "--checkpoint", out / "model.safetensors", *words, "--out", out / "evaluate"),
            "keeps the logits, and writes what published_trends.py reads",
        )
    return 0


def stream_run(arguments: Arguments) -> "StreamRun":
    """The arguments as the training understands them."""
    from empirical.checkpoints import default_device
    from empirical.errors import StudyError
    from empirical.named_paths import named_paths
    from empirical.plan import parse_shares
    from empirical.recipe import Recipe
    from empirical.stream_plan import StreamOptions
    from empirical.stream_process import StreamRun

    on_cluster, threads = arguments.executor == "slurm", arguments.threads
    if on_cluster and "RANK" in os.environ:
        raise StudyError("--executor slurm starts the processes itself: leave torchrun away")
    if on_cluster and not threads:  # what the job's cores leave to each process beside its decoders
        threads = max(1, arguments.slurm.cpus_per_run // arguments.slurm.processes - arguments.workers)
    sources = named_paths("--source", arguments.source)
    if not sources:
        raise StudyError("no source: give at least one --source NAME=SHARDS")
    equal = tuple((name, 1 / len(sources)) for name in sources)
    device = arguments.slurm.device(arguments.device) if on_cluster else default_device(arguments.device)
    recipe = (
        "epochs", "batch_size", "learning_rate", "weight_decay", "warmup_fraction", "gradient_clip", "max_shift",
    )  # fmt: skip
    same = (
        "samples", "model", "vocabulary", "seed", "source_seed", "repeat", "chunk", "workers", "worker_kind",
        "checkpoint_every",
    )  # fmt: skip
    options = StreamOptions(
        sources,
        parse_shares(arguments.mixture) if arguments.mixture else equal,
        recipe=Recipe(**{name: getattr(arguments, name) for name in recipe}),
        device=device,
        bfloat16=device.startswith("cuda")
        if arguments.precision == "auto"
        else arguments.precision == "bfloat16",
        **{name: getattr(arguments, name) for name in same},
    )
    test_sets = named_paths("--test-set", arguments.test_set)
    return StreamRun(options, arguments.out, arguments.indexes, test_sets, threads)


def same_command() -> str:
    """The command that started this process, with its launcher."""
    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    words = shlex.join(sys.argv)
    if processes == 1:
        return f"python {words}"
    return f"torchrun --nproc-per-node {here} {words}" + (" on every node" if processes > here else "")


main = Command(
    Arguments,
    run,
    __doc__,
    stopped="the same command goes on from the last checkpoint",
)

if __name__ == "__main__":
    main.exit()
