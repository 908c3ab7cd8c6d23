"""A process that hangs ends with a message; one that is well does not."""

import subprocess
import sys

from empirical.watchdog import Watchdog

HANG = """
import time
from empirical.watchdog import Watchdog
with Watchdog(0.4, "use fewer lanes").watching():
    time.sleep({seconds})
print("well")
"""


def run(seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HANG.format(seconds=seconds)], capture_output=True, text=True, timeout=60
    )


def test_a_process_that_hangs_is_ended() -> None:
    done = run(50)
    assert done.returncode == Watchdog.EXIT_STATUS
    assert "no answer for 0.4 s: use fewer lanes" in done.stderr


def test_a_process_that_is_well_is_left_alone() -> None:
    done = run(0)
    assert (done.returncode, done.stdout.strip()) == (0, "well")
