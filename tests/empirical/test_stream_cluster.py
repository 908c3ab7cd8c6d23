"""A training from a stream as a SLURM job, without a SLURM: options, places in the group, logs. The rest: tests/slurm."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empirical.cluster import SlurmOptions
from empirical.errors import StudyError
from empirical.process_group import join_slurm_group
from empirical.recipe import Recipe
from empirical.slurm_jobs import printed_by
from empirical.stream_cluster import StreamSlurmOptions, train_on_slurm
from empirical.stream_plan import StreamOptions
from empirical.stream_process import StreamRun
from experiments.train_stream import Arguments, main, same_command, stream_run


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the options are looked at; nothing is submitted."""
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("sbatch")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timeout_min": 0}, "--slurm.timeout-min 0: must be at least 1"),
        ({"nodes_per_run": 0}, "--slurm.nodes-per-run 0: must be at least 1"),
        ({"processes_per_run": 3, "nodes_per_run": 2}, "3 processes cannot be dealt evenly to 2 nodes"),
        ({"processes_per_run": 4, "cpus_per_run": 6}, "6 cores cannot be dealt evenly to 4 processes"),
        ({"gpus_per_run": 4, "processes_per_run": 2}, "a process trains on one GPU, and there are 4"),
        ({"timeout_min": 2, "notice_seconds": 120}, "less than the 2 minutes of a job"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        StreamSlurmOptions(**changes).check()


def test_what_a_job_gets_is_dealt_to_its_nodes() -> None:
    options = StreamSlurmOptions(
        gpus_per_run=8, cpus_per_run=48, memory_gb=256.0, nodes_per_run=2, notice_seconds=90
    )
    found = options.parameters("name", threads=4)
    assert {name: found[name] for name in ("nodes", "ntasks_per_node", "gpus_per_node", "cpus_per_task", "mem")} == {
        "nodes": 2, "ntasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 6, "mem": "131072M",
    }  # fmt: skip
    assert found["signal_delay_s"] == 90
    same = SlurmOptions(gpus_per_run=8, cpus_per_run=48, memory_gb=256.0).parameters("name", threads=4)
    changed = {
        "nodes",
        "ntasks_per_node",
        "gpus_per_node",
        "cpus_per_task",
        "mem",
        "signal_delay_s",
        "srun_args",
    }
    assert {k: v for k, v in found.items() if k not in changed} == {
        k: v for k, v in same.items() if k not in changed
    }
    assert StreamSlurmOptions().processes == 1
    assert StreamSlurmOptions(processes_per_run=3).processes == 3


@pytest.mark.usefixtures("sbatch")
def test_what_cannot_be_submitted_is_said_before_anything_is(tmp_path: Path) -> None:
    run = StreamRun(StreamOptions({"a": "a/"}, (("a", 1.0),), recipe=Recipe(batch_size=8)), tmp_path / "out")
    with pytest.raises(StudyError, match="a batch of 8 cannot be dealt to 3 processes"):
        train_on_slurm(run, StreamSlurmOptions(processes_per_run=3))
    on_gpu = replace(run, options=replace(run.options, device="cuda"))
    with pytest.raises(StudyError, match=r"--slurm\.gpus-per-run 1"):
        train_on_slurm(on_gpu, StreamSlurmOptions())
    assert not run.out.exists()


def test_the_command_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Devices and threads are the job's, not this machine's."""
    given = Arguments(source=("a=a/",), out=tmp_path / "out", executor="slurm", workers=2)
    assert stream_run(given).options.device == "cpu"
    assert stream_run(given).threads == 1
    run = stream_run(replace(given, slurm=StreamSlurmOptions(gpus_per_run=2, cpus_per_run=16)))
    assert (run.options.device, run.options.bfloat16, run.threads) == ("cuda", True, 6)
    assert stream_run(replace(given, threads=3)).threads == 3
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(given) == 2
    assert "no sbatch here" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    assert main(given) == 2
    assert "leave torchrun away" in capsys.readouterr().err


def test_places_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SLURM_JOB_ID": "12007", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert join_slurm_group() == 0
    assert "RANK" not in os.environ, "nobody to join"
    step = {"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_NUM_NODES": "2"}
    monkeypatch.setattr(
        os, "environ", {"SLURM_JOB_ID": "12007", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7", **step}
    )
    assert join_slurm_group() == 5
    expected = {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "20007",
    }
    assert {name: os.environ[name] for name in expected} == expected
    monkeypatch.setattr(os, "environ", {"SLURM_JOB_ID": "9", **step, "SLURM_JOB_NUM_NODES": "1"})
    join_slurm_group()
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("127.0.0.1", "20009")


def test_a_log_is_told_line_by_line(tmp_path: Path) -> None:
    assert printed_by(tmp_path, "7") == ([], 0), "it waits in the queue"
    log = tmp_path / "jobs" / "7_0_log.out"
    log.parent.mkdir()
    log.write_bytes("submitit INFO (now) - Starting\nd′ of épée\nhalf a l".encode())
    lines, place = printed_by(tmp_path, "7")
    assert lines == ["d′ of épée"]
    with open(log, "ab") as file:
        file.write(b"ine\n")
    assert printed_by(tmp_path, "7", place) == (["half a line"], log.stat().st_size)


def test_the_command_that_goes_on_names_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["experiments/train_stream.py", "--source", "a=a b/"])
    monkeypatch.setattr(os, "environ", {})
    assert same_command() == "python experiments/train_stream.py --source 'a=a b/'"
    monkeypatch.setattr(os, "environ", {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"})
    assert same_command() == "torchrun --nproc-per-node 8 experiments/train_stream.py --source 'a=a b/'"
    monkeypatch.setattr(os, "environ", {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"})
    assert same_command().endswith("'a=a b/' on every node")
