"""URLs as they are sent, captions as they are kept."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.shards import decode_text
from empirical.sources import CaptionRules, UnusableRow, clean_url


@pytest.mark.parametrize(
    ("given_url", "sent"),
    [
        ("http://a.org/x.jpg", "http://a.org/x.jpg"),
        ("https://a.org:8080/x?y=1&z=%20", "https://a.org:8080/x?y=1&z=%20"),
        ("  http://a.org/x.jpg \r", "http://a.org/x.jpg"),
        ("http://a.org/a b.jpg", "http://a.org/a%20b.jpg"),
        ("http://a.org/Zürich (1).jpg#top", "http://a.org/Z%C3%BCrich%20(1).jpg"),
        ("http://müller.example/x", "http://xn--mller-kva.example/x"),
        ('http://a.org/"x".jpg', "http://a.org/%22x%22.jpg"),
        ("http://[::1]:80/ä", "http://[::1]:80/%C3%A4"),
        ("HTTP://a.org/x", "http://a.org/x"),
        (b"http://a.org/x", "http://a.org/x"),
    ],
)
def test_usable_urls(given_url: object, sent: str) -> None:
    assert clean_url(given_url) == sent


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "no URL"),
        ("", "no URL"),
        (3.5, "not text"),
        ("ftp://a.org/x.jpg", "not http"),
        ("file:///etc/passwd", "not http"),
        ("data:image/png;base64,AAAA", "not http"),
        ("javascript:alert(1)", "not http"),
        ("//a.org/x.jpg", "not http"),
        ("x.jpg", "not http"),
        ("http:///x.jpg", "host"),
        ("http://", "host"),
        ("http://a.org:99999/x", "cannot be read"),
        ("http://[::1/x", "cannot be read"),
        ("http://a b.org/x", "cannot be read"),
        ("http://user:secret@a.org/ä", "user name"),
        ("http://a.org/x\x00.jpg", "control"),
        ("http://a.org/\ud83d.jpg", "control"),
        ("http://a.org/" + "x" * 9000, "characters"),
    ],
)
def test_unusable_urls(url: object, reason: str) -> None:
    with pytest.raises(UnusableRow, match=reason):
        clean_url(url)


@given(
    st.one_of(
        st.text(), st.binary(), st.text().map("http://a.org/".__add__), st.text().map("http://".__add__)
    )
)
def test_a_url_is_sendable_or_refused(value: object) -> None:
    try:
        url = clean_url(value)
    except UnusableRow:
        return
    assert re.fullmatch(r"https?://[!-~]+", url)
    assert clean_url(url) == url


@pytest.mark.parametrize(
    "caption",
    [
        '"quoted" and "open',
        "a\ttab",
        "two\nlines",
        "😀 👩‍👩‍👧",
        "naïve \u2028 \x85 letters",
        "'single'",
        "NULL",
        "nan",
    ],
)
def test_captions_keep_quotes_tabs_and_emoji(caption: str) -> None:
    assert CaptionRules().clean(caption) == caption


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        ("a\x00cat", "acat"),
        (" cat \r", "cat"),
        ("bell\x07 \x1b[1m", "bell [1m"),
        ("half \ud83d pair", "half  pair"),
        ("\ufeff\ufeff cat", "cat"),
        (b"bytes \xc3\xa9", "bytes é"),
    ],
)
def test_what_no_caption_file_can_hold_is_removed(caption: object, kept: str) -> None:
    assert CaptionRules().clean(caption) == kept


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        (None, "null caption"),
        ("", "null caption"),
        (" \x00\t ", "null caption"),
        (1.5, "not text"),
        (b"\xff\xfe", "not UTF-8"),
        ("see ohcb01 here", "contains 'ohcb01'"),
    ],
)
def test_dropped_captions(caption: object, reason: str) -> None:
    with pytest.raises(UnusableRow, match=re.escape(reason)):
        CaptionRules().clean(caption)


def test_rules_beyond_the_papers() -> None:
    rules = CaptionRules(drop_containing=("IMG_",), min_words=2, max_words=3, one_line=True)
    assert rules.clean("a \n  b\tc") == "a b c"
    assert rules.clean("ohcb01 kept") == "ohcb01 kept"
    for caption, reason in (("one", "fewer than 2"), ("a b c d", "more than 3"), ("IMG_1 x", "IMG_")):
        with pytest.raises(UnusableRow, match=reason):
            rules.clean(caption)


@given(st.text(), st.booleans())
def test_every_kept_caption_reads_back_as_it_was_written(caption: str, one_line: bool) -> None:
    try:
        kept = CaptionRules(one_line=one_line).clean(caption)
    except UnusableRow:
        return
    assert decode_text(kept.encode(), "caption") == kept
    assert CaptionRules(one_line=one_line).clean(kept) == kept
