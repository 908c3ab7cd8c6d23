"""A whole study under kill -9, faults in the middle of writes, a full disk, NaN losses, and a second study beside it.

After all of it: no finished run was repeated, no record is damaged, and the tables are those of an undisturbed study.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from empirical import faults
from empirical.progress import StudyProgress
from empirical.records import load_records
from empirical.status import read_status
from empirical.study import run_study
from empirical.study_plan import StudyOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--preset",
    "smoke",
    "--sizes",
    "32",
    "64",
    "--epochs",
    "1",
    "--test-images",
    "60",
    "--jobs",
    "2",
    "--quiet",
)
TABLES = ("accuracies.csv", "trends.csv", "predictions.csv", "scores.csv")
KILLS = 30


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / "clip_mixtures.py"), *TINY, "--out", str(out), *more]


def study(out: Path, code: int = 0, *more: str, **environment: str) -> str:
    done = subprocess.run(
        command(out, *more),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "study"
    study(out)
    return out


def finished(out: Path) -> dict[Path, tuple[int, int]]:
    """Every record with what changes when it is written again; fails when one is damaged."""
    damaged: list[str] = []
    load_records(out / "records", damaged.append)
    assert not damaged
    stats = {path: path.stat() for path in (out / "records").glob("[!.]*.json")}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def assert_same(out: Path, undisturbed: Path) -> None:
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    for path in (undisturbed / "models").glob("[!.]*.safetensors"):
        ours, theirs = load_file(out / "models" / path.name), load_file(path)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs), path.name
    assert not list(out.rglob(".*.tmp*"))


def working_seconds(out: Path) -> tuple[float, float]:
    """From the plan of a study to its first record, and from there to its last, as they took here."""
    records = [path.stat().st_mtime for path in (out / "records").glob("[!.]*.json")]
    return min(records) - (out / "study.json").stat().st_mtime, max(records) - min(records)


def kill(driver: "subprocess.Popen[bytes]", how: str, chance: random.Random) -> None:
    """kill -9: all at once as in a power cut, the driver alone, or one of its workers."""
    if how == "worker":
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if workers:
            os.kill(int(chance.choice(workers)), signal.SIGKILL)
        return
    os.killpg(driver.pid, signal.SIGKILL) if how == "all" else driver.kill()
    driver.wait()


def test_kill_9_at_30_random_moments(undisturbed: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    kills, studies, interrupted = 0, 0, 0
    start, work = working_seconds(undisturbed)
    longest = (
        start + work / 3
    )  # several starts for every study, and not all of them killed before their first record
    while kills < KILLS:
        out = tmp_path / f"study{studies}"
        studies += 1
        out.mkdir()
        shutil.copy(undisturbed / "world.png", out)  # only records, weights and logits are at stake here
        before: dict[Path, tuple[int, int]] = {}
        whole = False
        while not whole:
            driver = subprocess.Popen(
                command(out, "--tables-later"),
                cwd=ROOT,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # From the moment at which work begins; before it, there is nothing to lose.
            began = time.time()
            plan = out / "study.json"
            while driver.poll() is None and not (plan.exists() and plan.stat().st_mtime >= began):
                time.sleep(0.02)
            while kills < KILLS and driver.poll() is None:
                time.sleep(chance.uniform(0.0, longest))
                if driver.poll() is None:
                    how = chance.choice(("all", "driver", "worker"))
                    kill(driver, how, chance)
                    kills += 1
                    print(f"kill {kills}: {how}, study {studies}, {len(finished(out))} records", flush=True)
            whole = driver.wait() in (0, 1) and len(finished(out)) == len(finished(undisturbed))
            after = finished(out)
            assert before.items() <= after.items(), "a finished run was repeated"
            interrupted += 0 < len(after) < len(finished(undisturbed))
            before = after
        study(out)  # a worker killed alone may have cost a run its first try
        assert before.items() <= finished(out).items()
        assert_same(out, undisturbed)
    assert interrupted, "every kill came before the first record or after the last: nothing was shown"


def test_faults_inside_the_writes_of_records_weights_and_logits(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    runs = sorted(path.stem for path in (undisturbed / "models").glob("[!.]*.safetensors"))
    files = ("records/{}.json", "models/{}.safetensors", "logits/{}/sketch.npy")
    points = [f"{moment} {file}" for moment in faults.MOMENTS for file in files]
    struck = dict(zip(runs, points, strict=False))
    assert len(struck) >= 8
    variable = ";".join(point.format(run) for run, point in struck.items())
    printed = study(out, 1, **{faults.VARIABLE: variable})
    before = finished(out)
    for run, point in struck.items():
        # With its record in place, the second try finds it, and there is nothing to tell.
        in_place = point.startswith("renamed records")
        assert in_place or run in printed, point
        assert ((out / "records" / f"{run}.json") in before) == in_place, point
    status = read_status(out, time.time())
    states = {run.run: run for run in status.runs}
    for run, point in struck.items():
        expected = ("done",) if point.startswith("renamed records") else ("failed", "blocked")
        assert states[run].state in expected, point
    assert all("worker process died" in run.reason for run in status.runs if run.state == "failed")
    study(out)
    assert before.items() <= finished(out).items()
    assert_same(out, undisturbed)


def test_two_studies_started_on_one_folder(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    both = [
        subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[1] for process in both]
    codes = [process.returncode for process in both]
    # Where one ended before the other came to its lock, the second found all runs finished.
    assert sorted(codes) in ([0, 2], [0, 0])
    for code, words in zip(codes, told, strict=True):
        assert (code == 2) == ("another study is running here" in words)
    assert_same(out, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.fail(f"no small file system can be mounted here (root is needed): {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(undisturbed: Path, small_disk: Path) -> None:
    """Some runs still fit, the others fail with the reason; with space again, only those are done."""
    out = small_disk / "study"
    shutil.copytree(undisturbed, out, ignore=shutil.ignore_patterns("records", "models", "logits", "running"))
    weights = sum(path.stat().st_size for path in (undisturbed / "models").glob("*"))
    free = shutil.disk_usage(small_disk).free
    with open(small_disk / "ballast", "wb") as ballast:  # half of the weights fit beside it
        ballast.write(b"\0" * (free - weights // 2 - 500_000))
    printed = study(out, 1, "--tables-later")  # whether the pictures fit in what is left would be chance
    assert "No space left on device" in printed
    assert "Traceback" not in printed
    before = finished(out)
    status = read_status(out, time.time())
    reasons = [run.reason for run in status.runs if run.state == "failed"]
    assert 0 < len(before) < len(status.runs)
    assert any("No space left on device" in reason and str(out) in reason for reason in reasons) or (
        "the reason could not be kept" in printed
    )
    (small_disk / "ballast").unlink()
    study(out)
    assert before.items() <= finished(out).items()
    assert_same(out, undisturbed)


def test_nan_losses_fail_their_runs_alone(tmp_path: Path) -> None:
    """With this learning rate AdamW's weights leave float32 after a few steps: small runs end before, large ones do not."""
    options = StudyOptions(
        out=tmp_path, preset="smoke", jobs=2,
        overrides={"sizes": (32, 512), "epochs": 1, "test_images": 60, "learning_rate": 1e3},
    )  # fmt: skip
    results = run_study(options, StudyProgress(quiet=True))
    status = {run.run: run for run in read_status(tmp_path, time.time()).runs}
    failed = [run for run in status.values() if run.state == "failed"]
    assert failed
    assert all("TrainingError: the loss became" in run.reason for run in failed if "-n512-" in run.run)
    assert {run.run for run in failed} <= set(results.failures)
    assert any(run.state == "done" for run in status.values())
    assert all(run.state in ("done", "failed", "blocked") for run in status.values())
