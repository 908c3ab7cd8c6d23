import io
import re

from rich.console import Console

from empirical.work_progress import CountedWork, TimedLines


def test_lines_now_and_then_and_the_last_one(capsys) -> None:
    lines = TimedLines(seconds_between=3600.0)
    lines.now_and_then("too early")
    lines.say("at once")
    lines.now_and_then("the end", last=True)
    assert re.fullmatch(r"\[   \d s\] at once\n\[   \d s\] the end\n", capsys.readouterr().out)
    often = TimedLines(seconds_between=0.0)
    often.now_and_then("old enough")
    assert "old enough" in capsys.readouterr().out


def test_counted_work_has_plain_lines_where_nobody_watches(capsys) -> None:
    with CountedWork(
        3, unit="shards", seconds_between_lines=3600.0, console=Console(file=io.StringIO())
    ) as work:
        work.advance("one")
        work.advance("two")
        work.advance("three")
    assert re.fullmatch(r"\[3/3 shards\] \d s: three\n", capsys.readouterr().out)
    with CountedWork(None, seconds_between_lines=0.0, console=Console(file=io.StringIO())) as work:
        work.report("reading")
        work.report("now it is known", 1, 4)
    assert re.fullmatch(r"\d s: reading\n\[1/4\] \d s: now it is known\n", capsys.readouterr().out)


def test_silence_when_asked(capsys) -> None:
    text = io.StringIO()
    with CountedWork(1, quiet=True, console=Console(file=text)) as work:
        work.say("a sentence")
        work.advance("all")
    assert (text.getvalue(), capsys.readouterr().out) == ("", "")


def test_a_bar_on_a_terminal() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with CountedWork(2, unit="shards", first="reading", console=console) as work:
        work.report("one of them", 1, 2)
        work.advance("both")
    assert "shards" in text.getvalue()
    assert "2/2" in text.getvalue()
    assert "both" in text.getvalue()
