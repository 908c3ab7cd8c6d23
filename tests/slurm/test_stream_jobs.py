"""`train_stream.py --executor slurm` on a real SLURM of two nodes: preempted, out of time, cancelled, and the same bits."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cluster_tasks import PATIENCE, until
from local_cluster import LocalCluster

from empirical.slurm_jobs import job_name, queue

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "empirical"))

from stream_commands import (  # pyright: ignore[reportMissingImports]
    TORCHRUN,
    command,
    make_data,
    run,
    run_here,
    same_results,
    start,
)

pytestmark = pytest.mark.slow

ON_SLURM = (
    "--executor", "slurm", "--slurm.poll-seconds", "0.5", "--slurm.lag-seconds", "5", "--slurm.cpus-per-run", "2",
    "--workers", "1",
)  # fmt: skip
EPOCHS = 200  # 1,400 steps, half a minute


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained here, by one process."""
    out = tmp_path_factory.mktemp("undisturbed")
    status, said = run_here(command(data, out, "--test-set", f"reference={data}/reference", epochs=EPOCHS))
    assert status == 0, said
    return out


def preempt(cluster: LocalCluster) -> None:
    urgent = ("-p", "urgent", "-N", "2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1", "--wait")
    cluster.command("sbatch", *urgent)


def states(cluster: LocalCluster, out: Path) -> list[str]:
    """Of every start of every job of this training, in order."""
    words = ("-n", "-D", "-X", "-P", "-S", "now-1hour", "-o", "State", f"--name={job_name(out / 'slurm')}")
    return [line.split(" ")[0] for line in cluster.command("sacct", *words).splitlines()]


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, said[-3000:]
    return said


def test_a_job_leaves_what_a_run_here_leaves_and_preemption_changes_no_bit(
    cluster: LocalCluster, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Requeued by SLURM, while the driver is killed; the next one finds the job and tells all that it told."""
    out = tmp_path / "out"
    words = command(data, out, *ON_SLURM, "--test-set", f"reference={data}/reference", epochs=EPOCHS)
    driver = start(words)
    until("a checkpoint", (out / "checkpoint.pt").exists)
    driver.kill()
    driver.communicate()
    preempt(cluster)
    said = finish(start(words))
    assert "1 tasks of an earlier start are still in the queue" in said
    stopped = [line for line in said.splitlines() if line.startswith("stopped by SIGTERM after step ")]
    assert len(stopped) == 1
    step = int(stopped[0].split(" ")[5].replace(",", ""))
    assert f"goes on after step {step % 7} of epoch {step // 7 + 1}" in said
    same_results(out, undisturbed)
    assert (out / "accuracies.csv").read_bytes() == (undisturbed / "accuracies.csv").read_bytes()
    ours, theirs = (json.loads((each / "provenance.json").read_text()) for each in (out, undisturbed))
    assert ours["settings"] == theirs["settings"]
    assert ours["account"] == theirs["account"]
    accuracy = pd.read_csv(out / "accuracies.csv").loc[0, "accuracy"]
    assert f"reference                         20       40   {accuracy:7.2%} [" in said
    until("the end of the job", lambda: states(cluster, out) == ["PREEMPTED", "COMPLETED"])


def test_two_processes_on_two_nodes_are_torchruns_and_preemption_changes_no_bit(
    cluster: LocalCluster, data: Path, tmp_path: Path
) -> None:
    status, said = run(command(data, tmp_path / "here", epochs=60), TORCHRUN)
    assert status == 0, said
    out = tmp_path / "out"
    nodes = ("--slurm.processes-per-run", "2", "--slurm.nodes-per-run", "2")
    driver = start(command(data, out, *ON_SLURM, *nodes, epochs=60))
    until("a checkpoint", (out / "checkpoint.pt").exists)
    preempt(cluster)
    said = finish(driver)
    assert "float32 on cpu, 2 processes" in said
    assert said.count("stopped by SIGTERM after step ") == 1
    same_results(out, tmp_path / "here")
    assert json.loads((out / "provenance.json").read_text())["processes"] == 2
    until("the end of the job", lambda: states(cluster, out) == ["PREEMPTED", "COMPLETED"])


@pytest.mark.parametrize("partition", ["graceful", "doomed"])
def test_where_slurm_does_not_requeue_the_driver_submits_again(
    cluster: LocalCluster, data: Path, undisturbed: Path, tmp_path: Path, partition: str
) -> None:
    """A partition whose jobs get a grace time (they go before it is over), and one whose jobs are cancelled."""
    out = tmp_path / "out"
    driver = start(command(data, out, *ON_SLURM, "--slurm.partition", partition, epochs=EPOCHS))
    until("a checkpoint", (out / "checkpoint.pt").exists)
    preempt(cluster)
    said = finish(driver)
    assert "training is submitted again" in said
    assert said.count("stopped by SIGTERM after step ") == 1
    same_results(out, undisturbed)


def test_out_of_time_it_queues_itself_again_and_changes_no_bit(
    cluster: LocalCluster, data: Path, tmp_path: Path
) -> None:
    """A limit of two minutes; SLURM gives the notice some half a minute early, after three quarters of a minute here."""
    long = 5 * EPOCHS  # more than a minute of one fast core: it must outlast the notice
    out, here = tmp_path / "out", tmp_path / "here"
    limit = ("--slurm.timeout-min", "2", "--slurm.notice-seconds", "45")
    said = finish(start(command(data, out, *ON_SLURM, *limit, epochs=long)))
    assert said.count("stopped by SIGUSR2 after step ") >= 1
    assert said.count("queued again: it goes on from there") == said.count("stopped by SIGUSR2")
    until("the end of the job", lambda: states(cluster, out)[-1] == "COMPLETED")
    assert set(states(cluster, out)[:-1]) == {"REQUEUED"}
    status, said = run_here(command(data, here, epochs=long))
    assert status == 0, said
    same_results(out, here)


def test_what_fails_in_one_process_ends_the_job_and_says_why(
    cluster: LocalCluster, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hot = ("--learning-rate", "1e30", "--gradient-clip", "1e30", "--slurm.processes-per-run", "2")
    status, said = run(command(data, out, *ON_SLURM, *hot))
    assert status == 2, said
    assert "error: TrainingError: the loss became nan at step 1" in said
    assert f"what it printed: {out / 'slurm' / 'jobs'}" in said
    until("an empty queue", lambda: not queue(job_name(out / "slurm")))


def test_ctrl_c_cancels_the_job_which_leaves_a_checkpoint(
    cluster: LocalCluster, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """And so does scancel; the same command goes on, here or there."""
    out = tmp_path / "out"
    words = command(data, out, *ON_SLURM, epochs=EPOCHS)
    driver = start(words)
    until("a checkpoint", (out / "checkpoint.pt").exists)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, said
    until("an empty queue", lambda: not queue(job_name(out / "slurm")))
    before = (out / "checkpoint.pt").stat().st_mtime_ns
    driver = start(words)
    until("another checkpoint", lambda: (out / "checkpoint.pt").stat().st_mtime_ns > before)
    cluster.command("scancel", f"--name={job_name(out / 'slurm')}")
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2
    assert "was cancelled" in said
    assert said.count("stopped by SIGTERM after step ") == 1
    status, said = run_here(command(data, out, epochs=EPOCHS))
    assert status == 0, said
    assert "checkpoint.pt: goes on after step" in said
    same_results(out, undisturbed)
