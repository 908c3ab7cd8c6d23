"""Records of finished runs: one JSON file per run, written atomically, read back with every damaged file named.

Use `write_json` for anything that must never be seen half-written, `load_records` to read a study's records and
`environment` for the versions and the machine that go into each of them.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empirical import faults
from empirical.errors import StudyError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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


def writer() -> str:
    """Host and process, as they go into the name of a temporary file: nodes of a cluster share a folder."""
    return f"{re.sub('[^A-Za-z0-9-]', '-', socket.gethostname())}.{os.getpid()}"


def flush_to_disk(path: Path) -> None:
    """Wait until a file's content is on the disk; for a folder, the names of what it holds."""
    if path.is_dir():
        if not hasattr(os, "O_DIRECTORY"):
            return  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # some network file systems cannot
                os.fsync(handle)
        finally:
            os.close(handle)
    else:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    A reader sees the old file or the whole new one, never a part, however the process ends. A disk that is full, or
    any other `OSError`, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{writer()}.tmp{path.suffix}")
    try:
        write(temporary)
        faults.moment("half-written", path, temporary)
        flush_to_disk(temporary)
        faults.moment("written", path)
        os.replace(temporary, path)
        faults.moment("renamed", path)
    except OSError as error:
        if error.errno is None:  # numpy tells of a short write without saying why it was short
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)\.tmp(\.|$)")


def remove_leftovers(folder: Path, *, older_than: float = 86_400.0) -> int:
    """Delete the temporary files and folders that killed writers left in `folder`; returns how many.

    A writer of this machine is looked for; one of another machine (a node of a cluster) cannot be, so what it left
    goes when it is `older_than` seconds old.
    """
    host = writer().split(".")[0]
    removed = 0
    for path in sorted(folder.rglob(".*.tmp*")):
        found = _TEMPORARY.search(path.name)
        if found is None or not path.exists():
            continue
        if found["host"] == host and Path("/proc/self").exists():
            alive = Path(f"/proc/{found['process']}").exists()
        else:
            alive = time.time() - path.stat().st_mtime < older_than
        if not alive:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            removed += 1
    return removed


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically, and see it on the disk under its name: a record stands for an hour of work.

    NaN and infinity are refused because JSON has no word for them.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
    flush_to_disk(path.parent)


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one raises `StudyError` with its name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StudyError(f"{path}: not valid JSON ({error}); delete it and start the study again") from error


def load_record(path: Path, on_damage: Callable[[str], None] = lambda message: None) -> dict[str, Any] | None:
    """Read one record, or None where there is none.

    A file that is not a record of this format is left where it is, reported through `on_damage` and treated as a
    run that has not finished.
    """
    try:
        record = read_json(path)
    except FileNotFoundError:
        return None
    except StudyError as error:
        on_damage(str(error))
        return None
    if not isinstance(record, Mapping) or record.get("format") != FORMAT or "results" not in record:
        on_damage(f"{path}: not a record of format {FORMAT}; its run will be done again")
        return None
    return dict(record)


def load_records(
    folder: Path, on_damage: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, Any]]:
    """Read every record in `folder`, by run name; see `load_record` for damaged ones."""
    paths = sorted(folder.glob("[!.]*.json"))  # a leading dot marks what a killed writer left behind
    found = {path.stem: load_record(path, on_damage) for path in paths}
    return {name: record for name, record in found.items() if record is not None}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers; looked up once per process."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
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


def load_average() -> dict[str, list[float]]:
    """How busy this machine is, for records of times: `load_average` over 1, 5 and 15 minutes; empty where no system tells."""
    if not hasattr(os, "getloadavg"):
        return {}
    return {"load_average": [round(load, 2) for load in os.getloadavg()]}


def write_provenance(
    folder: Path, arguments: "DataclassInstance", seconds: float, device: str = "cpu", **more: Any
) -> Path:
    """Write provenance.json: what the numbers in a command's `folder` depend on; returns its path.

    Its keys are `config` (all of the command's arguments), `seconds` that it took, those of `environment` and `more`, and `seed`
    where the command has one.
    """
    config = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(arguments).items()}
    seed = {"seed": config["seed"]} if "seed" in config else {}
    path = folder / "provenance.json"
    write_json(path, {"config": config, **seed, "seconds": round(seconds, 1), **environment(device), **more})
    return path


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for one study; a second study on the same folder is told so instead of mixing its files in."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: there, nothing keeps two studies apart
        yield
        return
    with open(folder / ".lock", "a+", encoding="utf-8") as lock:
        for patience in range(10):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if patience == 9:  # longer than `study_status.py` looks at the lock
                    lock.seek(0)
                    holder = lock.read(200).strip() or "unknown"
                    raise StudyError(
                        f"{folder}: another study is running here (process {holder}); wait for it or choose another --out"
                    ) from None
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield
