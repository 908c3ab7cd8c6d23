"""The command `python experiments/train_stream.py` on two small sources, for the tests that stop, kill and compare it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file
from shard_cases import coloured, image_file, make_source, write_tar

from empirical.faults import VARIABLE
from empirical.shards import write_test_set
from empirical.world import render_test_set
from experiments.train_stream import Arguments, main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "train_stream.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def make_data(root: Path) -> Path:
    """Two sources, one with a picture that nothing can decode, and two test sets."""
    make_source(root / "a", "a", 48, 32)
    (root / "b").mkdir()
    members = [m for i in range(80) for m in coloured(f"b{i:03d}", 100 + i, 32)]
    members[20] = ("b010.png", image_file()[:40])
    write_tar(root / "b" / "0.tar", members)
    for name in ("reference", "sketch"):
        write_test_set(render_test_set(name, 40, 3000), root / name)
    return root


def command(data: Path, out: Path, *more: str, samples: int = 60, epochs: int = 2) -> list[str]:
    return [
        "--source", f"a={data}/a", "--source", f"b={data}/b", "--mixture", "a:0.25+b:0.75", "--samples", str(samples),
        "--epochs", str(epochs), "--batch-size", "8", "--vocabulary", "captions:40", "--threads", "1",
        "--checkpoint-every", "3", "--device", "cpu", "--indexes", str(data / "indexes"), "--out", str(out), *more,
    ]  # fmt: skip


def start(
    arguments: list[str], launcher: tuple[str, ...] = (), kill_at: str = "", **options: Any
) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *launcher, str(SCRIPT), *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | {VARIABLE: kill_at},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def run(arguments: list[str], launcher: tuple[str, ...] = (), kill_at: str = "") -> tuple[int, str]:
    process = start(arguments, launcher, kill_at)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def run_here(arguments: list[str]) -> tuple[int, str]:
    """The same in this process, which has its imports behind it."""
    said = io.StringIO()
    threads = torch.get_num_threads()
    try:
        with contextlib.redirect_stdout(said):
            return main(tyro.cli(Arguments, args=arguments)), said.getvalue()
    finally:
        torch.set_num_threads(threads)


def same_results(a: Path, b: Path) -> None:
    """Weights, account and losses, bit for bit (safetensors writes its metadata in any order)."""
    for name in ("account.csv", "loss.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (a, b))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
