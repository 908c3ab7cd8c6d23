"""Worker pools: what leaves the block with an exception ends the processes, and Ctrl-C is the parent's alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from empirical.workers import WorkerPool, thread_environment, usable_cores

ROOT = Path(__file__).resolve().parents[2]

STOPPED = """
import os, signal, sys, time
from empirical.workers import WorkerPool

def work(number):
    time.sleep(0 if number == 0 else 600)
    return os.getpid()

if __name__ == "__main__":
    with WorkerPool(2) as pool:
        if sys.argv[1] == "at work":
            print(pool.submit(work, 0).result())
        jobs = [pool.submit(work, number) for number in (1, 2)]
        print(*[process.pid for process in pool._processes.values()])
        os.killpg(0, signal.SIGINT)
        jobs[0].result()
"""


def interrupts_are_ignored() -> tuple[bool, bool]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.SIGINT in blocked


def threads_told() -> str:
    return os.environ["OMP_NUM_THREADS"]


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def test_workers_leave_ctrl_c_to_their_parent_and_inherit_its_thread_limit() -> None:
    with thread_environment(3), WorkerPool(1) as pool:
        assert pool.submit(interrupts_are_ignored).result() == (True, False)
        assert pool.submit(threads_told).result() == "3"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_an_exception_in_the_block_does_not_wait_for_the_work() -> None:
    def broken() -> None:
        with WorkerPool(1) as pool:
            pool.submit(sleep, 600.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


@pytest.mark.parametrize("moment", ["starting", "at work"])
def test_ctrl_c_in_a_terminal_is_heard_by_the_parent_alone(tmp_path: Path, moment: str) -> None:
    """The signal goes to the whole process group, to workers that have hardly started as well."""
    script = tmp_path / "script.py"
    script.write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, str(script), moment], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    workers = done.stdout.split()[-2:] if moment == "at work" else done.stdout.split()
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
