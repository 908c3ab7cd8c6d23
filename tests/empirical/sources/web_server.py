"""A web server on localhost that behaves as the web does: good images, and everything that goes wrong with them."""

import contextlib
import gzip
import io
import struct
import threading
import time
import zlib
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

PIXELS = 24


def picture(seed: int = 0, size: tuple[int, int] = (PIXELS, PIXELS)) -> Image.Image:
    """A smooth coloured picture, another one for every seed."""
    y, x = np.mgrid[: size[1], : size[0]]
    tone = np.random.default_rng(seed).integers(0, 128, 3)
    planes = [x * 120 // size[0], y * 120 // size[1], (x + y) * 60 // max(size)]
    return Image.fromarray((np.stack(planes, 2) + tone).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A valid, black grey PNG of any size whose file is a thousand times smaller than its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(width + 1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


REMOVED = encoded(picture(99, (16, 8)), "PNG")
GOOD = encoded(picture(1), quality=95)
ZIP_BOMB = gzip.compress(bytes(20 << 20), 1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Web"  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers = {
            "Content_Type": "image/jpeg",
            "Content_Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        for name, value in headers.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.leave()
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.close_connection = True
        path = self.path.split("?")[0]
        with self.server.lock:
            self.server.seen[path] += 1
            count = self.server.seen[path]
            self.server.agents[path] = self.headers.get("User-Agent", "")
            self.server.times.setdefault(path, []).append(time.monotonic())
            self.server.at_once += 1
            self.left = False
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the other end has had enough
            self.answer(path, count)
        self.leave()

    def leave(self) -> None:
        """Count this request no longer: before its last byte goes out, or the client may be back before it is uncounted."""
        with self.server.lock:
            self.server.at_once -= not self.left
            self.left = True

    def answer(self, path: str, count: int) -> None:
        name = path.strip("/").split("/")[0]
        if name == "good":
            self.reply(encoded(picture(int(path.rsplit("/", 1)[1])), quality=95))
        elif name == "pause":
            self.server.closing.wait(0.2)
            self.reply(encoded(picture(int(path.rsplit("/", 1)[1])), quality=95))
        elif name in self.server.bodies:
            self.reply(self.server.bodies[name])
        elif name in ("404", "410", "403", "500", "204"):
            self.reply(b"", int(name))
        elif name == "busy":
            self.reply(GOOD) if count > 1 else self.reply(b"", 429, Retry_After="1")
        elif name == "busy-until":
            until = formatdate(time.time() + 2, usegmt=True)
            self.reply(GOOD) if count > 1 else self.reply(b"", 429, Retry_After=until)
        elif name == "busy-for-an-hour":
            self.reply(b"", 429, Retry_After="3600")
        elif name == "flaky":
            self.reply(GOOD) if count > 1 else self.reply(b"", 503)
        elif name == "to-removed":
            self.reply(b"", 302, Location="/removed.png")
        elif name == "to-good":
            self.reply(b"", 301, Location="/good/7")
        elif name == "to-ftp":
            self.reply(b"", 302, Location="ftp://127.0.0.1/image.jpg")
        elif name == "to-file":
            self.reply(b"", 302, Location="file:///etc/hostname")
        elif name == "to-data":
            self.reply(b"", 302, Location="data:image/png;base64,iVBORw0KGgo=")
        elif name == "round":
            self.reply(b"", 302, Location="/round")
        elif name == "removed.png":
            self.reply(REMOVED)
        elif name == "text-label":
            self.reply(GOOD, Content_Type="text/plain")
        elif name == "no-label":
            self.reply(GOOD, Content_Type="")
        elif name == "zipped":
            self.reply(gzip.compress(GOOD), Content_Encoding="gzip")
        elif name == "zip-bomb":
            self.reply(ZIP_BOMB, Content_Encoding="gzip")
        elif name == "noai":
            self.reply(GOOD, X_Robots_Tag="noai, noimageai")
        elif name == "cut":
            self.reply(GOOD[: len(GOOD) // 2], Content_Length=str(len(GOOD)))
        elif name == "cut-chunks":
            self.reply(b"%x\r\n" % len(GOOD) + GOOD[:100], Content_Length="", Transfer_Encoding="chunked")
        elif name == "no-answer":
            pass
        elif name == "nonsense":
            self.wfile.write(b"220 smtp ready\r\n\r\n")
        elif name == "silent":
            self.server.closing.wait(30)
        elif name == "drip":
            self.reply(GOOD[:10], Content_Length=str(len(GOOD)))
            self.drip(GOOD[10:])
        elif name == "drip-headers":
            self.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100)
        elif name == "huge":
            self.reply(b"\xff\xd8", Content_Length=str(10 << 30))
        elif name == "endless":
            self.reply(b"", Content_Length="")
            while not self.server.closing.is_set():
                self.wfile.write(bytes(1 << 16))
        else:
            self.reply(b"", 404)

    def drip(self, data: bytes) -> None:
        for i in range(len(data)):
            if self.server.closing.wait(0.1):
                return
            self.wfile.write(data[i : i + 1])
            self.wfile.flush()


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.seen: Counter[str] = Counter()
        self.agents: dict[str, str] = {}
        self.at_once = self.most_at_once = 0
        self.times: dict[str, list[float]] = {}
        self.bodies: dict[str, bytes] = {}
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        pass

    def __enter__(self) -> "Web":
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.thread.join()
