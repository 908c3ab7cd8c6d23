"""How URLs are opened: http and https alone, with limits on time, size, redirects and patience.

Use `install` in a process whose downloads go through `urllib.request.urlopen`, as img2dataset's do: its own downloader follows
redirects to ftp and to placeholders, waits for ever on a server that sends a byte now and then, reads replies of any size
into memory, and takes a 429 for a final answer. What is refused raises an error whose text is the reason.
"""

import contextlib
import importlib.metadata
import io
import threading
import time
import urllib.request
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.response import addinfourl

from empirical.errors import StudyError

PLACEHOLDER_URLS = ("removed.png", "photo_unavailable")
"""imgur and Flickr redirect to these where an image is gone, with status 200."""


@dataclass(frozen=True)
class HttpRules:
    """Limits of one request, in seconds and bytes.

    `timeout` bounds each silence of the server, `total_timeout` a reply as a whole. A 429 or 503 is asked again up to `tries`
    times in all, after the server's Retry-After (a 429 without one: after 1, 2, 4, ... seconds) but never after more than
    `longest_wait`: the whole host is left alone meanwhile. Replies of more than `max_bytes` are refused. A URL, also one
    redirected to, that holds one of `placeholder_urls` is refused. `user_agent` replaces the caller's where it is not empty.
    """

    timeout: float = 10.0
    total_timeout: float = 60.0
    tries: int = 3
    longest_wait: float = 60.0
    max_bytes: int = 64 << 20
    placeholder_urls: tuple[str, ...] = PLACEHOLDER_URLS
    user_agent: str = ""


def user_agent(name: str = "", contact: str = "", *, honest: bool = False) -> str:
    """The user agent that is sent: `name` with the contact; this project's own name where none is given and `honest` or a
    contact asks for one; else empty, which leaves the caller's."""
    if not name and (honest or contact):
        name = f"quality-not-quantity/{_version()} (research download of image-text pairs)"
    agent = f"{name} (contact: {contact})" if contact else name
    if not agent.isascii() or not agent.isprintable():
        raise StudyError(f"--user-agent and --contact {agent!r}: a header holds plain ASCII characters alone")
    return agent


def _version() -> str:
    try:
        return importlib.metadata.version("quality-not-quantity")
    except importlib.metadata.PackageNotFoundError:
        return "0"


class RefusedReply(OSError):
    """A reply that is not taken; its text is the reason."""


def install(rules: HttpRules) -> None:
    """Make `urllib.request.urlopen` of this process obey the rules."""
    urllib.request.install_opener(build_opener(rules))


def build_opener(rules: HttpRules) -> urllib.request.OpenerDirector:
    """An opener for http and https alone; proxies are those of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _Http(rules),
        _Https(rules),
        _Redirects(),
        _Patience(rules),
        _Rules(rules),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline: a byte now and then does not keep it open."""

    def __init__(self, raw: Any, sock: Any, rules: HttpRules) -> None:
        self.raw, self.sock, self.silence = raw, sock, rules.timeout
        self.deadline = time.monotonic() + rules.total_timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RefusedReply("reply took too long")
        with contextlib.suppress(OSError):  # closed by the other end: reading will say so
            self.sock.settimeout(min(self.silence, left))
        try:
            return self.raw.readinto(buffer)
        except TimeoutError:
            if time.monotonic() >= self.deadline:
                raise RefusedReply("reply took too long") from None
            raise

    def close(self) -> None:
        self.raw.close()
        super().close()


def _response_class(rules: HttpRules) -> type[HTTPResponse]:
    class Response(HTTPResponse):
        def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, rules))

    return Response


class _Http(urllib.request.HTTPHandler):
    def __init__(self, rules: HttpRules) -> None:
        super().__init__()

        class Connection(HTTPConnection):
            response_class = _response_class(rules)

        self.connection = Connection

    def http_open(self, req: urllib.request.Request) -> Any:
        return _opened(self, self.connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, rules: HttpRules) -> None:
        super().__init__()

        class Connection(HTTPSConnection):
            response_class = _response_class(rules)

        self.connection = Connection

    def https_open(self, req: urllib.request.Request) -> Any:
        return _opened(self, self.connection, req)


def _opened(handler: urllib.request.AbstractHTTPHandler, connection: Any, request: Any) -> Any:
    try:
        return handler.do_open(connection, request)
    except RemoteDisconnected as error:
        raise RefusedReply("connection closed early") from error
    except HTTPException as error:
        raise RefusedReply("reply is not valid HTTP") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 8

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = headers.get("location") or headers.get("uri")
        if target is not None and urlsplit(urljoin(req.full_url, target)).scheme not in ("http", "https"):
            fp.close()
            raise RefusedReply("redirect to another scheme refused")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Patience(urllib.request.BaseHandler):
    """Waits as long as a server asks, once for all threads."""

    def __init__(self, rules: HttpRules) -> None:
        self.rules = rules
        self.not_before: dict[str, float] = {}
        self.lock = threading.Lock()

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        while (wait := self.not_before.get(_host(request), 0.0) - time.monotonic()) > 0:
            time.sleep(wait)
        return request

    https_request = http_request

    def http_error_429(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        tried = getattr(req, "tried", 1)
        wait = _retry_after(headers.get("retry-after"))
        wait = 2.0 ** (tried - 1) if wait is None else wait
        if tried >= self.rules.tries or wait > self.rules.longest_wait:
            return None  # the status becomes the reason
        fp.close()
        with self.lock:
            until = time.monotonic() + wait
            self.not_before[_host(req)] = max(until, self.not_before.get(_host(req), 0.0))
        req.tried = tried + 1
        return self.parent.open(req, timeout=req.timeout)

    def http_error_503(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        # Without a time to come back it may be this one file: not worth keeping its host waiting.
        return self.http_error_429(req, fp, code, msg, headers) if headers.get("retry-after") else None


def _host(request: urllib.request.Request) -> str:
    return urlsplit(request.full_url).netloc  # `request.host` is the proxy's, where there is one


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date; None where there is no such header."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


class _Rules(urllib.request.BaseHandler):
    """Last look at each request and each reply."""

    handler_order = 1100  # after HTTPErrorProcessor: replies that come here have status 2xx

    def __init__(self, rules: HttpRules) -> None:
        self.rules = rules

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if any(part in request.full_url for part in self.rules.placeholder_urls):
            raise RefusedReply("leads to a placeholder")
        if self.rules.user_agent:
            request.add_unredirected_header("User-agent", self.rules.user_agent)
        return request

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if isinstance(response, addinfourl):  # read already, behind a redirect or a wait
            return response
        with response:
            if response.status != 200:
                raise RefusedReply(f"HTTP {response.status}")
            if (response.length or 0) > self.rules.max_bytes:
                raise RefusedReply("reply is too large")
            try:
                data = response.read(self.rules.max_bytes + 1)
            except IncompleteRead as error:
                raise RefusedReply("connection closed early") from error
            if len(data) > self.rules.max_bytes:
                raise RefusedReply("reply is too large")
            if response.length:
                raise RefusedReply("connection closed early")
            if response.headers.get("content-encoding", "").strip().lower() == "gzip":
                data = self._unzipped(data)
            if not data:
                raise RefusedReply("reply is empty")
            return addinfourl(io.BytesIO(data), response.headers, response.url, response.status)

    https_request, https_response = http_request, http_response

    def _unzipped(self, data: bytes) -> bytes:
        """What a server zipped without being asked to."""
        stream = zlib.decompressobj(wbits=31)
        try:
            plain = stream.decompress(data, self.rules.max_bytes)
        except zlib.error as error:
            raise RefusedReply("reply is badly compressed") from error
        if stream.unconsumed_tail:
            raise RefusedReply("reply is too large")
        return plain
