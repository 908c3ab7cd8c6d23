"""Why a row has no image, in words that can be counted. Use `reason_of` on img2dataset's messages and `is_transient`.

img2dataset keeps the text of whatever exception came up: the same cause has many texts, some with a host or a number in them.
"""

import re

PLACEHOLDER = "placeholder image (by sha256)"
LOST = "not written by img2dataset"

_REASONS: tuple[tuple[str, str], ...] = (
    (r"^HTTP Error 30\d: .*(infinite loop|redirect error)", "redirect loop"),
    (r"^HTTP Error (\d{3})", r"HTTP \1"),
    (r"X-Robots-Tag", "image may not be used for AI (X-Robots-Tag)"),
    (r"timed? ?out", "timed out"),
    (r"Name or service not known|nodename nor servname|No address associated|getaddrinfo failed", "host not found"),
    (r"Temporary failure in name resolution", "name server did not answer"),
    (r"EOF occurred|reset by peer|Broken pipe", "connection closed early"),
    (r"(?i)certificate|ssl|tlsv1|wrong version number", "TLS error"),
    (r"refused\]?>?$|Errno 111", "connection refused"),
    (r"unreachable|No route to host", "host unreachable"),
    (r"unknown url type", "redirect to another scheme refused"),
    (r"Image decoding error|^OpenCV|cv2", "image is damaged or cut off"),
)  # fmt: skip

_OURS = re.compile(
    r"reply |leads to |redirect |connection closed|HTTP \d{3}$|image |not an image|placeholder|not written"
)

_TRANSIENT = re.compile(
    r"timed out|connection closed early|connection refused|host unreachable|name server did not answer|reply took too long"
    r"|HTTP (408|425|429|500|502|503|504)$"
)


def reason_of(message: str | None) -> str:
    """The countable reason behind a message of img2dataset, of ours, or of the libraries below."""
    if not message:
        return "no reason given"
    if _OURS.match(message):
        return message
    for pattern, reason in _REASONS:
        if match := re.search(pattern, message):
            return match.expand(reason)
    return "other: " + " ".join(re.sub(r"\d+", "N", message).split())[:60]


def is_transient(reason: str) -> bool:
    """Whether a later attempt may well succeed: the server was busy, slow or out of reach."""
    return _TRANSIENT.match(reason) is not None
