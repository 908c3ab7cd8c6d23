"""Train CLIP on sources and their mixtures, and judge theory's predictions by the measurements.

Every single-source CLIP is trained at several sizes; theory, told only these, predicts each mixture's robustness; the
mixtures are trained on samples no single-source run saw, and both land on the same plot. A study that is stopped and
started again in the same folder repeats no finished run.

Examples:
    python experiments/clip_mixtures.py                       the default study (5-10 minutes on 2 cores)
    python experiments/clip_mixtures.py --preset smoke        a quick look (under a minute)
    python experiments/clip_mixtures.py --source "cc=cc12m/{00000..00099}.tar" --source "yfcc=yfcc/*.tar" \\
        --test-set imagenet=val/ --test-set sketch=sketch/ --reference imagenet
    python experiments/clip_mixtures.py --mixture stock:0.3+forum:0.7 --out runs/one_mixture
    python experiments/clip_mixtures.py --preset gpu --executor slurm --slurm.partition gpu --slurm.gpus-per-run 1
    python experiments/study_status.py runs/clip_mixtures     what is done, running, failed and waiting
"""

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from empirical.cluster import SlurmOptions
from empirical.command import Command, print_next, print_written
from empirical.options import Mixtures, NamedPaths, NamedShards

#: Folders of a study that hold test sets begin with this; no source or test set may.
TEST_SET_PREFIX = "test-"


@dataclass
class Arguments:
    """Train CLIP on sources and mixtures; draw theory's predictions beside the measurements."""

    preset: Literal["smoke", "default", "design", "filters", "full", "gpu"] = "default"
    """smoke: under a minute; default: 5-10 minutes on 2 cores; design: mixtures designed from
    single-source runs and ranked among all others, half an hour on 2 cores; filters: six pools filtered by two CLIPs, held
    against Theorem 3, 15 minutes on 2 cores; full: overnight on a CPU; gpu: the full study
    on a GPU."""
    out: Path = Path("runs/clip_mixtures")
    """Folder for records, tables and figures. Start again in the same folder to continue a stopped study."""
    source: NamedShards = ()
    """Your own source as webdataset shards (brace expansion or globs, quoted, or a folder) or as a shard index; repeat for each
    source. Replaces the embedded world; needs --test-set."""
    test_set: NamedPaths = ()
    """A test set: an ImageFolder or webdataset shards with `cls`; repeat for the reference and each shift."""
    reference: str = ""
    """Which test set is the reference (x axis). Default: the one called `reference`, otherwise the first."""
    mixture: Mixtures = ()
    """A mixture to train and predict, instead of the preset's; repeat for more. Shares sum to 1."""
    vocabulary: str = ""
    """`open_clip` (default for your own data), `captions:N` (the N most frequent words of the captions) or `world`."""
    model: str = ""
    """open_clip JSON config: `conv_tower` (default), `modified_resnet`, or a path to your own."""
    sizes: tuple[int, ...] = ()
    """Training-set sizes, instead of the preset's. Powers of two keep half sizes on the grid."""
    num_seeds: int = 0
    """Number of seeds, instead of the preset's."""
    epochs: int = 0
    """Epochs per run, instead of the preset's."""
    test_images: int = 0
    """Images per embedded test set, instead of the preset's."""
    seed: int = 0
    """First seed; the study uses seed, seed + 1, ..."""
    jobs: int = 0
    """Worker processes (default: one per core, divided by --threads)."""
    threads: int = 1
    """Threads per worker. Two models with one thread each are faster than one model with two threads."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda for the gpu preset when there is one, else cpu)."""
    lanes: int = 4
    """Models that a GPU trains at once."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the towers compute in: bfloat16 autocast pays for large models on a GPU only."""
    minutes: float = 0.0
    """Stop after so many minutes, as if by Ctrl-C (0: when all is done); the same command continues."""
    tables_later: bool = False
    """Write records only; tables and figures wait for --tables-only (where a GPU's time is dear)."""
    tables_only: bool = False
    """Make tables and figures from the records in --out, wherever they were made; train nothing."""
    executor: Literal["local", "slurm"] = "local"
    """local: worker processes on this machine; slurm: every run is a job of an array (pip install ".[cluster]"), in a
    folder that all nodes see. A lost connection leaves the jobs in the queue; the same command finds them again."""
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    """Used with --executor slurm."""
    dry_run: bool = False
    """Print what would be run, and stop."""
    quiet: bool = False
    """Print only the summary, warnings and errors."""


def run(arguments: Arguments) -> int:
    """Carry out the study the arguments describe."""
    # What is imported next loads PyTorch: thread limits must stand before that, here as in the workers.
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    # JAX does the theory's arithmetic; on a GPU it would take most of the memory away from the training.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from empirical.progress import StudyProgress
    from empirical.results import output_paths
    from empirical.study import run_study, write_tables
    from empirical.study_plan import plan_study

    options = study_options(arguments)
    progress = StudyProgress(quiet=arguments.quiet)
    if arguments.dry_run:
        print_plan(plan_study(options), options)
        return 0
    plan_study(options)  # what is wrong with the options is said before anything is drawn
    if not options.test_sets:
        draw_world_once(arguments.out, progress)
    results = (write_tables if arguments.tables_only else run_study)(options, progress)
    print(results.summary)
    print_written(output_paths(arguments.out))
    if results.failures:
        print(
            f"\n{len(results.failures)} tasks failed (reasons in {arguments.out / 'failed'}); the same command tries them again."
        )
    print_next(*next_command(arguments))
    return 1 if results.failures else 0


def study_options(arguments: Arguments):
    """The arguments as the study understands them."""
    from empirical.named_paths import named_paths
    from empirical.plan import parse_shares
    from empirical.study_plan import StudyOptions

    device = choose_device(arguments)
    overrides = {
        name: getattr(arguments, name)
        for name in ("sizes", "num_seeds", "epochs", "test_images")
        if getattr(arguments, name)
    }
    return StudyOptions(
        out=arguments.out,
        preset=arguments.preset,
        sources=named_paths("--source", arguments.source, reserved=TEST_SET_PREFIX),
        test_sets=named_paths("--test-set", arguments.test_set, reserved=TEST_SET_PREFIX),
        reference=arguments.reference,
        vocabulary=arguments.vocabulary,
        model=arguments.model,
        device=device,
        mixtures=tuple(parse_shares(text) for text in arguments.mixture),
        jobs=arguments.jobs or default_jobs(arguments.threads, device),
        threads=arguments.threads,
        lanes=arguments.lanes,
        precision=arguments.precision,
        minutes=arguments.minutes,
        tables_later=arguments.tables_later,
        seed=arguments.seed,
        overrides=overrides,
        executor=arguments.executor,
        slurm=arguments.slurm,
    )


def choose_device(arguments: Arguments) -> str:
    """The device asked for; `auto` takes a GPU for the gpu preset only."""
    if arguments.tables_only:
        return "cpu"
    if arguments.executor == "slurm":
        return arguments.slurm.device(arguments.device)
    if arguments.device != "auto":
        return arguments.device
    import torch

    return "cuda" if arguments.preset == "gpu" and torch.cuda.is_available() else "cpu"


def default_jobs(threads: int, device: str) -> int:
    """One worker per core, divided by the threads of each; few on a GPU, whose memory they share."""
    from empirical.workers import usable_cores

    cores = usable_cores()
    return max(1, min(cores // max(1, threads), 4 if device.startswith("cuda") else cores))


def draw_world_once(out: Path, progress) -> None:
    """The contact sheet of the embedded world, drawn before anything is trained."""
    if (out / "world.png").exists():
        return
    from empirical.contact_sheet import draw_world

    out.mkdir(parents=True, exist_ok=True)
    draw_world(out / "world")
    progress.say(f"the embedded world: {out / 'world.png'}")


def print_plan(study, options) -> None:
    """What `--dry-run` prints: runs and samples by kind, and the time they would take on this machine."""
    from empirical.progress import format_duration
    from empirical.study_plan import describe_plan, measured_rate

    rows = describe_plan(study)
    print(f"{'kind':<16}{'runs':>6}{'training samples seen':>24}")
    for kind, count, samples in rows:
        print(f"{kind:<16}{count:>6}{samples:>24,}")
    print(f"{'total':<16}{sum(r[1] for r in rows):>6}{sum(r[2] for r in rows):>24,}")
    if options.executor == "local":
        rate = measured_rate(study)
        seconds = sum(study.costs().values()) / rate / options.jobs
        print(
            f"about {format_duration(seconds)} with {options.jobs} workers, at {rate:,.0f} samples/s each "
            "(measured now, on noise)"
        )
    print(
        f"seeds {', '.join(map(str, study.design.seeds))}; records go to {study.context.folder / 'records'}"
    )


def next_command(arguments: Arguments) -> tuple[str, str]:
    """The one command worth trying next, and what it is."""
    from empirical.next_commands import command, design_command
    from empirical.presets import PRESETS
    from empirical.study_folder import StudyFolder

    if arguments.source:
        design = design_command(StudyFolder(arguments.out))
        return (
            (design, "the best mixture")
            if design
            else (command("report", arguments.out), "a page to look at")
        )
    if arguments.preset == "smoke":
        return "python experiments/clip_mixtures.py", "the default study: six sources, 5-10 minutes"
    seeds = arguments.num_seeds or PRESETS[arguments.preset].num_seeds
    # A fresh study has to be trained: what said to do less this time is left out.
    changed = ("--seed", "--out", "--tables-only", "--no-tables-only", "--dry-run")
    kept = [word for word in sys.argv[1:] if not word.startswith(changed)]
    for option in changed[:2]:
        if option in sys.argv:
            kept.remove(sys.argv[sys.argv.index(option) + 1])
    words = [*kept, "--seed", str(arguments.seed + seeds), "--out", f"{arguments.out}_fresh"]
    return shlex.join(["python", "experiments/clip_mixtures.py", *words]), "the same study on fresh seeds"


main = Command(
    Arguments,
    run,
    __doc__,
    stopped=lambda arguments: f"finished runs are kept: run the same command to continue in {arguments.out}",
)

if __name__ == "__main__":
    main.exit()
