"""Rules of the wire, against a real server on localhost."""

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from urllib.error import HTTPError

import pytest
from web_server import GOOD, REMOVED, Web

from empirical.errors import StudyError
from empirical.sources.http import HttpRules, _retry_after, build_opener, user_agent
from empirical.sources.reasons import is_transient, reason_of

RULES = HttpRules(timeout=20.0, total_timeout=30.0, longest_wait=5.0, max_bytes=1 << 20)
SHORT = replace(RULES, timeout=1.0, total_timeout=1.5)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


def fetch(url: str, rules: HttpRules = RULES) -> bytes:
    with build_opener(rules).open(urllib.request.Request(url), timeout=rules.timeout) as reply:
        return reply.read()


def reason(url: str, rules: HttpRules = RULES) -> str:
    with pytest.raises(Exception) as caught:
        fetch(url, rules)
    if isinstance(caught.value, HTTPError):
        caught.value.close()
    return reason_of(str(caught.value))


@pytest.mark.parametrize("path", ["text-label", "no-label", "zipped", "busy", "busy-until", "noai"])
def test_good_replies_come_through_whatever_their_label(web: Web, path: str) -> None:
    assert fetch(f"{web.root}/{path}") == GOOD


def test_redirects_are_followed_to_http(web: Web) -> None:
    assert fetch(f"{web.root}/to-good") == fetch(f"{web.root}/good/7")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("404", "HTTP 404"),
        ("410", "HTTP 410"),
        ("403", "HTTP 403"),
        ("500", "HTTP 500"),
        ("204", "HTTP 204"),
        ("flaky", "HTTP 503"),
        ("to-removed", "leads to a placeholder"),
        ("removed.png", "leads to a placeholder"),
        ("to-ftp", "redirect to another scheme refused"),
        ("to-file", "redirect to another scheme refused"),
        ("to-data", "redirect to another scheme refused"),
        ("round", "redirect loop"),
        ("cut", "connection closed early"),
        ("cut-chunks", "connection closed early"),
        ("no-answer", "connection closed early"),
        ("nonsense", "reply is not valid HTTP"),
        ("silent", "timed out"),
        ("drip", "reply took too long"),
        ("drip-headers", "reply took too long"),
        ("huge", "reply is too large"),
        ("endless", "reply is too large"),
        ("zip-bomb", "reply is too large"),
    ],
)
def test_bad_replies_have_a_reason(web: Web, path: str, why: str) -> None:
    rules = SHORT if path in ("silent", "drip", "drip-headers") else RULES
    assert reason(f"{web.root}/{path}", rules) == why


def test_a_server_that_says_too_many_is_left_alone_for_as_long_as_it_asks(web: Web) -> None:
    web.seen.pop("/busy", None)
    web.times.pop("/busy", None)
    assert fetch(f"{web.root}/busy") == GOOD
    first, second = web.times["/busy"]
    assert second - first >= 0.95


def test_a_wait_beyond_patience_ends_the_attempt_at_once(web: Web) -> None:
    assert reason(f"{web.root}/busy-for-an-hour") == "HTTP 429"
    assert web.seen["/busy-for-an-hour"] == 1


def test_the_whole_host_waits(web: Web) -> None:
    web.seen.pop("/busy", None)
    web.times.clear()
    opener = build_opener(RULES)
    opener.open(f"{web.root}/busy", timeout=5).close()
    with opener.open(f"{web.root}/good/1", timeout=5) as reply:
        reply.read()
    assert web.times["/good/1"][0] - web.times["/busy"][0] >= 0.95


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_other_schemes_are_not_opened(url: str) -> None:
    with pytest.raises(OSError, match="unknown url type"):
        fetch(url)


def test_placeholders_can_be_let_through(web: Web) -> None:
    rules = HttpRules(placeholder_urls=())
    assert fetch(f"{web.root}/to-removed", rules) == REMOVED


def test_unreachable_hosts_have_a_reason() -> None:
    assert reason("http://127.0.0.1:9/x") == "connection refused"


def test_the_user_agent_is_the_one_asked_for(web: Web) -> None:
    fetch(f"{web.root}/good/2", HttpRules(user_agent="a lab"))
    assert web.agents["/good/2"] == "a lab"
    assert user_agent() == ""
    assert user_agent(honest=True).startswith("quality-not-quantity/")
    assert user_agent(contact="a@b.org").endswith("(contact: a@b.org)")
    assert user_agent("bot/1", "a@b.org") == "bot/1 (contact: a@b.org)"
    with pytest.raises(StudyError, match="ASCII"):
        user_agent("bot\r\nX-Evil: 1")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("soon", None),
        ("-1", None),
        ("9" * 400, 999999999.0),
        ("", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert _retry_after(value) == seconds


def test_retry_after_reads_dates() -> None:
    wait = _retry_after(formatdate(time.time() + 100, usegmt=True))
    assert wait is not None
    assert 90 < wait <= 100
    assert _retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


@pytest.mark.parametrize(
    ("message", "why", "transient"),
    [
        ("HTTP Error 404: Not Found", "HTTP 404", False),
        ("HTTP Error 503: Service Unavailable", "HTTP 503", True),
        ("HTTP Error 429: Too Many Requests", "HTTP 429", True),
        ("<urlopen error [Errno -2] Name or service not known>", "host not found", False),
        (
            "<urlopen error [Errno -3] Temporary failure in name resolution>",
            "name server did not answer",
            True,
        ),
        ("<urlopen error timed out>", "timed out", True),
        ("The read operation timed out", "timed out", True),
        ("<urlopen error _ssl.c:989: The handshake operation timed out>", "timed out", True),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "TLS error", False),
        ("<urlopen error [Errno 104] Connection reset by peer>", "connection closed early", True),
        ("<urlopen error [Errno 113] No route to host>", "host unreachable", True),
        (
            "Use of image disallowed by X-Robots-Tag directive",
            "image may not be used for AI (X-Robots-Tag)",
            False,
        ),
        ("Image decoding error", "image is damaged or cut off", False),
        ("image is damaged or cut off", "image is damaged or cut off", False),
        ("reply is too large", "reply is too large", False),
        (None, "no reason given", False),
        ("host 17 had 3 ideas", "other: host N had N ideas", False),
    ],
)
def test_messages_are_counted_by_cause(message: str | None, why: str, transient: bool) -> None:
    assert reason_of(message) == why
    assert is_transient(why) == transient
