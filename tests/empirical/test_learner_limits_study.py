"""The study of learners' limits: finished chunks are kept, workers train them and end with their parent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from empirical.learner_limits_study import Ledger, Settings, standing, train_jobs
from theory.learner_limits import Job, with_predictions
from theory.learner_limits_trials import Moments, cells, chunk_size, simulate

ROOT = Path(__file__).resolve().parents[2]
PENALTIES = (0.1, 1.0)
SMALL = Job(0, "square", 2.0, 16)
SETTINGS = Settings(3, PENALTIES, 30, {16: 0.01, 32: 0.01}, 2.4)


def ledger_of(path, job, number, seed=3):
    """A ledger with the first chunks of a job."""
    ledger = Ledger(path, SETTINGS)
    rng = np.random.default_rng(seed)
    for index in range(number):
        values = rng.normal(0.7, 0.05, (chunk_size(job), len(PENALTIES), 2))
        ledger.add(job, index * chunk_size(job), Moments.of(values), "test", 1.0)
    return ledger


def test_the_ledger_survives_a_killed_run(tmp_path):
    path = tmp_path / "trials.jsonl"
    done = ledger_of(path, SMALL, 2).done(SMALL)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"job": "d16_mix')
    again = Ledger(path, SETTINGS)
    assert path.read_bytes() == whole
    for one, other in zip(done, again.done(SMALL), strict=True):
        assert one.count == other.count
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.squares, other.squares)
    assert again.work == {"test": 2.0}


def test_a_ledger_of_other_settings_or_with_a_spoiled_line_is_refused(tmp_path):
    path = tmp_path / "trials.jsonl"
    ledger_of(path, SMALL, 1)
    with pytest.raises(ValueError, match=r"trials\.jsonl holds chunks of .*'seed': 3.* not of .*'seed': 4"):
        Ledger(path, Settings(4, PENALTIES, 30, {16: 0.01}, 2.4))
    path.write_text(path.read_text().replace('"mean"', '"median"'))
    with pytest.raises(ValueError, match=r"trials\.jsonl, line 2: not a finished chunk"):
        Ledger(path, SETTINGS)


def test_what_a_job_ends_with_does_not_depend_on_where_a_run_was_cut_off(tmp_path):
    size = chunk_size(SMALL)
    goal = Settings(3, PENALTIES, 30, {16: 0.05 / np.sqrt(2.5 * size)}, 2.4)
    full = ledger_of(tmp_path / "full.jsonl", SMALL, 6)
    wanted, moments = standing(SMALL, full, goal)
    assert moments is not None
    assert 2 <= wanted <= 4  # more chunks are there than were asked for
    assert moments.count == wanted * size
    hole = ledger_of(tmp_path / "hole.jsonl", SMALL, 6)
    del hole.chunks[SMALL.name][size]
    assert standing(SMALL, hole, goal) == (wanted, None)


def test_spawned_workers_train_and_a_second_call_has_nothing_to_do(tmp_path):
    settings = Settings(3, PENALTIES, 30, {16: 1.0}, 2.4)
    told = []
    path = tmp_path / "trials.jsonl"
    train_jobs([SMALL], Ledger(path, settings), settings, 1, report=told.append)
    assert len(told) == 1
    assert SMALL.name in told[0]
    ledger = Ledger(path, settings)
    _, moments = standing(SMALL, ledger, settings)
    assert moments is not None
    expected = Moments.of(simulate(SMALL, PENALTIES, 3, 0, chunk_size(SMALL)))
    np.testing.assert_allclose(moments.mean, expected.mean, atol=1e-6)
    train_jobs([SMALL], ledger, settings, 1, report=told.append)
    assert len(told) == 1
    table = with_predictions(cells(SMALL, moments, PENALTIES))
    assert len(table) == 4
    # Finite d = 16: the limit is near, not exact.
    assert (table["accuracy_simulated"] - table["accuracy_predicted"]).abs().max() < 0.02
    with pytest.raises(ValueError, match="at least one worker"):
        train_jobs([SMALL], ledger, settings, 0)


def test_lines_of_the_ledger_are_plain_json(tmp_path):
    path = tmp_path / "trials.jsonl"
    ledger_of(path, SMALL, 1)
    head, chunk = (json.loads(line) for line in path.read_text().splitlines())
    assert head == {"seed": 3, "penalties": [0.1, 1.0]}
    assert chunk["job"] == SMALL.name
    assert np.shape(chunk["mean"]) == (2, 2)


def test_workers_end_with_a_killed_parent(tmp_path):
    """They would train on, unseen, beside those of the next start."""
    options = {"num-features": 16, "largest-stderr": 1e-6, "learners": "square", "samples-per-feature": 2.0}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "experiments/learner_limits.py", *words, "--workers", "2"]
    parent = subprocess.Popen(
        [*command, "--out", str(tmp_path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    ledger = tmp_path / "trials.jsonl"
    try:
        while not ledger.exists() or ledger.read_text().count("\n") < 3:
            assert parent.poll() is None
            time.sleep(0.05)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    finally:
        parent.kill()
        parent.wait()
    assert len(children) >= 2
    patience = time.monotonic() + 60
    while (alive := [pid for pid in children if _runs(pid)]) and time.monotonic() < patience:
        time.sleep(0.05)
    for pid in alive:
        os.kill(int(pid), signal.SIGKILL)
    assert not alive


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
