"""Settings that every test shares: float64 in JAX, one thread per library, no figure windows."""

import os
import signal
import threading

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import settings

# A shell that starts the tests in the background has Ctrl-C ignored, and every process started from here would inherit that:
# the tests of Ctrl-C need one that listens.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


jax.config.update("jax_enable_x64", True)
settings.register_profile("project", deadline=None, derandomize=True, print_blob=False)
settings.load_profile("project")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which no test passed (all skipped, say) has shown nothing: it fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and exitstatus == 0 and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture
def float32():
    """Run one test at JAX's default precision."""
    with jax.enable_x64(False):
        yield
