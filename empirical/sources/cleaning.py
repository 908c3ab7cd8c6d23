"""What a row of metadata must be before its image is asked for: an http(s) URL that can be sent, and a caption.

Use `clean_url` and `CaptionRules.clean`; whatever cannot be used raises `UnusableRow`, whose text is the reason under which
the row is counted.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!$-~]*)?\Z"
)  # "!" to "~" without '"' and "#"
_LONGEST_URL = 8000  # characters; servers refuse longer ones
_KEPT = (
    "%/:?#[]@!$&'()*+,;=-._~"  # what RFC 3986 lets a URL hold unescaped, and escapes that are already there
)


class UnusableRow(ValueError):
    """A row of metadata cannot be used; its text is the reason under which it is counted."""


def clean_url(value: object) -> str:
    """The URL as it is sent: spaces and letters beyond ASCII escaped, the host in IDNA, as browsers do it.

    Raises: UnusableRow for anything that is not an http or https URL with a host.
    """
    if value is None or value == "":
        raise UnusableRow("no URL")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise UnusableRow("URL is not text")
    url = value.strip()
    if len(url) > _LONGEST_URL:
        raise UnusableRow(f"URL of more than {_LONGEST_URL} characters")
    if _PLAIN_URL.match(url):
        return _checked(url, plain=True)
    url = url.replace("\t", "").replace("\n", "").replace("\r", "")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in url):
        raise UnusableRow("URL with control characters")
    return _checked(url, plain=False)


def _checked(url: str, plain: bool) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port of 99999, an address without its closing bracket
        raise UnusableRow("URL that cannot be read") from error
    if parts.scheme not in ("http", "https"):
        raise UnusableRow("URL is not http or https")
    if not host:
        raise UnusableRow("URL without a host")
    if plain:
        return url
    if "@" in parts.netloc:
        raise UnusableRow("URL with a user name")
    if ":" in host:
        try:
            host = f"[{ipaddress.IPv6Address(host)}]"
        except ValueError as error:
            raise UnusableRow("URL that cannot be read") from error
    elif not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise UnusableRow("URL that cannot be read") from error
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9a-f:.]+\]", host):
        raise UnusableRow("URL that cannot be read")
    rest = url.split("://", 1)[1][len(parts.netloc) :].split("#", 1)[0]
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "") + quote(rest, safe=_KEPT)


@dataclass(frozen=True)
class CaptionRules:
    """What is done to captions. The defaults are the paper's: captions stay as they are, null ones are dropped.

    Whatever the rules, characters that no caption file can hold (NUL, other control characters, halves of surrogate pairs)
    are removed and white space around a caption is dropped; a caption of which nothing is left counts as null.
    """

    drop_containing: tuple[str, ...] = ("ohcb01",)
    """Drop rows whose caption contains one of these (the paper's scripts drop `ohcb01`)."""
    min_words: int = 0
    """Drop captions of fewer words."""
    max_words: int | None = None
    """Drop captions of more words."""
    one_line: bool = False
    """Turn every run of white space, line breaks included, into one space (open_clip's tokenizer does so anyway)."""

    def clean(self, value: object) -> str:
        """The caption that goes into the shard; raises UnusableRow with the reason when the row is dropped."""
        if isinstance(value, bytes):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UnusableRow("caption is not UTF-8 text") from error
        if value is None or value == "":
            raise UnusableRow("null caption")
        if not isinstance(value, str):
            raise UnusableRow("caption is not text")
        caption = value if value.isprintable() else "".join(c for c in value if _writable(c))
        caption = " ".join(caption.split()) if self.one_line else caption.strip()
        while caption.startswith("\ufeff"):  # a byte-order mark belongs to a file, not to a caption
            caption = caption.lstrip("\ufeff").strip()
        if not caption:
            raise UnusableRow("null caption")
        for text in self.drop_containing:
            if text and text in caption:
                raise UnusableRow(f"caption contains {text!r}")
        if self.min_words > 0 or self.max_words is not None:
            words = len(caption.split())
            if words < self.min_words:
                raise UnusableRow(f"caption of fewer than {self.min_words} words")
            if self.max_words is not None and words > self.max_words:
                raise UnusableRow(f"caption of more than {self.max_words} words")
        return caption


def _writable(character: str) -> bool:
    return character in "\t\n\r" or not (ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF)
