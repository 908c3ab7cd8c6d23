"""What a study at the paper's or DataComp's scale holds and costs, and whether each of its models runs here.

`--dry-run` prints runs, samples, device hours and storage, estimated from the throughput measured on this machine and scaled by
floating-point operations. `--smoke` trains the preset's model for two steps at batch 8 on made-up data at full resolution,
writes its weights as safetensors and has open_clip read them.

Examples:
    python experiments/paper_scale.py --preset paper --dry-run
    python experiments/paper_scale.py --preset datacomp-small --dry-run --device-flops 1.2e14
    python experiments/paper_scale.py --preset datacomp-small --smoke
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from empirical.command import Command, print_next, print_written
from empirical.options import Device


@dataclass
class Arguments:
    """Cost and smoke test of studies at scale."""

    preset: Literal["paper", "datacomp-small", "datacomp-medium"] = "paper"
    """paper: RN50 on six sources at their real sizes; datacomp-small and -medium: ViT-B/32 on DataComp's nine pools."""
    dry_run: bool = False
    """Print runs, samples, hours and storage (the default when nothing else is asked for)."""
    smoke: bool = False
    """Two training steps at batch 8 on made-up data at full resolution, then open_clip reads the weights."""
    device: Device = "auto"
    device_flops: float = 0.0
    """Floating-point operations per second that your device sustains in training; measured here by default."""
    kilobytes_per_pair: float = 35.0
    """Assumed size of an image-text pair in the shards."""
    out: Path = Path("runs/paper_scale")
    """Folder for cost.csv, runs.csv and the smoke run's weights."""


def run(arguments: Arguments) -> None:
    """Estimate or smoke-test, and say what was found."""
    from empirical.checkpoints import default_device
    from empirical.paper_presets import paper_preset

    preset, device = paper_preset(arguments.preset), default_device(arguments.device)
    if arguments.dry_run or not arguments.smoke:
        dry_run(arguments, preset, device)
    if arguments.smoke:
        smoke(arguments, preset, device)
        print_next(
            "python experiments/clip_mixtures.py --source NAME=SHARDS ... --test-set NAME=PATH ... --model "
            + preset.model
        )
    else:
        print_next(f"python experiments/paper_scale.py --preset {preset.name} --smoke")


def dry_run(arguments: Arguments, preset, device: str) -> None:
    """Print the estimate and write it as tables."""
    import pandas as pd

    from empirical.cost_estimate import describe_cost, estimate_cost
    from empirical.tables import write_table

    if not arguments.device_flops:
        print(f"measuring this machine's {device} ...", file=sys.stderr)
    cost = estimate_cost(preset, device, arguments.device_flops or None, arguments.kilobytes_per_pair)
    print("\n".join(describe_cost(preset, cost, device)))
    runs = [
        {"run": r.name, "kind": r.kind, "n_train": r.n_train, "samples_seen": r.samples_seen}
        for r in preset.runs
    ]
    paths = [arguments.out / preset.name / name for name in ("cost.csv", "runs.csv")]
    write_table(cost.table, paths[0])
    write_table(pd.DataFrame(runs), paths[1])
    print_written(paths)


def smoke(arguments: Arguments, preset, device: str) -> None:
    """Two steps of the preset's model at full resolution, and its weights read by open_clip."""
    from empirical.paper_smoke import smoke_run

    print(f"{preset.name}: two steps of {preset.model} at batch 8 on {device} ...", file=sys.stderr)
    found = smoke_run(preset, arguments.out / preset.name, device)
    print(
        f"{preset.model}: loss {found.loss:.3f} after {found.steps} steps, {found.seconds:.1f} s; "
        f"open_clip.create_model_and_transforms({preset.model!r}, pretrained={str(found.weights)!r}) gives the same features"
    )


main = Command(Arguments, run, __doc__, expected=(ValueError,))

if __name__ == "__main__":
    main.exit()
