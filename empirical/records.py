"""Records of finished runs: one JSON file per run, written atomically, read back with every damaged file named.

Use `write_json` for anything that must never be seen half-written, `load_records` to read a study's records and
`environment` for the versions and the machine that go into each of them.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from empirical.errors import StudyError

PACKAGES = (
    "quality-not-quantity",
    "torch",
    "open_clip_torch",
    "timm",
    "webdataset",
    "numpy",
    "scipy",
    "jax",
    "pandas",
)

FORMAT = 1
"""Version of the record format; raised when a field changes its meaning."""


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the sha256 of `value` as canonical JSON: equal settings, equal fingerprint."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    A reader sees the old file or the whole new one, never a part, however the process ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically; NaN and infinity are refused because JSON has no word for them."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one raises `StudyError` with its name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StudyError(f"{path}: not valid JSON ({error}); delete it and start the study again") from error


def load_records(
    folder: Path, on_damage: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, Any]]:
    """Read every record in `folder`, by run name.

    A file that is not a record of this format is left where it is, reported through `on_damage` and treated as a
    run that has not finished.
    """
    records = {}
    for path in sorted(folder.glob("[!.]*.json")):  # a leading dot marks what a killed writer left behind
        try:
            record = read_json(path)
        except StudyError as error:
            on_damage(str(error))
            continue
        if not isinstance(record, Mapping) or record.get("format") != FORMAT or "results" not in record:
            on_damage(f"{path}: not a record of format {FORMAT}; its run will be done again")
            continue
        records[path.stem] = dict(record)
    return records


@lru_cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@lru_cache
def processor_name() -> str:
    """Name of the CPU, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment(device: str = "cpu") -> dict[str, Any]:
    """What a number depends on besides its config: versions, system, and the device that computed it."""
    name = processor_name()
    if device.startswith("cuda") and "torch" in sys.modules:
        name = sys.modules["torch"].cuda.get_device_name(device)
    return {
        "versions": dict(versions()),
        "system": platform.system(),
        "device": device,
        "device_name": name,
        "cores": os.cpu_count(),
    }


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for one study; a second study on the same folder is told so instead of mixing its files in."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: there, nothing keeps two studies apart
        yield
        return
    with open(folder / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"{folder}: another study is running here; wait for it or choose another --out"
            ) from None
        yield
