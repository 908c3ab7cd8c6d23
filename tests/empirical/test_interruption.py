"""Signals that ask a training from a stream to stop: exit status, one line, and the same bits as if there had been none."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stream_commands import SCRIPT, TORCHRUN, command, make_data, run, run_here, same_results, start

from empirical import interruption
from empirical.interruption import SIGNALS, Interrupted, StopSignals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, Any]]:
    """Every signal has a handler of its own to begin with, and what the test does to it ends with the test."""
    assert threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {
        number: lambda *_, number=number: pytest.fail(f"signal {number} was not noted") for number in SIGNALS
    }
    for number, handler in ours.items():
        signal.signal(number, handler)
    yield ours
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_late_ones_too(number: int, handlers: dict[int, Any]) -> None:
    with StopSignals() as stop:
        with stop.noted():
            assert stop.asked == 0
            os.kill(os.getpid(), number)
            assert stop.asked == number
        os.kill(os.getpid(), signal.SIGTERM)  # on the way out
        os.kill(os.getpid(), number)
        assert stop.asked == number, "the first one"
    assert {each: signal.getsignal(each) for each in SIGNALS} == handlers
    assert Interrupted(number, "after step 3").exit_status == 128 + number


def test_without_a_signal_handlers_come_back_at_once(handlers: dict[int, Any]) -> None:
    with StopSignals() as stop:
        for _ in range(2):
            with stop.noted():
                assert signal.getsignal(signal.SIGTERM) is not handlers[signal.SIGTERM]
            assert {each: signal.getsignal(each) for each in SIGNALS} == handlers


def test_a_signal_that_nothing_stopped_for_acts_afterwards(handlers: dict[int, Any]) -> None:
    heard = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    with StopSignals() as stop:
        with stop.noted():
            os.kill(os.getpid(), signal.SIGTERM)
            assert not heard
            stop.let_act()
            assert heard == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(heard) == 2
    assert signal.getsignal(signal.SIGINT) == handlers[signal.SIGINT]


def test_ignored_signals_stay_ignored() -> None:
    """nohup ignores SIGHUP, and a shell without job control SIGINT for what it starts in the background."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as stop, stop.noted():
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.asked == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_second_keystroke_stops_at_once_but_its_echo_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as stop, stop.noted():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # as a terminal and torchrun both send it
        assert stop.asked == signal.SIGINT
        monkeypatch.setattr(interruption, "SAME_KEYSTROKE", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)  # a supervisor that repeats itself has SIGKILL
        with pytest.raises(KeyboardInterrupt) as raised:
            os.kill(os.getpid(), signal.SIGINT)
        assert not isinstance(raised.value, Interrupted)


def test_other_threads_leave_handlers_alone(handlers: dict[int, Any]) -> None:
    def work() -> None:
        with StopSignals() as stop, stop.noted():
            assert {each: signal.getsignal(each) for each in SIGNALS} == handlers

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_decoder_outlives_a_signal_to_its_group_for_a_while() -> None:
    script = (
        "import sys, time\nfrom empirical.interruption import leave_stopping_to_parent\n"
        "leave_stopping_to_parent(float(sys.argv[1]))\nprint('here', flush=True)\nsys.stdin.read()\nprint('end', flush=True)"
    )
    for patience, status, rest in ((60.0, 0, "end\n"), (0.1, 143, "")):
        command = [sys.executable, "-c", script, str(patience)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            if not status:
                process.stdin.close()
            assert process.wait(60) == status
            assert process.stdout.read() == rest


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def stopped_line(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("stopped by ")]
    return line


def steps_in(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["steps_done"]


def test_the_command_stops_after_its_step_and_the_line_it_says_goes_on_to_the_same_bits(
    data: Path, tmp_path: Path
) -> None:
    """The signal comes while the checkpoint of step 3 is written."""
    status, said = run_here(command(data, tmp_path / "undisturbed"))
    assert status == 0, said
    out = tmp_path / "out"
    status, said = run(command(data, out), kill_at="SIGTERM@renamed out/checkpoint.pt")
    assert status == 143, said
    line = stopped_line(said)
    assert line.startswith(
        f"stopped by SIGTERM after step 4 of 14, which {out}/checkpoint.pt holds; go on with: python "
    )
    assert steps_in(out / "checkpoint.pt") == 4
    words = shlex.split(line.partition("go on with: python ")[2])
    assert words == [str(SCRIPT), *command(data, out)]
    status, said = run_here(words[1:])
    assert status == 0, said
    assert "goes on after step 4 of epoch 1" in said
    same_results(out, tmp_path / "undisturbed")
    assert [path.name for path in out.iterdir() if ".tmp" in path.name] == []


@pytest.mark.slow
def test_a_signal_to_one_process_of_a_group_stops_all_at_the_same_step(data: Path, tmp_path: Path) -> None:
    """Only the first one gets it; torchrun sees two processes that end by themselves, with the same status."""
    status, said = run(command(data, tmp_path / "undisturbed"), TORCHRUN)
    assert status == 0, said
    out = tmp_path / "out"
    status, said = run(command(data, out), TORCHRUN, kill_at="SIGUSR1@renamed out/checkpoint.pt")
    assert status == 1, said  # torchrun's own status
    assert "exitcode  : 138" in said
    assert "go on with: torchrun --nproc-per-node 2 " in stopped_line(said)
    assert steps_in(out / "checkpoint.pt") == 4
    status, said = run(command(data, out), TORCHRUN)
    assert status == 0, said
    assert "goes on after step 4 of epoch 1" in said
    same_results(out, tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "launcher", [(), pytest.param(TORCHRUN, marks=pytest.mark.slow)], ids=["alone", "torchrun"]
)
def test_a_signal_while_the_last_checkpoint_is_written_is_obeyed(
    data: Path, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    """In a group, as in the test above, the first process alone gets it."""
    short = command(data, tmp_path / "out", samples=24, epochs=1)
    status, said = run(short, launcher, kill_at="SIGTERM@renamed out/checkpoint.pt")
    assert status == (1 if launcher else 143), said
    assert "stopped by SIGTERM after step 3 of 3, which" in stopped_line(said)
    assert "exitcode  : 143" in said or not launcher
    status, said = run_here(short)
    assert status == 0, said
    assert "trained to the end, its results are written" in said


def stop_when_trained_a_little(process: subprocess.Popen[str], out: Path, number: int) -> str:
    while not (out / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    return said


@pytest.mark.parametrize(
    "launcher", [(), pytest.param(TORCHRUN, marks=pytest.mark.slow)], ids=["alone", "torchrun"]
)
def test_sigterm_from_outside(data: Path, tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """To torchrun, which hands it on to each process and the decoders that it has."""
    more = ("--worker-kind", "processes", "--workers", "1")
    said = stop_when_trained_a_little(
        start(command(data, tmp_path, *more, epochs=200), launcher), tmp_path, signal.SIGTERM
    )
    step = steps_in(tmp_path / "checkpoint.pt")
    assert stopped_line(said).startswith(f"stopped by SIGTERM after step {step:,} of 1,400, which "), said
    assert "decoding worker died" not in said
    assert not (tmp_path / "provenance.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["alone", "torchrun"])
def test_signals_at_random_moments_change_no_bit(
    data: Path, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    """While it imports, indexes, trains, evaluates or writes; some hit before the first step, where nothing is noted."""
    generator, out = np.random.default_rng(0), tmp_path / "out"
    more = ("--test-set", f"reference={data}/reference")
    undisturbed = command(data, tmp_path / "undisturbed", *more, epochs=100)
    started = time.monotonic()
    status, said = run(undisturbed, launcher)
    assert status == 0, said
    seconds, stopped = time.monotonic() - started, 0  # of this machine, as busy as it is
    for number in (
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGTERM,
        signal.SIGUSR2,
        signal.SIGTERM,
        signal.SIGTERM,
    ):
        if launcher and number != signal.SIGTERM:
            number = signal.SIGHUP  # torchrun hands on what it was told to, and dies of the others
        process = start(command(data, out, *more, epochs=100), launcher)
        time.sleep(float(generator.uniform(0.2, 0.9)) * seconds)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
        noted = "stopped by" in said
        stopped += noted
        by_itself = 1 if launcher else 128 + number
        assert process.returncode in ((by_itself, 0) if noted else (1, -number, 0)), said
    status, said = run(command(data, out, *more, epochs=100), launcher)
    assert status == 0, said
    assert stopped
    same_results(out, tmp_path / "undisturbed")
