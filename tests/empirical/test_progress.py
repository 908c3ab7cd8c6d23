import io
import time

from rich.console import Console

from empirical.progress import StepProgress, StudyProgress, format_duration, format_rate

RECORD = {
    "run": "a",
    "kind": "single",
    "sources": "stock",
    "n_train": 512,
    "seed": 3,
    "filter": "",
    "results": {"reference": {"num_classes": 20, "num_images": 100, "num_correct": 40}},
}


def progress(quiet: bool = False) -> tuple[StudyProgress, io.StringIO]:
    text = io.StringIO()
    return StudyProgress(quiet=quiet, console=Console(file=text, width=300)), text


def test_durations_read_well() -> None:
    assert [format_duration(s) for s in (8.0, 185.0, 8040.0)] == ["8 s", "3 min 05 s", "2 h 14 min"]
    assert [format_rate(r) for r in (1234.4, 10.0, 0.668)] == ["1,234", "10", "0.67"]


def test_a_plain_log_says_what_finished_and_how_long_it_will_take() -> None:
    shown, text = progress()
    shown.start({"a": 1.0, "b": 1.0}, already=2, total=4)
    time.sleep(0.01)
    shown.finished(RECORD, "reference")
    assert "2 of 4 runs are already finished" in text.getvalue()
    assert "[3/4] stock (single, n=512, seed 3): reference 40.0%; about 0 s left" in text.getvalue()


def test_skipped_samples_and_failures_are_said_even_when_quiet() -> None:
    shown, text = progress(quiet=True)
    shown.start({"data/stock": 1.0, "a": 1.0}, already=0, total=1)
    shown.data_ready("data/stock", {"skipped": {"truncated image": 2}, "examples": ["00000.tar: 000017"]})
    shown.finished(RECORD, "reference")
    shown.failed("a", "TrainingError: loss is nan")
    assert "2 samples skipped (2 x truncated image), for example 00000.tar: 000017" in text.getvalue()
    assert "a failed: TrainingError: loss is nan" in text.getvalue()
    assert "40.0%" not in text.getvalue()


def test_time_remaining_follows_the_cost_not_the_number_of_runs() -> None:
    shown, _ = progress(quiet=True)
    assert shown.remaining_text() == "estimating time"
    shown.start({"a": 1.0, "b": 99.0}, already=0, total=2)
    time.sleep(0.05)
    shown.finished(RECORD, "reference")
    seconds = int(shown.remaining_text().removeprefix("about ").removesuffix(" s left"))
    assert seconds >= 4


def test_a_long_training_says_its_rate_and_the_time_left() -> None:
    text = io.StringIO()
    shown = StepProgress(10, 8, done=3, console=Console(file=text, width=300))
    shown.line_seconds = 0.0
    shown.step(4)
    time.sleep(0.01)
    shown.step(6)
    shown.stop()
    first, second = text.getvalue().splitlines()
    assert first == "step 4 of 10: measuring the rate"
    rate = float(second.removeprefix("step 6 of 10: ").split(" images/s, ")[0].replace(",", ""))
    assert 0 < rate <= 2 * 8 / 0.01, "two steps of 8 images took 10 ms or more"
    quiet = io.StringIO()
    silent = StepProgress(10, 8, quiet=True, console=Console(file=quiet))
    silent.step(4)
    silent.say("epoch 1")
    assert quiet.getvalue() == ""
