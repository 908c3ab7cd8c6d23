"""From a source's metadata to verified shards and a data card. Use `download_source`.

    OUT/request.json, table/      what was asked for, and the clean table of URLs and captions
    OUT/shards/00000.tar, ...     the pairs (.jpg, .txt, .json); 00000.parquet says what became of every row
    OUT/verified.json             the shards that were checked, with size and time of their files
    OUT/index/                    where every sample lies in them
    OUT/data_card.json, .md, .png what came of it all

Downloads are img2dataset's, in a process of its own. Each shard is checked when it is finished, while others are being
downloaded; one that is not whole is removed and done again. The same command goes on where an earlier one was stopped.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from empirical.errors import StudyError
from empirical.records import exclusive, write_atomically, write_json
from empirical.sources.http import HttpRules
from empirical.sources.reasons import is_transient, reason_of
from empirical.sources.request import Request, Selection, open_request
from empirical.sources.settled import Plan, Progress, Settled
from empirical.sources.verify import ShardFiles, read_outcomes

IMGUR_REMOVED = "9b5936f4006146e4e1e9025b474c02863c0b5614132ad40db4b925a10e8bfbb9"
"""sha256 of imgur's removed.png, which its servers also send under the old address of a removed image."""

_ATTEMPTS = 3
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Settings:
    """How a selection is downloaded; none of it changes what is asked for, so it may differ from start to start.

    `processes` and `threads` (per process): None for the source's default. Images of more than `max_pixels` are not decoded.
    Rows that failed for a passing reason are asked for again `retry_passes` times at the end. `placeholders`: sha256 sums of
    images that stand for a missing one; they are taken out, also from shards that were finished before.
    """

    http: HttpRules = field(default_factory=HttpRules)
    processes: int | None = None
    threads: int | None = None
    max_pixels: int = 89_478_485
    honour_noai: bool = False
    retry_passes: int = 1
    placeholders: tuple[str, ...] = (IMGUR_REMOVED,)


Teller = Callable[[Progress], None]


def download_source(
    metadata: Sequence[str | Path],
    out: Path,
    selection: Selection,
    settings: Settings | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
    tell: Teller = lambda progress: None,
    rows_read: Callable[[int], None] = lambda rows: None,
    table_only: bool = False,
) -> Request:
    """Read the metadata, download, check; returns the request, whose folder then holds every shard.

    `say` gets a sentence now and then, `tell` the progress. `table_only` stops when the clean table is written.
    Raises: DataError for metadata that cannot be used, StudyError where the download cannot go on.
    """
    settings = settings or Settings()
    _check(settings)
    require_packages("pyarrow", *(() if table_only else ("img2dataset",)))
    with exclusive(out):
        request = open_request(out, selection, metadata, rows_read)
        account = request.account
        say(
            f"{account['rows_read']:,} rows read, {account['usable']:,} usable, {account['asked']:,} asked for"
            + "".join(f"\n  {count:,} x {reason}" for reason, count in account["dropped"].items())
        )
        if table_only:
            return request
        while True:
            _download_all(request, settings, say, tell)
            failed = transient_rows(request)
            if len(request.passes) > settings.retry_passes or not len(failed):
                return request
            say(f"{len(failed):,} rows failed for a passing reason: asked for again")
            _add_pass(request, failed)


def _check(settings: Settings) -> None:
    from PIL import Image

    for name in ("processes", "threads"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise StudyError(f"--{name} {value}: at least 1")
    limit = Image.MAX_IMAGE_PIXELS or settings.max_pixels
    if not 1 <= settings.max_pixels <= limit:
        raise StudyError(
            f"--max-pixels {settings.max_pixels}: 1 to {limit:,}, beyond which readers refuse an image"
        )
    for name in ("timeout", "total_timeout", "tries", "max_bytes"):
        if getattr(settings.http, name) <= 0:
            raise StudyError(f"--{name.replace('_', '-')} {getattr(settings.http, name)}: must be positive")
    for text in settings.placeholders:
        if len(text) != 64 or set(text) - set("0123456789abcdef"):
            raise StudyError(f"--placeholder {text!r}: a sha256 sum has 64 digits 0-9a-f")


def require_packages(*names: str) -> None:
    """Raises StudyError, with the way out, where one of these packages cannot be imported."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            message = f"{name} is not installed: pip install '.[download]' in the checkout"
            if name == "img2dataset" and sys.version_info >= (3, 13):
                message += ", with Python 3.11 or 3.12, since it does not import on 3.13"
            raise StudyError(message)


def index_shards(request: Request) -> Path | None:
    """Index every sample of the shards in `OUT/index`; None where nothing could be fetched."""
    from empirical.index_building import build_index

    shards = request.folder / "shards"
    if not any(shards.glob("*.tar")):
        return None
    build_index(str(shards), request.folder / "index")
    return request.folder / "index"


# ---------------------------------------------------------------- planning


def plan_shards(request: Request) -> list[Plan]:
    """Every shard of the request, in img2dataset's numbering: consecutive over the parts of the table."""
    import pyarrow.parquet as pq

    plans: list[tuple[int, np.ndarray]] = []
    size = request.selection.samples_per_shard
    for in_pass, part in request.parts():
        rows = pq.read_table(part, columns=["row"])["row"].to_numpy()
        plans += [(in_pass, rows[i : i + size]) for i in range(0, len(rows), size)]
    return [
        Plan(ShardFiles(request.folder / "shards", i), in_pass, rows)
        for i, (in_pass, rows) in enumerate(plans)
    ]


def transient_rows(request: Request) -> np.ndarray:
    """Rows of the last pass that failed for a passing reason, int64, sorted."""
    last = len(request.passes) - 1
    found: list[int] = []
    for plan in plan_shards(request):
        if plan.in_pass == last:
            outcomes = read_outcomes(plan.files.table, ("row", "status", "error_message"))
            for row, status, message in zip(
                outcomes["row"], outcomes["status"], outcomes["error_message"], strict=True
            ):
                if status == "failed_to_download" and is_transient(reason_of(message)):
                    found.append(int(row))
    return np.sort(np.array(found, np.int64))


def _add_pass(request: Request, rows: np.ndarray) -> None:
    """One more part of the table: these rows again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"{sum(map(len, request.passes)):05d}.parquet"
    tables = [pq.read_table(request.table / part) for part in request.passes[-1]]
    tables = [table.filter(pa.array(np.isin(table["row"].to_numpy(), rows))) for table in tables]
    write_atomically(request.table / name, lambda path: pq.write_table(pa.concat_tables(tables), path))
    request.passes.append([name])
    request.save()


# ---------------------------------------------------------------- downloading


def _download_all(request: Request, settings: Settings, say: Callable[[str], None], tell: Teller) -> None:
    """Download until every shard is whole."""
    plans = plan_shards(request)
    shards = request.folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    for leftover in shards.glob(
        ".*.tmp.*"
    ):  # of a shard that was being rewritten when its process was killed
        leftover.unlink()
    settled = Settled(request.folder / "verified.json", plans, settings.placeholders)
    try:
        for attempt in range(_ATTEMPTS):
            settled.settle()
            for name in settled.remove_damaged():
                say(f"shard {name} is not whole and is done again")
            tell(settled.progress)
            before = len(settled.todo)
            if before:
                status = _run_worker(request, settings, settled, tell, allow_lost=attempt == _ATTEMPTS - 1)
                if status and len(settled.todo) == before:
                    log = request.folder / "img2dataset.log"
                    raise StudyError(
                        f"img2dataset ended with status {status} and finished no shard; the end of {log}:\n{_tail(log)}"
                    )
            if not settled.todo:
                shutil.rmtree(shards / "_unfinished", ignore_errors=True)
                return
        shown = "; ".join(settled.damage.get(i, "not finished") for i in list(settled.todo)[:3])
        raise StudyError(
            f"{len(settled.todo)} of {len(plans)} shards are not whole after {_ATTEMPTS} attempts ({shown}); the others are "
            f"kept. See {request.folder / 'img2dataset.log'}, then repeat the command"
        )
    finally:
        settled.save()


def _run_worker(
    request: Request, settings: Settings, settled: Settled, tell: Teller, allow_lost: bool
) -> int:
    """Run img2dataset once over the shards that are not done, checking what it finishes; returns its exit status."""
    spec, selection = request.selection.spec, request.selection
    job = {
        "table": str(request.table.resolve()),
        "shards": str((request.folder / "shards").resolve()),
        "columns": ["row", "file", "file_row", *(name for name, _ in spec.extra)],
        "done": [i for i in range(len(settled.plans)) if i not in settled.todo],
        "digits": 5,
        "samples_per_shard": selection.samples_per_shard,
        "longer_side": selection.longer_side,
        "shorter_side": selection.shorter_side,
        "processes": settings.processes or spec.processes or min(16, os.cpu_count() or 1),
        "threads": settings.threads or spec.threads,
        "max_pixels": settings.max_pixels,
        "honour_noai": settings.honour_noai,
        "http": asdict(settings.http),
    }
    path = request.folder / "img2dataset_job.json"
    write_json(path, job)
    environment = {
        **os.environ,
        "NO_ALBUMENTATIONS_UPDATE": "1",  # it would ask the network for a newer version of itself
        "WANDB_MODE": "disabled",
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(settings.max_pixels),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "empirical.sources.img2dataset_worker", str(path)]
    with (request.folder / "img2dataset.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None:
                started = time.monotonic()
                settled.settle(allow_lost)
                tell(settled.progress)
                time.sleep(max(_POLL_SECONDS, 5 * (time.monotonic() - started)))
        finally:
            _end(process)
    settled.settle(allow_lost)
    tell(settled.progress)
    path.unlink(missing_ok=True)
    return process.returncode


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End img2dataset's process and the ones it started, unless it came to its own end."""
    assert process.stdin is not None
    process.stdin.close()
    if process.poll() != 0:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
